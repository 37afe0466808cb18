#include <backend/cuda/wide_way.hpp>

#include <wide_pass_srht.hpp>

namespace fntk::backend::cuda {

WideChoice choose_wide_way(Up family, std::int64_t rank, DType h, const kernels::DeviceLimits& limits) {
    if (h == DType::i64) return {WideWay::plain, "int64 sums: the matrix units have int32 ones only"};
    if (family == Up::srht) {
        if (kernels::WidePassSrht<1>::unsupported(rank, limits) == nullptr)
            return {WideWay::transform, "log2 P additions per entry, where a product has P of them"};
        return {WideWay::int8_chain, "the transform does not fit a block's registers and shared memory"};
    }
    if (rank <= 256) return {WideWay::fused, "both products in one kernel: V is never in memory"};
    return {WideWay::int8_chain, "the sums of a rank above 256 do not fit a block's registers"};
}

}  // namespace fntk::backend::cuda

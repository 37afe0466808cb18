#include <backend/cuda/wide_way.hpp>

#include <gates_wgmma.hpp>
#include <wide_pass_srht.hpp>
#include <wide_pass_srht_long.hpp>
#include <wide_pass_wgmma.hpp>

namespace fntk::backend::cuda {

namespace {

/// At least two thirds of the rows that its blocks take are there: with fewer the portable kernel, whose
/// blocks end at 16 rows, has less to do than this one gains.
bool fills_blocks(std::int64_t rows, std::int64_t of_block) {
    return 3 * rows >= 2 * kernels::round_up(rows, of_block);
}

}  // namespace

WideChoice choose_wide_way(Up family, std::int64_t rank, DType h, const kernels::DeviceLimits& limits,
                           std::int64_t rows, bool has_wgmma) {
    if (h == DType::i64) return {WideWay::plain, "int64 sums: the matrix units have int32 ones only"};
    if (family == Up::srht) {
        if (rank <= most_srht_product && has_wgmma && limits.compute_capability == 90 &&
            fills_blocks(rows, kernels::WidePassWgmma<64>::rows))
            return {WideWay::wgmma, "products of so small a rank, on matrix units that read shared memory"};
        if (kernels::srht_fits(rank, limits))
            return {WideWay::transform, "a product of 32 columns and log2 P/32 additions per entry"};
        if (kernels::WidePassSrhtLong<1>::unsupported(rank, limits) == nullptr)
            return {WideWay::long_transform, "log2 P additions per entry, where a product has P of them"};
        return {WideWay::int8_chain, "the transform does not fit a block's registers and shared memory"};
    }
    if (rank > most_fused_rank) {
        if (rank <= most_gated_rank && has_wgmma && limits.compute_capability == 90 &&
            fills_blocks(rows, kernels::GatesWgmma<3, 1>::rows))
            return {WideWay::wgmma,
                    "the gates in one kernel, the gradients from them: Z is never in memory"};
        return {WideWay::int8_chain, "the sums of a rank above 256 do not fit a block's registers"};
    }
    if (!has_wgmma) return {WideWay::fused, "both products in one kernel: V is never in memory"};
    if (limits.compute_capability != 90)
        return {WideWay::fused, "both products in one kernel; wgmma is of compute capability 9.0 alone"};
    if (!fills_blocks(rows, kernels::WidePassWgmma<64>::rows))
        return {WideWay::fused, "both products in one kernel; blocks of 128 rows would be too empty"};
    return {WideWay::wgmma, "both products in one kernel, on matrix units that read shared memory"};
}

}  // namespace fntk::backend::cuda

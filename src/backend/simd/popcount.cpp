#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd/popcount.cpp"
#include <backend/simd/popcount.hpp>

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <bit>

HWY_BEFORE_NAMESPACE();
namespace fntk::backend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

void and_popcounts_all(const std::uint64_t* HWY_RESTRICT a, const std::uint64_t* rows, std::int64_t stride,
                       std::int64_t words, std::int64_t count, std::int32_t* counts) {
    const hn::ScalableTag<std::uint64_t> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    for (std::int64_t j = 0; j < count; ++j) {
        const std::uint64_t* HWY_RESTRICT b = rows + j * stride;
        auto sum0 = hn::Zero(d), sum1 = hn::Zero(d);
        std::int64_t w = 0;
        for (; w + 2 * lanes <= words; w += 2 * lanes) {
            sum0 = hn::Add(sum0, hn::PopulationCount(hn::And(hn::LoadU(d, a + w), hn::LoadU(d, b + w))));
            sum1 = hn::Add(sum1, hn::PopulationCount(
                                     hn::And(hn::LoadU(d, a + w + lanes), hn::LoadU(d, b + w + lanes))));
        }
        auto total = static_cast<std::int64_t>(hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1))));
        for (; w < words; ++w) total += std::popcount(a[w] & b[w]);
        counts[j] = static_cast<std::int32_t>(total);
    }
}

}  // namespace fntk::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fntk::backend {

HWY_EXPORT(and_popcounts_all);

void and_popcounts(const std::uint64_t* a, const std::uint64_t* rows, std::int64_t stride,
                   std::int64_t words, std::int64_t count, std::int32_t* counts) {
    HWY_DYNAMIC_DISPATCH(and_popcounts_all)(a, rows, stride, words, count, counts);
}

}  // namespace fntk::backend
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd/bits.cpp"
#include <backend/simd/bits.hpp>

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>

HWY_BEFORE_NAMESPACE();
namespace fntk::backend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// Two rows against four: six loads for eight products.
HWY_INLINE void popcounts_2x4(const std::uint64_t* HWY_RESTRICT a0, const std::uint64_t* HWY_RESTRICT a1,
                              const std::uint64_t* HWY_RESTRICT b, std::int64_t stride_b,
                              std::int64_t words, std::int32_t* c0, std::int32_t* c1) {
    const hn::ScalableTag<std::uint64_t> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const std::uint64_t *b0 = b, *b1 = b + stride_b, *b2 = b1 + stride_b, *b3 = b2 + stride_b;
    auto s00 = hn::Zero(d), s01 = s00, s02 = s00, s03 = s00, s10 = s00, s11 = s00, s12 = s00, s13 = s00;
    std::int64_t w = 0;
    for (; w + lanes <= words; w += lanes) {
        const auto x = hn::LoadU(d, a0 + w), y = hn::LoadU(d, a1 + w);
        const auto v0 = hn::LoadU(d, b0 + w), v1 = hn::LoadU(d, b1 + w), v2 = hn::LoadU(d, b2 + w),
                   v3 = hn::LoadU(d, b3 + w);
        s00 = hn::Add(s00, hn::PopulationCount(hn::And(x, v0)));
        s01 = hn::Add(s01, hn::PopulationCount(hn::And(x, v1)));
        s02 = hn::Add(s02, hn::PopulationCount(hn::And(x, v2)));
        s03 = hn::Add(s03, hn::PopulationCount(hn::And(x, v3)));
        s10 = hn::Add(s10, hn::PopulationCount(hn::And(y, v0)));
        s11 = hn::Add(s11, hn::PopulationCount(hn::And(y, v1)));
        s12 = hn::Add(s12, hn::PopulationCount(hn::And(y, v2)));
        s13 = hn::Add(s13, hn::PopulationCount(hn::And(y, v3)));
    }
    const auto total = [&](auto sum, const std::uint64_t* x, const std::uint64_t* y) HWY_ATTR {
        auto count = static_cast<std::int64_t>(hn::GetLane(hn::SumOfLanes(d, sum)));
        for (std::int64_t v = w; v < words; ++v) count += std::popcount(x[v] & y[v]);
        return static_cast<std::int32_t>(count);
    };
    c0[0] += total(s00, a0, b0), c0[1] += total(s01, a0, b1);
    c0[2] += total(s02, a0, b2), c0[3] += total(s03, a0, b3);
    c1[0] += total(s10, a1, b0), c1[1] += total(s11, a1, b1);
    c1[2] += total(s12, a1, b2), c1[3] += total(s13, a1, b3);
}

HWY_INLINE std::int32_t popcount_of(const std::uint64_t* HWY_RESTRICT a,
                                    const std::uint64_t* HWY_RESTRICT b, std::int64_t words) {
    const hn::ScalableTag<std::uint64_t> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    auto sum = hn::Zero(d);
    std::int64_t w = 0;
    for (; w + lanes <= words; w += lanes)
        sum = hn::Add(sum, hn::PopulationCount(hn::And(hn::LoadU(d, a + w), hn::LoadU(d, b + w))));
    auto count = static_cast<std::int64_t>(hn::GetLane(hn::SumOfLanes(d, sum)));
    for (; w < words; ++w) count += std::popcount(a[w] & b[w]);
    return static_cast<std::int32_t>(count);
}

void and_popcounts_all(const BitRows& a, const BitRows& b, std::int64_t words, std::int32_t* counts,
                       std::int64_t stride) {
    std::int64_t i = 0;
    for (; i + 2 <= a.rows; i += 2) {
        const std::uint64_t *a0 = a.first + i * a.stride, *a1 = a0 + a.stride;
        std::int32_t *c0 = counts + i * stride, *c1 = c0 + stride;
        std::int64_t j = 0;
        for (; j + 4 <= b.rows; j += 4)
            popcounts_2x4(a0, a1, b.first + j * b.stride, b.stride, words, c0 + j, c1 + j);
        for (; j < b.rows; ++j) {
            c0[j] += popcount_of(a0, b.first + j * b.stride, words);
            c1[j] += popcount_of(a1, b.first + j * b.stride, words);
        }
    }
    for (; i < a.rows; ++i)
        for (std::int64_t j = 0; j < b.rows; ++j)
            counts[i * stride + j] += popcount_of(a.first + i * a.stride, b.first + j * b.stride, words);
}

/// Exchanges the off-diagonal blocks of half × half bits, for half = 32, 16, ..., 1 (Hacker's Delight 7-3).
void transpose_bits_all(const std::uint64_t* HWY_RESTRICT words, std::uint64_t* HWY_RESTRICT out,
                        std::int64_t stride) {
    HWY_ALIGN std::uint64_t x[64];
    std::copy_n(words, 64, x);
    std::uint64_t mask = 0x00000000FFFFFFFFULL;
    for (int half = 32; half > 0; half /= 2, mask ^= mask << half)
        for (int start = 0; start < 64; start += 2 * half)
            for (int i = start; i < start + half; ++i) {
                const std::uint64_t t = ((x[i] >> half) ^ x[i + half]) & mask;
                x[i] ^= t << half;
                x[i + half] ^= t;
            }
    for (std::int64_t i = 0; i < 64; ++i) out[i * stride] = x[i];
}

}  // namespace fntk::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fntk::backend {

HWY_EXPORT(and_popcounts_all);
HWY_EXPORT(transpose_bits_all);

void and_popcounts(const BitRows& a, const BitRows& b, std::int64_t words, std::int32_t* counts,
                   std::int64_t stride) {
    HWY_DYNAMIC_DISPATCH(and_popcounts_all)(a, b, words, counts, stride);
}

void transpose_bits(const std::uint64_t* words, std::uint64_t* out, std::int64_t stride) {
    HWY_DYNAMIC_DISPATCH(transpose_bits_all)(words, out, stride);
}

}  // namespace fntk::backend
#endif

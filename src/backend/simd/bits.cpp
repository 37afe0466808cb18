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

// Ice Lake and Zen 4 count the bits of eight words in one instruction. Elsewhere a count costs more than
// the additions that it is spared: eight words are added up place by place, so that one count stands for
// eight.
#define FNTK_COUNTS_WORDS (HWY_TARGET == HWY_SCALAR || (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL))

using D = hn::ScalableTag<std::uint64_t>;
using V = hn::Vec<D>;

HWY_INLINE V common(const std::uint64_t* a, const std::uint64_t* b) {
    return hn::And(hn::LoadU(D(), a), hn::LoadU(D(), b));
}

HWY_INLINE std::int32_t total(V sum) {
    return static_cast<std::int32_t>(hn::GetLane(hn::SumOfLanes(D(), sum)));
}

HWY_INLINE std::int32_t tail(const std::uint64_t* a, const std::uint64_t* b, std::int64_t words) {
    std::int32_t count = 0;
    for (std::int64_t w = 0; w < words; ++w) count += std::popcount(a[w] & b[w]);
    return count;
}

#if FNTK_COUNTS_WORDS

/// Two rows against four: six loads for eight products.
HWY_INLINE void popcounts_2x4(const std::uint64_t* HWY_RESTRICT a0, const std::uint64_t* HWY_RESTRICT a1,
                              const std::uint64_t* HWY_RESTRICT b, std::int64_t stride_b,
                              std::int64_t words, std::int32_t* c0, std::int32_t* c1) {
    const D d;
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
    const auto add = [&](std::int32_t& count, V sum, const std::uint64_t* x, const std::uint64_t* y)
                         HWY_ATTR { count += total(sum) + tail(x + w, y + w, words - w); };
    add(c0[0], s00, a0, b0), add(c0[1], s01, a0, b1), add(c0[2], s02, a0, b2), add(c0[3], s03, a0, b3);
    add(c1[0], s10, a1, b0), add(c1[1], s11, a1, b1), add(c1[2], s12, a1, b2), add(c1[3], s13, a1, b3);
}

HWY_INLINE std::int32_t popcount_of(const std::uint64_t* HWY_RESTRICT a,
                                    const std::uint64_t* HWY_RESTRICT b, std::int64_t words) {
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(D()));
    auto sum = hn::Zero(D());
    std::int64_t w = 0;
    for (; w + lanes <= words; w += lanes) sum = hn::Add(sum, hn::PopulationCount(common(a + w, b + w)));
    return total(sum) + tail(a + w, b + w, words - w);
}

#else

using Bytes = hn::Vec<hn::Repartition<std::uint8_t, D>>;

HWY_INLINE Bytes counts_of_bytes(V bits) {
    return hn::PopulationCount(hn::BitCast(hn::Repartition<std::uint8_t, D>(), bits));
}

/// Place by place low + a + b = 2·carry + low: low becomes the sum, the carry is returned.
HWY_INLINE V carry(V& low, V a, V b) {
    const V odd = hn::Xor(a, b), both = hn::And(a, b);
    const V result = hn::Or(both, hn::And(odd, low));
    low = hn::Xor(odd, low);
    return result;
}

/// Adds eight vectors of common bits to the places of value 1, 2 and 4; returns those of value 8.
HWY_INLINE V add_eight(const std::uint64_t* HWY_RESTRICT a, const std::uint64_t* HWY_RESTRICT b,
                       std::int64_t lanes, V& ones, V& twos, V& fours) {
    const auto at = [&](std::int64_t i) HWY_ATTR { return common(a + i * lanes, b + i * lanes); };
    const V two0 = carry(ones, at(0), at(1)), two1 = carry(ones, at(2), at(3));
    const V four0 = carry(twos, two0, two1);
    const V two2 = carry(ones, at(4), at(5)), two3 = carry(ones, at(6), at(7));
    const V four1 = carry(twos, two2, two3);
    return carry(fours, four0, four1);
}

HWY_INLINE std::int32_t popcount_of(const std::uint64_t* HWY_RESTRICT a,
                                    const std::uint64_t* HWY_RESTRICT b, std::int64_t words) {
    constexpr std::int64_t most = 31;  // counts of at most 8 that a byte holds
    const D d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    V ones = hn::Zero(d), twos = ones, fours = ones, sum = ones;
    std::int64_t w = 0;
    while (w + 8 * lanes <= words) {
        auto eights = hn::Zero(hn::Repartition<std::uint8_t, D>());
        for (std::int64_t i = 0; i < most && w + 8 * lanes <= words; ++i, w += 8 * lanes)
            eights = hn::Add(eights, counts_of_bytes(add_eight(a + w, b + w, lanes, ones, twos, fours)));
        sum = hn::Add(sum, hn::SumsOf8(eights));
    }
    auto units = counts_of_bytes(ones);
    for (; w + lanes <= words; w += lanes) units = hn::Add(units, counts_of_bytes(common(a + w, b + w)));
    sum = hn::ShiftLeft<1>(sum);
    sum = hn::ShiftLeft<1>(hn::Add(sum, hn::SumsOf8(counts_of_bytes(fours))));
    sum = hn::ShiftLeft<1>(hn::Add(sum, hn::SumsOf8(counts_of_bytes(twos))));
    return total(hn::Add(sum, hn::SumsOf8(units))) + tail(a + w, b + w, words - w);
}

#endif

void and_popcounts_all(const BitRows& a, const BitRows& b, std::int64_t words, std::int32_t* counts,
                       std::int64_t stride) {
    constexpr std::int64_t near = 4;  // rows of b in the nearest cache while all of a passes
    for (std::int64_t j0 = 0; j0 < b.rows; j0 += near) {
        const std::uint64_t* const first = b.first + j0 * b.stride;
        const std::int64_t cols = std::min(near, b.rows - j0);
        std::int64_t i = 0;
#if FNTK_COUNTS_WORDS
        for (; cols == near && i + 2 <= a.rows; i += 2)
            popcounts_2x4(a.first + i * a.stride, a.first + (i + 1) * a.stride, first, b.stride, words,
                          counts + i * stride + j0, counts + (i + 1) * stride + j0);
#endif
        for (; i < a.rows; ++i)
            for (std::int64_t j = 0; j < cols; ++j)
                counts[i * stride + j0 + j] +=
                    popcount_of(a.first + i * a.stride, first + j * b.stride, words);
    }
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

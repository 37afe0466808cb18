// What the kernels with samples in their lanes share. Included once per target.
#if defined(FNTK_LANES_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef FNTK_LANES_INL_HPP
#undef FNTK_LANES_INL_HPP
#else
#define FNTK_LANES_INL_HPP
#endif

#include <backend/simd/lanes.hpp>

#include <hwy/highway.h>

#include <algorithm>

#undef FNTK_INLINE

HWY_BEFORE_NAMESPACE();
namespace fntk::backend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// For lambdas: compiled for the target, and never a call.
#define FNTK_INLINE HWY_ATTR __attribute__((always_inline))

/// Vectors of at most 64 bytes.
template <class T>
using Tag = hn::CappedTag<T, 64 / sizeof(T)>;

/// Lanes [first, first + lanes) of h's column q; lanes past its rows, and columns past its rank, are 0.
template <class Z, class D>
HWY_INLINE hn::Vec<D> column(D d, const GroupRows<Z>& h, std::int64_t first, std::int64_t q) {
    HWY_ALIGN Z values[64 / sizeof(Z)] = {};
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    if (q < h.rank)
        for (std::int64_t l = first; l < std::min(first + lanes, h.rows); ++l)
            values[l - first] = h.first[l * h.stride + q];
    return hn::Load(d, values);
}

/// Bits [first, first + lanes) of `word`: z > 0. Lanes are stored in ascending order of `first`.
template <class D>
HWY_INLINE void store_gates(D d, hn::Vec<D> z, std::int64_t first, std::uint64_t* word) {
    auto* bytes = reinterpret_cast<std::uint8_t*>(word) + first / 8;  // little-endian
    const auto open = hn::Gt(z, hn::Zero(d));
    if (hn::Lanes(d) >= 8) {
        hn::StoreMaskBits(d, open, bytes);
    } else {
        std::uint8_t bits[8];
        hn::StoreMaskBits(d, open, bits);
        const auto shifted = static_cast<std::uint8_t>(bits[0] << (first % 8));
        *bytes = static_cast<std::uint8_t>(first % 8 == 0 ? shifted : *bytes | shifted);
    }
}

/// 1 or −1 by `sign` where the bits [first, first + lanes) of `word` are set, else 0.
template <class D>
HWY_INLINE hn::Vec<D> where_open(D d, hn::Vec<D> sign, std::int64_t first, const std::uint64_t* word) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(word) + first / 8;
    if (hn::Lanes(d) >= 8) return hn::IfThenElseZero(hn::LoadMaskBits(d, bytes), sign);
    const std::uint8_t bits[8] = {static_cast<std::uint8_t>(*bytes >> (first % 8))};
    return hn::IfThenElseZero(hn::LoadMaskBits(d, bits), sign);
}

}  // namespace fntk::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

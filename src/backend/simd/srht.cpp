// Plain loops that the compiler vectorises for each target, and Walsh–Hadamard transforms whose first
// stages stay inside a vector register. Integers: every target gives the same bits.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd/srht.cpp"
#include <backend/simd/srht.hpp>

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

HWY_BEFORE_NAMESPACE();
namespace fntk::backend::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// v with the lanes i and i ^ half exchanged.
template <class D, class V>
HWY_INLINE V exchange(D d, V v, std::size_t half) {
    const auto index = hn::Xor(hn::Iota(hn::RebindToSigned<D>(), 0),
                               hn::Set(hn::RebindToSigned<D>(), static_cast<hn::TFromD<D>>(half)));
    return hn::TableLookupLanes(v, hn::IndicesFromVec(d, index));
}

/// The stages half = 1, 2, ..., lanes/2 of the transform inside each vector.
template <class T>
HWY_INLINE void stages_inside(T* x, std::int64_t n) {
    const hn::CappedTag<T, 64 / sizeof(T)> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const auto iota = hn::Iota(d, 0);
    for (std::int64_t half = 1; half < lanes; half *= 2) {
        const auto minus = hn::Ne(hn::And(iota, hn::Set(d, static_cast<T>(half))), hn::Zero(d));
        for (std::int64_t i = 0; i < n; i += lanes) {
            const auto v = hn::LoadU(d, x + i);
            const auto other = exchange(d, v, static_cast<std::size_t>(half));
            hn::StoreU(hn::Add(other, hn::IfThenElse(minus, hn::Neg(v), v)), d, x + i);
        }
    }
}

/// In place x ← H x, n a power of two.
template <class T>
HWY_INLINE void hadamard(T* HWY_RESTRICT x, std::int64_t n) {
    const hn::CappedTag<T, 64 / sizeof(T)> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    std::int64_t half = 1;
    if (n >= lanes && lanes > 1) {
        stages_inside(x, n);
        half = lanes;
        for (; 4 * half <= n; half *= 4)  // two stages at a time
            for (std::int64_t start = 0; start < n; start += 4 * half)
                for (std::int64_t i = start; i < start + half; i += lanes) {
                    const auto a = hn::LoadU(d, x + i), b = hn::LoadU(d, x + i + half);
                    const auto c = hn::LoadU(d, x + i + 2 * half), e = hn::LoadU(d, x + i + 3 * half);
                    const auto ab = hn::Add(a, b), ba = hn::Sub(a, b), ce = hn::Add(c, e),
                               ec = hn::Sub(c, e);
                    hn::StoreU(hn::Add(ab, ce), d, x + i);
                    hn::StoreU(hn::Add(ba, ec), d, x + i + half);
                    hn::StoreU(hn::Sub(ab, ce), d, x + i + 2 * half);
                    hn::StoreU(hn::Sub(ba, ec), d, x + i + 3 * half);
                }
    }
    for (; half < n; half *= 2)
        for (std::int64_t start = 0; start < n; start += 2 * half)
            for (std::int64_t i = start; i < start + half; ++i) {
                const T a = x[i], b = x[i + half];
                x[i] = a + b;
                x[i + half] = a - b;
            }
}

/// Gates of z[0..count) into bits [first, first + count), word by word.
template <class Z>
HWY_INLINE void pack(const Z* HWY_RESTRICT z, std::int64_t first, std::int64_t count,
                     std::uint64_t* words) {
    const hn::CappedTag<Z, 64 / sizeof(Z)> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    for (std::int64_t i = 0; i < count;) {
        const std::int64_t shift = (first + i) % 64, take = std::min(64 - shift, count - i);
        std::uint64_t bits = 0;
        std::int64_t j = 0;
        for (; j + lanes <= take; j += lanes) {
            std::uint8_t mask[8] = {};
            hn::StoreMaskBits(d, hn::Gt(hn::LoadU(d, z + i + j), hn::Zero(d)), mask);
            std::uint64_t part = 0;
            for (int b = 0; b < 8; ++b) part |= static_cast<std::uint64_t>(mask[b]) << (8 * b);
            bits |= (lanes == 64 ? part : part & ((std::uint64_t{1} << lanes) - 1)) << j;
        }
        for (; j < take; ++j) bits |= static_cast<std::uint64_t>(z[i + j] > 0) << j;
        words[(first + i) / 64] |= bits << shift;
        i += take;
    }
}

template <class Z>
HWY_INLINE void block(const SrhtTile& tile, const SrhtRow<Z>& row, std::int64_t b) {
    const std::int64_t padded = tile.padded, p = row.rank, units = std::min(padded, tile.count - b);
    const std::int32_t* HWY_RESTRICT mask = tile.up_masks + b;
    Z* HWY_RESTRICT z = row.z;
    for (std::int64_t q = 0; q < p; ++q)
        z[q] = (row.h[q] ^ static_cast<Z>(mask[q])) - static_cast<Z>(mask[q]);
    std::fill(z + p, z + padded, Z{0});
    hadamard(z, padded);
    if (row.gates != nullptr) pack(z, tile.first + b, units, row.gates);
    for (std::int64_t c = 0; c < tile.outputs; ++c) {
        const std::int32_t* HWY_RESTRICT a = tile.readout_signs + c * tile.count + b;
        if (row.values != nullptr) {
            int128 sum = 0;
            for (std::int64_t r0 = 0; r0 < units; r0 += 128) {  // 128 terms of 2^30 (int32) fit int64
                std::int64_t part = 0;
                if constexpr (sizeof(Z) == 4)
                    for (std::int64_t r = r0; r < std::min(r0 + 128, units); ++r)
                        part += static_cast<std::int64_t>(a[r]) * (z[r] > 0 ? z[r] : 0);
                else
                    for (std::int64_t r = r0; r < std::min(r0 + 128, units); ++r)
                        sum += z[r] > 0 ? static_cast<int128>(a[r]) * z[r] : 0;
                sum += part;
            }
            row.values[c] += sum;
        }
        if (row.gradients == nullptr) continue;
        std::int32_t* HWY_RESTRICT t = row.gated;
        for (std::int64_t r = 0; r < units; ++r) t[r] = z[r] > 0 ? a[r] : 0;
        std::fill(t + units, t + padded, 0);
        hadamard(t, padded);
        std::int32_t* HWY_RESTRICT g = row.gradients + c * p;
        for (std::int64_t q = 0; q < p; ++q) g[q] += (t[q] ^ mask[q]) - mask[q];
    }
}

template <class Z>
HWY_INLINE void all_blocks(const SrhtTile& tile, const SrhtRow<Z>& row) {
    for (std::int64_t b = 0; b < tile.count; b += tile.padded) block(tile, row, b);
}

void srht_row_32(const SrhtTile& tile, const SrhtRow<std::int32_t>& row) { all_blocks(tile, row); }
void srht_row_64(const SrhtTile& tile, const SrhtRow<std::int64_t>& row) { all_blocks(tile, row); }

}  // namespace fntk::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fntk::backend {

HWY_EXPORT(srht_row_32);
HWY_EXPORT(srht_row_64);

void srht_row(const SrhtTile& tile, const SrhtRow<std::int32_t>& row) {
    HWY_DYNAMIC_DISPATCH(srht_row_32)(tile, row);
}
void srht_row(const SrhtTile& tile, const SrhtRow<std::int64_t>& row) {
    HWY_DYNAMIC_DISPATCH(srht_row_64)(tile, row);
}

}  // namespace fntk::backend
#endif

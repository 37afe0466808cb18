// A row of A holds its outputs' blocks one after the other: products of a row with its own companions.
#pragma once

#include <backend/simd/products.hpp>

namespace fntk::backend {

/// out_c = <block c of A_i, b>, blocks and b of `count` numbers.
template <class T>
void block_dots(const T* a, const T* b, std::int64_t count, std::int64_t outputs, T* out) {
    for (std::int64_t c = 0; c < outputs; ++c) out[c] = dot(a + c * count, b, count);
}

/// to = Σ_c v_c · block c of A_i; outputs ≥ 1.
template <class T>
void combine_blocks(const T* a, const T* v, std::int64_t count, std::int64_t outputs, T* to) {
    for (std::int64_t q = 0; q < count; ++q) to[q] = v[0] * a[q];
    for (std::int64_t c = 1; c < outputs; ++c)
        for (std::int64_t q = 0; q < count; ++q) to[q] += v[c] * a[c * count + q];
}

}  // namespace fntk::backend

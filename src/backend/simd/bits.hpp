// Arithmetic on packed bits, compiled for every instruction set and chosen at run time.
#pragma once

#include <cstdint>

namespace fntk::backend {

/// rows × (64·words) bits, row i at first[i·stride].
struct BitRows {
    const std::uint64_t* first = nullptr;
    std::int64_t stride = 0, rows = 0;
};

/// counts[i·stride + j] += popcount(a_i & b_j) over the first `words` words of each row.
void and_popcounts(const BitRows& a, const BitRows& b, std::int64_t words, std::int32_t* counts,
                   std::int64_t stride);

/// Transposes 64 × 64 bits: bit j of word i goes to bit i of out[j·stride].
void transpose_bits(const std::uint64_t* words, std::uint64_t* out, std::int64_t stride);

}  // namespace fntk::backend

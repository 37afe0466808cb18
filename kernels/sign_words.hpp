// Signs 32 at a time. Bit j of word w of row r of V is the sign of V[r, 32w + j], set for +1, as signs.hpp
// defines it.
//     rademacher_bits, srht_bits   word w of row r; bits at columns ≥ p (srht: ≥ P) mean nothing
//     readout_bits                 bit j: a_rc of row r = 32w + j
//     sign_bytes                   four signs as four bytes ±1, the operand of an int8 product
//     transpose_bits               32 × 32 bits over the lanes of a warp
#pragma once

#include "grid.hpp"
#include "quad.hpp"
#include "signs.hpp"

namespace fntk::kernels {

/// Words of a row of V.
FNTK_HD constexpr std::int64_t sign_words(std::int64_t p) { return ceil_div(p, 32); }

/// Word index % 4 of a block, without an array in memory; word_at: random_word that way.
FNTK_HD constexpr std::uint32_t word_of(const Philox4& block, std::uint64_t index) {
    return index & 2 ? (index & 1 ? block.word[3] : block.word[2])
                     : (index & 1 ? block.word[1] : block.word[0]);
}
FNTK_HD constexpr std::uint32_t word_at(std::uint64_t seed, Stream stream, std::uint64_t index) {
    return word_of(random_block(seed, stream, index / 4), index);
}

FNTK_HD constexpr std::uint32_t rademacher_bits(std::uint64_t seed, std::int64_t r, std::int64_t w,
                                                std::int64_t p) {
    return word_at(seed, Stream::up, rademacher_word(r, p) + static_cast<std::uint64_t>(w));
}

/// Bit j: the Hadamard matrix's entry (i, 32w + j) is negative. The sign is the parity of i & (32w + j), a
/// sum over the bits of i: each of the lowest five has a fixed pattern in j.
FNTK_HD constexpr std::uint32_t hadamard_bits(std::int64_t i, std::int64_t w) {
    std::uint32_t bits = hadamard_negative(i >> 5, w) ? ~std::uint32_t{0} : 0;
    if (i & 1) bits ^= 0xAAAAAAAAU;
    if (i & 2) bits ^= 0xCCCCCCCCU;
    if (i & 4) bits ^= 0xF0F0F0F0U;
    if (i & 8) bits ^= 0xFF00FF00U;
    if (i & 16) bits ^= 0xFFFF0000U;
    return bits;
}

/// padded: P = next_power_of_two(p).
FNTK_HD constexpr std::uint32_t srht_bits(std::uint64_t seed, std::int64_t r, std::int64_t w,
                                          std::int64_t padded) {
    return word_at(seed, Stream::up_signs, srht_word(r / padded, padded) + static_cast<std::uint64_t>(w)) ^
           hadamard_bits(r % padded, w);
}

FNTK_HD constexpr std::uint32_t readout_bits(std::uint64_t seed, std::int64_t w, std::int64_t c) {
    return word_at(seed, Stream::readout, readout_word(c) + static_cast<std::uint64_t>(w));
}

/// The lowest `count` bits; none for count ≤ 0, all for count ≥ 32.
FNTK_HD constexpr std::uint32_t low_bits(std::int64_t count) {
    return count <= 0 ? 0 : count >= 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << count) - 1;
}

/// Byte j of the result is 1 when bit j of `bits` is set, else 0, j < 4.
FNTK_HD constexpr std::uint32_t spread_bits(std::uint32_t bits) {
    return ((bits & 15U) * 0x00204081U) & 0x01010101U;
}
/// Byte j of the result is +1 when bit j of `bits` is set, else −1, j < 4.
FNTK_HD constexpr std::uint32_t sign_bytes(std::uint32_t bits) {
    return spread_bits(bits) * (0U - 0xFEU) + 0xFFFFFFFFU;
}
/// Byte j of the result is −1 when bit j of `bits` is set, else 0, j < 4.
FNTK_HD constexpr std::uint32_t mask_of_bits(std::uint32_t bits) { return spread_bits(bits) * 255U; }
/// Its inverse: four bytes 0 or −1 as four bits.
FNTK_HD constexpr std::uint32_t bits_of_mask(std::uint32_t mask) {
    return ((mask & 0x08040201U) * 0x01010101U) >> 24;
}

/// Byte j is −1 where x_j is negative, else 0.
FNTK_DEVICE std::uint32_t sign_masks(std::int32_t x0, std::int32_t x1, std::int32_t x2, std::int32_t x3) {
#ifdef __CUDA_ARCH__
    std::uint32_t low = 0, high = 0, all = 0;  // selectors 8 to 15: the sign of byte 0 to 7, eight times
    asm("prmt.b32 %0, %1, %2, 0x00FB;" : "=r"(low) : "r"(x0), "r"(x1));
    asm("prmt.b32 %0, %1, %2, 0x00FB;" : "=r"(high) : "r"(x2), "r"(x3));
    asm("prmt.b32 %0, %1, %2, 0x5410;" : "=r"(all) : "r"(low), "r"(high));
    return all;
#else
    return (x0 < 0 ? 0xFFU : 0U) | (x1 < 0 ? 0xFF00U : 0U) | (x2 < 0 ? 0xFF0000U : 0U) |
           (x3 < 0 ? 0xFF000000U : 0U);
#endif
}

/// The lowest base-256 digit, −128 to 127, of `rest`, which keeps the digits above it.
FNTK_HD constexpr int take_low_digit(std::int32_t& rest) {
    const std::int32_t digit =
        static_cast<std::int32_t>((static_cast<std::uint32_t>(rest) & 255U) ^ 128U) - 128;
    rest = (rest - digit) / 256;
    return digit;
}

/// Bit l of the result of lane c is bit c of x of lane l: halves are exchanged between lanes 16, 8, 4, 2, 1
/// apart.
template <class Grid>
FNTK_DEVICE std::uint32_t transpose_bits(Grid& grid, std::uint32_t x) {
    std::uint32_t low = 0x0000FFFFU;  // the columns with bit `half` clear
    for (int half = 16; half != 0; half /= 2, low ^= low << half) {
        const std::uint32_t other = grid.shuffle_xor(x, half);
        x = grid.lane() & half ? (x & ~low) | ((other >> half) & low)
                               : (x & low) | ((other << half) & ~low);
    }
    return x;
}

}  // namespace fntk::kernels

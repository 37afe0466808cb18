// Entries of the seeded ±1 factors, as functions of position. A set bit is +1.
//     rademacher V   word r·⌈p/32⌉ + q/32 of stream `up`, bit q % 32
//     srht V         H_P[r mod P, q] · sign(block r/P, column q), H_P[i, j] = (−1)^popcount(i & j), P =
//     2^⌈log2 p⌉;
//                    signs: word (r/P)·⌈P/32⌉ + q/32 of stream `up_signs`
//     A              column c, row r: word c·2^34 + r/32 of stream `readout`, bit r % 32
//     srht U         H_D[row(q), j] · sign(j), D = 2^⌈log2 d⌉; signs: word j/32 of stream `down_signs`
// None of them depends on m: a wider network of the same seed begins with the narrower one.
#pragma once

#include "philox.hpp"

namespace fntk::kernels {

/// Smallest power of two ≥ n, n ≥ 1.
FNTK_HD constexpr std::int64_t next_power_of_two(std::int64_t n) {
    std::int64_t power = 1;
    while (power < n) power *= 2;
    return power;
}

/// ⌈log2 n⌉, n ≥ 1.
FNTK_HD constexpr int ceil_log2(std::int64_t n) {
    int log = 0;
    while ((std::int64_t{1} << log) < n) ++log;
    return log;
}

FNTK_HD constexpr bool random_bit(std::uint64_t seed, Stream stream, std::uint64_t first_word,
                                  std::int64_t bit) {
    return (random_word(seed, stream, first_word + static_cast<std::uint64_t>(bit / 32)) >> (bit % 32)) &
           1U;
}

/// Parity of the bits of i & j: the sign of the Hadamard matrix's entry, 1 for −1.
FNTK_HD constexpr bool hadamard_negative(std::int64_t i, std::int64_t j) {
    std::uint64_t x = static_cast<std::uint64_t>(i & j);
    x ^= x >> 32;
    x ^= x >> 16;
    x ^= x >> 8;
    x ^= x >> 4;
    return (0x6996U >> (x & 15U)) & 1U;
}

/// First word of row r of a rademacher V, and of the signs of srht block b.
FNTK_HD constexpr std::uint64_t rademacher_word(std::int64_t r, std::int64_t p) {
    return static_cast<std::uint64_t>(r) * static_cast<std::uint64_t>((p + 31) / 32);
}
FNTK_HD constexpr std::uint64_t srht_word(std::int64_t block, std::int64_t padded) {
    return static_cast<std::uint64_t>(block) * static_cast<std::uint64_t>((padded + 31) / 32);
}

FNTK_HD constexpr int rademacher_sign(std::uint64_t seed, std::int64_t r, std::int64_t q, std::int64_t p) {
    return random_bit(seed, Stream::up, rademacher_word(r, p), q) ? 1 : -1;
}

FNTK_HD constexpr int srht_sign(std::uint64_t seed, std::int64_t r, std::int64_t q, std::int64_t p) {
    const std::int64_t padded = next_power_of_two(p);
    const bool plus = random_bit(seed, Stream::up_signs, srht_word(r / padded, padded), q);
    return plus != hadamard_negative(r % padded, q) ? 1 : -1;
}

/// First word of column c of A.
FNTK_HD constexpr std::uint64_t readout_word(std::int64_t c) { return static_cast<std::uint64_t>(c) << 34; }

FNTK_HD constexpr int readout_sign(std::uint64_t seed, std::int64_t r, std::int64_t c) {
    return random_bit(seed, Stream::readout, readout_word(c), r) ? 1 : -1;
}

}  // namespace fntk::kernels

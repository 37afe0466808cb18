// Random numbers: Philox4x32-10 (Salmon et al., SC'11), a pure function of (seed, stream, position).
//     key = seed (low, high word)     counter = (block low, block high, stream, scheme version)
// One block is four 32-bit words; word w of a stream is lane w % 4 of block w / 4. What a word means is
// fixed per stream in signs.hpp (±1 factors) and here (normals). A released scheme never changes.
#pragma once

#include "host_device.hpp"

#include <cmath>
#include <cstdint>

namespace fntk::kernels {

inline constexpr std::uint32_t scheme_version = 1;

enum class Stream : std::uint32_t {
    up = 1,          // entries of V: rademacher bits, gaussian normals
    up_signs = 2,    // diag(±1) of the srht blocks of V
    readout = 3,     // A
    down = 4,        // entries of U
    down_signs = 5,  // diag(±1) of the srht U
    down_rows = 6,   // which rows of H the srht U keeps
    probes = 7,      // start vectors and probes
    batches = 8,     // order of the mini-batches
};

struct Philox4 {
    std::uint32_t word[4];
};

/// The bijection itself, checked against Random123's known answers.
FNTK_HD constexpr Philox4 philox4x32_10(Philox4 counter, std::uint32_t key0, std::uint32_t key1) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t a = 0xD2511F53ULL * counter.word[0];
        const std::uint64_t b = 0xCD9E8D57ULL * counter.word[2];
        counter = {
            {static_cast<std::uint32_t>(b >> 32) ^ counter.word[1] ^ key0, static_cast<std::uint32_t>(b),
             static_cast<std::uint32_t>(a >> 32) ^ counter.word[3] ^ key1, static_cast<std::uint32_t>(a)}};
        key0 += 0x9E3779B9U;
        key1 += 0xBB67AE85U;
    }
    return counter;
}

FNTK_HD constexpr Philox4 random_block(std::uint64_t seed, Stream stream, std::uint64_t block) {
    return philox4x32_10({{static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                           static_cast<std::uint32_t>(stream), scheme_version}},
                         static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
}

FNTK_HD constexpr std::uint32_t random_word(std::uint64_t seed, Stream stream, std::uint64_t index) {
    return random_block(seed, stream, index / 4).word[index % 4];
}

// Box and Muller in operations that IEEE 754 fixes to the last bit (+, −, ×, ÷, √ on double, no contraction
// to fused multiply-adds): the same normals on every machine, compiler and backend, which no libm promises.
inline constexpr double root_two = 1.4142135623730951;
inline constexpr double log_two = 0.6931471805599453;
inline constexpr double turn_to_radians = 0x1p-33 * 6.283185307179586;  // of a turn in 2^33 parts
template <int count>
struct Series {
    double value[count];
};
/// ln m = s·Σ_k 2/(2k + 1)·s^2k, s = (m − 1)/(m + 1), |s| ≤ 0.172.
FNTK_HD constexpr Series<11> log_series() {
    return {{2.0, 2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11, 2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19,
             2.0 / 21}};
}
/// sin θ = θ·Σ_k (−1)^k θ^2k/(2k + 1)! and cos θ, |θ| ≤ π/4.
FNTK_HD constexpr Series<9> sine_series() {
    return {{1.0, -1.0 / 6.0, 1.0 / 120.0, -1.0 / 5040.0, 1.0 / 362880.0, -1.0 / 39916800.0,
             1.0 / 6227020800.0, -1.0 / 1307674368000.0, 1.0 / 355687428096000.0}};
}
FNTK_HD constexpr Series<9> cosine_series() {
    return {{1.0, -1.0 / 2.0, 1.0 / 24.0, -1.0 / 720.0, 1.0 / 40320.0, -1.0 / 3628800.0, 1.0 / 479001600.0,
             -1.0 / 87178291200.0, 1.0 / 20922789888000.0}};
}

template <int count>
FNTK_HD constexpr double polynomial(const Series<count>& series, double x) {
    double sum = series.value[count - 1];
    for (int i = count - 2; i >= 0; --i) sum = sum * x + series.value[i];
    return sum;
}

/// Two independent N(0, 1): √(−2 ln u)·(cos 2πt, sin 2πt), u = (first + ½)/2^32, t = (second + ½)/2^32.
FNTK_HD inline void box_muller(std::uint32_t first, std::uint32_t second, double& x, double& y) {
    const double scaled = static_cast<double>(2 * static_cast<std::uint64_t>(first) + 1);  // u·2^33, exact
    int exponent = 0;
    double mantissa = 2 * std::frexp(scaled, &exponent);  // [1, 2), u = mantissa·2^(exponent − 34)
    exponent -= 34;
    if (mantissa > root_two) {
        mantissa *= 0.5;
        ++exponent;
    }
    const double s = (mantissa - 1.0) / (mantissa + 1.0);
    const double log = exponent * log_two + s * polynomial(log_series(), s * s);
    const double radius = std::sqrt(-2.0 * log);

    const std::uint64_t turn = 2 * static_cast<std::uint64_t>(second) + 1;  // t·2^33
    const std::uint64_t quarter = (turn + (std::uint64_t{1} << 30)) >> 31;  // nearest, 0 to 4
    const auto rest = static_cast<std::int64_t>(turn) - static_cast<std::int64_t>(quarter << 31);
    const double angle = static_cast<double>(rest) * turn_to_radians, square = angle * angle;
    const double sine = angle * polynomial(sine_series(), square),
                 cosine = polynomial(cosine_series(), square);
    const double along = quarter % 2 == 0 ? cosine : sine, across = quarter % 2 == 0 ? sine : cosine;
    x = radius * ((quarter + 1) / 2 % 2 == 0 ? along : -along);
    y = radius * (quarter / 2 % 2 == 0 ? across : -across);
}

/// Four independent N(0, 1) from one block; |z| ≤ 6.8.
struct Normal4 {
    double value[4];
};
FNTK_HD inline Normal4 random_normals(std::uint64_t seed, Stream stream, std::uint64_t block) {
    const Philox4 bits = random_block(seed, stream, block);
    Normal4 out{};
    box_muller(bits.word[0], bits.word[1], out.value[0], out.value[1]);
    box_muller(bits.word[2], bits.word[3], out.value[2], out.value[3]);
    return out;
}
/// Normal number `index` of a stream.
FNTK_HD inline double random_normal(std::uint64_t seed, Stream stream, std::uint64_t index) {
    return random_normals(seed, stream, index / 4).value[index % 4];
}

/// Uniform integer in [0, bound), bound ≥ 1, from 64 random bits (bias below bound·2^-64).
FNTK_HD constexpr std::uint64_t random_below(std::uint64_t seed, Stream stream, std::uint64_t index,
                                             std::uint64_t bound) {
    const Philox4 bits = random_block(seed, stream, index / 2);
    const std::uint32_t* word = bits.word + 2 * (index % 2);
    const std::uint64_t high = static_cast<std::uint64_t>(word[1]) * bound;
    const std::uint64_t low = static_cast<std::uint64_t>(word[0]) * bound;
    return (high + (low >> 32)) >> 32;  // bound < 2^32
}

}  // namespace fntk::kernels

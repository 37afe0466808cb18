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

/// Four independent N(0, 1) by Box and Muller from one block; |z| ≤ 6.7.
struct Normal4 {
    double value[4];
};
FNTK_HD inline Normal4 random_normals(std::uint64_t seed, Stream stream, std::uint64_t block) {
    const Philox4 bits = random_block(seed, stream, block);
    Normal4 out{};
    for (int pair = 0; pair < 2; ++pair) {
        const double u = (bits.word[2 * pair] + 0.5) * 0x1p-32;
        const double angle = (bits.word[2 * pair + 1] + 0.5) * (0x1p-32 * 2.0 * 3.14159265358979323846);
        const double radius = std::sqrt(-2.0 * std::log(u));
        out.value[2 * pair] = radius * std::cos(angle);
        out.value[2 * pair + 1] = radius * std::sin(angle);
    }
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

// Runs of seeded signs, one Philox block for 128 of them.
#pragma once

#include <signs.hpp>

#include <algorithm>

namespace fntk::backend {

/// count signs ±1 from the bits of a stream beginning at a word's first bit.
template <class T>
inline void expand_signs(std::uint64_t seed, kernels::Stream stream, std::uint64_t first_word,
                         std::int64_t count, T* out) {
    kernels::Philox4 block{};
    for (std::int64_t i = 0; i < count; i += 32) {
        const std::uint64_t word = first_word + static_cast<std::uint64_t>(i / 32);
        if (i == 0 || word % 4 == 0) block = kernels::random_block(seed, stream, word / 4);
        const std::uint32_t bits = block.word[word % 4];
        for (std::int64_t j = i; j < std::min(i + 32, count); ++j)
            out[j] = (bits >> (j - i)) & 1U ? T(1) : T(-1);
    }
}

}  // namespace fntk::backend

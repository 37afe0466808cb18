// Runs of seeded random words, many Philox blocks at a time, compiled for every instruction set and chosen
// at run time: whole-number arithmetic, so that every one of them gives the words of kernels::random_word.
#pragma once

#include <philox.hpp>

#include <cstdint>

namespace fntk::backend {

/// Words first_word, first_word + 1, ... of a stream.
void random_words(std::uint64_t seed, kernels::Stream stream, std::uint64_t first_word, std::int64_t count,
                  std::uint32_t* out);

}  // namespace fntk::backend

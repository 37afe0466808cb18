// Words that move as one: 8 and 16 bytes.
#pragma once

#include <cstdint>

namespace fntk::kernels {

struct alignas(8) Pair {
    std::uint32_t word[2];
};
struct alignas(16) Quad {
    std::uint32_t word[4];
};
struct alignas(16) TwoPairs {
    Pair pair[2];
};

}  // namespace fntk::kernels

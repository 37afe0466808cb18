// Normals of the gaussian factors, many at a time, compiled for every instruction set and chosen at run
// time: the operations of kernels::box_muller in its order, so that every lane has its bits.
#pragma once

#include <cstdint>

namespace fntk::backend {

/// out[2j], out[2j + 1] from words[2j], words[2j + 1], j < pairs.
void box_muller(const std::uint32_t* words, std::int64_t pairs, double* out);

}  // namespace fntk::backend

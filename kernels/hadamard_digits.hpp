// The fused Gram (hadamard_tiles.hpp) in float32 by products of digits (digit_sums.hpp): what its kernels
// on `mma.sync` (hadamard_gram_s8.hpp) and on wgmma (hadamard_gram_wgmma.hpp) share, so that both give the
// same bits.
#pragma once

#include "digit_sums.hpp"
#include "hadamard_tiles.hpp"

namespace fntk::kernels {

struct HadamardDigits : HadamardTiles<float, DigitTiles::rows> {
    DigitTiles rows[2], cols[2];  // X and G, X' and G'
};

}  // namespace fntk::kernels

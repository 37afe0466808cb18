// The srht wide pass of one row over one tile of the width, compiled for every instruction set and chosen
// at run time.
#pragma once

#include <cstdint>

namespace fntk::backend {

__extension__ using int128 = __int128;

/// Units [first, first + count) of the width: blocks of `padded` rows H·diag(±1), the last one possibly cut
/// off.
struct SrhtTile {
    std::int64_t first = 0, count = 0, padded = 0;
    const std::int32_t* up_masks = nullptr;  // ⌈count/padded⌉·padded: −1 where the sign is −1, else 0
    const std::int32_t* readout_signs = nullptr;  // outputs × count: ±1
    std::int64_t outputs = 1;
};

/// One row's inputs, scratch and running sums.
template <class Z>
struct SrhtRow {
    const Z* h = nullptr;  // p
    std::int64_t rank = 0;
    Z* z = nullptr;                     // scratch, padded
    std::int32_t* gated = nullptr;      // scratch, padded
    std::uint64_t* gates = nullptr;     // bits of the whole width, or null
    std::int32_t* gradients = nullptr;  // outputs × p, added to, or null
    int128* values = nullptr;           // outputs, added to, or null
};

/// z = H (s ∘ h) block by block; gates |= z > 0; gradients += s ∘ H (a ∘ gate); values += Σ a·max(z, 0).
void srht_row(const SrhtTile& tile, const SrhtRow<std::int32_t>& row);
void srht_row(const SrhtTile& tile, const SrhtRow<std::int64_t>& row);

}  // namespace fntk::backend

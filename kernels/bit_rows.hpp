// Rows of bits on their way to shared memory, two words of a row at a time.
#pragma once

#include "grid.hpp"
#include "quad.hpp"

namespace fntk::kernels {

/// Whether pairs of words from even ones on stand on multiples of 16 bytes.
FNTK_HD inline bool has_aligned_pairs(const Rows<const std::uint64_t>& rows) {
    return reinterpret_cast<std::uintptr_t>(rows.data) % 16 == 0 && rows.stride % 2 == 0;
}

/// Of `count` rows from `first` on, `apart` from each other, those that there are.
FNTK_HD constexpr int rows_inside(const Rows<const std::uint64_t>& rows, std::int64_t first, int count,
                                  int apart) {
    return first >= rows.rows
               ? 0
               : static_cast<int>(smaller<std::int64_t>(count, ceil_div(rows.rows - first, apart)));
}

/// Begins to copy two words, of which `valid` are inside; the others are zeros.
template <class Grid>
FNTK_DEVICE void begin_words(Grid& grid, Quad* to, const std::uint64_t* from, int valid, bool aligned) {
    if (aligned) {
        grid.copy_async(to, reinterpret_cast<const Quad*>(from), 8 * valid);
        return;
    }
    auto* halves = reinterpret_cast<Pair*>(to);
    const auto* pairs = reinterpret_cast<const Pair*>(from);
    grid.copy_async(halves, pairs, valid > 0 ? 8 : 0);
    grid.copy_async(halves + 1, pairs + 1, valid > 1 ? 8 : 0);
}

}  // namespace fntk::kernels

// How the work of a pass goes to blocks, one item each: the samples of a block, an output, and a range of
// the width's pieces. Ranges of one sample add to the same sums, atomically.
#pragma once

#include "grid.hpp"

namespace fntk::kernels {

/// Ranges of a width of `all` units for `whole` pairs of samples and outputs: several items per
/// multiprocessor even the load out. Ranges below `usual` units, down to `fewest`, are for devices that
/// would stand idle.
FNTK_HD constexpr std::int64_t item_ranges(std::int64_t whole, std::int64_t all, std::int64_t fewest,
                                           std::int64_t usual, const DeviceLimits& limits) {
    const std::int64_t room = limits.multiprocessors;
    const std::int64_t least = whole * ceil_div(all, usual) < 2 * room ? fewest : usual;
    return smaller(ceil_div(all, least), ceil_div(8 * room, whole));
}

struct SampleItem {
    std::int64_t row;          // the first sample of the block
    int c;                     // the output
    std::int64_t first, last;  // pieces first to last − 1

    /// That of this block, of a grid of item_ranges() blocks for each `rows` of n samples and each output.
    template <class Grid>
    FNTK_DEVICE SampleItem(Grid& grid, std::int64_t n, std::int64_t rows, std::int64_t first_output,
                           std::int64_t outputs, std::int64_t pieces) {
        const std::int64_t whole = ceil_div(n, rows) * outputs, ranges = grid.blocks() / whole;
        const std::int64_t range = grid.block() / whole, at = grid.block() % whole;
        row = at / outputs * rows;
        c = static_cast<int>(first_output + at % outputs);
        first = range * pieces / ranges;
        last = (range + 1) * pieces / ranges;
    }
};

}  // namespace fntk::kernels

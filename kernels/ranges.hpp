// How many ranges each piece of work is cut into where blocks have a multiprocessor to themselves.
#pragma once

#include "grid.hpp"

namespace fntk::kernels {

/// What bounds the ranges of a piece, and how many tiles' time a block's beginning and end cost.
struct RangeBounds {
    std::int64_t least = 1, most = std::int64_t{1} << 62, end_tiles = 2;
};
/// `whole` pieces of `tiles` tiles each: the ranges of tiles to a piece that end first.
FNTK_HD constexpr std::int64_t ranges_for(std::int64_t whole, std::int64_t tiles,
                                          const DeviceLimits& limits, const RangeBounds& bounds = {}) {
    const std::int64_t most =
        smaller(smaller(tiles, ceil_div(16 * limits.multiprocessors, whole)), bounds.most);
    std::int64_t ranges = bounds.least, fewest = std::int64_t{1} << 62;
    for (std::int64_t r = bounds.least; r <= most; ++r) {
        const std::int64_t cost =
            ceil_div(whole * r, limits.multiprocessors) * (ceil_div(tiles, r) + bounds.end_tiles);
        if (cost < fewest) {
            fewest = cost;
            ranges = r;
        }
    }
    return ranges;
}

}  // namespace fntk::kernels

// How many ranges each piece of work is cut into where blocks have a multiprocessor to themselves.
#pragma once

#include "grid.hpp"

namespace fntk::kernels {

/// `whole` pieces of `tiles` tiles each: the ranges of tiles to a piece that end first. A block's beginning
/// and end cost about what two tiles do.
FNTK_HD constexpr std::int64_t ranges_for(std::int64_t whole, std::int64_t tiles,
                                          const DeviceLimits& limits) {
    const std::int64_t most = smaller(tiles, ceil_div(16 * limits.multiprocessors, whole));
    std::int64_t ranges = 1, least = std::int64_t{1} << 62;
    for (std::int64_t r = 1; r <= most; ++r) {
        const std::int64_t cost = ceil_div(whole * r, limits.multiprocessors) * (ceil_div(tiles, r) + 2);
        if (cost < least) {
            least = cost;
            ranges = r;
        }
    }
    return ranges;
}

}  // namespace fntk::kernels

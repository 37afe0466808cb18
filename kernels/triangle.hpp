// The pairs (i, j) with 0 ≤ j ≤ i, row by row, as one index: t = i(i + 1)/2 + j.
#pragma once

#include "host_device.hpp"

#include <cmath>
#include <cstdint>

namespace fntk::kernels {

/// Pairs before row i.
FNTK_HD constexpr std::int64_t triangle_size(std::int64_t i) {
    return i % 2 == 0 ? i / 2 * (i + 1) : (i + 1) / 2 * i;
}

/// The row i of pair t, t < 2^62: the root in double, then corrected in integers.
FNTK_HD inline std::int64_t triangle_row(std::int64_t t) {
    auto i = static_cast<std::int64_t>((std::sqrt(8.0 * static_cast<double>(t) + 1.0) - 1.0) / 2.0);
    while (triangle_size(i) > t) --i;
    while (triangle_size(i + 1) <= t) ++i;
    return i;
}

/// Place of tile t of the lower triangle in tiles of `ratio` times more rows than columns, row by row: tile
/// row I has ratio·(I + 1) tiles.
struct TilePlace {
    std::int64_t row, col;
};
FNTK_HD inline TilePlace lower_tile(std::int64_t t, std::int64_t ratio) {
    const std::int64_t row = triangle_row(t / ratio);
    return {row, t - ratio * triangle_size(row)};
}

}  // namespace fntk::kernels

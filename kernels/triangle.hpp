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

/// Tiles come in bands of this many rows of tiles, column by column, so that blocks which run at the same
/// time read the same few operands.
inline constexpr std::int64_t tile_band = 8;

struct TilePlace {
    std::int64_t row, col;
};

/// Tile t of rows × cols tiles.
FNTK_HD inline TilePlace tile_place(std::int64_t t, std::int64_t rows, std::int64_t cols) {
    const std::int64_t band = t / (tile_band * cols), first = tile_band * band, left = rows - first,
                       height = left < tile_band ? left : tile_band, rest = t - first * cols;
    return {first + rest % height, rest / height};
}

/// Tile t of those on and below the diagonal of rows × rows tiles.
FNTK_HD inline TilePlace lower_tile(std::int64_t t, std::int64_t rows) {
    const std::int64_t first = triangle_row(t) / tile_band * tile_band, left = rows - first,
                       height = left < tile_band ? left : tile_band, rest = t - triangle_size(first);
    if (rest < first * height) return {first + rest % height, rest / height};
    const std::int64_t corner = rest - first * height, row = triangle_row(corner);
    return {first + row, first + corner - triangle_size(row)};
}

}  // namespace fntk::kernels

// Through a 32 × 32 tile in shared memory, so that rows are read and written along rows:
//     Transpose      out_ji = in_ij
//     MirrorLower    K_ij = K_ji for j > i: the lower triangle onto the upper
// Blocks of 32 × 8 threads; thread t has column t % 32 of the rows t/32, t/32 + 8, ... The tile has 33
// columns, which puts a column of it into 32 different banks.
#pragma once

#include "grid.hpp"
#include "triangle.hpp"

namespace fntk::kernels {

inline constexpr int transpose_tile = 32, transpose_threads = 256;

template <class T>
class TransposeTile {
  public:
    template <class Grid>
    FNTK_DEVICE explicit TransposeTile(Grid& grid)
        : tile_(grid.template shared<T>(transpose_tile * pitch)) {}
    static constexpr std::int64_t shared_bytes() { return shared_size<T>(transpose_tile * pitch); }

    /// Writes to_(j, i) = from(i, j) for the tile at (i0, j0) of a rows × cols matrix.
    template <class Grid, class From, class To>
    FNTK_DEVICE void run(Grid& grid, std::int64_t i0, std::int64_t j0, std::int64_t rows, std::int64_t cols,
                         const From& from, const To& to) const {
        constexpr int step = transpose_threads / transpose_tile;
        for (int r = grid.warp(); r < transpose_tile; r += step)
            if (i0 + r < rows && j0 + grid.lane() < cols)
                tile_[r * pitch + grid.lane()] = from(i0 + r, j0 + grid.lane());
        grid.sync();  // the tile is there
        for (int r = grid.warp(); r < transpose_tile; r += step)
            if (i0 + grid.lane() < rows && j0 + r < cols)
                to(j0 + r, i0 + grid.lane(), tile_[grid.lane() * pitch + r]);
        grid.sync();  // and has been read: the next one may be written
    }

  private:
    static constexpr int pitch = transpose_tile + 1;
    T* tile_;
};

template <class T>
struct Transpose {
    static constexpr int max_threads = transpose_threads;

    Rows<const T> in;
    Rows<T> out;

    Launch launch(const DeviceLimits& limits) const {
        return {smaller<std::int64_t>(tiles_down() * tiles_across(), 8 * limits.multiprocessors),
                transpose_threads, TransposeTile<T>::shared_bytes()};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const TransposeTile<T> tile(grid);
        for (std::int64_t t = grid.block(); t < tiles_down() * tiles_across(); t += grid.blocks()) {
            const std::int64_t i0 = t / tiles_across() * transpose_tile,
                               j0 = t % tiles_across() * transpose_tile;
            tile.run(
                grid, i0, j0, in.rows, in.cols,
                [&](std::int64_t i, std::int64_t j) { return in.row(i)[j]; },
                [&](std::int64_t j, std::int64_t i, T v) { out.row(j)[i] = v; });
        }
    }

  private:
    FNTK_HD std::int64_t tiles_down() const { return ceil_div(in.rows, transpose_tile); }
    FNTK_HD std::int64_t tiles_across() const { return ceil_div(in.cols, transpose_tile); }
};

template <class T>
struct MirrorLower {
    static constexpr int max_threads = transpose_threads;

    Rows<T> k;  // n × n

    Launch launch(const DeviceLimits& limits) const {
        return {smaller<std::int64_t>(tiles(), 8 * limits.multiprocessors), transpose_threads,
                TransposeTile<T>::shared_bytes()};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const TransposeTile<T> tile(grid);
        for (std::int64_t t = grid.block(); t < tiles(); t += grid.blocks()) {
            const std::int64_t row = triangle_row(t), col = t - triangle_size(row);
            tile.run(
                grid, row * transpose_tile, col * transpose_tile, k.rows, k.cols,
                [&](std::int64_t i, std::int64_t j) { return k.row(i)[j]; },
                [&](std::int64_t j, std::int64_t i, T v) {
                    if (j < i) k.row(j)[i] = v;
                });
        }
    }

  private:
    FNTK_HD std::int64_t tiles() const { return triangle_size(ceil_div(k.rows, transpose_tile)); }
};

}  // namespace fntk::kernels

// Through a 32 × 32 tile in shared memory, so that rows are read and written along rows:
//     Transpose          out_ji = in_ij
//     TransposeSquare    K = Kᵀ in place, two tiles at a time that change places
//     MirrorLower        K_ij = K_ji for j > i: the lower triangle onto the upper
// Blocks of 32 × 8 threads; thread t has column t % 32 of the rows t/32, t/32 + 8, ... The tile has 33
// columns, which puts a column of it into 32 different banks. Two barriers for each tile: when it is there,
// and when it has been read and the next one may be written.
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

    /// Reads from(i, j), the tile at (i0, j0) of a rows × cols matrix.
    template <class Grid, class From>
    FNTK_DEVICE void load(Grid& grid, std::int64_t i0, std::int64_t j0, std::int64_t rows,
                          std::int64_t cols, const From& from) const {
        for (int r = grid.warp(); r < transpose_tile; r += rows_at_once)
            if (i0 + r < rows && j0 + grid.lane() < cols)
                tile_[r * pitch + grid.lane()] = from(i0 + r, j0 + grid.lane());
    }
    /// to(j, i, v) for each element v at (i, j) of that tile.
    template <class Grid, class To>
    FNTK_DEVICE void store(Grid& grid, std::int64_t i0, std::int64_t j0, std::int64_t rows,
                           std::int64_t cols, const To& to) const {
        for (int r = grid.warp(); r < transpose_tile; r += rows_at_once)
            if (i0 + grid.lane() < rows && j0 + r < cols)
                to(j0 + r, i0 + grid.lane(), tile_[grid.lane() * pitch + r]);
    }

  private:
    static constexpr int pitch = transpose_tile + 1, rows_at_once = transpose_threads / transpose_tile;
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
            tile.load(grid, i0, j0, in.rows, in.cols,
                      [&](std::int64_t i, std::int64_t j) { return in.row(i)[j]; });
            grid.sync();
            tile.store(grid, i0, j0, in.rows, in.cols,
                       [&](std::int64_t j, std::int64_t i, T v) { out.row(j)[i] = v; });
            grid.sync();
        }
    }

  private:
    FNTK_HD std::int64_t tiles_down() const { return ceil_div(in.rows, transpose_tile); }
    FNTK_HD std::int64_t tiles_across() const { return ceil_div(in.cols, transpose_tile); }
};

template <class T>
struct TransposeSquare {
    static constexpr int max_threads = transpose_threads;

    Rows<T> k;  // n × n

    Launch launch(const DeviceLimits& limits) const {
        return {smaller<std::int64_t>(tiles(), 8 * limits.multiprocessors), transpose_threads,
                2 * TransposeTile<T>::shared_bytes()};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const TransposeTile<T> lower(grid), upper(grid);
        const auto element = [&](std::int64_t i, std::int64_t j) { return k.row(i)[j]; };
        const auto set = [&](std::int64_t j, std::int64_t i, T v) { k.row(j)[i] = v; };
        for (std::int64_t t = grid.block(); t < tiles(); t += grid.blocks()) {
            const std::int64_t row = triangle_row(t);
            const std::int64_t i0 = row * transpose_tile, j0 = (t - triangle_size(row)) * transpose_tile;
            lower.load(grid, i0, j0, k.rows, k.cols, element);
            if (i0 != j0) upper.load(grid, j0, i0, k.rows, k.cols, element);
            grid.sync();
            lower.store(grid, i0, j0, k.rows, k.cols, set);
            if (i0 != j0) upper.store(grid, j0, i0, k.rows, k.cols, set);
            grid.sync();
        }
    }

  private:
    FNTK_HD std::int64_t tiles() const { return triangle_size(ceil_div(k.rows, transpose_tile)); }
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
            const std::int64_t row = triangle_row(t);
            const std::int64_t i0 = row * transpose_tile, j0 = (t - triangle_size(row)) * transpose_tile;
            tile.load(grid, i0, j0, k.rows, k.cols,
                      [&](std::int64_t i, std::int64_t j) { return k.row(i)[j]; });
            grid.sync();
            tile.store(grid, i0, j0, k.rows, k.cols, [&](std::int64_t j, std::int64_t i, T v) {
                if (j < i) k.row(j)[i] = v;
            });
            grid.sync();
        }
    }

  private:
    FNTK_HD std::int64_t tiles() const { return triangle_size(ceil_div(k.rows, transpose_tile)); }
};

}  // namespace fntk::kernels

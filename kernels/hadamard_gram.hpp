// The fused Gram (hadamard_tiles.hpp) in float64; hadamard_gram_s8.hpp is its float32.
// A block of 16 × 16 threads has a tile of 64 × 64 elements of K; thread t has 4 rows from 4·(t / 16) and 4
// columns from 4·(t % 16) of it, as one register for each product. Slices of 16 columns of the operands go
// through shared memory, transposed, so that a thread's 8 values of one column are neighbours; two buffers,
// the next slice on its way in registers while the last is multiplied, one barrier per slice.
#pragma once

#include "hadamard_tiles.hpp"

namespace fntk::kernels {

struct HadamardGram : HadamardTiles<double, 64> {
    using T = double;
    static constexpr int max_threads = 256;
    static constexpr int side = 16;           // threads
    static constexpr int rows = 4, cols = 4;  // of a thread
    static constexpr int tile_rows = side * rows, tile_cols = side * cols;
    static constexpr int slice = 16;
    static_assert(tile_rows == tile_size && tile_cols == tile_size);

    Rows<const T> x, x_cols, g, g_cols;

    Launch launch(const DeviceLimits& limits) const {
        return launch_tiles(
            max_threads, shared_size<T>(2 * slice * pitch_a) + shared_size<T>(2 * slice * pitch_b), limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        T* a = grid.template shared<T>(2 * slice * pitch_a);
        T* b = grid.template shared<T>(2 * slice * pitch_b);
        for_each_tile(grid, [&](std::int64_t i0, std::int64_t j0) {
            T xx[rows][cols] = {}, gg[rows][cols] = {};
            multiply(grid, a, b, x, x_cols, i0, j0, xx);
            multiply(grid, a, b, g, g_cols, i0, j0, gg);
            FNTK_UNROLL
            for (int e = 0; e < rows * cols; ++e)
                write(i0 + grid.thread() / side * rows + e / cols,
                      j0 + grid.thread() % side * cols + e % cols, xx[e / cols][e % cols],
                      gg[e / cols][e % cols]);
        });
    }

  private:
    static constexpr int pitch_a = tile_rows + 16 / static_cast<int>(sizeof(T));  // vectors stay aligned
    static constexpr int pitch_b = tile_cols + 16 / static_cast<int>(sizeof(T));
    static constexpr int per_thread_a = tile_rows * slice / max_threads;  // elements of a slice
    static constexpr int per_thread_b = tile_cols * slice / max_threads;

    /// Element e of this thread in a slice of `height` rows. Neighbouring lanes have 8 columns of 4 rows:
    /// whole sectors of global memory, and 32 banks of the transposed slice.
    struct Place {
        int row, col;
    };
    template <int height>
    FNTK_DEVICE static Place place(int thread, int e) {
        const int row = thread / 8 + (e % (height / 32)) * 32;
        return {row, thread % 8 + e / (height / 32) * 8};
    }

    template <int height, int count>
    FNTK_DEVICE static void fetch(const Rows<const T>& from, std::int64_t row0, std::int64_t col0,
                                  int thread, T (&held)[count]) {
        FNTK_UNROLL
        for (int e = 0; e < count; ++e) {
            const Place at = place<height>(thread, e);
            const std::int64_t row = row0 + at.row, col = col0 + at.col;
            held[e] = row < from.rows && col < from.cols ? from.row(row)[col] : T(0);
        }
    }
    template <int height, int count>
    FNTK_DEVICE static void put(T* to, int pitch, int thread, const T (&held)[count]) {
        FNTK_UNROLL
        for (int e = 0; e < count; ++e) {
            const Place at = place<height>(thread, e);
            to[at.col * pitch + at.row] = held[e];
        }
    }

    /// sum += the tile at (i0, j0) of `left` `right`ᵀ.
    template <class Grid>
    FNTK_DEVICE void multiply(Grid& grid, T* a, T* b, const Rows<const T>& left, const Rows<const T>& right,
                              std::int64_t i0, std::int64_t j0, T (&sum)[rows][cols]) const {
        const int thread = grid.thread();
        T held_a[per_thread_a], held_b[per_thread_b];
        fetch<tile_rows>(left, i0, 0, thread, held_a);
        fetch<tile_cols>(right, j0, 0, thread, held_b);
        int buffer = 0;
        for (std::int64_t q = 0; q < left.cols; q += slice, buffer ^= 1) {
            T* slice_a = a + buffer * slice * pitch_a;
            T* slice_b = b + buffer * slice * pitch_b;
            put<tile_rows>(slice_a, pitch_a, thread, held_a);
            put<tile_cols>(slice_b, pitch_b, thread, held_b);
            grid.sync();  // the slice is there, and the slice before it is read: its buffer is free
            if (q + slice < left.cols) {
                fetch<tile_rows>(left, i0, q + slice, thread, held_a);
                fetch<tile_cols>(right, j0, q + slice, thread, held_b);
            }
            accumulate(slice_a + thread / side * rows, slice_b + thread % side * cols, sum);
        }
        grid.sync();  // the last slice is read: the next product starts with the first buffer
    }

    FNTK_DEVICE static void accumulate(const T* a, const T* b, T (&sum)[rows][cols]) {
        FNTK_UNROLL
        for (int q = 0; q < slice; ++q) {
            T left[rows], right[cols];
            FNTK_UNROLL
            for (int i = 0; i < rows; ++i) left[i] = a[q * pitch_a + i];
            FNTK_UNROLL
            for (int j = 0; j < cols; ++j) right[j] = b[q * pitch_b + j];
            FNTK_UNROLL
            for (int i = 0; i < rows; ++i) FNTK_UNROLL
            for (int j = 0; j < cols; ++j) sum[i][j] += left[i] * right[j];
        }
    }
};

}  // namespace fntk::kernels

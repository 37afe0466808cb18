// Tiles of a matrix of floats in shared memory, by asynchronous copies.
#pragma once

#include "grid.hpp"

namespace fntk::kernels {

/// 32 rows of X by `cols` columns, rows a pitch apart. `threads` threads share the copies, 16 bytes at a
/// time where rows of X are made of such pieces, else 4. What lies beyond X is some other entry of it.
template <int threads, int cols, int pitch>
class FloatTile {
  public:
    static constexpr int rows = 32, floats = rows * pitch;

    FNTK_DEVICE FloatTile(const Rows<const float>& x, int thread)
        : x_(x),
          thread_(thread),
          quadwise_(x.stride % 4 == 0 && x.cols % 4 == 0 &&
                    reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0) {}

    /// Begins to copy what lies from row i0 and column j0 on, multiples of 4, and does not make a group of
    /// it.
    template <class Grid>
    FNTK_DEVICE void begin(Grid& grid, int i0, int j0, float* to) const {
        if (quadwise_)
            copy<4>(grid, i0, j0, to);
        else
            copy<1>(grid, i0, j0, to);
    }

  private:
    template <int width>
    struct alignas(4 * width) Words {
        std::uint32_t word[width];
    };
    template <int width, class Grid>
    FNTK_DEVICE void copy(Grid& grid, int i0, int j0, float* to) const {
        constexpr int of_row = cols / width, at_once = threads / of_row;  // threads, rows
        const int first = thread_ / of_row, col = thread_ % of_row * width,
                  last = static_cast<int>(x_.rows) - 1,
                  j = smaller(j0 + col, static_cast<int>(x_.cols) - width);
        const auto begin_row = [&](int r, const float* from) {
            grid.copy_async(reinterpret_cast<Words<width>*>(to + (first + r) * pitch + col),
                            reinterpret_cast<const Words<width>*>(from), 4 * width);
        };
        if (i0 + rows - 1 <= last) {
            const float* from = x_.row(i0 + first) + j;
            const std::int64_t step = at_once * x_.stride;
            FNTK_UNROLL
            for (int r = 0; r < rows; r += at_once, from += step) begin_row(r, from);
        } else {
            FNTK_UNROLL_BY(1)
            for (int r = 0; r < rows; r += at_once) begin_row(r, x_.row(smaller(i0 + first + r, last)) + j);
        }
    }

    Rows<const float> x_;
    int thread_;
    bool quadwise_;
};

}  // namespace fntk::kernels

// Tiles of a matrix of floats in shared memory, by asynchronous copies.
#pragma once

#include "grid.hpp"

namespace fntk::kernels {

/// 32 rows of X by `cols` columns, rows a pitch apart, zeros beyond X; `threads` threads share the copies,
/// 16 bytes at a time where rows of X are aligned to that, else 4.
template <int threads, int cols, int pitch>
class FloatTile {
  public:
    static constexpr int rows = 32, floats = rows * pitch;

    FNTK_DEVICE FloatTile(const Rows<const float>& x, int thread)
        : x_(x),
          thread_(thread),
          quadwise_(x.stride % 4 == 0 && reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0) {}

    /// Begins to copy what lies from row i0 and column j0 on, multiples of 4, and does not make a group of
    /// it.
    template <class Grid>
    FNTK_DEVICE void begin(Grid& grid, std::int64_t i0, std::int64_t j0, float* to) const {
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
    FNTK_DEVICE void copy(Grid& grid, std::int64_t i0, std::int64_t j0, float* to) const {
        constexpr int of_row = cols / width, at_once = threads / of_row;  // threads, rows
        const int first = thread_ / of_row, col = thread_ % of_row * width;
        const int count = static_cast<int>(smaller<std::int64_t>(x_.rows - i0, rows)),
                  bytes = 4 * static_cast<int>(larger<std::int64_t>(
                                  smaller<std::int64_t>(x_.cols - j0 - col, width), 0));
        const float* from = first < count && bytes > 0 ? x_.row(i0 + first) + j0 + col : x_.data;
        const std::int64_t step = at_once * x_.stride;
        to += first * pitch + col;
        if (count == rows && bytes == 4 * width) {
            FNTK_UNROLL
            for (int r = 0; r < rows; r += at_once, from += step)
                grid.copy_async(words<width>(to + r * pitch), words<width>(from), 4 * width);
            return;
        }
        FNTK_UNROLL_BY(1)
        for (int r = 0; r < rows; r += at_once) {
            grid.copy_async(words<width>(to + r * pitch), words<width>(from),
                            first + r < count ? bytes : 0);
            if (first + r + at_once < count) from += step;
        }
    }
    template <int width>
    FNTK_DEVICE static Words<width>* words(float* x) {
        return reinterpret_cast<Words<width>*>(x);
    }
    template <int width>
    FNTK_DEVICE static const Words<width>* words(const float* x) {
        return reinterpret_cast<const Words<width>*>(x);
    }

    Rows<const float> x_;
    int thread_;
    bool quadwise_;
};

}  // namespace fntk::kernels

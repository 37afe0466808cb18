// The elements of a rows × cols matrix, handed out to blocks of 256 threads.
//     tile       `width` columns, the power of two that covers a row, 256 at most, by 4·256/width rows
//     thread     column t % width of its tile, rows t/width + e·256/width, e = 0..3
// Neighbouring threads stand on neighbouring columns, so that rows are read and written in whole sectors;
// the four elements of a thread are independent of each other. Tile and order depend on the shape alone.
#pragma once

#include "grid.hpp"

namespace fntk::kernels {

inline constexpr int element_threads = 256;
inline constexpr int elements_per_thread = 4;

class ElementTiles {
  public:
    FNTK_HD ElementTiles(std::int64_t rows, std::int64_t cols) : rows_(rows), cols_(cols) {
        while (width() < cols && width() < element_threads) ++log_width_;
        across_ = ceil_div(cols, width());
    }
    FNTK_HD std::int64_t count() const { return across_ * ceil_div(rows_, height()); }

    /// f(i, j) for the elements that belong to `thread` in the tiles first, first + step, ...: one division
    /// for all of them.
    template <class F>
    FNTK_DEVICE void visit(std::int64_t first, std::int64_t step, int thread, const F& f) const {
        if (first >= count()) return;
        const std::int64_t step_down = step / across_, step_across = step - step_down * across_;
        std::int64_t down = first / across_, across = first - down * across_;
        while (down * height() < rows_) {
            visit_one(down, across, thread, f);
            down += step_down;
            across += step_across;
            if (across < across_) continue;
            across -= across_;
            ++down;
        }
    }

  private:
    template <class F>
    FNTK_DEVICE void visit_one(std::int64_t down, std::int64_t across, int thread, const F& f) const {
        const std::int64_t j = across * width() + (thread & (width() - 1));
        const std::int64_t first = down * height() + (thread >> log_width_);
        if (j >= cols_) return;
        FNTK_UNROLL
        for (int e = 0; e < elements_per_thread; ++e) {
            const std::int64_t i = first + e * (element_threads >> log_width_);
            if (i < rows_) f(i, j);
        }
    }

    FNTK_HD int width() const { return 1 << log_width_; }
    FNTK_HD int height() const { return elements_per_thread * (element_threads >> log_width_); }

    std::int64_t rows_, cols_, across_ = 0;
    int log_width_ = 0;
};

/// One block per tile, until the device is full.
inline Launch element_launch(std::int64_t tiles, const DeviceLimits& limits) {
    return {smaller<std::int64_t>(tiles, 8 * limits.multiprocessors), element_threads, 0};
}
inline Launch element_launch(std::int64_t rows, std::int64_t cols, const DeviceLimits& limits) {
    return element_launch(ElementTiles(rows, cols).count(), limits);
}

/// f(i, j) for every element, by all threads of the grid.
template <class Grid, class F>
FNTK_DEVICE void for_each_element(Grid& grid, std::int64_t rows, std::int64_t cols, const F& f) {
    ElementTiles(rows, cols).visit(grid.block(), grid.blocks(), grid.thread(), f);
}

}  // namespace fntk::kernels

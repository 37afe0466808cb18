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

    /// f(i, j) for the elements of `tile` that belong to `thread`.
    template <class F>
    FNTK_DEVICE void visit(std::int64_t tile, int thread, const F& f) const {
        const std::int64_t down = across_ == 1 ? tile : tile / across_;
        const std::int64_t j = (tile - down * across_) * width() + (thread & (width() - 1));
        const std::int64_t first = down * height() + (thread >> log_width_);
        if (j >= cols_) return;
        for (int e = 0; e < elements_per_thread; ++e) {
            const std::int64_t i = first + e * (element_threads >> log_width_);
            if (i < rows_) f(i, j);
        }
    }

  private:
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
    const ElementTiles tiles(rows, cols);
    for (std::int64_t tile = grid.block(); tile < tiles.count(); tile += grid.blocks())
        tiles.visit(tile, grid.thread(), f);
}

}  // namespace fntk::kernels

// Dense gradients of each sample, rows vec(left_i right_iᵀ), as every factor's gradient has rank 1:
//     OuterRows    out_i[a·w + b] = left_ia·right_ib, left: n × l, right: n × w, out: n × (l·w)
//     SlopeRows    left_ir = scale·(gate_ir ? open : closed)·a_rc, the left factor of V for output c
//                  (its right factor is h_i)
// The factors of one sample and the outputs of one sample stand side by side: `out` is given as the view of
// its columns. A block of OuterRows has tiles of one sample's l × w matrix (elements.hpp).
#pragma once

#include "elements.hpp"

namespace fntk::kernels {

template <class T>
struct OuterRows {
    static constexpr int max_threads = element_threads;

    Rows<const T> left, right;
    Rows<T> out;

    Launch launch(const DeviceLimits& limits) const {
        return element_launch(left.rows * ElementTiles(left.cols, right.cols).count(), limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const ElementTiles tiles(left.cols, right.cols);
        const std::int64_t per_sample = tiles.count();
        for (std::int64_t t = grid.block(); t < left.rows * per_sample; t += grid.blocks()) {
            const std::int64_t i = t / per_sample;
            const T* l = left.row(i);
            const T* r = right.row(i);
            T* to = out.row(i);
            tiles.visit(t - i * per_sample, per_sample, grid.thread(),  // one tile
                        [&](std::int64_t a, std::int64_t b) { to[a * right.cols + b] = l[a] * r[b]; });
        }
    }
};

template <class T>
struct SlopeRows {
    static constexpr int max_threads = element_threads;

    Rows<const std::uint64_t> gates;  // n × m
    double scale = 1, closed = 0, open = 1;
    Rows<const T> a;  // m × k
    std::int64_t c = 0;
    Rows<T> left;  // n × m

    Launch launch(const DeviceLimits& limits) const { return element_launch(left.rows, left.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const T where_open = static_cast<T>(scale * open), where_closed = static_cast<T>(scale * closed);
        for_each_element(grid, left.rows, left.cols, [&](std::int64_t i, std::int64_t r) {
            const bool is_open = (gates.row(i)[r / 64] >> (r % 64) & 1U) != 0;
            left.row(i)[r] = (is_open ? where_open : where_closed) * a.row(r)[c];
        });
    }
};

}  // namespace fntk::kernels

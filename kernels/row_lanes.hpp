// The rows of a matrix, handed out to groups of lanes: as many lanes of a warp share a row as the power of
// two that covers it, 32 at most. Lane l of a group has the columns l, l + lanes, ...; what the lanes found
// is combined by exchanges between them, in a tree that depends on the number of columns alone.
#pragma once

#include "grid.hpp"

#include <cmath>

namespace fntk::kernels {

inline constexpr int row_threads = 256;

struct Sum {
    template <class T>
    FNTK_HD T operator()(T a, T b) const {
        return a + b;
    }
};
struct Largest {
    template <class T>
    FNTK_HD T operator()(T a, T b) const {
        return larger(a, b);
    }
};
struct Smallest {
    template <class T>
    FNTK_HD T operator()(T a, T b) const {
        return smaller(a, b);
    }
};

FNTK_HD constexpr int lanes_per_row(std::int64_t cols) {
    int lanes = 1;
    while (lanes < cols && lanes < warp_size) lanes *= 2;
    return lanes;
}

/// One lane's place: a lane that got no row has `active` unset and must still take part in every exchange.
struct RowLane {
    std::int64_t row = 0;
    int lane = 0, lanes = 1;
    bool active = false;

    FNTK_HD bool first() const { return active && lane == 0; }
    /// f(j) for the columns of this lane.
    template <class F>
    FNTK_DEVICE void columns(std::int64_t cols, const F& f) const {
        for (std::int64_t j = active ? lane : cols; j < cols; j += lanes) f(j);
    }
};

/// op over the lanes of a row; every lane gets the result.
template <class Grid, class T, class Op>
FNTK_DEVICE T reduce_lanes(Grid& grid, T v, int lanes, Op op) {
    for (int mask = lanes / 2; mask > 0; mask /= 2) v = op(v, grid.shuffle_xor(v, mask));
    return v;
}

/// f(RowLane) for every row; all lanes of a warp call f equally often.
template <class Grid, class F>
FNTK_DEVICE void for_each_row(Grid& grid, std::int64_t rows, std::int64_t cols, const F& f) {
    const int lanes = lanes_per_row(cols), rows_per_warp = warp_size / lanes;
    const std::int64_t rows_per_block = grid.threads() / lanes;
    for (std::int64_t first = grid.block() * rows_per_block; first < rows;
         first += grid.blocks() * rows_per_block) {
        const std::int64_t row = first + grid.warp() * rows_per_warp + grid.lane() / lanes;
        f(RowLane{row < rows ? row : 0, grid.lane() % lanes, lanes, row < rows});
    }
}

/// max_j |x_j| of a row; every lane of the row gets it.
template <class Grid, class T>
FNTK_DEVICE double row_largest(Grid& grid, const RowLane& at, const Rows<const T>& x) {
    const T* row = x.row(at.row);
    T largest = 0;
    FNTK_UNROLL_BY(4)  // reads that wait for nothing
    for (std::int64_t j = at.active ? at.lane : x.cols; j < x.cols; j += at.lanes)
        largest = larger(largest, std::fabs(row[j]));
    return static_cast<double>(reduce_lanes(grid, largest, at.lanes, Largest()));
}

inline Launch row_launch(std::int64_t rows, std::int64_t cols, const DeviceLimits& limits) {
    const std::int64_t blocks = ceil_div(rows, row_threads / lanes_per_row(cols));
    return {smaller<std::int64_t>(blocks, 8 * limits.multiprocessors), row_threads, 0};
}

}  // namespace fntk::kernels

// Products of rows, A: n × (k·p) output by output.
//     RowDot        out_ic = <A_i block c, B_i>, B: n × p, out: n × k; the lanes of a row sum in double
//     RowCombine    out_i = Σ_c v_ic·A_i block c, v: n × k, out: n × p; elementwise
#pragma once

#include "elements.hpp"
#include "row_lanes.hpp"

namespace fntk::kernels {

template <class T>
struct RowDot {
    static constexpr int max_threads = row_threads;

    Rows<const T> a, b;
    Rows<T> out;

    Launch launch(const DeviceLimits& limits) const {
        return row_launch(out.rows * out.cols, b.cols, limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_row(grid, out.rows * out.cols, b.cols, [&](const RowLane& at) {
            const std::int64_t i = at.row / out.cols, c = at.row - i * out.cols;
            const T* left = a.row(i) + c * b.cols;
            const T* right = b.row(i);
            double sum = 0;
            at.columns(b.cols, [&](std::int64_t q) {
                sum += static_cast<double>(left[q]) * static_cast<double>(right[q]);
            });
            sum = reduce_lanes(grid, sum, at.lanes, Sum());
            if (at.first()) out.row(i)[c] = static_cast<T>(sum);
        });
    }
};

template <class T>
struct RowCombine {
    static constexpr int max_threads = element_threads;

    Rows<const T> a, v;
    Rows<T> out;

    Launch launch(const DeviceLimits& limits) const { return element_launch(out.rows, out.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_element(grid, out.rows, out.cols, [&](std::int64_t i, std::int64_t q) {
            T sum = 0;
            for (std::int64_t c = 0; c < v.cols; ++c) sum += v.row(i)[c] * a.row(i)[c * out.cols + q];
            out.row(i)[q] = sum;
        });
    }
};

}  // namespace fntk::kernels

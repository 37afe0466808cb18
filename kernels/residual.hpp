// e and the loss of every row, f: n × k, targets y: n × k of either type, arithmetic in double:
//     SquaredResidual         e = f − y,             loss_i = ½·Σ_c e_ic²
//     CrossEntropyResidual    e = softmax(f) − y,    loss_i = −Σ_c y_ic·(g_ic − log Σ_c exp g_ic),
//                                                    g_ic = f_ic − max_c f_ic
// A group of lanes has a row (row_lanes.hpp). The sum of the losses is a reduction over Number (norm.hpp).
// e may be f.
#pragma once

#include "row_lanes.hpp"

namespace fntk::kernels {

template <class T, class Y>
struct SquaredResidual {
    static constexpr int max_threads = row_threads;

    Rows<const T> f;
    Rows<const Y> y;
    Rows<T> e;
    double* loss = nullptr;  // n × 1

    Launch launch(const DeviceLimits& limits) const { return row_launch(f.rows, f.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_row(grid, f.rows, f.cols, [&](const RowLane& at) {
            double sum = 0;
            at.columns(f.cols, [&](std::int64_t c) {
                const double difference =
                    static_cast<double>(f.row(at.row)[c]) - static_cast<double>(y.row(at.row)[c]);
                e.row(at.row)[c] = static_cast<T>(difference);
                sum += 0.5 * difference * difference;
            });
            sum = reduce_lanes(grid, sum, at.lanes, Sum());
            if (at.first()) loss[at.row] = sum;
        });
    }
};

template <class T, class Y>
struct CrossEntropyResidual {
    static constexpr int max_threads = row_threads;

    Rows<const T> f;
    Rows<const Y> y;
    Rows<T> e;
    double* loss = nullptr;  // n × 1

    Launch launch(const DeviceLimits& limits) const { return row_launch(f.rows, f.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_row(grid, f.rows, f.cols, [&](const RowLane& at) {
            const T* fi = f.row(at.row);
            const Y* yi = y.row(at.row);
            double largest = -HUGE_VAL, sum = 0, total = 0;
            at.columns(f.cols,
                       [&](std::int64_t c) { largest = larger(largest, static_cast<double>(fi[c])); });
            largest = reduce_lanes(grid, largest, at.lanes, Largest());
            at.columns(f.cols,
                       [&](std::int64_t c) { sum += std::exp(static_cast<double>(fi[c]) - largest); });
            sum = reduce_lanes(grid, sum, at.lanes, Sum());
            const double log_sum = std::log(sum);
            at.columns(f.cols, [&](std::int64_t c) {
                const double shifted = static_cast<double>(fi[c]) - largest,
                             target = static_cast<double>(yi[c]);
                e.row(at.row)[c] = static_cast<T>(std::exp(shifted) / sum - target);
                total -= target * (shifted - log_sum);
            });
            total = reduce_lanes(grid, total, at.lanes, Sum());
            if (at.first()) loss[at.row] = total;
        });
    }
};

}  // namespace fntk::kernels

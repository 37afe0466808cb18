// Elementwise operations on matrices (elements.hpp).
//     Axpby             y = alpha·x + beta·y; with beta = 0 y is not read
//     Multiply          K ∘= A
//     AffineHadamard    K_ij *= alpha + beta·(s_i + t_j) + gamma·C_ij, C, s, t int32
//     AddOutputBlock    K[i·k + c, j·k + c'] += block_ij
//     GatherRows        out_i = X[rows_i]
#pragma once

#include "elements.hpp"

namespace fntk::kernels {

/// X and Y: float or double, in any pairing; the arithmetic is double.
template <class X, class Y>
struct Axpby {
    static constexpr int max_threads = element_threads;

    double alpha = 1;
    Rows<const X> x;
    double beta = 0;
    Rows<Y> y;

    Launch launch(const DeviceLimits& limits) const { return element_launch(y.rows, y.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_element(grid, y.rows, y.cols, [&](std::int64_t i, std::int64_t j) {
            double value = alpha * static_cast<double>(x.row(i)[j]);
            Y& to = y.row(i)[j];
            if (beta != 0) value += beta * static_cast<double>(to);
            to = static_cast<Y>(value);
        });
    }
};

template <class T>
struct Multiply {
    static constexpr int max_threads = element_threads;

    Rows<const T> a;
    Rows<T> k;

    Launch launch(const DeviceLimits& limits) const { return element_launch(k.rows, k.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_element(grid, k.rows, k.cols,
                         [&](std::int64_t i, std::int64_t j) { k.row(i)[j] *= a.row(i)[j]; });
    }
};

template <class T>
struct AffineHadamard {
    static constexpr int max_threads = element_threads;

    Rows<const std::int32_t> counts;  // n × n'
    Rows<const std::int32_t> s, t;    // n × 1, n' × 1
    double alpha = 0, beta = 0, gamma = 0;
    Rows<T> k;

    Launch launch(const DeviceLimits& limits) const { return element_launch(k.rows, k.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_element(grid, k.rows, k.cols, [&](std::int64_t i, std::int64_t j) {
            const double sides = static_cast<double>(*s.row(i)) + static_cast<double>(*t.row(j));
            k.row(i)[j] *= static_cast<T>(alpha + beta * sides + gamma * counts.row(i)[j]);
        });
    }
};

template <class T>
struct AddOutputBlock {
    static constexpr int max_threads = element_threads;

    Rows<const T> block;  // n × n'
    std::int64_t outputs = 1, c = 0, c_col = 0;
    Rows<T> k;  // n·outputs × n'·outputs

    Launch launch(const DeviceLimits& limits) const {
        return element_launch(block.rows, block.cols, limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_element(grid, block.rows, block.cols, [&](std::int64_t i, std::int64_t j) {
            k.row(i * outputs + c)[j * outputs + c_col] += block.row(i)[j];
        });
    }
};

/// T: of any type. Every rows_i is a row of x.
template <class T>
struct GatherRows {
    static constexpr int max_threads = element_threads;

    Rows<const T> x;
    const std::int64_t* rows = nullptr;  // out.rows of them
    Rows<T> out;

    Launch launch(const DeviceLimits& limits) const { return element_launch(out.rows, out.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_element(grid, out.rows, out.cols,
                         [&](std::int64_t i, std::int64_t j) { out.row(i)[j] = x.row(rows[i])[j]; });
    }
};

}  // namespace fntk::kernels

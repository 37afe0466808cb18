// X into fixed point, and the digit products back to real numbers (kernels/fixed_point.hpp):
//     ScaleRows    v_i = X_i·2^−E_i, the whole of it where U is the identity
//     SplitRows    digit a of X_i·2^−E_i, a double that holds a whole number, for products by a library
//     AddDigitProduct    v = scale·Σ_ab digit_term(P_ab), P_ab (n × p) the product of digit a of X with
//                        digit b of U, which comes in chunks of `exact_columns` columns, each exact in
//                        double
// X: n × d, E_i the exponent of the row's largest magnitude. The first two give each row to a group of
// lanes (row_lanes.hpp), which reads it twice: for its maximum, and to write. The third is elementwise.
#pragma once

#include "elements.hpp"
#include "fixed_point.hpp"
#include "row_lanes.hpp"

namespace fntk::kernels {

template <class T>
struct ScaleRows {
    static constexpr int max_threads = row_threads;

    Rows<const T> x;
    Rows<double> v;                // n × d
    Rows<std::int32_t> exponents;  // n × 1, E_i

    Launch launch(const DeviceLimits& limits) const { return row_launch(x.rows, x.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_row(grid, x.rows, x.cols, [&](const RowLane& at) {
            const int exponent = exponent_of(row_largest(grid, at, x));
            if (at.first()) *exponents.row(at.row) = exponent;
            const PowerOfTwo to_one(-exponent);
            const T* from = x.row(at.row);
            double* to = v.row(at.row);
            at.columns(x.cols, [&](std::int64_t j) { to[j] = to_one.times(static_cast<double>(from[j])); });
        });
    }
};

template <class T>
struct SplitRows {
    static constexpr int max_threads = row_threads;
    static constexpr int places = sizeof(T) == 4 ? 1 : 3;  // digits

    Rows<const T> x;
    const std::int32_t* down_exponent = nullptr;  // of U, one element; null: 0
    Rows<double> digits[places];                  // n × d, most significant first
    Rows<std::int32_t> exponents;                 // n × 1, E_i + that of U

    Launch launch(const DeviceLimits& limits) const { return row_launch(x.rows, x.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const int of_u = down_exponent == nullptr ? 0 : *down_exponent;
        for_each_row(grid, x.rows, x.cols, [&](const RowLane& at) {
            const int exponent = exponent_of(row_largest(grid, at, x));
            if (at.first()) *exponents.row(at.row) = exponent + of_u;
            const PowerOfTwo to_one(-exponent);
            const T* from = x.row(at.row);
            at.columns(x.cols, [&](std::int64_t j) {
                double rest = to_one.times(static_cast<double>(from[j]));
                FNTK_UNROLL
                for (int a = 0; a < places; ++a)
                    digits[a].row(at.row)[j] = take_digit(rest, input_digit_bits);
            });
        });
    }
};

/// Takes one chunk of P_ab. Call it for the pairs (a, b) from the last to the first, all chunks of a pair
/// after each other; the last chunk of a pair adds its term to v.
struct AddDigitProduct {
    static constexpr int max_threads = element_threads;

    Rows<const double> partial;  // n × p, whole numbers
    Rows<std::int64_t> total;    // n × p, the chunks so far; not touched when there is one chunk only
    Rows<double> v;              // n × p
    int a = 0, b = 0;
    bool first_chunk = true, last_chunk = true;
    bool first_pair = true;  // v is not read
    double scale = 1;        // applied with the pair (0, 0)

    Launch launch(const DeviceLimits& limits) const {
        return element_launch(partial.rows, partial.cols, limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const double weight = digit_term(1, a, b);
        for_each_element(grid, partial.rows, partial.cols, [&](std::int64_t i, std::int64_t q) {
            auto sum = static_cast<std::int64_t>(partial.row(i)[q]);
            if (!first_chunk) sum += total.row(i)[q];
            if (!last_chunk) {
                total.row(i)[q] = sum;
                return;
            }
            double to = (first_pair ? 0.0 : v.row(i)[q]) + weight * static_cast<double>(sum);
            if (a == 0 && b == 0) to *= scale;
            v.row(i)[q] = to;
        });
    }
};

}  // namespace fntk::kernels

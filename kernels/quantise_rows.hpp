// ĥ_iq = v_iq·2^s_i rounded half to even, s_i = bits − E_i, E_i the exponent of the row's largest
// magnitude, so that |ĥ| ≤ 2^bits; the row's exponent e_i becomes e_i − s_i, and 0 for a row of zeros.
//     v: n × p (f64)     ĥ: n × p (int32 or int64)     e: n × 1
// A group of lanes has a row (row_lanes.hpp) and reads it twice: for its maximum, and to round.
#pragma once

#include "fixed_point.hpp"
#include "row_lanes.hpp"

namespace fntk::kernels {

/// s_i and e_i of a row with exponent E whose largest magnitude is `largest`.
struct RowRounding {
    int shift;
    std::int32_t exponent;

    FNTK_HD RowRounding(double largest, int row_exponent, int bits)
        : shift(bits - exponent_of(largest)), exponent(largest == 0 ? 0 : row_exponent - shift) {}
};

template <class Z>
struct QuantiseRows {
    static constexpr int max_threads = row_threads;

    Rows<const double> v;
    int bits = 0;
    Rows<Z> h;
    Rows<std::int32_t> exponents;

    Launch launch(const DeviceLimits& limits) const { return row_launch(v.rows, v.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_row(grid, v.rows, v.cols, [&](const RowLane& at) {
            const double* from = v.row(at.row);
            std::int32_t* exponent = exponents.row(at.row);
            const RowRounding rounding(row_largest(grid, at, v), at.first() ? *exponent : 0, bits);
            if (at.first()) *exponent = rounding.exponent;
            const PowerOfTwo scale(rounding.shift);
            Z* to = h.row(at.row);
            at.columns(v.cols, [&](std::int64_t q) { to[q] = static_cast<Z>(quantise(from[q], scale)); });
        });
    }
};

}  // namespace fntk::kernels

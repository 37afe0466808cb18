// ĥ, e and H of the exact path, row by row in one kernel (fixed_point.hpp, quantise_rows.hpp):
//     ĥ_iq = v_iq·2^s_i rounded half to even, s_i = bits − exponent of the row's largest |v|
//     e_i = E_i − s_i, 0 for a row of zeros        H_iq = ĥ_iq·2^e_i, in the type T of X
// Where v and its exponents E come from:
//     ScaledInputs    v_i = X_i·2^−E_i, E_i the exponent of the row's largest |X|: U is the identity
//     DownProducts    v (f64) and E of AddDigitProduct and SplitRows (down_product.hpp)
//     v: n × p     ĥ: n × p (int32, int64 where T is double)     e: n × 1     H: n × p
// A group of lanes has a row (row_lanes.hpp) and reads it twice: for its maximum, and to write.
#pragma once

#include "quantise_rows.hpp"

#include <type_traits>

namespace fntk::kernels {

template <class T>
struct ScaledInputs {
    Rows<const T> x;

    struct Row {
        const T* x;
        PowerOfTwo to_one;
        int exponent;
        double largest;

        FNTK_DEVICE double operator()(std::int64_t q) const {
            return to_one.times(static_cast<double>(x[q]));
        }
    };
    template <class Grid>
    FNTK_DEVICE Row row(Grid& grid, const RowLane& at, const Rows<std::int32_t>&) const {
        const double largest = row_largest(grid, at, x);
        const int exponent = exponent_of(largest);
        const PowerOfTwo to_one(-exponent);
        return {x.row(at.row), to_one, exponent, to_one.times(largest)};
    }
};

struct DownProducts {
    Rows<const double> v;

    struct Row {
        const double* v;
        int exponent;
        double largest;

        FNTK_DEVICE double operator()(std::int64_t q) const { return v[q]; }
    };
    /// One lane reads E_i, since that lane replaces it.
    template <class Grid>
    FNTK_DEVICE Row row(Grid& grid, const RowLane& at, const Rows<std::int32_t>& exponents) const {
        const std::int32_t own = at.first() ? *exponents.row(at.row) : 0;
        return {v.row(at.row), grid.shuffle(own, grid.lane() - at.lane), row_largest(grid, at, v)};
    }
};

template <class T, class Source>
struct HiddenRows {
    using Z = std::conditional_t<sizeof(T) == 8, std::int64_t, std::int32_t>;
    static constexpr int max_threads = row_threads;

    Source source;
    int bits = 0;
    Rows<Z> h;                     // ĥ
    Rows<std::int32_t> exponents;  // e; E before, where the source has them there
    Rows<T> hidden;                // H

    Launch launch(const DeviceLimits& limits) const { return row_launch(h.rows, h.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_row(grid, h.rows, h.cols, [&](const RowLane& at) {
            const auto v = source.row(grid, at, exponents);
            const RowRounding to(v.largest, v.exponent, bits);
            if (at.first()) *exponents.row(at.row) = to.exponent;
            const PowerOfTwo scale(to.shift);
            const double unit = std::ldexp(1.0, to.exponent);
            Z* integers = h.row(at.row);
            T* reals = hidden.row(at.row);
            at.columns(h.cols, [&](std::int64_t q) {
                const Z rounded = static_cast<Z>(quantise(v(q), scale));
                integers[q] = rounded;
                reals[q] = static_cast<T>(unit * static_cast<double>(rounded));
            });
        });
    }
};

}  // namespace fntk::kernels

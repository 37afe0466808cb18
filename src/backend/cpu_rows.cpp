// Row by row: products of a row with its own companions, and lengths.
#include <backend/cpu.hpp>
#include <backend/row_products.hpp>
#include <backend/scalar.hpp>
#include <backend/simd/digits.hpp>

#include <fixed_point.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

namespace fntk::backend {

void Cpu::row_dot(ConstMatrixView a, ConstMatrixView b, MatrixView out) {
    with_real(out.dtype, [&](auto type) {
        using T = decltype(type);
        over_rows(out.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i)
                block_dots(a.row<T>(i), b.row<T>(i), b.cols, out.cols, out.row<T>(i));
        });
    });
}

void Cpu::row_combine(ConstMatrixView a, ConstMatrixView v, MatrixView out) {
    with_real(out.dtype, [&](auto type) {
        using T = decltype(type);
        over_rows(out.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i)
                combine_blocks(a.row<T>(i), v.row<T>(i), out.cols, v.cols, out.row<T>(i));
        });
    });
}

void Cpu::slope_rows(ConstBitView gates, std::int64_t first, const Readout& readout, std::int64_t c,
                     double scale, double closed, double open, MatrixView out) {
    with_real(out.dtype, [&](auto type) {
        using T = decltype(type);
        std::vector<T> a(out.cols);
        for (std::int64_t r = 0; r < out.cols; ++r) a[r] = static_cast<T>(readout_entry(readout, r, c));
        const T slopes[2] = {static_cast<T>(scale * closed), static_cast<T>(scale * open)};
        over_rows(out.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) {
                const std::uint64_t* bits = gates.row(first + i);
                T* oi = out.row<T>(i);
                for (std::int64_t r = 0; r < out.cols; ++r)
                    oi[r] = slopes[bits[r / 64] >> (r % 64) & 1U] * a[r];
            }
        });
    });
}

void Cpu::outer_rows(ConstMatrixView left, ConstMatrixView right, MatrixView out) {
    with_real(out.dtype, [&](auto type) {
        using T = decltype(type);
        over_rows(out.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) {
                const T* li = left.row<T>(i);
                const T* ri = right.row<T>(i);
                T* to = out.row<T>(i);
                for (std::int64_t q = 0; q < left.cols; ++q, to += right.cols)
                    for (std::int64_t j = 0; j < right.cols; ++j) to[j] = li[q] * ri[j];
            }
        });
    });
}

namespace {

/// Σ (scale·x_j)² in eight interleaved partial sums: one order everywhere.
template <class T>
double scaled_squares(const T* x, std::int64_t count, double scale) {
    double part[8] = {};
    std::int64_t j = 0;
    for (; j + 8 <= count; j += 8)
        for (int lane = 0; lane < 8; ++lane) {
            const double scaled = scale * static_cast<double>(x[j + lane]);
            part[lane] += scaled * scaled;
        }
    for (; j < count; ++j)
        part[j % 8] += scale * static_cast<double>(x[j]) * (scale * static_cast<double>(x[j]));
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

}  // namespace

void Cpu::norm(ConstMatrixView a, MatrixView out) {
    double& result = out.at<double>(0, 0);
    result = 0;
    with_real(a.dtype, [&](auto type) {
        using T = decltype(type);
        std::vector<double> of_row(a.rows);
        over_rows(a.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) of_row[i] = largest_magnitude(a.row<T>(i), a.cols);
        });
        double largest = 0;
        for (const double x : of_row) largest = std::max(largest, x);
        if (!std::isfinite(largest)) {
            result = largest;
            return;
        }
        const int exponent = kernels::norm_exponent(largest);
        const double scale = std::ldexp(1.0, -exponent);
        over_rows(a.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i)
                of_row[i] = scaled_squares(a.row<T>(i), a.cols, scale);
        });
        double sum = 0;  // a NaN may have passed the maximum; it ends here
        for (const double x : of_row) sum += x;
        result = std::ldexp(std::sqrt(sum), exponent);
    });
}

}  // namespace fntk::backend

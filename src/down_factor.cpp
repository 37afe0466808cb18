#include "down_factor.hpp"

#include <fntk/device.hpp>
#include <fntk/error.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <fixed_point.hpp>
#include <signs.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace fntk {

namespace {

using kernels::Stream;

Matrix gaussian(const NetworkSpec& spec) {
    Matrix u(spec.rank, spec.dim, DType::f64);
    double* out = u.row<double>(0);
    kernels::Normal4 normals{};
    for (std::int64_t i = 0; i < spec.rank * spec.dim; ++i) {
        if (i % 4 == 0)
            normals = kernels::random_normals(spec.seed, Stream::down, static_cast<std::uint64_t>(i / 4));
        out[i] = normals.value[i % 4];
    }
    return u;
}

/// Inner product in eight interleaved partial sums: one order everywhere, so that a seed gives one matrix.
double dot(const double* a, const double* b, std::int64_t n) {
    double part[8] = {};
    std::int64_t j = 0;
    for (; j + 8 <= n; j += 8)
        for (int lane = 0; lane < 8; ++lane) part[lane] += a[j + lane] * b[j + lane];
    for (; j < n; ++j) part[j % 8] += a[j] * b[j];
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

/// √d·Q: Gram–Schmidt on gaussian rows, each projected twice.
Matrix orthonormal(const NetworkSpec& spec) {
    Matrix u = gaussian(spec);
    const std::int64_t d = spec.dim;
    for (std::int64_t i = 0; i < spec.rank; ++i) {
        double* row = u.row<double>(i);
        for (int pass = 0; pass < 2; ++pass)
            for (std::int64_t l = 0; l < i; ++l) {
                const double* other = u.row<double>(l);
                const double along = dot(row, other, d);
                for (std::int64_t j = 0; j < d; ++j) row[j] -= along * other[j];
            }
        const double norm = std::sqrt(dot(row, row, d));
        for (std::int64_t j = 0; j < d; ++j) row[j] /= norm;
    }
    const double scale = std::sqrt(static_cast<double>(d));
    for (std::int64_t j = 0; j < spec.rank * d; ++j) u.row<double>(0)[j] *= scale;
    return u;
}

/// √p·B, B the top p eigenvectors of XᵀX.
Matrix pca(const NetworkSpec& spec, ConstMatrixView data) {
    if (data.empty())
        throw ValueError(
            "down is pca and no data was given; pass the data that the basis shall be read from");
    if (data.cols != spec.dim)
        throw ShapeError(
            fmt::format("the data for pca has {} columns, the network has dim {}; they must agree",
                        data.cols, spec.dim));
    require_finite(data, "the data for pca");
    const Device device = Device::open("cpu");
    const std::int64_t d = spec.dim;
    Matrix covariance(d, d, DType::f64), vectors(d, d, DType::f64);
    constexpr std::int64_t block = 4096;
    for (std::int64_t i = 0; i < data.rows; i += block) {
        const Matrix rows =
            Matrix::converted(data.row_block(i, std::min(block, data.rows - i)), DType::f64);
        device.ops().gemm(true, false, 1, rows, rows, i == 0 ? 0 : 1, covariance);
    }
    std::vector<double> eigenvalues;
    if (!device.ops().eigh(covariance, eigenvalues, vectors))
        throw Error(
            "the eigenvectors of the data for pca did not converge; use down = orthonormal or srht");
    Matrix u(spec.rank, d, DType::f64);
    const double scale = std::sqrt(static_cast<double>(spec.rank));
    for (std::int64_t q = 0; q < spec.rank; ++q)
        for (std::int64_t j = 0; j < d; ++j) u.at<double>(q, j) = scale * vectors.at<double>(j, d - 1 - q);
    return u;
}

/// p of the D rows of H_D, without repetition, times diag(±1).
Matrix srht(const NetworkSpec& spec) {
    const std::int64_t padded = kernels::next_power_of_two(spec.dim);
    std::vector<std::int64_t> rows(padded);
    std::iota(rows.begin(), rows.end(), 0);
    for (std::int64_t q = 0; q < spec.rank; ++q) {
        const std::uint64_t left = static_cast<std::uint64_t>(padded - q);
        const std::uint64_t pick =
            kernels::random_below(spec.seed, Stream::down_rows, static_cast<std::uint64_t>(q), left);
        std::swap(rows[q], rows[q + static_cast<std::int64_t>(pick)]);
    }
    Matrix u(spec.rank, spec.dim, DType::f64);
    for (std::int64_t q = 0; q < spec.rank; ++q)
        for (std::int64_t j = 0; j < spec.dim; ++j) {
            const bool plus = kernels::random_bit(spec.seed, Stream::down_signs, 0, j);
            u.at<double>(q, j) = plus != kernels::hadamard_negative(rows[q], j) ? 1 : -1;
        }
    return u;
}

}  // namespace

Matrix draw_down(const NetworkSpec& spec, ConstMatrixView data) {
    switch (spec.down) {
        case Down::identity:
            return {};
        case Down::gaussian:
            return gaussian(spec);
        case Down::orthonormal:
            return orthonormal(spec);
        case Down::pca:
            return pca(spec, data);
        case Down::srht:
            return srht(spec);
    }
    return {};
}

FixedPoint round_to_fixed_point(Matrix& down, DType precision) {
    FixedPoint fixed;
    if (down.empty()) return fixed;
    fixed.rows = down.rows();
    fixed.cols = down.cols();
    const std::int64_t count = fixed.rows * fixed.cols;
    double* u = down.row<double>(0);
    double largest = 0;
    for (std::int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(u[i]));
    fixed.exponent = kernels::exponent_of(largest);
    // a largest entry that rounds up to 2^E belongs to the next exponent, so that rounding twice changes
    // nothing
    double scaled = std::ldexp(largest, -fixed.exponent);
    if (kernels::take_digit(scaled, kernels::down_digit_bits) == 1 << kernels::down_digit_bits)
        ++fixed.exponent;
    fixed.digits.assign(precision == DType::f32 ? 1 : 3, std::vector<std::int32_t>(count));
    const kernels::PowerOfTwo to_one(-fixed.exponent), back(fixed.exponent);
    constexpr double digit_unit = 1.0 / (1 << kernels::down_digit_bits);
    for (std::int64_t i = 0; i < count; ++i) {
        double rest = to_one.times(u[i]), rounded = 0, unit = 1;
        for (std::size_t digit = 0; digit < fixed.digits.size(); ++digit) {
            const std::int32_t value = kernels::take_digit(rest, kernels::down_digit_bits);
            fixed.digits[digit][i] = value;
            unit *= digit_unit;
            rounded += unit * value;
        }
        u[i] = back.times(rounded);
    }
    return fixed;
}

}  // namespace fntk

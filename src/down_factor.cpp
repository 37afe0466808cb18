#include "down_factor.hpp"

#include <fntk/device.hpp>
#include <fntk/error.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

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

/// Gram–Schmidt on rows, each projected twice.
void orthonormalise(MatrixView u) {
    for (std::int64_t i = 0; i < u.rows; ++i) {
        double* row = u.row<double>(i);
        for (int pass = 0; pass < 2; ++pass)
            for (std::int64_t l = 0; l < i; ++l) {
                const double* other = u.row<double>(l);
                const double along = dot(row, other, u.cols);
                for (std::int64_t j = 0; j < u.cols; ++j) row[j] -= along * other[j];
            }
        const double norm = std::sqrt(dot(row, row, u.cols));
        for (std::int64_t j = 0; j < u.cols; ++j) row[j] /= norm;
    }
}

/// The same by blocks of rows and products of BLAS.
void orthonormalise(const Device& device, MatrixView u) {
    constexpr std::int64_t block = 64;
    for (std::int64_t first = 0; first < u.rows; first += block) {
        const MatrixView rows = u.row_block(first, std::min(block, u.rows - first)),
                         before = u.row_block(0, first);
        Matrix along(rows.rows, first, DType::f64);
        for (int pass = 0; pass < 2; ++pass) {
            if (first > 0) {
                device.ops().gemm(false, true, 1, rows, before, 0, along);
                device.ops().gemm(false, false, -1, along, before, 1, rows);
            }
            orthonormalise(rows);
        }
    }
}

void scale(MatrixView u, double factor) {
    for (std::int64_t i = 0; i < u.rows; ++i)
        for (std::int64_t j = 0; j < u.cols; ++j) u.row<double>(i)[j] *= factor;
}

/// √d·Q of gaussian rows.
Matrix orthonormal(const NetworkSpec& spec) {
    Matrix u = gaussian(spec);
    orthonormalise(u);
    scale(u, std::sqrt(static_cast<double>(spec.dim)));
    return u;
}

/// Ascending eigenvalues of a symmetric matrix, which is destroyed, and their vectors as columns.
Matrix eigenvectors(const Device& device, Matrix& matrix, std::vector<double>& eigenvalues) {
    Matrix vectors(matrix.rows(), matrix.cols(), DType::f64);
    if (!device.ops().eigh(matrix, eigenvalues, vectors))
        throw Error(
            "the eigenvectors of the data for pca did not converge; use down = orthonormal or srht");
    return vectors;
}

/// The top p eigenvectors of XᵀX, d × d, as rows of u.
void pca_of_columns(const Device& device, ConstMatrixView data, MatrixView u) {
    const std::int64_t d = data.cols;
    Matrix covariance(d, d, DType::f64);
    constexpr std::int64_t block = 4096;
    for (std::int64_t i = 0; i < data.rows; i += block) {
        const Matrix rows =
            Matrix::converted(data.row_block(i, std::min(block, data.rows - i)), DType::f64);
        device.ops().gemm(true, false, 1, rows, rows, i == 0 ? 0 : 1, covariance);
    }
    std::vector<double> eigenvalues;
    const Matrix vectors = eigenvectors(device, covariance, eigenvalues);
    for (std::int64_t q = 0; q < u.rows; ++q)
        for (std::int64_t j = 0; j < d; ++j) u.at<double>(q, j) = vectors.at<double>(j, d - 1 - q);
}

/// The same for fewer rows than columns, from the eigenvectors w of XXᵀ, n × n: Xᵀw/|Xᵀw|. Rows beyond the
/// rank of X become any others, from those of u.
void pca_of_rows(const Device& device, ConstMatrixView data, MatrixView u) {
    const std::int64_t n = data.rows;
    const Matrix rows = Matrix::converted(data, DType::f64);
    Matrix products(n, n, DType::f64);
    device.ops().gemm(false, true, 1, rows, rows, 0, products);
    std::vector<double> eigenvalues;
    const Matrix vectors = eigenvectors(device, products, eigenvalues);
    const double least = static_cast<double>(n) * 0x1p-52 * eigenvalues.back();
    const std::int64_t rank = std::ranges::count_if(eigenvalues, [&](double x) { return x > least; }),
                       top = std::min(rank, u.rows);
    Matrix ascending(top, data.cols, DType::f64);
    device.ops().gemm(true, false, 1, vectors.view().col_block(n - top, top), rows, 0, ascending);
    for (std::int64_t q = 0; q < top; ++q)
        std::copy_n(ascending.row<double>(top - 1 - q), data.cols, u.row<double>(q));
    orthonormalise(device, u);
}

/// √p·B, B the top p right singular vectors of X.
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
    Matrix u = gaussian(spec);
    if (data.rows < data.cols)
        pca_of_rows(device, data, u);
    else
        pca_of_columns(device, data, u);
    scale(u, std::sqrt(static_cast<double>(spec.rank)));
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

}  // namespace fntk

// Rates of this device, measured on the leading samples of the data itself: what the seconds of plans come
// from.
#pragma once

#include "model_parts.hpp"

#include <fntk/error.hpp>
#include <fntk/kernel_function.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

namespace fntk {

inline constexpr std::int64_t largest_side = 1024;  // of a tile or product that is timed
inline constexpr std::int64_t eigen_order = 512;    // of the matrix whose eigenvalues are timed

/// Throws ValueError unless a plan's field has a value that its planner gives.
inline void require_planned(bool planned, const char* field, std::int64_t value, const char* planner) {
    if (!planned)
        throw ValueError(fmt::format("plan.{} = {}: no plan for this has that; give what {} returns", field,
                                     value, planner));
}

/// The better of two runs behind a first one; of a long body one run. `probe` is read at the end of each,
/// which waits for the device.
template <class Body>
double seconds(const Device& device, ConstMatrixView probe, Body&& body) {
    double best = HUGE_VAL;
    for (int run = 0; run < 3; ++run) {
        const auto begin = std::chrono::steady_clock::now();
        body();
        (void)device.on_host(probe.row_block(0, 1)).view();
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
        if (run > 0 || took.count() > 0.3) best = std::min(best, took.count());
        if (took.count() > 0.3) break;
    }
    return best;
}

class Rates {
  public:
    Rates(const Device& device, const KernelFunction& function, std::int64_t tile)
        : device_(device), function_(function), side_(std::min(tile, largest_side)) {}

    [[nodiscard]] std::int64_t side() const { return side_; }
    /// Samples that are measured in place of all.
    [[nodiscard]] ConstMatrixView leading(ConstMatrixView inputs) const {
        return inputs.row_block(0, std::min(inputs.rows, 2 * side_));
    }
    /// Of one pair of samples in a tile, off the diagonal where the batches are one.
    [[nodiscard]] double pair(const KernelBatch& rows, const KernelBatch& cols) const {
        const bool same = &rows == &cols && rows.size() > 1;
        const std::int64_t n = std::min(side_, same ? rows.size() / 2 : rows.size()),
                           m = same ? n : std::min(side_, cols.size()), k = function_.outputs();
        if (n == 0 || m == 0) return 0;
        Matrix out = device_.zeros(n * k, m * k, function_.precision());
        return seconds(device_, out, [&] { rows.tile(0, n, cols, same ? n : 0, m, out); }) /
               (static_cast<double>(n) * static_cast<double>(m));
    }
    /// Of one flop of a product side × side by side × s.
    [[nodiscard]] double flop(std::int64_t s, DType dtype) const {
        const Matrix a = device_.zeros(side_, side_, dtype), b = device_.zeros(side_, s, dtype);
        Matrix c = device_.zeros(side_, s, dtype);
        return seconds(device_, c, [&] { device_.ops().gemm(false, false, 1, a, b, 0, c); }) /
               (2 * static_cast<double>(side_) * static_cast<double>(side_) * static_cast<double>(s));
    }
    [[nodiscard]] double flop64() const { return flop(side_, DType::f64); }
    /// Of the eigenvectors of a symmetric matrix.
    [[nodiscard]] double eigenvectors(double order) const {
        const auto n = std::min(eigen_order, static_cast<std::int64_t>(std::ceil(order)));
        if (n < 1) return 0;
        Matrix host(n, n, DType::f64);
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < n; ++j)
                host.at<double>(i, j) =
                    std::cos(static_cast<double>(i * j)) / (1 + std::fabs(double(i - j)));
        const Matrix matrix = device_.to_device(std::move(host));
        Matrix vectors = device_.zeros(n, n, DType::f64);
        std::vector<double> values;
        const double took =
            seconds(device_, vectors, [&] { (void)device_.ops().eigh(matrix, values, vectors); });
        return took * std::pow(order / static_cast<double>(n), 3);
    }

  private:
    const Device& device_;
    const KernelFunction& function_;
    std::int64_t side_;
};

/// K of all n samples formed in `dtype`.
inline double formed(const Device& device, const KernelBatch& part, std::int64_t tile, DType dtype,
                     double n) {
    Matrix probe = device.zeros(1, 1, dtype);
    const double took = seconds(device, probe, [&] {
        Matrix kernel = device.zeros(part.rows(), part.rows(), dtype);
        fill_kernel(part, tile, kernel, [](double) {});
        device.ops().copy(std::as_const(kernel).view().row_block(0, 1).col_block(0, 1), probe);
    });
    return took * std::pow(n / static_cast<double>(part.size()), 2);
}

/// A product of the stored K with s vectors, from some rows of it: more than caches hold.
inline double dense_product(const Device& device, std::int64_t rows, std::int64_t s, DType dtype) {
    const std::int64_t some = std::min(rows, std::max<std::int64_t>(1, (std::int64_t{1} << 24) / rows));
    const Matrix k = device.zeros(some, rows, dtype), v = device.zeros(rows, s, dtype);
    Matrix out = device.zeros(some, s, dtype);
    return seconds(device, out, [&] { device.ops().gemm(false, false, 1, k, v, 0, out); }) *
           static_cast<double>(rows) / static_cast<double>(some);
}

/// A product of K with s vectors tile by tile, each tile of the triangle made anew: n samples, N rows.
inline double tiled_product(double pair, double flop, double n, double rows, std::int64_t s) {
    return pair * n * n / 2 + 2 * rows * rows * static_cast<double>(s) * flop;
}

/// A product of an operator of some samples with s vectors.
inline double product_of(const Device& device, const LinearOperator& op, std::int64_t s) {
    const Matrix v = device.zeros(op.rows(), s, op.dtype());
    Matrix out = device.zeros(op.rows(), s, op.dtype());
    return seconds(device, out, [&] { op.apply(v, out); });
}

}  // namespace fntk

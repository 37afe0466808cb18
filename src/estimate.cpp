// Seconds of a plan. With N rows of the kernel, s right-hand sides, q the preconditioner's rank:
//     K              formed for some samples, times the square; by tiles n²/2 pairs at the rate of a tile
//     cholesky       N³/3 flops, 2N³ more with the inverse; with eigenvalues a small order's time, cubed
//     preconditioner n·q pairs, N q² flops in the kernel's precision and 4 N q² in double, eigenvalues of q
//     an iteration   a product with K: stored, from some of its rows; by tiles, each made anew; the closed
//                    form from some samples, linear in n; and 4Nqs flops of the preconditioner
//     predictions    a block made ready, linear in n'; by the moment from the same block, else n'·n pairs
//     at
//                    the rate of a tile; variances K formed, 7N³/3 flops in double, and 2n'k'N² more
//     primal         2nQ² + Q³/3 flops in double for Q features
#include "kernel_bytes.hpp"
#include "model_parts.hpp"

#include <fntk/error.hpp>
#include <fntk/estimate.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

namespace fntk {
namespace {

constexpr std::int64_t largest_side = 1024;  // of a tile or product that is timed
constexpr std::int64_t eigen_order = 512;    // of the matrix whose eigenvalues are timed

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
double formed(const Device& device, const KernelBatch& part, std::int64_t tile, DType dtype, double n) {
    Matrix probe = device.zeros(1, 1, dtype);
    const double took = seconds(device, probe, [&] {
        Matrix kernel = device.zeros(part.rows(), part.rows(), dtype);
        fill_kernel(part, tile, kernel, [](double) {});
        device.ops().copy(std::as_const(kernel).view().row_block(0, 1).col_block(0, 1), probe);
    });
    return took * std::pow(n / static_cast<double>(part.size()), 2);
}

/// A product of the stored K with s vectors, from some rows of it: more than caches hold.
double dense_product(const Device& device, std::int64_t rows, std::int64_t s, DType dtype) {
    const std::int64_t some = std::min(rows, std::max<std::int64_t>(1, (std::int64_t{1} << 24) / rows));
    const Matrix k = device.zeros(some, rows, dtype), v = device.zeros(rows, s, dtype);
    Matrix out = device.zeros(some, s, dtype);
    return seconds(device, out, [&] { device.ops().gemm(false, false, 1, k, v, 0, out); }) *
           static_cast<double>(rows) / static_cast<double>(some);
}

/// One product of the closed form with s vectors, for all n samples.
double closed_form(const Device& device, const KernelBatch& part, double n, std::int64_t s) {
    const auto op = make_operator(part, part);
    const Matrix v = device.zeros(op->rows(), s, op->dtype());
    Matrix out = device.zeros(op->rows(), s, op->dtype());
    return seconds(device, out, [&] { op->apply(v, out); }) * n / static_cast<double>(part.size());
}

}  // namespace

FitEstimate estimate_fit(const Device& device, const KernelFunction& function, ConstMatrixView inputs,
                         std::int64_t targets, const FitPlan& plan) {
    if (inputs.rows < 1 || targets < 1)
        throw ValueError(
            fmt::format("{} samples, {} targets: both must be at least 1", inputs.rows, targets));
    const Rates rates(device, function, plan.tile);
    const ConstMatrixView leading = inputs.row_block(0, std::min(inputs.rows, 2 * rates.side()));
    const DType precision = function.precision();
    const KernelExtents x = kernel_extents(function);
    const double n = static_cast<double>(inputs.rows), rows = n * x.effective,
                 q = static_cast<double>(plan.preconditioner_rank);
    const std::int64_t rhs = x.full() ? 1 : targets;
    const auto s = static_cast<double>(rhs);

    Matrix probe = device.zeros(1, 1, precision);
    std::optional<KernelBatch> batch;
    const double ready = seconds(device, probe, [&] { batch.emplace(device, function, leading); });
    FitEstimate estimate{.setup_seconds = ready * n / static_cast<double>(leading.rows)};
    if (plan.solver == Solver::primal) {
        const double features = x.features();
        estimate.setup_seconds +=
            rates.flop64() * (2 * n * features * features + features * features * features / 3);
        return estimate;
    }
    if (plan.solver == Solver::cholesky) {
        estimate.setup_seconds += formed(device, *batch, plan.tile, DType::f64, n);
        batch.reset();
        estimate.setup_seconds +=
            plan.eigenvalues ? rates.eigenvectors(rows)
                             : rates.flop64() * rows * rows * rows * (plan.inverse ? 7.0 / 3 : 1.0 / 3);
        return estimate;
    }
    const double pair = rates.pair(*batch, *batch), thin = rates.flop(rhs, precision);
    estimate.iteration_seconds = 4 * rows * q * s * thin;
    if (plan.stored) {
        estimate.setup_seconds += formed(device, *batch, plan.tile, precision, n);
        estimate.iteration_seconds +=
            dense_product(device, inputs.rows * function.outputs(), rhs, precision);
    } else {
        estimate.iteration_seconds += function.has_moments()
                                          ? closed_form(device, *batch, n, rhs)
                                          : pair * n * n / 2 + 2 * rows * rows * s * thin;
    }
    batch.reset();
    if (q > 0)
        estimate.setup_seconds +=
            pair * n * q / x.effective +
            rows * q * q * (rates.flop(rates.side(), precision) + 4 * rates.flop64()) +
            rates.eigenvectors(q) + rates.eigenvectors(128) * std::ceil(q / 128);
    return estimate;
}

double estimate_gram_file(const Device& device, const KernelFunction& function, ConstMatrixView rows,
                          ConstMatrixView cols, const GramFilePlan& plan) {
    const Rates rates(device, function, plan.tile);
    const auto leading = [&](ConstMatrixView x) {
        return KernelBatch(device, function, x.row_block(0, std::min(x.rows, 2 * rates.side())));
    };
    const KernelBatch left = leading(rows);
    const auto n = static_cast<double>(rows.rows), m = static_cast<double>(cols.rows);
    if (cols.cols == 0) return rates.pair(left, left) * n * (n + 1) / 2;
    return rates.pair(left, leading(cols)) * n * m;
}

double estimate_predict(const Device& device, const KernelModel& model, ConstMatrixView inputs,
                        const PredictPlan& plan) {
    if (inputs.rows == 0) return 0;
    const KernelFunction& function = model.function;
    const KernelExtents x = kernel_extents(function);
    const Rates rates(device, function, plan.tile > 0 ? std::min(plan.block, plan.tile) : plan.block);
    const ConstMatrixView leading = inputs.row_block(0, std::min(inputs.rows, plan.block));
    const auto n = static_cast<double>(inputs.rows), share = n / static_cast<double>(leading.rows),
               samples = static_cast<double>(model.inputs.rows()), rows = samples * x.effective;
    Matrix probe = device.zeros(1, 1, function.precision());
    std::optional<KernelBatch> batch;
    double result = share * seconds(device, probe, [&] { batch.emplace(device, function, leading); });
    if (!model.moment.empty()) {
        const Staged moment = device.staged(model.moment);
        Matrix mean = device.zeros(leading.rows, model.targets, DType::f64);
        result += share * seconds(device, mean, [&] { BatchMoments(*batch).along(moment, mean); });
    }
    if (plan.tile == 0 || samples == 0) return result;
    const KernelBatch train(
        device, function,
        model.inputs.view().row_block(0, std::min(model.inputs.rows(), 2 * rates.side())));
    const double pairs = n * samples * rates.pair(*batch, train);
    if (model.moment.empty())
        result += pairs + 2 * n * x.effective * rows * static_cast<double>(model.dual.cols()) *
                              rates.flop(model.dual.cols(), DType::f64);
    if (plan.variance)
        result += formed(device, train, rates.side(), DType::f64, samples) + pairs +
                  rates.flop64() * rows * rows * (7.0 / 3 * rows + 2 * n * x.effective);
    return result;
}

}  // namespace fntk

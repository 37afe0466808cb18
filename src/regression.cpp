// Kernel ridge regression. K: n × n, Y and α: n × k, K' = K(X', X): n' × n.
//     jitter = λ·mean(diag K)      (K + jitter·I) α = Y by Cholesky      prediction K' α
// Invariants. All arithmetic is in double; the caller's matrices are not written to. K' is converted block
// by block, so that a prediction takes no second copy of it.
#include "device_memory.hpp"
#include "regression_ridge.hpp"

#include <fntk/error.hpp>
#include <fntk/regression.hpp>
#include <fntk/spectrum.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace fntk {
namespace {

/// k = 1 stands for two classes.
void check_class(std::int64_t value, std::size_t index, std::int64_t outputs) {
    const std::int64_t count = std::max<std::int64_t>(outputs, 2);
    if (value < 0 || value >= count)
        throw ValueError(fmt::format(
            "classes[{}] = {}: it must lie in [0, {}) for {} output{}; use more outputs or renumber "
            "the classes",
            index, value, count, outputs, outputs == 1 ? "" : "s"));
}

}  // namespace

RidgeModel fit_ridge(const Device& device, ConstMatrixView given_kernel, ConstMatrixView given_targets,
                     double ridge) {
    const Staged kernel_owner = device.on_host(given_kernel), targets_owner = device.on_host(given_targets);
    const ConstMatrixView kernel = kernel_owner, targets = targets_owner;
    if (!(ridge >= 0) || !std::isfinite(ridge))
        throw ValueError(
            fmt::format("ridge = {}: it must be finite and not negative; 1e-6 is usual", ridge));
    require_symmetric(kernel, "kernel");
    const std::int64_t n = kernel.rows;
    if (targets.rows != n)
        throw ShapeError(
            fmt::format("targets has {} rows, kernel is {} × {}: give one row of targets for each sample",
                        targets.rows, n, n));
    require_real(targets, "targets");

    double mean = 0;
    for (std::int64_t i = 0; i < n; ++i) mean += value(kernel, i, i) / static_cast<double>(n);
    RidgeModel model{{}, ridge, ridge * mean};
    Matrix factor = Matrix::converted(kernel, DType::f64);
    for (std::int64_t i = 0; i < n; ++i) factor.at<double>(i, i) += model.jitter;
    factor = device.to_device(std::move(factor));
    Matrix dual = device.to_device(Matrix::converted(targets, DType::f64));
    const double norm = device.ops().norm(dual);
    const std::int64_t minor = device.ops().solve_spd(factor, dual);
    const bool singular = minor == 0 && is_singular(device.ops().norm(dual), norm, mean, n);
    if (minor == 0 && !singular) {
        model.dual = device.to_host(std::move(dual));
        return model;
    }
    if (!(mean > 0))
        throw Error(
            fmt::format("kernel has a diagonal of mean {}: it is not positive definite at any ridge "
                        "(ridge = {}, leading minor {}); check the data for rows of zeros",
                        mean, ridge, minor));
    const std::string what = singular
                                 ? "singular to working precision"
                                 : fmt::format("not positive definite: leading minor {} of {}", minor, n);
    throw Error(
        fmt::format("kernel + {:.3g}·I is {} (ridge = {}); try ridge = {:.2g}, or remove duplicated rows",
                    model.jitter, what, ridge, larger_ridge(ridge, kernel.dtype, n)));
}

Matrix predict(const Device& device, const RidgeModel& model, ConstMatrixView cross_kernel) {
    return predict(device, model.dual, cross_kernel);
}

Matrix predict(const Device& device, ConstMatrixView given_dual, ConstMatrixView cross_kernel) {
    if (cross_kernel.cols != given_dual.rows)
        throw ShapeError(fmt::format(
            "cross_kernel has {} columns, the model was fitted to {} samples: pass K(X', X) with one "
            "column for each sample",
            cross_kernel.cols, given_dual.rows));
    if (given_dual.dtype != DType::f64)
        throw ValueError(
            fmt::format("dual is {}: it must be float64, as fit_ridge and KernelDescent make it",
                        name(given_dual.dtype)));
    require_real(device, cross_kernel, "cross_kernel");
    constexpr std::int64_t block = 512;
    const Staged dual = device.staged(given_dual);
    Matrix prediction = device.zeros(cross_kernel.rows, given_dual.cols, DType::f64);
    for (std::int64_t i = 0; i < cross_kernel.rows; i += block) {
        const std::int64_t count = std::min(block, cross_kernel.rows - i);
        const Staged rows = device.staged(cross_kernel.row_block(i, count));
        const bool narrow = cross_kernel.dtype == DType::f32;
        Matrix wide = device.zeros(narrow ? count : 0, cross_kernel.cols, DType::f64);
        if (narrow) device.ops().axpby(1, rows, 0, wide);
        device.ops().gemm(false, false, 1, narrow ? wide.view() : rows.view(), dual, 0,
                          prediction.view().row_block(i, count));
    }
    return device.to_host(std::move(prediction));
}

Matrix one_hot(const std::vector<std::int64_t>& classes, std::int64_t outputs) {
    if (outputs < 1)
        throw ValueError(
            fmt::format("outputs = {}: it must be at least 1; use the number of classes", outputs));
    Matrix targets(static_cast<std::int64_t>(classes.size()), outputs, DType::f64);
    const double share = 1 / static_cast<double>(outputs);
    for (std::size_t i = 0; i < classes.size(); ++i) {
        check_class(classes[i], i, outputs);
        double* row = targets.row<double>(static_cast<std::int64_t>(i));
        if (outputs == 1) {
            row[0] = classes[i] == 1 ? 0.5 : -0.5;
            continue;
        }
        std::fill(row, row + outputs, -share);
        row[classes[i]] = 1 - share;
    }
    return targets;
}

double accuracy(ConstMatrixView scores, const std::vector<std::int64_t>& classes) {
    if (scores.rows < 1 || scores.cols < 1)
        throw ShapeError(fmt::format(
            "scores is {} × {}: an accuracy needs at least one row and one column; pass predictions",
            scores.rows, scores.cols));
    if (static_cast<std::int64_t>(classes.size()) != scores.rows)
        throw ShapeError(
            fmt::format("classes has {} entries, scores has {} rows: give one class for each row",
                        classes.size(), scores.rows));
    require_real(scores, "scores");
    std::int64_t right = 0;
    for (std::int64_t i = 0; i < scores.rows; ++i) {
        const std::int64_t truth = classes[static_cast<std::size_t>(i)];
        check_class(truth, static_cast<std::size_t>(i), scores.cols);
        std::int64_t best = scores.cols == 1 && value(scores, i, 0) > 0 ? 1 : 0;
        for (std::int64_t c = 1; c < scores.cols; ++c)
            if (value(scores, i, c) > value(scores, i, best)) best = c;
        right += best == truth;
    }
    return static_cast<double>(right) / static_cast<double>(scores.rows);
}

}  // namespace fntk

// A fit: the plan, one of the ways of kernel_model_fit.hpp, and what the model keeps of its answer.
#include "device_memory.hpp"
#include "kernel_model_fit.hpp"
#include "model_parts.hpp"
#include "regression_ridge.hpp"

#include <fntk/error.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <optional>
#include <utility>

namespace fntk {

void FitProblem::report(double share) const {
    if (options.progress && !options.progress(share))
        throw Cancelled("the fit was cancelled by its progress; nothing is kept of it");
}

bool FitProblem::singular(ConstMatrixView solution, ConstMatrixView of) const {
    return is_singular(device.ops().norm(solution), device.ops().norm(of), mean, batch.rows());
}

void FitProblem::refuse(double ridge, const std::string& what) const {
    if (!(mean > 0))
        throw Error(fmt::format(
            "the kernel has a diagonal of mean {}: it is not positive definite at any ridge; check "
            "the data for rows of zeros",
            mean));
    throw Error(
        fmt::format("K + μI is not positive definite at ridge = {} ({}); try ridge = {:.2g}, or remove "
                    "duplicated rows",
                    ridge, what, larger_ridge(ridge, batch.function().precision(), batch.rows())));
}

FitSolution fit_conjugate_gradients(const FitProblem& problem) {
    const auto& [device, batch, options, plan, rhs, mean] = problem;
    FitSolution fit{.ridge = options.ridges.front()};
    const double shift = problem.jitter(fit.ridge);
    std::unique_ptr<LowRankPreconditioner> preconditioner;
    if (plan.preconditioner_rank > 0 && shift > 0)
        preconditioner = std::make_unique<LowRankPreconditioner>(
            device,
            pivoted_cholesky(batch, plan.preconditioner_rank, options.seed,
                             [&](double share) { return problem.report(0.2 * share), true; }),
            shift);
    Matrix stored;
    std::unique_ptr<LinearOperator> op;
    if (plan.stored) {
        stored = device.zeros(batch.rows(), batch.rows(), batch.function().precision());
        fill_kernel(batch, plan.tile, stored, [&](double share) { problem.report(0.2 + 0.2 * share); });
        op = std::make_unique<DenseOperator>(device, stored);
    } else {
        op = make_operator(batch, batch, plan.tile);
    }
    CgResult result = conjugate_gradient(
        *op, shift, rhs, preconditioner.get(),
        {.tolerance = options.tolerance,
         .max_iterations = options.max_iterations,
         .progress = [&](double share) { return problem.report(0.4 + 0.6 * share), true; }});
    fit.diagnostics.iterations = result.iterations;
    fit.diagnostics.residuals = std::move(result.residuals);
    fit.diagnostics.converged = result.converged;
    fit.values = std::move(result.solution);
    return fit;
}

namespace {

double mean_diagonal(const KernelBatch& batch) {
    double mean = 0;
    for (const double value : batch.diagonal()) mean += value / static_cast<double>(batch.rows());
    if (!std::isfinite(mean))
        throw ValueError(
            fmt::format("the diagonal of K has the mean {}: it leaves the range of {}; scale the data "
                        "down, normalise its "
                        "rows, or take float64",
                        mean, name(batch.function().precision())));
    return mean;
}

FitSolution solve(const FitProblem& problem) {
    switch (problem.plan.solver) {
        case Solver::primal:
            return fit_primal(problem);
        case Solver::cg:
            return fit_conjugate_gradients(problem);
        default:
            return problem.plan.eigenvalues ? fit_eigenvalues(problem) : fit_cholesky(problem);
    }
}

}  // namespace

KernelModel fit_kernel(const Device& device, const KernelFunction& function, ConstMatrixView inputs,
                       ConstMatrixView targets, const FitOptions& options, bool keep_inputs) {
    const bool full = function.output() == KernelOutput::full;
    if (targets.rows != inputs.rows)
        throw ShapeError(
            fmt::format("targets has {} rows, inputs has {}: give one row of targets for each sample",
                        targets.rows, inputs.rows));
    if (full && targets.cols != function.outputs())
        throw ShapeError(fmt::format(
            "targets has {} columns, the full kernel is of {} outputs; give one column for each, or "
            "take the trace kernel",
            targets.cols, function.outputs()));
    require_real(device, targets, "targets");
    const FitPlan plan = plan_fit(function, inputs.rows, targets.cols, options, keep_inputs);
    std::optional<KernelBatch> batch(std::in_place, device, function, inputs);
    KernelModel model{.function = function, .targets = targets.cols, .plan = plan};
    Matrix solution;
    {
        Matrix rhs = device.zeros(targets.rows, targets.cols, DType::f64);
        device.ops().axpby(1, device.staged(targets), 0, rhs);
        if (full) rhs = device.to_device(std::as_const(rhs).view().reshaped(batch->rows(), 1));
        const FitProblem problem{device, *batch, options, plan, std::move(rhs), mean_diagonal(*batch)};
        FitSolution found = solve(problem);
        solution = std::move(found.values);
        model.ridge = found.ridge;
        model.jitter = problem.jitter(found.ridge);
        model.diagnostics = std::move(found.diagnostics);
    }
    if (model.plan.solver == Solver::primal) {
        model.moment = Matrix::converted(solution, function.precision());
        return model;
    }
    if (function.has_moments()) model.moment = device.to_host(BatchMoments(*batch).moments(solution));
    batch.reset();  // before X is copied
    if (!function.has_moments() || keep_inputs) {
        model.inputs = device.to_host(inputs);
        model.dual = device.to_host(as_double(device, solution));
    }
    return model;
}

}  // namespace fntk

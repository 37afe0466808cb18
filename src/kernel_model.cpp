// The ways of solving (K + μI) α = Y, and what a model keeps of the answer. Dense algebra in double;
// conjugate gradients in the kernel's precision.
#include "device_memory.hpp"
#include "model_parts.hpp"
#include "regression_ridge.hpp"

#include <fntk/error.hpp>
#include <fntk/kernel_model.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <utility>

namespace fntk {
namespace {

[[noreturn]] void refuse_ridge(const KernelFunction& function, double ridge, double mean,
                               const std::string& what, std::int64_t rows) {
    if (!(mean > 0))
        throw Error(fmt::format(
            "the kernel has a diagonal of mean {}: it is not positive definite at any ridge; check "
            "the data for rows of zeros",
            mean));
    throw Error(
        fmt::format("K + μI is not positive definite at ridge = {} ({}); try ridge = {:.2g}, or remove "
                    "duplicated rows",
                    ridge, what, larger_ridge(ridge, function.precision(), rows)));
}

class Fit {
  public:
    Fit(const Device& device, const KernelBatch& batch, const FitOptions& options, FitPlan plan, Matrix rhs)
        : device_(device),
          ops_(device.ops()),
          batch_(batch),
          options_(options),
          plan_(std::move(plan)),
          rhs_(std::move(rhs)) {
        for (const double value : batch.diagonal()) mean_ += value / static_cast<double>(batch.rows());
    }

    /// α, N × s on the device; for primal the moment instead.
    Matrix solve() {
        ridge_ = options_.ridges.front();
        switch (plan_.solver) {
            case Solver::primal:
                return primal();
            case Solver::cg:
                return conjugate_gradients();
            default:
                return plan_.eigenvalues ? by_eigenvalues() : cholesky();
        }
    }
    [[nodiscard]] double ridge() const { return ridge_; }
    [[nodiscard]] double jitter() const { return ridge_ * mean_; }
    [[nodiscard]] FitDiagnostics diagnostics() const { return diagnostics_; }

  private:
    void report(double share) const {
        if (options_.progress && !options_.progress(share)) throw Error("cancelled");
    }

    Matrix cholesky() {
        Matrix kernel =
            dense_kernel(batch_, plan_.tile, jitter(), [&](double share) { report(share / 2); });
        Matrix dual = as_double(device_, rhs_);
        const std::int64_t minor = ops_.solve_spd(kernel, dual);
        if (minor != 0)
            refuse_ridge(batch_.function(), ridge_, mean_, fmt::format("leading minor {}", minor),
                         batch_.rows());
        if (singular(dual))
            refuse_ridge(batch_.function(), ridge_, mean_, "singular to working precision", batch_.rows());
        return dual;
    }

    /// Whether ‖α‖ says that an eigenvalue of K + μI is at the level of rounding, below N·eps·mean(diag K).
    [[nodiscard]] bool singular(const Matrix& dual) const {
        const double n = static_cast<double>(batch_.rows()), least = n * 0x1p-52 * mean_;
        return !(ops_.norm(dual) * least <= ops_.norm(rhs_));
    }

    Matrix by_eigenvalues() {
        const std::int64_t n = batch_.rows(), s = rhs_.cols();
        Matrix vectors = device_.zeros(n, n, DType::f64);
        std::vector<double> lambda;
        {
            const Matrix kernel =
                dense_kernel(batch_, plan_.tile, 0, [&](double share) { report(share / 4); });
            if (!ops_.eigh(kernel, lambda, vectors))
                throw Error("the eigensolver failed on the kernel; use another ridge or solver");
        }
        report(0.9);
        const Matrix rhs = as_double(device_, rhs_);
        Matrix turned = device_.zeros(n, s, DType::f64);  // Qᵀ Y
        ops_.gemm(true, false, 1, vectors, rhs, 0, turned);
        const Staged along = device_.on_host(turned), q = device_.on_host(vectors);
        std::size_t best = options_.ridges.size();
        Matrix chosen;
        for (std::size_t r = 0; r < options_.ridges.size(); ++r) {
            const double shift = options_.ridges[r] * mean_;
            diagnostics_.leave_one_out.push_back(HUGE_VAL);  // no model at this ridge
            diagnostics_.log_evidence.push_back(-HUGE_VAL);
            if (!(lambda.front() + shift > 0)) continue;
            Matrix dual = solution(lambda, along, q, shift);
            if (singular(dual)) continue;
            judge(lambda, along, q, shift, dual);
            const auto better = [&](std::size_t a, std::size_t b) {
                return options_.selection == Selection::evidence
                           ? diagnostics_.log_evidence[a] > diagnostics_.log_evidence[b]
                           : diagnostics_.leave_one_out[a] < diagnostics_.leave_one_out[b];
            };
            if (best < options_.ridges.size() && !better(r, best)) continue;
            best = r;
            chosen = std::move(dual);
        }
        if (best == options_.ridges.size())
            refuse_ridge(
                batch_.function(), *std::max_element(options_.ridges.begin(), options_.ridges.end()), mean_,
                fmt::format("smallest eigenvalue {:.3g}, singular to working precision", lambda.front()),
                n);
        ridge_ = options_.ridges[best];
        return chosen;
    }

    /// α = Q (Λ + μ)⁻¹ QᵀY.
    Matrix solution(const std::vector<double>& lambda, ConstMatrixView along, ConstMatrixView q,
                    double shift) {
        Matrix scaled(along.rows, along.cols, DType::f64);
        for (std::int64_t j = 0; j < along.rows; ++j)
            for (std::int64_t c = 0; c < along.cols; ++c)
                scaled.at<double>(j, c) =
                    along.at<double>(j, c) / (lambda[static_cast<std::size_t>(j)] + shift);
        Matrix dual = device_.zeros(along.rows, along.cols, DType::f64);
        ops_.gemm(false, false, 1, device_.staged(q), device_.staged(scaled), 0, dual);
        return dual;
    }

    /// Leave-one-out error from [(K + μI)⁻¹]_ii = Σ_j Q_ij²/(λ_j + μ), evidence from yᵀα = Σ_j
    /// (Qᵀy)_j²/(λ_j + μ) and log det = Σ_j log(λ_j + μ); all on the host.
    void judge(const std::vector<double>& lambda, ConstMatrixView along, ConstMatrixView q, double shift,
               const Matrix& dual) {
        const std::int64_t n = q.rows, s = along.cols;
        double log_det = 0, fit = 0, squares = 0;
        for (std::int64_t j = 0; j < n; ++j) {
            const double value = lambda[static_cast<std::size_t>(j)] + shift;
            log_det += std::log(value);
            for (std::int64_t c = 0; c < s; ++c) fit += std::pow(along.at<double>(j, c), 2) / value;
        }
        const Staged alpha = device_.on_host(dual);
        for (std::int64_t i = 0; i < n; ++i) {
            double inverse = 0;
            const double* row = q.row<double>(i);
            for (std::int64_t j = 0; j < n; ++j)
                inverse += row[j] * row[j] / (lambda[static_cast<std::size_t>(j)] + shift);
            for (std::int64_t c = 0; c < s; ++c)
                squares += std::pow(alpha.view().at<double>(i, c) / inverse, 2);
        }
        const auto points = static_cast<double>(n), columns = static_cast<double>(s);
        diagnostics_.leave_one_out.back() = std::sqrt(squares / (points * columns));
        diagnostics_.log_evidence.back() =
            -0.5 * fit - 0.5 * columns * (log_det + points * std::log(2 * std::numbers::pi));
    }

    Matrix conjugate_gradients() {
        const double shift = jitter();
        std::unique_ptr<LowRankPreconditioner> preconditioner;
        if (plan_.preconditioner_rank > 0 && shift > 0)
            preconditioner = std::make_unique<LowRankPreconditioner>(
                device_,
                pivoted_cholesky(batch_, plan_.preconditioner_rank, options_.seed,
                                 [&](double share) { return report(0.2 * share), true; }),
                shift);
        Matrix stored;
        std::unique_ptr<LinearOperator> op;
        if (plan_.stored) {
            stored = device_.zeros(batch_.rows(), batch_.rows(), batch_.function().precision());
            fill_kernel(batch_, plan_.tile, stored, [&](double share) { report(0.2 + 0.2 * share); });
            op = std::make_unique<DenseOperator>(device_, stored);
        } else {
            op = make_operator(batch_, batch_, plan_.tile);
        }
        CgResult result =
            conjugate_gradient(*op, shift, rhs_, preconditioner.get(),
                               {.tolerance = options_.tolerance,
                                .max_iterations = options_.max_iterations,
                                .progress = [&](double share) { return report(0.4 + 0.6 * share), true; }});
        diagnostics_.iterations = result.iterations;
        diagnostics_.residuals = std::move(result.residuals);
        diagnostics_.converged = result.converged;
        return std::move(result.solution);
    }

    /// w of (ΦᵀΦ + μI) w = ΦᵀY as the moments M_c (P × d), one below the other, Φ_i = √scale·vec(G_i x_iᵀ):
    /// the prediction <√scale·vec(G xᵀ), w_c> is <G, M_c x> with M_c = √scale·w_c.
    Matrix primal() {
        const BatchMoments parts(batch_);
        const DownForm form = parts.form();
        const std::int64_t n = batch_.rows(), features = form.rank * form.inputs.cols, s = rhs_.cols();
        Matrix normal = device_.zeros(features, features, DType::f64),
               w = device_.zeros(features, s, DType::f64);
        for (std::int64_t i = 0; i < n; i += plan_.tile) {
            const std::int64_t count = std::min(plan_.tile, n - i);
            Matrix rows = device_.zeros(count, features, batch_.function().precision());
            ops_.outer_rows(form.gradients.row_block(i, count), form.inputs.row_block(i, count), rows);
            const Matrix phi = as_double(device_, rows);
            ops_.gemm(true, false, form.scale, phi, phi, i == 0 ? 0 : 1, normal);
            ops_.gemm(true, false, std::sqrt(form.scale), phi,
                      as_double(device_, rhs_.view().row_block(i, count)), i == 0 ? 0 : 1, w);
            report(0.9 * static_cast<double>(i) / static_cast<double>(n));
        }
        add_to_diagonal(device_, normal, jitter());
        const std::int64_t minor = ops_.solve_spd(normal, w);
        if (minor != 0)
            refuse_ridge(batch_.function(), ridge_, mean_, fmt::format("leading minor {} of ΦᵀΦ", minor),
                         n);
        const Staged host = device_.on_host(w);
        Matrix moments(s * form.rank, form.inputs.cols, DType::f64);
        for (std::int64_t c = 0; c < s; ++c)
            for (std::int64_t f = 0; f < features; ++f)
                moments.row<double>(c * form.rank)[f] =
                    std::sqrt(form.scale) * host.view().at<double>(f, c);
        return moments;
    }

    const Device& device_;
    backend::Ops& ops_;
    const KernelBatch& batch_;
    const FitOptions& options_;
    FitPlan plan_;
    Matrix rhs_;
    double mean_ = 0, ridge_ = 0;
    FitDiagnostics diagnostics_;
};

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
    FitPlan plan = plan_fit(function, inputs.rows, targets.cols, options, keep_inputs);
    std::optional<KernelBatch> batch(std::in_place, device, function, inputs);
    KernelModel model{.function = function, .targets = targets.cols, .plan = plan};
    Matrix solution;
    {
        Matrix rhs = device.zeros(targets.rows, targets.cols, DType::f64);
        device.ops().axpby(1, device.staged(targets), 0, rhs);
        if (full) rhs = device.to_device(std::as_const(rhs).view().reshaped(batch->rows(), 1));
        Fit fit(device, *batch, options, std::move(plan), std::move(rhs));
        solution = fit.solve();
        model.ridge = fit.ridge();
        model.jitter = fit.jitter();
        model.diagnostics = fit.diagnostics();
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

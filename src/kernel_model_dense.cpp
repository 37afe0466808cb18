// K formed and solved in double. With A = K + μI, α = A⁻¹Y and [A⁻¹]_ii the k × k block of sample i (one
// number but for the full kernel) the residuals of the refits without one sample are
//     y_i − f_{−i}(x_i) = [A⁻¹]_ii⁻¹ α_i
// since A α = Y with row block i left free is solved by α − A⁻¹[:, i] [A⁻¹]_ii⁻¹ α_i.
#include "device_memory.hpp"
#include "kernel_model_fit.hpp"
#include "model_parts.hpp"

#include <fntk/error.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>
#include <Eigen/Cholesky>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace fntk {
namespace {

/// Root mean square of [A⁻¹]_ii⁻¹ α_i; alpha N × s on the host, inverse(r, q) an entry of A⁻¹.
template <class Inverse>
double leave_one_out(ConstMatrixView alpha, std::int64_t k, Inverse&& inverse) {
    double squares = 0;
    Eigen::MatrixXd block(k, k), of_sample(k, alpha.cols);
    for (std::int64_t i = 0; i < alpha.rows; i += k) {
        for (std::int64_t a = 0; a < k; ++a) {
            for (std::int64_t b = 0; b <= a; ++b) block(a, b) = block(b, a) = inverse(i + a, i + b);
            for (std::int64_t c = 0; c < alpha.cols; ++c) of_sample(a, c) = alpha.at<double>(i + a, c);
        }
        squares += block.ldlt().solve(of_sample).squaredNorm();
    }
    return std::sqrt(squares / static_cast<double>(alpha.rows * alpha.cols));
}

/// K = Q Λ Qᵀ, and QᵀY.
class Spectral {
  public:
    explicit Spectral(const FitProblem& problem)
        : problem_(problem),
          ops_(problem.device.ops()),
          vectors_(problem.device.zeros(problem.batch.rows(), problem.batch.rows(), DType::f64)) {
        const Device& device = problem.device;
        {
            const Matrix kernel = dense_kernel(problem.batch, problem.plan.tile, 0,
                                               [&](double share) { problem.report(share / 4); });
            if (!ops_.eigh(kernel, lambda_, vectors_))
                throw Error("the eigensolver failed on the kernel; use another ridge or solver");
        }
        Matrix turned = device.zeros(problem.rhs.rows(), problem.rhs.cols(), DType::f64);
        ops_.gemm(true, false, 1, vectors_, problem.rhs, 0, turned);
        along_ = device.to_host(std::move(turned));
        q_ = device.on_host(vectors_);
    }

    [[nodiscard]] double least() const { return lambda_.front(); }

    /// α = Q (Λ + μ)⁻¹ QᵀY.
    [[nodiscard]] Matrix solution(double shift) const {
        const Device& device = problem_.device;
        Matrix scaled(along_.rows(), along_.cols(), DType::f64);
        for (std::int64_t j = 0; j < along_.rows(); ++j)
            for (std::int64_t c = 0; c < along_.cols(); ++c)
                scaled.at<double>(j, c) = along_.at<double>(j, c) / shifted(j, shift);
        Matrix dual = device.zeros(along_.rows(), along_.cols(), DType::f64);
        ops_.gemm(false, false, 1, vectors_, device.staged(scaled), 0, dual);
        return dual;
    }

    /// From [A⁻¹]_rq = Σ_j Q_rj Q_qj/(λ_j + μ).
    [[nodiscard]] double leave_one_out_error(const Matrix& dual, double shift) const {
        const auto inverse = [&](std::int64_t a, std::int64_t b) {
            const double *left = q_.view().row<double>(a), *right = q_.view().row<double>(b);
            double sum = 0;
            for (std::int64_t j = 0; j < along_.rows(); ++j) sum += left[j] * right[j] / shifted(j, shift);
            return sum;
        };
        return leave_one_out(problem_.device.on_host(dual), problem_.batch.function().outputs(), inverse);
    }

    /// From yᵀα = Σ_j (Qᵀy)_j²/(λ_j + μ) and log det A = Σ_j log(λ_j + μ).
    [[nodiscard]] double evidence(double shift) const {
        double log_det = 0, fit = 0;
        for (std::int64_t j = 0; j < along_.rows(); ++j) {
            log_det += std::log(shifted(j, shift));
            for (std::int64_t c = 0; c < along_.cols(); ++c)
                fit += std::pow(along_.at<double>(j, c), 2) / shifted(j, shift);
        }
        return log_evidence(fit, log_det, along_.rows(), along_.cols());
    }

  private:
    [[nodiscard]] double shifted(std::int64_t j, double shift) const {
        return lambda_[static_cast<std::size_t>(j)] + shift;
    }

    const FitProblem& problem_;
    backend::Ops& ops_;
    Matrix vectors_, along_;
    Staged q_;  // the vectors, on the host
    std::vector<double> lambda_;
};

}  // namespace

FitSolution fit_cholesky(const FitProblem& problem) {
    const Device& device = problem.device;
    backend::Ops& ops = device.ops();
    const std::int64_t n = problem.rhs.rows(), s = problem.rhs.cols(),
                       identity = problem.plan.inverse ? n : 0;
    FitSolution result{.ridge = problem.options.ridges.front()};
    Matrix kernel = dense_kernel(problem.batch, problem.plan.tile, problem.jitter(result.ridge),
                                 [&](double share) { problem.report(share / 2); });
    Matrix solved = device.zeros(n, s + identity, DType::f64);  // A⁻¹[Y | I]
    ops.axpby(1, problem.rhs, 0, solved.view().col_block(0, s));
    if (identity > 0) add_to_diagonal(device, solved.view().col_block(s, n), 1);
    const std::int64_t minor = ops.solve_spd(kernel, solved);
    if (minor != 0) problem.refuse(result.ridge, fmt::format("leading minor {}", minor));
    const double log_det = log_det_of_factor(device, kernel);
    kernel = {};
    const Staged host = device.on_host(solved);
    const ConstMatrixView alpha = host.view().col_block(0, s);
    const auto entry = [&](std::int64_t a, std::int64_t b) { return host.view().at<double>(a, s + b); };
    if (identity > 0)
        result.diagnostics.leave_one_out = {
            leave_one_out(alpha, problem.batch.function().outputs(), entry)};
    const Staged y = device.on_host(problem.rhs);
    double fit = 0;
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t c = 0; c < s; ++c) fit += y.view().at<double>(i, c) * alpha.at<double>(i, c);
    result.diagnostics.log_evidence = {log_evidence(fit, log_det, n, s)};
    result.values = identity == 0 ? std::move(solved) : as_double(device, device.staged(alpha));
    if (problem.singular(result.values, problem.rhs))
        problem.refuse(result.ridge, "singular to working precision");
    return result;
}

FitSolution fit_eigenvalues(const FitProblem& problem) {
    const Spectral kernel(problem);
    problem.report(0.9);
    FitSolution result;
    FitDiagnostics& found = result.diagnostics;
    const std::vector<double>& ridges = problem.options.ridges;
    const auto score = [&](std::size_t r) {  // the larger, the better
        return problem.options.selection == Selection::evidence ? found.log_evidence[r]
                                                                : -found.leave_one_out[r];
    };
    std::size_t best = ridges.size();
    for (std::size_t r = 0; r < ridges.size(); ++r) {
        const double shift = problem.jitter(ridges[r]);
        found.leave_one_out.push_back(HUGE_VAL);  // no model at this ridge
        found.log_evidence.push_back(-HUGE_VAL);
        if (!(kernel.least() + shift > 0)) continue;
        Matrix dual = kernel.solution(shift);
        if (problem.singular(dual, problem.rhs)) continue;
        found.leave_one_out.back() = kernel.leave_one_out_error(dual, shift);
        found.log_evidence.back() = kernel.evidence(shift);
        if (best < ridges.size() && !(score(r) > score(best))) continue;
        best = r;
        result.values = std::move(dual);
    }
    if (best == ridges.size())
        problem.refuse(
            *std::max_element(ridges.begin(), ridges.end()),
            fmt::format("smallest eigenvalue {:.3g}, singular to working precision", kernel.least()));
    result.ridge = ridges[best];
    return result;
}

double log_evidence(double fit, double log_det, std::int64_t rows, std::int64_t columns) {
    const auto n = static_cast<double>(rows), s = static_cast<double>(columns);
    return -0.5 * fit - 0.5 * s * (log_det + n * std::log(2 * std::numbers::pi));
}

double log_det_of_factor(const Device& device, ConstMatrixView factor) {
    constexpr std::int64_t block = 256;
    double sum = 0;
    for (std::int64_t i = 0; i < factor.rows; i += block) {
        const std::int64_t count = std::min(block, factor.rows - i);
        const Staged part = device.on_host(factor.row_block(i, count).col_block(i, count));
        for (std::int64_t j = 0; j < count; ++j) sum += 2 * std::log(part.view().at<double>(j, j));
    }
    return sum;
}

}  // namespace fntk

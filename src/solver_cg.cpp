// Conjugate gradients for s right-hand sides at once. The recurrences are those of s separate solves; they
// share each product with K. Vectors never leave the device. Columns that have converged stand still.
#include "device_memory.hpp"

#include <fntk/error.hpp>
#include <fntk/solver.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace fntk {
namespace {

class ConjugateGradient {
  public:
    ConjugateGradient(const LinearOperator& op, double shift, const Preconditioner* preconditioner,
                      Matrix rhs)
        : op_(op),
          device_(op.device()),
          ops_(device_.ops()),
          shift_(shift),
          preconditioner_(preconditioner),
          n_(rhs.rows()),
          s_(rhs.cols()),
          x_(vectors()),
          r_(vectors()),
          z_(vectors()),
          p_(vectors()),
          q_(vectors()),
          rhs_(std::move(rhs)),
          norms_(roots(ops_.column_dots(rhs_, rhs_))) {}

    CgResult run(const CgOptions& options) {
        ops_.axpby(1, rhs_, 0, r_);
        CgResult result;
        double best = HUGE_VAL;  // of the true residuals
        int since_best = 0;
        bool restart = true;
        std::vector<double> rz, previous;
        while (true) {
            const std::vector<double> norms = roots(ops_.column_dots(r_, r_));
            std::vector<bool> active(norms.size());
            for (std::size_t j = 0; j < norms.size(); ++j)
                active[j] = norms[j] > options.tolerance * norms_[j];
            const bool done = std::none_of(active.begin(), active.end(), [](bool a) { return a; });
            result.cancelled = !done && !report(options, norms);
            const bool stop = result.iterations == options.max_iterations || result.cancelled;
            if (done || stop) {
                result.residuals = true_residuals();
                const double worst = *std::max_element(result.residuals.begin(), result.residuals.end());
                result.converged = worst <= options.tolerance;
                since_best = worst < 0.9 * best ? 0 : since_best + 1;
                best = std::min(best, worst);
                result.stagnated = !result.converged && since_best >= 3;
                if (result.converged || stop || result.stagnated) break;
                restart = true;  // r_ now is the true residual
                continue_from(result.residuals, options.tolerance, active);
            }
            precondition();
            previous = std::exchange(rz, ops_.column_dots(r_, z_));
            std::vector<double> beta(rz.size());
            for (std::size_t j = 0; j < beta.size() && !restart; ++j)
                beta[j] = active[j] && previous[j] > 0 ? rz[j] / previous[j] : 0;
            restart = false;
            ops_.scale_columns(beta, p_, 0, q_);  // p = z + p·beta
            ops_.axpby(1, z_, 1, q_);
            std::swap(p_, q_);
            multiply(p_, q_);
            const std::vector<double> curvature = ops_.column_dots(p_, q_);
            std::vector<double> alpha(rz.size()), minus(rz.size());
            for (std::size_t j = 0; j < alpha.size(); ++j) {
                if (!active[j]) continue;
                if (!(curvature[j] > 0)) refuse(curvature[j]);
                alpha[j] = rz[j] / curvature[j];
                minus[j] = -alpha[j];
            }
            ops_.scale_columns(alpha, p_, 1, x_);
            ops_.scale_columns(minus, q_, 1, r_);
            ++result.iterations;
        }
        result.solution = std::move(x_);
        return result;
    }

  private:
    [[nodiscard]] Matrix vectors() const { return device_.zeros(n_, s_, op_.dtype()); }

    static std::vector<double> roots(std::vector<double> squares) {
        for (double& value : squares) value = std::sqrt(std::max(value, 0.0));
        return squares;
    }
    void multiply(const Matrix& v, Matrix& out) {
        op_.apply(v, out);
        ops_.axpby(shift_, v, 1, out);
    }
    void precondition() {
        if (preconditioner_ != nullptr) return preconditioner_->apply(r_, z_);
        ops_.axpby(1, r_, 0, z_);
    }
    /// r = b − (K + μI) x, and its norms relative to b's.
    std::vector<double> true_residuals() {
        multiply(x_, q_);
        ops_.axpby(1, rhs_, 0, r_);
        ops_.axpby(-1, q_, 1, r_);
        std::vector<double> result = roots(ops_.column_dots(r_, r_));
        for (std::size_t j = 0; j < result.size(); ++j) {
            if (!std::isfinite(result[j]))
                throw Error(fmt::format(
                    "the residual of right-hand side {} is {}: a product with the kernel is not "
                    "finite; check the scale of the data",
                    j, result[j]));
            result[j] = norms_[j] > 0 ? result[j] / norms_[j] : 0;
        }
        return result;
    }
    static void continue_from(const std::vector<double>& residuals, double tolerance,
                              std::vector<bool>& active) {
        for (std::size_t j = 0; j < residuals.size(); ++j) active[j] = residuals[j] > tolerance;
    }
    bool report(const CgOptions& options, const std::vector<double>& norms) const {
        if (!options.progress) return true;
        double worst = 0;
        for (std::size_t j = 0; j < norms.size(); ++j)
            if (norms_[j] > 0) worst = std::max(worst, norms[j] / norms_[j]);
        const double share = worst > 0 ? std::log(worst) / std::log(std::min(options.tolerance, 0.5)) : 1;
        return options.progress(std::clamp(share, 0.0, 1.0));
    }
    [[noreturn]] void refuse(double curvature) const {
        throw Error(
            fmt::format("K + {:.3g}·I has the curvature {:.3g} in some direction: as rounded it is not "
                        "positive definite; use a larger ridge, or float64",
                        shift_, curvature));
    }

    const LinearOperator& op_;
    const Device& device_;
    backend::Ops& ops_;
    double shift_;
    const Preconditioner* preconditioner_;
    std::int64_t n_, s_;
    Matrix x_, r_, z_, p_, q_, rhs_;
    std::vector<double> norms_;  // of the right-hand sides
};

}  // namespace

Preconditioner::~Preconditioner() = default;

CgResult conjugate_gradient(const LinearOperator& op, double shift, ConstMatrixView rhs,
                            const Preconditioner* preconditioner, const CgOptions& options) {
    if (op.rows() != op.cols() || rhs.rows != op.rows() || rhs.cols < 1 || rhs.rows < 1)
        throw ShapeError(
            fmt::format("the operator is {} × {} and rhs {} × {}: it must be square, rhs with as many "
                        "rows and at least one column",
                        op.rows(), op.cols(), rhs.rows, rhs.cols));
    if (!(shift >= 0) || !std::isfinite(shift))
        throw ValueError(fmt::format("shift = {}: it must be finite and not negative", shift));
    if (!(options.tolerance > 0))
        throw ValueError(
            fmt::format("tolerance = {}: it must be positive; 1e-4 is usual", options.tolerance));
    if (options.max_iterations < 1)
        throw ValueError(fmt::format("max_iterations = {}: it must be at least 1", options.max_iterations));
    const Device& device = op.device();
    require_real(device, rhs, "rhs");
    Matrix own = device.zeros(rhs.rows, rhs.cols, op.dtype());
    device.ops().axpby(1, device.staged(rhs), 0, own);
    return ConjugateGradient(op, shift, preconditioner, std::move(own)).run(options);
}

}  // namespace fntk

// Conjugate gradients for s right-hand sides at once. The recurrences are those of s separate solves; they
// share each product with K. Vectors and the numbers of an iteration never leave the device: the host looks
// at four rows of them every Ops::look_every() iterations. Columns that have converged stand still, so
// that the iterations issued since change nothing.
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
          numbers_(device_.zeros(row_count, s_, DType::f64)),
          norms_(lengths(rhs_)) {}

    CgResult run(const CgOptions& options) {
        Matrix start(row_count, s_, DType::f64);
        for (std::int64_t j = 0; j < s_; ++j) {
            // Below it |r|/|b| is at most the tolerance, however both are rounded.
            limits_.push_back(options.tolerance * norms_[static_cast<std::size_t>(j)] * (1 - 0x1p-50));
            start.at<double>(least, j) = HUGE_VAL;
            start.at<double>(limit, j) = limits_.back();
        }
        ops_.copy(start, numbers_);
        ops_.axpby(1, rhs_, 0, r_);
        measure_residuals();
        const bool replayed =
            op_.only_issues() && (preconditioner_ == nullptr || preconditioner_->only_issues());
        const std::unique_ptr<backend::Repeated> iteration =
            replayed ? ops_.repeated([this] { iterate(); }) : nullptr;
        CgResult result;
        std::vector<double> counts(limits_.size());
        double best = HUGE_VAL;  // of the true residuals
        int since_best = 0;
        while (true) {
            const Looked now = look();
            result.iterations += now.iterations_since(counts);
            counts = now.counts;
            const bool done = !now.active;
            result.cancelled = !done && !report(options, now.lengths);
            const bool stop = result.iterations >= options.max_iterations || result.cancelled;
            if (done || stop) {
                result.residuals = true_residuals();
                const double worst = *std::max_element(result.residuals.begin(), result.residuals.end());
                result.converged = worst <= options.tolerance;
                since_best = worst < 0.9 * best ? 0 : since_best + 1;
                best = std::min(best, worst);
                result.stagnated = !result.converged && since_best >= 3;
                if (result.converged || stop || result.stagnated) break;
                ops_.zero(row(previous));  // r and |r| now are true: start again from them
            }
            const int iterations = std::min(ops_.look_every(), options.max_iterations - result.iterations);
            for (int i = 0; i < iterations; ++i) {
                if (iteration)
                    iteration->run();
                else
                    iterate();
            }
        }
        result.solution = std::move(x_);
        return result;
    }

  private:
    // The numbers of the columns; the first four are what the host looks at.
    enum Row { length, least, count, rz, limit, previous, factor, curvature, row_count };
    [[nodiscard]] MatrixView row(Row which) { return numbers_.view().row_block(which, 1); }

    /// One iteration from r and |r|. A column with |r| at its limit has r·z taken for 0: then its p starts
    /// again from z, and x and r stay.
    void iterate() {
        precondition();
        ops_.column_dots(r_, z_, row(rz));
        ops_.keep_above(row(length), row(limit), row(rz), row(count));
        ops_.divide(row(rz), row(previous), row(factor), {});
        ops_.axpby(1, row(rz), 0, row(previous));
        ops_.combine_columns(1, {}, z_, 1, row(factor), p_);  // p = z + p·β
        multiply(p_, q_);
        ops_.column_dots(p_, q_, row(curvature));
        ops_.divide(row(rz), row(curvature), row(factor), row(least));
        ops_.combine_columns(1, row(factor), p_, 1, {}, x_);  // x += p·α
        ops_.combine_columns(-1, row(factor), q_, 1, {}, r_);
        measure_residuals();
    }
    void measure_residuals() {
        ops_.column_dots(r_, r_, row(length));
        ops_.square_roots(row(length));
    }

    struct Looked {
        std::vector<double> lengths, counts;
        bool active = false;  // some column is above its limit

        /// Between two looks no column rises above its limit again: those that stay longest count them all.
        [[nodiscard]] int iterations_since(const std::vector<double>& before) const {
            double most = 0;
            for (std::size_t j = 0; j < counts.size(); ++j) most = std::max(most, counts[j] - before[j]);
            return static_cast<int>(most);
        }
    };
    Looked look() {
        const Staged seen = device_.on_host(numbers_.view().row_block(0, rz + 1));
        Looked result;
        for (std::int64_t j = 0; j < s_; ++j) {
            const double bend = value(seen, least, j);
            if (!(bend > 0)) refuse(bend);
            result.lengths.push_back(value(seen, length, j));
            result.counts.push_back(value(seen, count, j));
            const bool above = result.lengths.back() > limits_[static_cast<std::size_t>(j)];
            if (above && result.counts.back() > 0 && value(seen, rz, j) == 0)  // it was above before
                throw Error(
                    "the preconditioner is not positive definite: it makes 0 of a residual, or what is "
                    "orthogonal to it");
            result.active |= above;
        }
        return result;
    }

    [[nodiscard]] Matrix vectors() const { return device_.zeros(n_, s_, op_.dtype()); }

    std::vector<double> lengths(ConstMatrixView columns) {
        ops_.column_dots(columns, columns, row(length));
        ops_.square_roots(row(length));
        const Staged seen = device_.on_host(row(length));
        std::vector<double> result;
        for (std::int64_t j = 0; j < s_; ++j) result.push_back(value(seen, 0, j));
        return result;
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
        std::vector<double> result = lengths(r_);
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
    bool report(const CgOptions& options, const std::vector<double>& norms) const {
        if (!options.progress) return true;
        double worst = 0;
        for (std::size_t j = 0; j < norms.size(); ++j)
            if (norms_[j] > 0) worst = std::max(worst, norms[j] / norms_[j]);
        const double share = worst > 0 ? std::log(worst) / std::log(std::min(options.tolerance, 0.5)) : 1;
        return options.progress(std::clamp(share, 0.0, 1.0));
    }
    [[noreturn]] void refuse(double bend) const {
        throw Error(
            fmt::format("K + {:.3g}·I has the curvature {:.3g} in some direction: as rounded it is not "
                        "positive definite; use a larger ridge, or float64",
                        shift_, bend));
    }

    const LinearOperator& op_;
    const Device& device_;
    backend::Ops& ops_;
    double shift_;
    const Preconditioner* preconditioner_;
    std::int64_t n_, s_;
    Matrix x_, r_, z_, p_, q_, rhs_;
    Matrix numbers_;                      // row_count × s, f64
    std::vector<double> norms_, limits_;  // of the right-hand sides; tolerance times that
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

// The parts of the planner: the reference kernel, a draw measured against it, sizes that the families
// admit, and the bounds of theory.
#pragma once

#include <fntk/planner.hpp>

#include <map>

namespace fntk {

/// A kernel in host memory, float64, and its extreme eigenvalues.
struct ReferenceKernel {
    Matrix kernel;
    double lambda_min = 0, lambda_max = 0;
    [[nodiscard]] double condition() const;
};

struct KernelError {
    double criterion = 0;
    double frobenius = 0;
};

struct MeasuredDraw {
    PlannerDraw draw;
    ReferenceKernel kernel;
};

/// The rows that kernels are measured on, and K∞ there.
class PilotSet {
  public:
    /// `inputs` lie in host memory and are finite.
    PilotSet(const Device& device, ConstMatrixView inputs, const PlannerOptions& options);

    [[nodiscard]] std::int64_t size() const { return rows_.rows(); }
    [[nodiscard]] ConstMatrixView exact_rows() const { return exact_; }
    [[nodiscard]] const ReferenceKernel& limit() const { return limit_; }
    /// Throws ValueError that names the rows at fault when λ_min(K∞) is zero to rounding.
    void require_definite_limit() const;

    /// ‖X‖₂², from above.
    [[nodiscard]] double squared_norm() const;
    /// K∞ at the U of a network, for m → ∞.
    [[nodiscard]] ReferenceKernel limit_at(const Network& network) const;
    [[nodiscard]] KernelError error(const ReferenceKernel& kernel, const ReferenceKernel& reference) const;
    /// The network's trace kernel against the reference, with seconds.
    [[nodiscard]] MeasuredDraw measure(const Network& network, const ReferenceKernel& reference) const;
    /// The same of the kernel at m → ∞, against K∞.
    [[nodiscard]] PlannerDraw measure_limit(const Network& network) const;

    /// Network::create(spec, inputs); the bases of pca are kept, as they have no seed.
    [[nodiscard]] Network draw(const NetworkSpec& spec);

  private:
    [[nodiscard]] ReferenceKernel reference(Matrix kernel) const;

    Device device_;
    ConstMatrixView inputs_;
    PlanCriterion criterion_;
    std::int64_t budget_;
    std::vector<std::int64_t> chosen_;  // row of the inputs of each pilot row
    Matrix rows_, exact_;               // as given, and in double
    ReferenceKernel limit_;
    std::map<std::int64_t, Matrix> bases_;  // U of pca by its rank
};

/// Bytes of matrices, at most, that a draw takes at n rows: factors, tangent, Gram and three n × n doubles
/// for its eigenvalues.
std::int64_t draw_bytes(const NetworkSpec& spec, std::int64_t n);

/// Throws MemoryError where the rank of the data, or the least draw on the pilot rows, is beyond the
/// budget.
void check_budget(const PlannerOptions& options, ConstMatrixView inputs);

/// Throws ValueError where products of two rows leave the range of the element type.
void require_scale(ConstMatrixView inputs);

/// Throws ValueError that names the first zero row, or two equal rows.
void require_distinct_rows(ConstMatrixView inputs);

/// Throws ValueError, naming the option.
void check_options(const PlannerOptions& options);

/// What p and m may be: n samples of `dim` columns and numerical rank `data_rank`.
class Sizes {
  public:
    Sizes(const PlannerOptions& options, std::int64_t samples, std::int64_t dim, std::int64_t data_rank)
        : options_(options), samples_(samples), dim_(dim), data_rank_(data_rank) {}

    /// The largest rank that the families admit.
    [[nodiscard]] std::int64_t largest_rank() const;
    /// The least one of at least `rank`, or the largest there is.
    [[nodiscard]] std::int64_t rank_near(double rank) const;
    /// The least multiple of 64, and of the block of an srht V, of at least `width`; at most max_width.
    [[nodiscard]] std::int64_t width_near(double width, std::int64_t rank) const;
    /// Least p that makes U an isometry on the data; 0 when none does.
    [[nodiscard]] std::int64_t isometric_rank() const;
    /// Whether a kernel of train = up loses nothing by p.
    [[nodiscard]] bool lossless(std::int64_t rank) const;
    /// The hard conditions: least p of train = down, least m of train = up.
    [[nodiscard]] std::int64_t least_rank() const;
    [[nodiscard]] std::int64_t least_width(std::int64_t rank) const;
    /// Throw ValueError where they lie beyond largest_rank() and max_width.
    void require_rank() const;
    void require_width(std::int64_t rank) const;
    /// p0 and m0 for so many pilot rows, at most half of the largest (p0: of what loses nothing).
    [[nodiscard]] std::int64_t pilot_rank(std::int64_t rows) const;
    [[nodiscard]] std::int64_t pilot_width(std::int64_t rows, std::int64_t rank) const;
    /// NetworkPlan::practical_rank and practical_width from c_p and c_m; the latter after require_width.
    [[nodiscard]] std::int64_t practical_rank(double constant) const;
    [[nodiscard]] std::int64_t practical_width(double constant, std::int64_t rank) const;

  private:
    [[nodiscard]] bool spectral() const { return options_.criterion != PlanCriterion::frobenius; }

    const PlannerOptions& options_;
    std::int64_t samples_, dim_, data_rank_;
};

/// ℓ of an error, and the error of an ℓ ≥ 0 (infinity where there is none).
double loss_of_error(PlanCriterion criterion, double error);
double error_of_loss(PlanCriterion criterion, double loss);

TheoryBound theory_bound(const PilotSet& pilots, const PlannerOptions& options, const ErrorLaw& law,
                         const Sizes& sizes);

}  // namespace fntk

// (K + μI) X = B by preconditioned conjugate gradients, many right-hand sides at once; K any symmetric
// positive semidefinite operator, dense or matrix-free. Vectors stay in the device's memory.
#pragma once

#include <fntk/kernel_function.hpp>

#include <vector>

namespace fntk {

/// A symmetric positive definite P with P⁻¹ ≈ c·(K + μI)⁻¹ that is cheap to apply.
class FNTK_API Preconditioner {
  public:
    virtual ~Preconditioner();
    /// out = P⁻¹·r, both n × s in the operator's type and the device's memory.
    virtual void apply(ConstMatrixView r, MatrixView out) const = 0;
    /// As LinearOperator::only_issues().
    [[nodiscard]] virtual bool only_issues() const { return false; }
};

/// Randomly pivoted Cholesky (Chen, Epperly, Tropp, Webber 2022), in blocks: rows are drawn with
/// probability proportional to the diagonal of K − F Fᵀ, and F is extended by their columns of it. n × q
/// with q ≤ rank: fewer where the rest of K is nothing but rounding. `progress` may cancel: the factor ends
/// there. Reads (q + n/64)·n entries of K and takes 2nq² flop. A pure function of the seed. Throws
/// ValueError for a rank < 1.
FNTK_API Matrix pivoted_cholesky(const KernelBatch& batch, std::int64_t rank, std::uint64_t seed = 0,
                                 const Progress& progress = {});

/// The preconditioner of K ≈ F Fᵀ = U Λ Uᵀ (Frangella, Tropp, Udell 2023): with λ the least of Λ that is
/// kept,
///     P⁻¹ = I + U diag((λ + μ)/(Λ_j + μ) − 1) Uᵀ
/// 4nq flop a vector.
class FNTK_API LowRankPreconditioner final : public Preconditioner {
  public:
    /// factor: F, n × q, in the device's memory, whose columns are replaced by U. shift: μ > 0
    /// (ValueError).
    LowRankPreconditioner(const Device& device, Matrix factor, double shift);
    void apply(ConstMatrixView r, MatrixView out) const override;
    [[nodiscard]] bool only_issues() const override { return true; }
    /// Λ, descending.
    [[nodiscard]] const std::vector<double>& eigenvalues() const { return eigenvalues_; }

  private:
    Device device_;
    Matrix basis_, weights_;  // U in the first q columns, and diag(w) as q × q
    std::vector<double> eigenvalues_;
};

struct CgOptions {
    double tolerance = 1e-4;   ///< > 0; of ‖B_j − (K + μI) X_j‖/‖B_j‖ in every column
    int max_iterations = 500;  ///< ≥ 1; products with K, without those that check the residual
    Progress progress{};       ///< the share of the residual's decades that is done; returning false stops;
                               ///< called where the host looks: on a GPU after every eighth iteration
};
struct CgResult {
    Matrix solution;                ///< n × s, in the operator's type and the device's memory
    std::vector<double> residuals;  ///< ‖B_j − (K + μI) X_j‖/‖B_j‖ by a product of its own; 0 where B_j = 0
    int iterations = 0;
    bool converged = false;  ///< every residual is at most the tolerance
    bool stagnated = false;  ///< the residual ceased to fall: rounding of the operator's type
    bool cancelled = false;
};
/// op: n × n, shift: μ ≥ 0, rhs: n × s (5 vectors of K's type and 8 numbers for each of s), f32 or f64, in
/// host memory or the device's. The recurrences' residual is replaced by the true one when it claims to
/// have converged. Throws ShapeError for other extents, ValueError for options out of range, NaN and
/// infinity, and Error when a direction has no positive curvature: K + μI is not positive definite, as
/// rounded; names the shift and a larger one; and when the preconditioner is not.
FNTK_API CgResult conjugate_gradient(const LinearOperator& op, double shift, ConstMatrixView rhs,
                                     const Preconditioner* preconditioner = nullptr,
                                     const CgOptions& options = {});

}  // namespace fntk

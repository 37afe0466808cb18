// Eigenvalues of kernels. Dense: LAPACK in double, residuals and orthogonality checked. Matrix-free:
// Lanczos for the largest one, with its residual.
#pragma once

#include <fntk/kernel.hpp>

#include <string>
#include <vector>

namespace fntk {

struct Spectrum {
    std::vector<double> eigenvalues;  ///< ascending
    double residual = 0;              ///< max_i ‖K q_i − λ_i q_i‖/‖K‖₂
    double orthogonality = 0;         ///< max |QᵀQ − I|

    /// Of a spectrum that was found, which has one eigenvalue at least.
    [[nodiscard]] double min() const { return eigenvalues.front(); }
    [[nodiscard]] double max() const { return eigenvalues.back(); }
    /// λ_max/λ_min; infinity when λ_min ≤ 0.
    [[nodiscard]] FNTK_API double condition() const;
    /// Whether λ_min is positive beyond the solver's rounding, n·ε·λ_max with the ε of double: of a
    /// singular matrix λ_min comes out near 0 with either sign.
    [[nodiscard]] FNTK_API bool positive() const;
};

/// Throws, naming `argument`: ShapeError unless the matrix is square with at least one row, ValueError when
/// it holds integers, NaN, infinity, lies in a device's memory, or max |K − Kᵀ| > 1e-12·max |K| (f32:
/// 1e-6).
FNTK_API void require_symmetric(ConstMatrixView matrix, const char* argument);

/// What eigenvalues of an n × n matrix take, from extents alone.
struct SpectrumPlan {
    std::int64_t peak_bytes = 0;  ///< at most so much is taken at any moment beside the arguments
    double flops = 0;
    std::string reason{};
};
/// Of spectrum(). memory: a budget in bytes, 0 for none. Throws MemoryError that names the least budget
/// which works, ValueError for an order below 1 and a negative budget.
FNTK_API SpectrumPlan plan_spectrum(std::int64_t order, std::int64_t memory = 0);

/// All eigenvalues of a symmetric matrix (f32 or f64, in host memory or the device's) of any scale; the
/// computation is in double, on (K + Kᵀ)/2, and takes 3n² doubles and the eigensolver's workspace of 2n².
/// memory: bytes that the call may take beside its arguments, 0 for no limit; as plan_spectrum says. Throws
/// as require_symmetric and plan_spectrum do, and Error when the eigensolver fails or a residual or the
/// orthogonality is worse than 1e-10·n.
FNTK_API Spectrum spectrum(const Device& device, ConstMatrixView kernel, std::int64_t memory = 0);

struct LanczosOptions {
    int max_iterations = 200;  ///< ≥ 1; so many vectors of n doubles are kept, at most n
    double tolerance = 1e-4;   ///< ≥ 0; stop when the residual is below tolerance·λ
    std::uint64_t seed = 0;    ///< of the start vector, a pure function of (seed, n)
};
struct ExtremalEigenvalue {
    double value = 0;
    /// ‖K q − λ q‖, ‖q‖ = 1, by one more product with K: an eigenvalue lies within it of `value`.
    double residual = 0;
    int iterations = 0;      ///< products with K, without the one for the residual
    bool converged = false;  ///< Lanczos' own residual fell below tolerance·λ, or the space is exhausted
};
/// λ_max of a symmetric operator by Lanczos with full reorthogonalisation, in double whatever the
/// operator's type. The vectors stay in the device's memory: a step brings four numbers to the host.
/// Throws ShapeError unless the operator is square with at least one row, ValueError for
/// options out of range, Error when a product is not finite or the eigensolver fails.
FNTK_API ExtremalEigenvalue lambda_max(const LinearOperator& op, LanczosOptions options = {});

/// Rank of X (n × d): eigenvalues of the smaller of XᵀX and XXᵀ, in double, above 1e-12·max(n, d)·λ_max.
/// Takes 2r² + 1024r doubles, r = min(n, d).
FNTK_API std::int64_t numerical_rank(const Device& device, ConstMatrixView inputs);

}  // namespace fntk

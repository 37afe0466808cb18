// Eigenvalues of kernels. Dense: LAPACK in double, residuals and orthogonality checked. Matrix-free: Lanczos for the
// largest one, with its residual.
#pragma once

#include <fntk/kernel.hpp>

#include <vector>

namespace fntk {

struct Spectrum {
    std::vector<double> eigenvalues;  ///< ascending
    double residual = 0;              ///< max_i ‖K q_i − λ_i q_i‖/‖K‖₂
    double orthogonality = 0;         ///< max |QᵀQ − I|

    [[nodiscard]] double min() const { return eigenvalues.front(); }
    [[nodiscard]] double max() const { return eigenvalues.back(); }
    /// λ_max/λ_min; infinity when λ_min ≤ 0.
    [[nodiscard]] double condition() const;
};

/// All eigenvalues of a symmetric matrix (f32 or f64; the computation is in double). Throws ShapeError unless it is
/// square with at least one row, ValueError when it is not finite or not symmetric, Error when LAPACK fails or a
/// residual or the orthogonality is worse than 1e-10·n.
FNTK_API Spectrum spectrum(const Device& device, ConstMatrixView kernel);

struct LanczosOptions {
    int max_iterations = 200;
    double tolerance = 1e-4;  ///< stop when the residual is below tolerance·λ
    std::uint64_t seed = 0;   ///< of the start vector
};
struct ExtremalEigenvalue {
    double value = 0;
    double residual = 0;  ///< ‖K q − λ q‖ with ‖q‖ = 1: an eigenvalue lies within it of `value`
    int iterations = 0;
    bool converged = false;
};
/// λ_max of a symmetric operator by Lanczos with full reorthogonalisation.
FNTK_API ExtremalEigenvalue lambda_max(const LinearOperator& op, LanczosOptions options = {});

}  // namespace fntk

// The ways of solving (K + μI) α = Y, each a function of one problem: dense algebra in double, conjugate
// gradients in the kernel's precision, and features. kernel_model.cpp chooses by the plan.
#pragma once

#include <fntk/kernel_model.hpp>

#include <string>

namespace fntk {

struct FitProblem {
    const Device& device;
    const KernelBatch& batch;
    const FitOptions& options;
    const FitPlan& plan;
    Matrix rhs;       // Y, N × s, f64, in the device's memory
    double mean = 0;  // of diag K

    [[nodiscard]] double jitter(double ridge) const { return ridge * mean; }
    /// Throws Error when the caller's progress cancels.
    void report(double share) const;
    /// Whether ‖α‖ says that an eigenvalue of K + μI is at the level of rounding, below N·eps·mean(diag K);
    /// of the weights of features with ΦᵀY the same, since the trace of ΦᵀΦ is that of K.
    [[nodiscard]] bool singular(ConstMatrixView solution, ConstMatrixView of) const;
    [[noreturn]] void refuse(double ridge, const std::string& what) const;
};

/// What they return.
struct FitSolution {
    Matrix values{};  // α, N × s, in the device's memory; of primal M_c one below the other, s·P × d, host
    double ridge = 0;
    FitDiagnostics diagnostics{};
};

FitSolution fit_cholesky(const FitProblem& problem);
FitSolution fit_eigenvalues(const FitProblem& problem);
FitSolution fit_primal(const FitProblem& problem);
FitSolution fit_conjugate_gradients(const FitProblem& problem);

/// −½ Σ_c y_cᵀ(K + μI)⁻¹y_c − ½ s (log det(K + μI) + N log 2π), `fit` the first sum.
double log_evidence(double fit, double log_det, std::int64_t rows, std::int64_t columns);
/// Σ_j log L_jj² of the Cholesky factor that solve_spd leaves in the lower triangle.
double log_det_of_factor(const Device& device, ConstMatrixView factor);

}  // namespace fntk

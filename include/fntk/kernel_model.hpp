// Kernel ridge regression, that is the posterior mean of a Gaussian process, from data to predictions
// inside a memory budget: (K + μI) α = Y with μ = λ·mean(diag K), f(x) = K(x, X) α.
//     cholesky   K formed (float64), one factorisation; with a path of ridges or for the diagnostics the
//                eigendecomposition K = Q Λ Qᵀ instead
//     cg         conjugate gradients with a low-rank preconditioner; K stored where it fits, else never formed
//     primal     for K = ΦΦᵀ with q = p·d features (train = down): (ΦᵀΦ + μI) w = ΦᵀY, q × q
// For train = down the answer is kept as the moment M = Σ_j α_j G_j x_jᵀ (p × d), and f(x) = <G(x), M x>: a
// model without its training data. The full kernel of k outputs takes targets n × k; the others any number
// of columns.
#pragma once

#include <fntk/solver.hpp>

#include <map>
#include <string>
#include <vector>

namespace fntk {

enum class Solver : std::uint8_t { automatic, cholesky, cg, primal };
FNTK_API const char* name(Solver solver);
FNTK_API Solver parse_solver(std::string_view text);
/// How a ridge is chosen from several.
enum class Selection : std::uint8_t { leave_one_out, evidence };
FNTK_API const char* name(Selection selection);
FNTK_API Selection parse_selection(std::string_view text);

struct FitOptions {
    std::vector<double> ridges{1e-3};  ///< λ ≥ 0, relative to mean(diag K); of several one is chosen
    Selection selection = Selection::leave_one_out;
    Solver solver = Solver::automatic;
    std::int64_t memory = 0;  ///< bytes that the call may take beside its arguments; 0: no limit
    /// The leave-one-out error for one ridge too, up to this many rows of the kernel: it takes an
    /// eigendecomposition or, where that does not fit, the inverse.
    std::int64_t diagnose_up_to = 4096;
    double tolerance = 1e-3;                ///< of cg: relative residual, > 0; float32 ends near 1e-4
    int max_iterations = 500;               ///< of cg
    std::int64_t preconditioner_rank = -1;  ///< of cg; −1: chosen by the plan, 0: none
    std::uint64_t seed = 0;                 ///< of the preconditioner's pivots
    Progress progress{};                    ///< returning false cancels: Cancelled
};

/// How a fit will be done, from extents alone.
struct FitPlan {
    Solver solver = Solver::cholesky;
    bool eigenvalues = false;  ///< cholesky: by eigendecomposition
    bool inverse = false;      ///< cholesky: (K + μI)⁻¹ too, for the leave-one-out error
    bool stored = false;       ///< cg: K is stored
    std::int64_t tile = 0;     ///< samples a side of a tile of K
    std::int64_t preconditioner_rank = 0;
    std::int64_t peak_bytes = 0;  ///< at most so much is taken at any moment beside the arguments
    double flops = 0;             ///< cg: of one product with K and its share of making K; else in all
    std::string reason{};
};
/// keep_inputs: as fit_kernel will be told; primal keeps none. Throws MemoryError that names the smallest
/// budget which works when nothing fits options.memory, ValueError for options out of range and for a
/// solver that the kernel has not.
FNTK_API FitPlan plan_fit(const KernelFunction& function, std::int64_t samples, std::int64_t targets,
                          const FitOptions& options = {}, bool keep_inputs = false);

/// What was found out on the way; −1 and empty where it was not.
struct FitDiagnostics {
    /// Root mean square over all targets of y_i − f_{−i}(x_i) = [(K + μI)⁻¹]_ii⁻¹ α_i, one for each ridge;
    /// f_{−i} is fitted without sample i, whose k rows of the full kernel are one block.
    std::vector<double> leave_one_out{};
    /// log N(Y; 0, K + μI), summed over the columns of Y, one for each ridge; not after cg.
    std::vector<double> log_evidence{};
    int iterations = -1;              ///< of cg
    std::vector<double> residuals{};  ///< of cg, relative, one a right-hand side
    bool converged = true;
};

struct KernelModel {
    KernelFunction function;
    double ridge = 0;   ///< λ
    double jitter = 0;  ///< μ
    std::int64_t targets = 0;
    Matrix moment{};  ///< (targets·k'p) × d in the kernel's precision, host; empty unless train = down
    Matrix inputs{},
        dual{};  ///< X (kernel's precision) and α (f64, kernel rows × targets), host; empty beside a moment
    FitPlan plan{};
    FitDiagnostics diagnostics{};
    std::map<std::string, std::string> notes{};  ///< the caller's own, saved with the model
};

/// inputs n × dim in the kernel's precision, targets n × t (f32 or f64), in host memory or the device's.
/// keep_inputs: X and α even where the moment would do; variances need them. Throws ShapeError, ValueError,
/// MemoryError as plan_fit does, and Error where K + μI is not positive definite, with a ridge to try.
FNTK_API KernelModel fit_kernel(const Device& device, const KernelFunction& function,
                                ConstMatrixView inputs, ConstMatrixView targets,
                                const FitOptions& options = {}, bool keep_inputs = false);

struct PredictOptions {
    bool variance = false;
    std::int64_t memory = 0;  ///< bytes that the call may take beside its arguments; 0: no limit
    Progress progress{};      ///< after every block; returning false cancels: Cancelled
};

/// How predictions will be made, from extents alone.
struct PredictPlan {
    std::int64_t block = 0;  ///< rows that are predicted at a time
    std::int64_t tile = 0;   ///< samples of the training data that they meet at a time; 0: none, by M alone
    bool variance = false;   ///< K + μI is inverted
    std::int64_t peak_bytes = 0;  ///< at most so much is taken at any moment, the Prediction included
    double flops = 0;             ///< in all
    std::string reason{};
};
/// Of `rows` rows by a model of so many samples and targets. Throws MemoryError that names the smallest
/// budget which works when no block fits options.memory, ValueError for extents and options out of range.
FNTK_API PredictPlan plan_predict(const KernelFunction& function, std::int64_t samples,
                                  std::int64_t targets, std::int64_t rows,
                                  const PredictOptions& options = {});
/// Of this model. Throws ValueError for variances where it keeps no inputs.
FNTK_API PredictPlan plan_predict(const KernelModel& model, std::int64_t rows,
                                  const PredictOptions& options = {});

struct Prediction {
    Matrix mean;  ///< n' × targets (k for the full kernel), f64, host
    Matrix
        variance;  ///< n' × k', f64, host: k(x, x) − k(x, X)(K + μI)⁻¹k(X, x), of f without noise; or empty
    PredictPlan plan{};
};
/// Streams over the rows: memory beside the result does not depend on n', and no n'² array is formed.
/// Variances take K and its inverse, 16 n² bytes, and need a model with inputs. A device with its own
/// memory takes copies of the model and of a block of rows there beside the plan. Throws ShapeError for
/// other columns, what plan_predict throws, and Error where K + μI is not positive definite.
FNTK_API Prediction predict_kernel(const Device& device, const KernelModel& model, ConstMatrixView inputs,
                                   const PredictOptions& options = {});

/// A model as safetensors: the kernel and the fit as metadata, the network's tensors that its seed does not
/// give, and the moment, or X and α. Throws IoError.
FNTK_API void save_model(const std::string& path, const KernelModel& model);
/// Throws IoError for another kind of file, ValueError or ShapeError for content that does not fit
/// together.
FNTK_API KernelModel load_model(const std::string& path);

}  // namespace fntk

// A few eigenvalues at one end of the spectrum, each in an interval (docs/spectrum.md derives them).
//     Ritz vectors Q (n × k) by restarted Lanczos, θ_i = q_iᵀ K q_i/q_iᵀ q_i, R = K Q − Q Θ,
//     r = ‖R‖_F/σ_min(Q): k eigenvalues of K, counted with multiplicity, lie within r of θ_1 … θ_k
//     certificate: Cholesky of τI − K + Σ s_i q_i q_iᵀ shows that none beyond them was missed
// And sums over all of it, estimated by random probes.
#pragma once

#include <fntk/spectrum.hpp>

#include <string>
#include <vector>

namespace fntk {

enum class SpectrumEnd : std::uint8_t { largest, smallest };

struct ExtremalOptions {
    SpectrumEnd end = SpectrumEnd::largest;
    std::int64_t count = 1;  ///< k in [1, n]
    /// Lanczos vectors kept, n doubles of the device's memory each; 0 for max(2k + 1, 20), else more than
    /// k. Where that is n or more, the eigenvectors of the n × n matrix are computed instead.
    std::int64_t subspace = 0;
    int max_restarts = 300;    ///< ≥ 0; each takes at most `subspace` − k products with K
    double tolerance = 1e-10;  ///< ≥ 0; stop when every residual is below tolerance·‖K‖₂
    std::uint64_t seed = 0;    ///< of the start vector, a pure function of (seed, n)
    /// Of a dense matrix; n² more doubles and n³/3 flop. Where it fails and n ≤ 2048, which copies of a
    /// multiple eigenvalue are the usual cause of, all eigenvectors are computed and it is tried again.
    bool certify = true;
    std::int64_t memory = 0;  ///< bytes that the call may take beside its arguments; 0: no limit
};

struct EigenvalueInterval {
    double value = 0;  ///< θ_i
    /// certified: the i-th eigenvalue from that end, counted with multiplicity, is in [lower, upper].
    /// Otherwise some eigenvalue is, i of them for i intervals, up to the rounding of the operator's own
    /// products; another one may be further out.
    double lower = 0, upper = 0;
    bool certified = false;
    std::string reason;  ///< why it is not certified, and what would help; empty when it is
};

struct ExtremalEigenvalues {
    std::vector<EigenvalueInterval> intervals;  ///< the outermost first
    double residual = 0;                        ///< r
    std::int64_t products = 0;                  ///< K times a vector
    bool converged = false;                     ///< whether the tolerance was met
};

/// Of extremal() of a dense matrix of this order. flops: of the first `subspace` products, and of the
/// certificate. Throws MemoryError that names the least budget which works when options.memory is less,
/// ValueError for options out of range.
FNTK_API SpectrumPlan plan_extremal(std::int64_t order, const ExtremalOptions& options = {});
/// Of extremal() of an operator in `dtype`, beside what its products take; flops without them.
FNTK_API SpectrumPlan plan_extremal(std::int64_t order, DType dtype, const ExtremalOptions& options = {});

/// Of a symmetric matrix (f32 or f64, in host memory or the device's) of any scale. Computed in double on
/// (K + Kᵀ)/2, which takes n² doubles. Throws as require_symmetric does, ValueError for options out of
/// range, Error when the eigensolver fails.
FNTK_API ExtremalEigenvalues extremal(const Device& device, ConstMatrixView kernel,
                                      const ExtremalOptions& options = {});
/// Of a symmetric operator, by products only; never certified. Throws ShapeError unless it is square with
/// at least one row, ValueError for options out of range, Error when a product is not finite or the
/// eigensolver fails.
FNTK_API ExtremalEigenvalues extremal(const LinearOperator& op, const ExtremalOptions& options = {});

struct ProbeOptions {
    std::int64_t probes = 32;  ///< N ≥ 2: products with K
    std::int64_t block = 16;  ///< ≥ 1: probes per product, n values of K's type each; no effect on results
    std::uint64_t seed = 0;   ///< of the probes, a pure function of (seed, n)
    std::int64_t memory = 0;  ///< bytes that the call may take beside its arguments; 0: no limit
};
struct Estimate {
    double value = 0;
    double standard_error = 0;
};
struct TraceEstimates {
    Estimate trace;           ///< tr K = E zᵀKz (Hutchinson 1990); unbiased
    Estimate squared_norm;    ///< ‖K‖_F² = E ‖Kz‖²; unbiased
    Estimate effective_rank;  ///< (tr K)²/‖K‖_F², by the jackknife: bias of order 1/N²; 0 for K = 0
};
/// Of estimate_trace() of an operator in `dtype`, beside what its products take; flops without them. Throws
/// as plan_extremal does.
FNTK_API SpectrumPlan plan_trace(std::int64_t order, DType dtype, const ProbeOptions& options = {});
/// By probes z of independent ±1, for operators whose matrix is not at hand. Throws ShapeError unless op is
/// square with at least one row, ValueError for options out of range, Error when a product is not finite.
FNTK_API TraceEstimates estimate_trace(const LinearOperator& op, const ProbeOptions& options = {});

}  // namespace fntk

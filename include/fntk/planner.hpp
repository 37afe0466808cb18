// Which rank p and width m a kernel error ε needs, for relu: pilot draws give the constants of
//     ℓ(error) = c_p/p + c_m/m
// and the network chosen from them is drawn and measured before it is recommended (docs/planner.md).
//     lambda_min  error = 1 − λ_min(K)/λ_min(K∞)       ℓ = error
//     condition   error = cond(K)/cond(K∞) − 1         ℓ = error/(1 + error) = 1 − cond(K∞)/cond(K)
//     frobenius   error = ‖K − K∞‖_F/‖K∞‖_F            ℓ = error²
// K is the trace kernel of the trained factor, K∞ = limit_kernel.
#pragma once

#include <fntk/error.hpp>
#include <fntk/limit.hpp>
#include <fntk/plan.hpp>
#include <fntk/spectrum.hpp>

#include <string_view>
#include <vector>

namespace fntk {

enum class PlanCriterion : std::uint8_t { lambda_min, condition, frobenius };
/// "lambda-min", "condition", "frobenius", and back; parse throws ValueError.
FNTK_API const char* name(PlanCriterion criterion);
FNTK_API PlanCriterion parse_plan_criterion(std::string_view text);

/// The families of U and V admit no larger rank, and the largest misses the target.
class FNTK_API RankError : public ValueError {
  public:
    using ValueError::ValueError;
    ~RankError() override;
};

struct PlannerOptions {
    double target_error = 0.1;  ///< ε: in (0, 1); for condition any positive number
    PlanCriterion criterion = PlanCriterion::lambda_min;
    Train train{.down = true};  ///< down alone or up alone
    /// The families. identity has one rank, d. For train = up: pca (or identity) and a gaussian V, whose
    /// limit at fixed U is exact.
    Down down = Down::srht;
    Up up = Up::srht;
    std::int64_t outputs = 1;
    int seeds = 3;           ///< draws of every pilot, ≥ 1
    std::uint64_t seed = 0;  ///< of the first one; the others follow it
    std::int64_t pilot_samples =
        1000;                      ///< rows that kernels are measured on, evenly spaced; all if n is less
    std::int64_t pilot_rank = 0;   ///< p0; 0: 64, more where p·rank(X) ≥ n asks for it
    std::int64_t pilot_width = 0;  ///< m0; 0: the pilots' rank (down), 1024 or more (up)
    double safety = 1.5;           ///< factor on the measured constants, > 0
    int max_doublings = 8;         ///< ≥ 0, of p and m together, after evidence that misses ε
    std::int64_t max_width = std::int64_t{1} << 20;
    std::int64_t memory_budget = 0;  ///< bytes that one draw may take in matrices; 0: unlimited
    /// Returning false stops after the current draw.
    Progress progress{};
};

/// One draw on the pilot rows. `error` is the criterion's.
struct PlannerDraw {
    std::int64_t rank = 0;
    std::int64_t width = 0;  ///< 0: no width at all, the m → ∞ kernel at the drawn U (fixed_down_limit)
    std::uint64_t seed = 0;
    double error = 0;
    double frobenius = 0;   ///< relative Frobenius error, whatever the criterion
    double lambda_min = 0;  ///< of the drawn kernel; where it is singular, of rounding size and any sign
    double tangent_seconds = 0, gram_seconds = 0;
};

/// rank K ≤ p·rank(X) for train = down, m·min(p, rank X) for train = up (a Hadamard product's rank is at
/// most the product of the ranks): below n the kernel of an output is singular for every draw.
struct HardCondition {
    std::int64_t data_rank = 0;  ///< numerical_rank of all rows
    std::int64_t least = 0;      ///< least p (down): ⌈n/rank X⌉; least m (up): ⌈n/min(p, rank X)⌉
    bool applied = false;        ///< for lambda_min and condition; a Frobenius error does not need it
    bool met = false;            ///< by the chosen network
};

/// A sufficient size by a union bound over the pilot rows, with probability 0.99; not the practical choice.
/// With L = ‖X‖₂², λ = λ_min(K∞), δ = 0.01/3, η = ε (lambda_min) or ε/(2 + ε) (condition):
///     up     K = (1/m)Σ_r D_r XXᵀ D_r, terms independent, 0 ≼ D_r XXᵀ D_r ≼ L·I. Matrix Chernoff (Tropp
///            2012): m = (L ln(n/δ)/η²)·max(2/λ, 3/λ_max(K∞) for condition), p = the least
///            isometry's. Assumes independent gaussian rows of V, and an isometry (infinity: the family has
///            none).
///     down   for m → ∞, K = (1/p)Σ_q diag(g_q) XXᵀ diag(g_q), g_q ~ N(0, κ0) independent, κ0_ii = 1/2; all
///            g² ≤ t² = ln(2np/δ) but with probability δ, so that terms are ≼ t²L·I and the truncation
///            takes (t² + 1)δL/p from λ: p as m above with t²L/(1 − δ)² for L. Assumes that U is an
///            isometry on the data and that a column of V is independent of the gates and of the other
///            columns' sums (true as p grows).
///     frobenius   Markov's inequality on E error² = A/p + B/m: p = 2A/(0.01ε²), m = 2B/(0.01ε²); up: m =
///            B/(0.01ε²).
struct TheoryBound {
    double rank = 0;   ///< infinity where none is known
    double width = 0;  ///< infinity where the bound holds for m → ∞ only
};

struct NetworkPlan {
    /// The network to draw: Network::create(spec, inputs). Its seed is that of the last evidence, so that
    /// it is the network that was measured.
    NetworkSpec spec;
    std::int64_t samples = 0;        ///< n
    std::int64_t pilot_samples = 0;  ///< rows that everything was measured on. When fewer than n, λ_min of
                                     ///< these rows is only an upper bound of λ_min of all, and the errors
                                     ///< are those of the subsample
    HardCondition hard;
    double limit_lambda_min = 0;  ///< of K∞ at the pilot rows
    double limit_condition = 0;   ///< infinite where that is not positive
    ErrorLaw law;                 ///< E error² = A/p + B/m of one output at the pilot rows

    /// p0 and 2·p0 for every seed: m = 16p (down), or m → ∞ (up). Empty where there is but one rank and no
    /// loss by it. c_p = max ℓ·p.
    std::vector<PlannerDraw> rank_pilots;
    /// m0 and 2·m0 for every seed. down: at rank 2·p0; c_m = m·(mean ℓ − the mean at m = 16p), the larger,
    /// at least 0. up: at the chosen p, against fixed_down_limit of the same U; c_m = max ℓ·m.
    std::vector<PlannerDraw> width_pilots;
    double rank_constant = 0;
    double width_constant = 0;

    /// p = safety·c_p/ℓ(ε), at least hard.least, rounded up to what the families admit. m = c_m/ℓ(ε/3), a
    /// third of ε, at least 4p for down. For train = up p is at most what makes U an isometry on the data
    /// (pca: rank X; orthonormal: d; srht: the next power of two ≥ d), which loses nothing and leaves
    /// m = safety·c_m/ℓ(ε); it is just that where p·m is less there. m is at least hard.least for up, a
    /// multiple of 64, and of p for up = srht. Both stay within the families' largest rank and max_width:
    /// the evidence decides whether that is enough.
    std::int64_t practical_rank = 0;
    std::int64_t practical_width = 0;
    TheoryBound theory;

    /// The chosen network drawn with seeds that no pilot had; a miss doubles p or m, whose loss is the
    /// larger (m stays ≥ 4p for down), and draws again. The last one meets ε.
    std::vector<PlannerDraw> evidence;
    /// The two losses of the last evidence, as errors. down: its ℓ in the pilots' proportion c_p/p : c_m/m.
    /// up: measured, fixed_down_limit against K∞, and K against fixed_down_limit.
    double rank_loss = 0;
    double width_loss = 0;
    double dense_width = 0;  ///< of equal relative Frobenius error, from `law` and the last evidence

    Cost cost;  ///< at all n rows
    /// Estimated for all n rows: seconds of the last evidence times cost at n/cost at the pilot rows; a
    /// step at the tangent's rate. Measured on the device and threads in hand.
    double tangent_seconds = 0, gram_seconds = 0, step_seconds = 0;
    bool cancelled = false;  ///< by `progress`; what comes after is not filled
};

/// inputs n × d (f32 or f64, which becomes the network's precision), in host memory or the device's. Takes
/// pilot_samples² doubles a few times, and the eigenvalues of that order at every draw.
/// Throws ShapeError for no rows or columns; ValueError for options out of range, NaN and infinity, and
/// when ε cannot be met: λ_min(K∞) = 0 (naming a zero row or two equal or parallel ones), a hard condition
/// beyond the family's ranks, or evidence that misses at the largest size; MemoryError beyond the budget.
FNTK_API NetworkPlan plan_network(const Device& device, ConstMatrixView inputs,
                                  const PlannerOptions& options = {});

}  // namespace fntk

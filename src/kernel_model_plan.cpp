// How a fit will be done: bytes and flops from extents alone. With N rows of the kernel, s right-hand
// sides, e bytes a number of its precision, t samples a tile, the most of what these take beside the batch:
//     making it  U's digits in double, where the batch has a network
//     cholesky   8N² (K, its factor in place); with the inverse 16N²; with eigenvalues 40N² (K, a copy, Q,
//                and LAPACK's 2N²)
//     cg         e·N² where K is stored; 7 vectors N × s; the factor N × q, twice where its rank is less,
//                and while it is made 7·8q²
//     primal     8Q² for Q features, and blocks of their rows
//     the model  M, s·P × d, from the batch; X and α when that is gone
// each with one tile and what makes it, and workspaces that no extent changes.
#include "kernel_bytes.hpp"

#include <fntk/error.hpp>
#include <fntk/kernel_model.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace fntk {
namespace {

constexpr std::int64_t primal_block = 512;

struct Extents : KernelExtents {
    double n = 0, rows = 0, rhs = 0;  // rows = n·effective
    bool keep_inputs = false;

    [[nodiscard]] double one_tile(double samples, double others) const {
        return tile_bytes(*this, std::min(samples, n), std::min(others, n));
    }
    [[nodiscard]] double vectors() const { return 8 * rows * rhs; }  // N × s, in double
    /// Of a batch whose logits are summed: G of the sum, and the weights that make it.
    [[nodiscard]] double summed_gradients() const { return moments && summed() ? n * (p + k) * bytes : 0; }
};

Extents extents(const KernelFunction& function, std::int64_t samples, std::int64_t targets,
                bool keep_inputs) {
    Extents x{kernel_extents(function)};
    x.n = static_cast<double>(samples);
    x.rows = x.n * x.effective;
    x.rhs = x.full() ? 1 : static_cast<double>(targets);
    x.keep_inputs = keep_inputs;
    return x;
}

/// One product or one moment of the closed form: blocks of rows, M, and two vectors.
double closed_form_bytes(const Extents& x) {
    return (std::min<double>(x.n, backend::Ops::moment_rows) + x.d) * x.gradients() * x.bytes +
           2 * x.rows * x.bytes + x.summed_gradients();
}

/// The factor N × q: while blocks of 128 columns are made, while it is shortened, while its basis is.
double low_rank_bytes(const Extents& x, double q) {
    const double factor = x.rows * q * x.bytes;
    const double columns = std::max(std::min(128.0, q), x.effective), pivots = columns / x.effective;
    const double block = x.rows * (columns + 1) * x.bytes + (pivots * x.d + columns * q) * x.bytes +
                         batch_bytes(x, pivots) + making_bytes(x, pivots) + x.one_tile(2048, pivots);
    return factor + std::max({factor, block, 56 * q * q + 2048 * q * 16});
}

/// The model out of the solution.
double model_bytes(const Extents& x) {
    const double moments = x.moments ? x.rhs * x.gradients() * x.d * x.bytes : 0;
    const double from_batch = x.moments ? batch_bytes(x, x.n) + closed_form_bytes(x) : 0;
    const double kept = x.moments && !x.keep_inputs ? 0 : x.n * x.d * x.bytes + x.vectors();
    return x.vectors() + moments + std::max(from_batch, kept);
}

struct Candidate {
    FitPlan plan;
    double bytes = 0;

    /// solving: beside the batch and the right-hand sides.
    void peak(const Extents& x, double solving, double finishing) {
        const double batch = batch_bytes(x, x.n);
        bytes =
            std::max({batch + making_bytes(x, x.n), batch + x.vectors() + solving, finishing}) + workspaces;
    }
};

/// The integer of a count that may have been rounded up to 2^63.
std::int64_t whole(double count) {
    return count < 0x1p63 ? static_cast<std::int64_t>(count) : std::numeric_limits<std::int64_t>::max();
}

enum class Dense : std::uint8_t { factor, inverse, eigenvalues };

Candidate cholesky(const Extents& x, Dense way) {
    const std::int64_t tile = 1024;
    const bool eigenvalues = way == Dense::eigenvalues, inverse = way == Dense::inverse;
    Candidate c{{.solver = Solver::cholesky, .eigenvalues = eigenvalues, .inverse = inverse, .tile = tile}};
    const double one = x.one_tile(tile, tile), square = 8 * x.rows * x.rows;
    c.peak(x,
           eigenvalues ? std::max({5 * square, 2 * square + one, square + 5 * x.vectors()})
                       : square + std::max(one, x.vectors() + (inverse ? square + x.vectors() : 0)),
           model_bytes(x));
    c.plan.flops = x.rows * x.rows * x.rows * (eigenvalues ? 9 : inverse ? 7.0 / 3 : 1.0 / 3);
    return c;
}

Candidate conjugate_gradients(const Extents& x, bool stored, double q, std::int64_t tile) {
    Candidate c{{.solver = Solver::cg, .stored = stored, .tile = tile, .preconditioner_rank = whole(q)}};
    const double side = static_cast<double>(tile), one = x.one_tile(side, side),
                 vectors = 7 * x.rows * x.rhs * x.bytes,
                 product = stored      ? x.rows * x.rows * x.bytes + std::max(one, vectors)
                           : x.moments ? closed_form_bytes(x) + vectors
                                       : one + vectors;
    const double basis = (x.rows + q + 2 * x.rhs) * q * x.bytes;
    c.peak(x, std::max(q > 0 ? low_rank_bytes(x, q) : 0, basis + product), model_bytes(x));
    c.plan.flops = stored      ? 2 * x.rows * x.rows * x.rhs
                   : x.moments ? 4 * x.n * x.p * (x.features() > 0 ? x.features() / x.p : x.d) * x.rhs
                               : x.n * x.n / 2 * pair_flops(x) + 2 * x.rows * x.rows * x.rhs;
    return c;
}

Candidate primal(const Extents& x) {
    Candidate c{{.solver = Solver::primal, .tile = primal_block}};
    const double weights = 8 * x.features() * x.rhs;
    c.peak(x,
           8 * x.features() * x.features() +
               std::min<double>(primal_block, x.n) * (x.features() * (x.bytes + 8) + 8 * x.rhs) +
               2 * weights + x.summed_gradients(),
           2 * weights);
    c.plan.flops = 2 * x.n * x.features() * x.features();
    return c;
}

void check(const FitOptions& options) {
    if (options.ridges.empty()) throw ValueError("ridges is empty; give at least one, 1e-3 is usual");
    for (const double ridge : options.ridges)
        if (!(ridge >= 0) || !std::isfinite(ridge))
            throw ValueError(
                fmt::format("ridge = {}: it must be finite and not negative; 1e-3 is usual", ridge));
    if (!(options.tolerance > 0))
        throw ValueError(
            fmt::format("tolerance = {}: it must be positive; 1e-4 is usual", options.tolerance));
    if (options.max_iterations < 1)
        throw ValueError(fmt::format("max_iterations = {}: it must be at least 1", options.max_iterations));
    if (options.preconditioner_rank < -1)
        throw ValueError(
            fmt::format("preconditioner_rank = {}: it must be at least 0, or -1 for the plan's choice",
                        options.preconditioner_rank));
}

struct NamedSolver {
    Solver solver;
    const char* name;
};
constexpr std::array<NamedSolver, 4> solvers = {NamedSolver{Solver::automatic, "auto"},
                                                {Solver::cholesky, "cholesky"},
                                                {Solver::cg, "cg"},
                                                {Solver::primal, "primal"}};

}  // namespace

const char* name(Solver solver) {
    for (const auto& [value, text] : solvers)
        if (value == solver) return text;
    return "?";
}
Solver parse_solver(std::string_view text) {
    for (const auto& [value, name] : solvers)
        if (text == name) return value;
    throw ValueError(fmt::format("solver is '{}'; choose auto, cholesky, cg or primal", text));
}
const char* name(Selection selection) {
    return selection == Selection::evidence ? "evidence" : "leave-one-out";
}
Selection parse_selection(std::string_view text) {
    for (const Selection selection : {Selection::leave_one_out, Selection::evidence})
        if (text == name(selection)) return selection;
    throw ValueError(fmt::format("selection is '{}'; choose leave-one-out or evidence", text));
}

FitPlan plan_fit(const KernelFunction& function, std::int64_t samples, std::int64_t targets,
                 const FitOptions& options, bool keep_inputs) {
    check(options);
    if (samples < 1 || targets < 1)
        throw ValueError(fmt::format("{} samples, {} targets: both must be at least 1", samples, targets));
    const Extents x = extents(function, samples, targets, keep_inputs);
    const bool path = options.ridges.size() > 1;
    const bool eigenvalues = path || x.rows <= static_cast<double>(options.diagnose_up_to);
    const bool any = options.solver == Solver::automatic;
    if (options.solver == Solver::primal && x.features() == 0)
        throw ValueError(
            "solver = primal: only the trace and sum-of-logits kernels of train = down have features; "
            "take cg");
    if (options.solver == Solver::primal && keep_inputs)
        throw ValueError(
            "solver = primal keeps no training data, which variances need; take cholesky or cg");
    if (path && !any && options.solver != Solver::cholesky)
        throw ValueError(
            fmt::format("{} ridges with solver = {}: a ridge is chosen by the eigenvalues of K, which only "
                        "cholesky forms; choose one on fewer samples, then give it alone",
                        options.ridges.size(), name(options.solver)));
    const double limit = budget_of(options.memory);
    std::vector<Candidate> candidates;  // the best first
    const auto add = [&](Candidate candidate, std::string reason) {
        candidate.plan.reason = std::move(reason);
        candidates.push_back(std::move(candidate));
    };
    const bool dense = options.solver == Solver::cholesky || any;
    if (dense && eigenvalues)
        add(cholesky(x, Dense::eigenvalues),
            "K is formed and diagonalised: leave-one-out error and evidence of every ridge");
    if (dense && eigenvalues && !path)
        add(cholesky(x, Dense::inverse),
            "K is formed, factorised and inverted: leave-one-out error and evidence without eigenvectors");
    if (dense && !path) add(cholesky(x, Dense::factor), "K is formed and factorised in double precision");
    // 2NQ² flops are those of Q/2s products of cg, and of no more than a hundred of them
    const bool cheap = x.features() > 0 && x.features() < std::min(x.rows, 200 * x.rhs) && !keep_inputs;
    if (!path && (options.solver == Solver::primal || (any && cheap)))
        add(primal(x),
            x.features() < x.rows
                ? fmt::format("{:.0f} features are fewer than the {:.0f} rows of K", x.features(), x.rows)
                : fmt::format("as asked for, though {:.0f} features are no fewer than the {:.0f} rows of K",
                              x.features(), x.rows));
    if (!path && (options.solver == Solver::cg || any)) {
        const auto positive =
            std::any_of(options.ridges.begin(), options.ridges.end(), [](double r) { return r > 0; });
        const double asked = static_cast<double>(options.preconditioner_rank);
        for (const bool stored : {true, false})
            // a product by tiles costs as much as many ranks
            for (const double most : {stored || x.moments ? 2000.0 : 4000.0, 2000.0, 500.0, 100.0, 0.0}) {
                const double q = !positive    ? 0
                                 : asked >= 0 ? std::min(asked, x.rows)
                                              : std::floor(std::min(most, x.rows / 8));
                for (const std::int64_t tile : {2048, 512, 128, 32})
                    add(conjugate_gradients(x, stored, q, tile),
                        stored      ? "K is stored in its own precision and solved by conjugate gradients"
                        : x.moments ? "K does not fit: conjugate gradients on its closed form"
                                    : "K does not fit: conjugate gradients on its tiles, made anew for "
                                      "every product");
            }
    }
    double least = HUGE_VAL;
    for (const Candidate& candidate : candidates) {
        const bool slow = any && candidate.plan.solver == Solver::cholesky &&
                          x.rows > (candidate.plan.eigenvalues ? 8192 : 24000) && !path;
        least = std::min(least, candidate.bytes);
        if (slow || candidate.bytes > limit) continue;
        FitPlan plan = candidate.plan;
        plan.peak_bytes = whole_bytes(candidate.bytes);
        plan.reason += fmt::format("; at most {}, {} of them workspaces", in_words(candidate.bytes),
                                   in_words(workspaces));
        return plan;
    }
    throw MemoryError(
        fmt::format("memory = {}: fitting {} samples{} takes {} at least; allow that, or use fewer samples",
                    in_words(limit), samples,
                    path ? fmt::format(" with {} ridges", options.ridges.size()) : "", in_words(least)));
}

}  // namespace fntk

// Pilots, choice, evidence. With the loss ℓ of the criterion (planner.hpp):
//     c_p from pilots at p0, 2·p0;  c_m from pilots at m0, 2·m0;  p = safety·c_p/ℓ(ε), m for a third of ε;
//     draw, measure, double what is at fault until ε is met.
// Invariants. No seed serves twice as evidence, nor does a pilot's. Sizes never leave what the families and
// max_width allow.
#include "matrix_real.hpp"
#include "planner_parts.hpp"

#include <fntk/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace fntk {

RankError::~RankError() = default;
namespace {

class Planner {
  public:
    Planner(const Device& device, ConstMatrixView inputs, const PlannerOptions& options,
            std::int64_t data_rank, NetworkPlan& plan)
        : options_(options),
          sizes_(options_, inputs.rows, inputs.cols, data_rank),
          pilots_(device, inputs, options),
          plan_(plan),
          device_(device) {
        plan_.hard.data_rank = data_rank;
    }

    void run() {
        begin();
        tick();
        run_rank_pilots();
        plan_.practical_rank = sizes_.practical_rank(plan_.rank_constant);
        if (!down()) rank_ = plan_.practical_rank;
        run_width_pilots();
        rank_ = plan_.practical_rank;
        width_ = plan_.practical_width = sizes_.practical_width(plan_.width_constant, rank_);
        collect_evidence();
        finish();
    }

  private:
    [[nodiscard]] bool down() const { return options_.train.down; }
    [[nodiscard]] double loss(double error) const { return loss_of_error(options_.criterion, error); }
    [[nodiscard]] std::int64_t dim() const { return pilots_.exact_rows().cols; }
    [[nodiscard]] NetworkSpec spec(std::int64_t rank, std::int64_t width, std::uint64_t draw) const {
        return {.dim = dim(),
                .width = width,
                .rank = rank,
                .outputs = options_.outputs,
                .down = options_.down,
                .up = options_.up,
                .train = options_.train,
                .activation = {},
                .precision = plan_.spec.precision,
                .seed = options_.seed + draw};
    }
    void tick() {
        done_ += 1;
        const double total = 2 + 4.0 * options_.seeds;  // the limit, the pilots, one evidence
        if (options_.progress && !options_.progress(std::min(1.0, done_ / total)))
            throw Cancelled("the plan was cancelled");
    }

    void begin();
    void run_rank_pilots();
    void run_width_pilots();
    void collect_evidence();
    void share_losses(const Network& network, const MeasuredDraw& measured);
    bool grow(bool rank);
    template <class Refusal>
    [[noreturn]] void refuse(const std::string& reason) const;
    void finish();

    PlannerOptions options_;
    Sizes sizes_;
    PilotSet pilots_;
    NetworkPlan& plan_;
    Device device_;
    double done_ = 0;
    std::int64_t rank_ = 0, width_ = 0;
};

void Planner::begin() {
    const bool spectral = options_.criterion != PlanCriterion::frobenius;
    if (spectral) pilots_.require_definite_limit();
    plan_.pilot_samples = pilots_.size();
    plan_.law = error_law(device_, pilots_.exact_rows());
    plan_.hard.applied = spectral;
    plan_.limit_lambda_min = pilots_.limit().lambda_min;
    plan_.limit_condition = pilots_.limit().condition();
    plan_.theory = theory_bound(pilots_, options_, plan_.law, sizes_);
    if (!down()) return;  // the least m is known once p is
    plan_.hard.least = sizes_.least_rank();
    if (spectral) sizes_.require_rank();
}

void Planner::run_rank_pilots() {
    const std::int64_t first = sizes_.pilot_rank(pilots_.size()),
                       second = sizes_.rank_near(2.0 * static_cast<double>(first));
    rank_ = second;  // of train = down's width pilots
    if (!down() && options_.down == Down::identity) return;
    const int seeds = !down() && options_.down == Down::pca ? 1 : options_.seeds;  // a basis has no seed
    for (const std::int64_t rank : {first, second}) {
        if (rank == second && first == second && !plan_.rank_pilots.empty()) break;
        for (int s = 0; s < seeds; ++s) {
            const Network network = pilots_.draw(
                spec(rank, down() ? sizes_.width_near(16.0 * static_cast<double>(rank), rank) : 1,
                     static_cast<std::uint64_t>(s)));
            const PlannerDraw draw =
                down() ? pilots_.measure(network, pilots_.limit()).draw : pilots_.measure_limit(network);
            plan_.rank_constant =
                std::max(plan_.rank_constant, loss(draw.error) * static_cast<double>(rank));
            plan_.rank_pilots.push_back(draw);
            tick();
        }
    }
}

void Planner::run_width_pilots() {
    const std::int64_t first = sizes_.pilot_width(pilots_.size(), rank_);
    double mean[2] = {};
    for (int s = 0; s < options_.seeds; ++s) {
        std::optional<ReferenceKernel> at_u;
        for (int doubled = 0; doubled < 2; ++doubled) {
            const std::int64_t width = first << doubled;
            const Network network = pilots_.draw(spec(rank_, width, static_cast<std::uint64_t>(s)));
            if (!down() && !at_u) at_u = pilots_.limit_at(network);
            const PlannerDraw draw = pilots_.measure(network, down() ? pilots_.limit() : *at_u).draw;
            mean[doubled] += loss(draw.error) / options_.seeds;
            if (!down())
                plan_.width_constant =
                    std::max(plan_.width_constant, loss(draw.error) * static_cast<double>(width));
            plan_.width_pilots.push_back(draw);
            tick();
        }
    }
    if (!down()) return;
    double wide = 0, count = 0;
    for (const PlannerDraw& draw : plan_.rank_pilots)
        if (draw.rank == rank_) wide += loss(draw.error), count += 1;
    for (int doubled = 0; doubled < 2; ++doubled)
        plan_.width_constant = std::max(
            plan_.width_constant, (mean[doubled] - wide / count) * static_cast<double>(first << doubled));
}

/// Doubles p (and m with it, for down, where it would fall below 4p) or m; false when that is not possible.
bool Planner::grow(bool rank) {
    if (!rank) {
        const std::int64_t wider = sizes_.width_near(2.0 * static_cast<double>(width_), rank_);
        return wider > width_ && ((width_ = wider), true);
    }
    const std::int64_t next = sizes_.rank_near(2.0 * static_cast<double>(rank_));
    if (next <= rank_) return false;
    rank_ = next;
    const double wanted =
        std::max(static_cast<double>(width_), down() ? 4.0 * static_cast<double>(rank_) : 0.0);
    width_ = sizes_.width_near(wanted, rank_);
    return true;
}

template <class Refusal>
void Planner::refuse(const std::string& reason) const {
    const PlannerDraw& last = plan_.evidence.back();
    throw Refusal(
        fmt::format("target_error = {} ({}) was not met: p = {}, m = {} measured {:.4g} after {} "
                    "doublings, and {}; or ask for a "
                    "larger target_error",
                    options_.target_error, name(options_.criterion), last.rank, last.width, last.error,
                    plan_.evidence.size() - 1, reason));
}

/// down: the measured ℓ in the pilots' proportion c_p/p : c_m/m. up: measured at the drawn U.
void Planner::share_losses(const Network& network, const MeasuredDraw& measured) {
    if (!down()) {
        const ReferenceKernel at_u = pilots_.limit_at(network);
        plan_.rank_loss = pilots_.error(at_u, pilots_.limit()).criterion;
        plan_.width_loss = pilots_.error(measured.kernel, at_u).criterion;
        return;
    }
    const double by_rank = plan_.rank_constant / static_cast<double>(rank_),
                 by_width = plan_.width_constant / static_cast<double>(width_);
    const double share = by_width > 0 ? by_rank / (by_rank + by_width) : 1, all = loss(measured.draw.error);
    plan_.rank_loss = error_of_loss(options_.criterion, all * share);
    plan_.width_loss = error_of_loss(options_.criterion, all * (1 - share));
}

void Planner::collect_evidence() {
    for (int attempt = 0;; ++attempt) {
        plan_.spec = spec(rank_, width_,
                          static_cast<std::uint64_t>(options_.seeds) + static_cast<std::uint64_t>(attempt));
        const Network network = pilots_.draw(plan_.spec);
        const MeasuredDraw measured = pilots_.measure(network, pilots_.limit());
        plan_.evidence.push_back(measured.draw);
        tick();
        share_losses(network, measured);
        if (measured.draw.error <= options_.target_error) return;
        const bool by_rank = !sizes_.lossless(rank_) && loss(plan_.rank_loss) >= loss(plan_.width_loss);
        if (attempt == options_.max_doublings) refuse<ValueError>("max_doublings allows no more: raise it");
        if (grow(by_rank)) continue;
        if (by_rank && plan_.rank_loss <= options_.target_error && grow(false)) continue;  // m can still do
        if (by_rank)
            refuse<RankError>(fmt::format(
                "down = {}, up = {} admit no larger rank at dim {}: use down = gaussian or train = up",
                name(options_.down), name(options_.up), dim()));
        refuse<ValueError>(
            fmt::format("max_width = {} allows no larger width: raise it", options_.max_width));
    }
}

void Planner::finish() {
    const PlannerDraw& last = plan_.evidence.back();
    plan_.hard.least = down() ? plan_.hard.least : sizes_.least_width(rank_);
    plan_.hard.met = (down() ? rank_ : width_) >= plan_.hard.least;
    plan_.dense_width =
        last.frobenius > 0 ? dense_width_of_equal_error(plan_.law, last.frobenius) : HUGE_VAL;
    plan_.cost = cost(plan_.spec, plan_.samples);
    const Cost measured = cost(plan_.spec, plan_.pilot_samples);
    const auto scaled = [](double seconds, std::int64_t flops, std::int64_t of) {
        return seconds * (static_cast<double>(flops) / static_cast<double>(of));
    };
    plan_.tangent_seconds = scaled(last.tangent_seconds, plan_.cost.flops_tangent, measured.flops_tangent);
    plan_.step_seconds = scaled(last.tangent_seconds, plan_.cost.flops_step, measured.flops_tangent);
    plan_.gram_seconds = scaled(last.gram_seconds, plan_.cost.flops_gram, measured.flops_gram);
}

}  // namespace

NetworkPlan plan_network(const Device& device, ConstMatrixView inputs, const PlannerOptions& options) {
    check_options(options);
    if (inputs.rows < 1 || inputs.cols < 1)
        throw ShapeError(
            fmt::format("inputs is {} × {}: a plan needs at least one row and one column; give it the data",
                        inputs.rows, inputs.cols));
    const Staged host = device.on_host(inputs);
    require_real(host, "inputs");
    require_scale(host);
    check_budget(options, inputs);
    if (options.criterion != PlanCriterion::frobenius) require_distinct_rows(host);
    NetworkPlan plan;
    plan.samples = inputs.rows;
    plan.spec.precision = inputs.dtype;
    const std::int64_t rank = numerical_rank(device, inputs);
    try {
        Planner(device, host, options, std::max<std::int64_t>(rank, 1), plan).run();
    } catch (const Cancelled&) {
        plan.cancelled = true;
    }
    return plan;
}

}  // namespace fntk

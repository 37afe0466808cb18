// What needs no draw: names, options, the loss ℓ that falls as 1/p and 1/m, the sizes that families admit,
// and the sufficient sizes of TheoryBound (planner.hpp has the formulas and their assumptions).
#include "planner_parts.hpp"

#include <fntk/error.hpp>

#include <fmt/format.h>

#include <fixed_point.hpp>
#include <signs.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace fntk {

namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double failure = 0.01;  // of a bound; three events share it

/// factor·constant, where a factor of infinity, of a loss that underflows, leaves 0 at 0.
double scaled(double constant, double factor) { return constant > 0 ? constant * factor : 0; }

}  // namespace

const char* name(PlanCriterion criterion) {
    switch (criterion) {
        case PlanCriterion::lambda_min:
            return "lambda-min";
        case PlanCriterion::condition:
            return "condition";
        case PlanCriterion::frobenius:
            return "frobenius";
    }
    return "";
}

PlanCriterion parse_plan_criterion(std::string_view text) {
    for (const PlanCriterion criterion :
         {PlanCriterion::lambda_min, PlanCriterion::condition, PlanCriterion::frobenius})
        if (text == name(criterion)) return criterion;
    throw ValueError(
        fmt::format("criterion is '{}'; choose one of lambda-min, condition, frobenius", text));
}

namespace {

void check(bool good, const char* option, double value, const char* limit, const char* remedy) {
    if (!good) throw ValueError(fmt::format("{} = {}: it must {}; {}", option, value, limit, remedy));
}

}  // namespace

void check_options(const PlannerOptions& options) {
    const double epsilon = options.target_error;
    const bool bounded = options.criterion != PlanCriterion::condition;
    check(epsilon > 0 && std::isfinite(epsilon) && (!bounded || epsilon < 1), "target_error", epsilon,
          bounded ? "lie in (0, 1)" : "be positive and finite", "0.1 asks for a tenth");
    if (options.train.down == options.train.up || options.train.readout)
        throw ValueError(
            fmt::format("train = {}: a plan is made for down alone or up alone; choose one of them",
                        options.train.any() ? to_string(options.train) : "nothing"));
    check(options.seeds >= 1, "seeds", options.seeds, "be at least 1", "3 is usual");
    const auto at_least = [](const char* option, std::int64_t value, std::int64_t least,
                             const char* remedy) {
        check(value >= least, option, static_cast<double>(value),
              least == 0 ? "not be negative" : "be at least 1", remedy);
    };
    at_least("pilot_samples", options.pilot_samples, 1, "1000 is usual");
    at_least("outputs", options.outputs, 1, "one per class or target");
    at_least("pilot_rank", options.pilot_rank, 0, "0 leaves it to the planner");
    at_least("pilot_width", options.pilot_width, 0, "0 leaves it to the planner");
    at_least("max_doublings", options.max_doublings, 0, "8 is usual");
    at_least("memory_budget", options.memory_budget, 0, "0 is no limit");
    check(options.max_width >= 1 && options.max_width < (std::int64_t{1} << 31), "max_width",
          static_cast<double>(options.max_width), "lie in [1, 2147483647]", "1048576 is usual");
    check(options.safety > 0 && std::isfinite(options.safety), "safety", options.safety,
          "be positive and finite", "1.5 is usual");
}

double loss_of_error(PlanCriterion criterion, double error) {
    switch (criterion) {
        case PlanCriterion::lambda_min:
            return error;
        case PlanCriterion::condition:
            return std::isinf(error) ? 1 : error / (1 + error);
        case PlanCriterion::frobenius:
            return error * error;
    }
    return error;
}

double error_of_loss(PlanCriterion criterion, double loss) {
    switch (criterion) {
        case PlanCriterion::lambda_min:
            return loss;
        case PlanCriterion::condition:
            return loss < 1 ? loss / (1 - loss) : infinity;
        case PlanCriterion::frobenius:
            return std::sqrt(loss);
    }
    return loss;
}

std::int64_t Sizes::largest_rank() const {
    if (options_.down == Down::identity) return dim_;
    if (options_.down == Down::srht) return kernels::next_power_of_two(dim_);
    const std::int64_t most = options_.down == Down::gaussian ? kernels::max_columns : dim_;
    const std::int64_t power = kernels::next_power_of_two(most);
    return options_.up != Up::srht || power == most ? most : power / 2;
}

std::int64_t Sizes::rank_near(double rank) const {
    const std::int64_t most = largest_rank();
    if (options_.down == Down::identity || !(rank < static_cast<double>(most))) return most;
    const std::int64_t least = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(rank)));
    return options_.up == Up::srht ? kernels::next_power_of_two(least) : least;
}

std::int64_t Sizes::width_near(double width, std::int64_t rank) const {
    const std::int64_t step =
        options_.up == Up::srht ? std::max<std::int64_t>(64, kernels::next_power_of_two(rank)) : 64;
    const auto least = static_cast<std::int64_t>(
        std::ceil(std::clamp(width, 1.0, static_cast<double>(options_.max_width))));
    return std::min(ceil_div(least, step) * step, options_.max_width);
}

std::int64_t Sizes::isometric_rank() const {
    switch (options_.down) {
        case Down::identity:
        case Down::orthonormal:
            return dim_;
        case Down::pca:
            return data_rank_;
        case Down::srht:
            return kernels::next_power_of_two(dim_);
        case Down::gaussian:
            return 0;
    }
    return 0;
}

bool Sizes::lossless(std::int64_t rank) const {
    return options_.train.up && isometric_rank() > 0 && rank >= isometric_rank();
}

std::int64_t Sizes::least_rank() const { return ceil_div(samples_, data_rank_); }

std::int64_t Sizes::least_width(std::int64_t rank) const {
    return ceil_div(samples_, std::min(rank, data_rank_));
}

void Sizes::require_rank() const {
    if (least_rank() <= largest_rank()) return;
    throw ValueError(
        fmt::format("criterion {} needs p·rank(X) ≥ n: {} rows of rank {} need p ≥ {}, and down = {}, up = "
                    "{} admit p ≤ {} at "
                    "dim {}; use down = gaussian, fewer rows, train = up, or criterion frobenius",
                    name(options_.criterion), samples_, data_rank_, least_rank(), name(options_.down),
                    name(options_.up), largest_rank(), dim_));
}

void Sizes::require_width(std::int64_t rank) const {
    if (least_width(rank) <= options_.max_width) return;
    throw ValueError(fmt::format(
        "criterion {} needs m·min(p, rank X) ≥ n: {} rows of rank {} with p = {} need m ≥ {}, above "
        "max_width = {}; "
        "raise it, use fewer rows, or criterion frobenius",
        name(options_.criterion), samples_, data_rank_, rank, least_width(rank), options_.max_width));
}

std::int64_t Sizes::pilot_rank(std::int64_t rows) const {
    const std::int64_t automatic = std::max<std::int64_t>(64, 4 * ceil_div(rows, data_rank_));
    std::int64_t most = largest_rank();
    if (options_.train.up && isometric_rank() > 0) most = std::min(most, isometric_rank());
    const std::int64_t wanted = options_.pilot_rank > 0 ? options_.pilot_rank : automatic;
    return rank_near(static_cast<double>(std::min(wanted, std::max<std::int64_t>(1, most / 2))));
}

std::int64_t Sizes::pilot_width(std::int64_t rows, std::int64_t rank) const {
    const std::int64_t automatic =
        options_.train.down ? rank
                            : std::max<std::int64_t>(1024, 8 * ceil_div(rows, std::min(rank, data_rank_)));
    return std::min(options_.pilot_width > 0 ? options_.pilot_width : automatic,
                    std::max<std::int64_t>(1, options_.max_width / 2));
}

std::int64_t Sizes::practical_rank(double constant) const {
    const double whole = options_.safety / loss_of_error(options_.criterion, options_.target_error),
                 third = 1 / loss_of_error(options_.criterion, options_.target_error / 3);
    double rank = scaled(constant, whole);
    if (options_.train.down)
        return rank_near(spectral() ? std::max(rank, static_cast<double>(least_rank())) : rank);
    if (const auto isometry = static_cast<double>(isometric_rank()); isometry > 0) {
        // p·m is less where p loses nothing and m has the whole of ε, or p would be as large anyway
        const bool admitted = isometric_rank() <= largest_rank();
        if (rank >= isometry || (admitted && isometry * whole <= rank * third)) rank = isometry;
    }
    return rank_near(rank);
}

std::int64_t Sizes::practical_width(double constant, std::int64_t rank) const {
    const double whole = options_.safety / loss_of_error(options_.criterion, options_.target_error),
                 third = 1 / loss_of_error(options_.criterion, options_.target_error / 3);
    double width = scaled(constant, lossless(rank) ? whole : third);
    if (options_.train.down) return width_near(std::max(width, 4.0 * static_cast<double>(rank)), rank);
    if (spectral()) {
        require_width(rank);
        width = std::max(width, static_cast<double>(least_width(rank)));
    }
    return width_near(width, rank);
}

namespace {

/// Terms of a bound by matrix Chernoff that are the same for p and m: ln(n/δ)/η²·max(2/λ, 3/λ_max).
double chernoff(const ReferenceKernel& limit, std::int64_t n, const PlannerOptions& options, double delta) {
    const double epsilon = options.target_error;
    const bool both_ends = options.criterion == PlanCriterion::condition;
    const double eta = both_ends ? epsilon / (2 + epsilon) : epsilon;
    const double end = std::max(2 / limit.lambda_min, both_ends ? 3 / limit.lambda_max : 0.0);
    return std::log(static_cast<double>(n) / delta) / (eta * eta) * end;
}

}  // namespace

TheoryBound theory_bound(const PilotSet& pilots, const PlannerOptions& options, const ErrorLaw& law,
                         const Sizes& sizes) {
    const bool down = options.train.down;
    const std::int64_t least = sizes.isometric_rank();
    const double isometry = least > 0 ? static_cast<double>(least) : infinity;
    if (options.criterion == PlanCriterion::frobenius) {
        const auto bound = [&](double term) {
            return term / failure / options.target_error / options.target_error;
        };
        if (!down) return {isometry, bound(law.width_term)};
        return {bound(2 * law.rank_term), bound(2 * law.width_term)};
    }
    const double delta = failure / 3, n = static_cast<double>(pilots.size());
    const double size = pilots.squared_norm() * chernoff(pilots.limit(), pilots.size(), options, delta);
    if (!down) return {isometry, size};
    double rank = 1;  // p = size·ln(2np/δ)/(1 − δ)²: the right side grows as ln p
    for (int i = 0; i < 100; ++i)
        rank = std::max(1.0, size * std::log(2 * n * rank / delta) / ((1 - delta) * (1 - delta)));
    return {rank, infinity};
}

}  // namespace fntk

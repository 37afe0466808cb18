#include "plans.hpp"

#include <fmt/format.h>

namespace fntk::cli {

namespace {

/// Seconds before and in each of the repeated parts, whose name is `part`.
template <class Plan>
Json with_seconds(const Plan& plan, const char* part, double setup, double each) {
    Json result = describe(plan);
    result["estimated_seconds"] = {{"setup", setup}, {part, each}};
    return result;
}

std::string seconds_in_words(double setup, double each, const char* part) {
    const std::string repeated = each > 0 ? fmt::format(" and {:.2g} s {}", each, part) : "";
    return fmt::format("; about {:.2g} s{}", setup, repeated);
}

}  // namespace

Json describe(const FitPlan& plan) {
    return {{"solver", name(plan.solver)},
            {"eigenvalues", plan.eigenvalues},
            {"inverse", plan.inverse},
            {"stored", plan.stored},
            {"tile", plan.tile},
            {"preconditioner_rank", plan.preconditioner_rank},
            {"peak_bytes", plan.peak_bytes},
            {"flops", plan.flops},
            {"reason", plan.reason}};
}
Json describe(const FitPlan& plan, const FitEstimate& estimate) {
    return with_seconds(plan, "iteration", estimate.setup_seconds, estimate.iteration_seconds);
}

Json describe(const GramFilePlan& plan) {
    return {{"tile", plan.tile},
            {"tiles", plan.tiles},
            {"peak_bytes", plan.peak_bytes},
            {"file_bytes", plan.file_bytes},
            {"flops", plan.flops},
            {"reason", plan.reason}};
}

Json describe(const SpectrumPlan& plan) {
    return {{"peak_bytes", plan.peak_bytes}, {"flops", plan.flops}, {"reason", plan.reason}};
}

Json describe(const SpectrumPlan& plan, const SpectrumEstimate& estimate) {
    return with_seconds(plan, "product", estimate.setup_seconds, estimate.product_seconds);
}

Json describe(const TrainingPlan& plan) {
    return {{"batch", plan.batch},
            {"kernel", plan.kernel},
            {"peak_bytes", plan.peak_bytes},
            {"flops", plan.flops},
            {"reason", plan.reason}};
}

Json describe(const TrainingPlan& plan, const TrainingEstimate& estimate) {
    return with_seconds(plan, "step", estimate.setup_seconds, estimate.step_seconds);
}

Json describe(const PredictPlan& plan) {
    return {{"block", plan.block},
            {"tile", plan.tile},
            {"peak_bytes", plan.peak_bytes},
            {"flops", plan.flops},
            {"reason", plan.reason}};
}

std::string in_words(const FitPlan& plan) { return fmt::format("{}, {}", name(plan.solver), plan.reason); }
std::string in_words(const FitPlan& plan, const FitEstimate& estimate) {
    return in_words(plan) +
           seconds_in_words(estimate.setup_seconds, estimate.iteration_seconds, "an iteration");
}
std::string in_words(const GramFilePlan& plan, double seconds) {
    return fmt::format("{}; about {:.2g} s beside the writing", plan.reason, seconds);
}
std::string in_words(const PredictPlan& plan, double seconds) {
    return fmt::format("{}; about {:.2g} s", plan.reason, seconds);
}
std::string in_words(const SpectrumPlan& plan, const SpectrumEstimate& estimate) {
    return plan.reason + seconds_in_words(estimate.setup_seconds, estimate.product_seconds, "a product");
}
std::string in_words(const TrainingPlan& plan, const TrainingEstimate& estimate) {
    return plan.reason + seconds_in_words(estimate.setup_seconds, estimate.step_seconds, "a step");
}

}  // namespace fntk::cli

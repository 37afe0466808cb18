#include "plans.hpp"

#include <fmt/format.h>

namespace fntk::cli {

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
    Json result = describe(plan);
    result["estimated_seconds"] = {{"setup", estimate.setup_seconds},
                                   {"iteration", estimate.iteration_seconds}};
    return result;
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

Json describe(const TrainingPlan& plan) {
    return {{"batch", plan.batch},
            {"kernel", plan.kernel},
            {"peak_bytes", plan.peak_bytes},
            {"flops", plan.flops},
            {"reason", plan.reason}};
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
    const std::string iterations =
        estimate.iteration_seconds > 0
            ? fmt::format(" and {:.2g} s an iteration", estimate.iteration_seconds)
            : "";
    return fmt::format("{}; about {:.2g} s{}", in_words(plan), estimate.setup_seconds, iterations);
}
std::string in_words(const GramFilePlan& plan, double seconds) {
    return fmt::format("{}; about {:.2g} s beside the writing", plan.reason, seconds);
}
std::string in_words(const PredictPlan& plan, double seconds) {
    return fmt::format("{}; about {:.2g} s", plan.reason, seconds);
}

}  // namespace fntk::cli

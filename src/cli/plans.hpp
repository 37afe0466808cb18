// Plans of long operations, for reports and for people.
#pragma once

#include "report.hpp"

namespace fntk::cli {

Json describe(const FitPlan& plan);
Json describe(const FitPlan& plan, const FitEstimate& estimate);
Json describe(const GramFilePlan& plan);
Json describe(const SpectrumPlan& plan);
Json describe(const SpectrumPlan& plan, const SpectrumEstimate& estimate);
Json describe(const TrainingPlan& plan);
Json describe(const TrainingPlan& plan, const TrainingEstimate& estimate);
Json describe(const PredictPlan& plan);

template <class Plan>
Json describe(const Plan& plan, double seconds) {
    Json result = describe(plan);
    result["estimated_seconds"] = seconds;
    return result;
}

/// One line each: the way, the bytes, the reason; and the seconds.
std::string in_words(const FitPlan& plan);
std::string in_words(const FitPlan& plan, const FitEstimate& estimate);
std::string in_words(const GramFilePlan& plan, double seconds);
std::string in_words(const PredictPlan& plan, double seconds);
std::string in_words(const SpectrumPlan& plan, const SpectrumEstimate& estimate);
std::string in_words(const TrainingPlan& plan, const TrainingEstimate& estimate);

}  // namespace fntk::cli

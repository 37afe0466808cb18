// How many seconds a plan will take on this device: rates measured on the leading samples of the data
// itself, times the plan's counts. Measuring takes about a second for the largest fit, and less memory than
// the plan allows. A plan that no planner gave is a ValueError.
#pragma once

#include <fntk/gram_file.hpp>
#include <fntk/kernel_model.hpp>
#include <fntk/spectrum_plan.hpp>
#include <fntk/training.hpp>

namespace fntk {

struct FitEstimate {
    double setup_seconds = 0;      ///< all of a direct solve; of cg the stored K and the preconditioner
    double iteration_seconds = 0;  ///< of cg, whose number of iterations nobody knows before; else 0
};
/// Of plan_fit's plan for inputs n × dim and that many columns of targets. Throws as KernelBatch does, and
/// ValueError for fewer than one sample or target.
FNTK_API FitEstimate estimate_fit(const Device& device, const KernelFunction& function,
                                  ConstMatrixView inputs, std::int64_t targets, const FitPlan& plan);

/// Of the tiles in plan_gram_file's plan for K(rows, cols), or the symmetric K(rows, rows) where cols has
/// no columns; making the batches ready and writing file_bytes are not in it. Throws as KernelBatch does.
FNTK_API double estimate_gram_file(const Device& device, const KernelFunction& function,
                                   ConstMatrixView rows, ConstMatrixView cols, const GramFilePlan& plan);

/// Of plan_predict's plan for these inputs, n' × dim. Throws as KernelBatch does.
FNTK_API double estimate_predict(const Device& device, const KernelModel& model, ConstMatrixView inputs,
                                 const PredictPlan& plan);

struct SpectrumEstimate {
    double setup_seconds =
        0;  ///< K, all eigenvalues, certificates and probes, as far as they are asked for
    double product_seconds = 0;  ///< of Lanczos, whose number of products nobody knows before; else 0
};
/// Of plan_spectrum's plan for these options and inputs n × dim. Throws as KernelBatch does, ValueError for
/// no samples.
FNTK_API SpectrumEstimate estimate_spectrum(const Device& device, const KernelFunction& function,
                                            ConstMatrixView inputs, const KernelSpectrumOptions& options);

struct TrainingEstimate {
    double setup_seconds = 0;  ///< the step size, and every kernel and λ_min of the run
    double step_seconds = 0;
};
/// Of plan_training's plan, by steps on the leading samples. Throws as train does.
FNTK_API TrainingEstimate estimate_training(const Device& device, const Network& network,
                                            ConstMatrixView inputs, ConstMatrixView targets,
                                            const TrainingOptions& options, const TrainingPlan& plan);

}  // namespace fntk

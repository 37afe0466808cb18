// Labels as targets of a network: one-hot columns for classes, their own columns for real values, random
// signs without labels.
#pragma once

#include "report.hpp"

namespace fntk::cli {

/// One output per class beyond two; one for two classes; one per column of real targets.
std::int64_t default_outputs(const Dataset& dataset);

/// Throws ValueError where labels are only taken for classes (TargetKind::automatic) and would be more
/// classes than labels: numbers, most likely, which are for the user to tell.
void refuse_guessed_classes(const Dataset& dataset, TargetKind kind);

class Targets {
  public:
    /// Squared loss: centred one-hot columns; cross-entropy: probabilities. `outputs` is the network's.
    /// Throws ValueError when there are more classes than outputs.
    Targets(const Dataset& dataset, std::int64_t outputs, Loss loss = Loss::squared);
    [[nodiscard]] ConstMatrixView matrix() const { return matrix_; }
    [[nodiscard]] bool classification() const { return classification_; }
    [[nodiscard]] bool labelled() const { return labelled_; }
    /// Accuracy of scores for classes, root mean square error for real targets, over all their columns.
    [[nodiscard]] double score(ConstMatrixView scores, const Samples& samples) const;

  private:
    Matrix matrix_;
    bool classification_ = false;
    bool labelled_ = true;
};

/// Accuracy or root mean square error beside the labels, into the report and to people.
void report_score(Report& report, const std::string& prefix, const Targets& targets, ConstMatrixView mean,
                  const Samples& samples);

}  // namespace fntk::cli

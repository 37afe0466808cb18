// The comparison of networks on one data set, row by row. compare.cpp has the command, compare_rows.cpp the
// measuring, compare_table.cpp the table.
#pragma once

#include "report.hpp"
#include "targets.hpp"

#include <optional>

#include <string>
#include <vector>

namespace fntk::cli {

struct CompareOptions {
    std::int64_t steps = 50;
    std::int64_t seeds = 1;
    std::uint64_t seed = 0;
    double ridge = 1e-3;
};

/// What every row is measured against.
class Comparison {
  public:
    Comparison(Device device, const Dataset& dataset, ActivationSpec activation, CompareOptions options);

    /// The infinite-width kernel: λ_min, λ_max, condition, ridge accuracy, the error law.
    [[nodiscard]] Json limit_row();
    /// One network, averaged over the seeds.
    [[nodiscard]] Json row(const std::string& name, NetworkSpec spec, const Progress& progress);
    /// A network as it is.
    [[nodiscard]] Json row(const std::string& name, const Network& network, const Progress& progress);
    [[nodiscard]] std::int64_t outputs() const { return outputs_; }
    /// Numerical rank of the training inputs.
    [[nodiscard]] std::int64_t data_rank() const;

  private:
    [[nodiscard]] Json measure(const Network& network, const Progress& progress);
    /// f at the inputs, in host memory.
    [[nodiscard]] Matrix values_at(const Network& network, ConstMatrixView inputs) const;
    [[nodiscard]] Json ridge_score(ConstMatrixView kernel, ConstMatrixView cross) const;
    [[nodiscard]] bool tested() const;

    Device device_;
    const Dataset& dataset_;
    ActivationSpec activation_;
    CompareOptions options_;
    std::int64_t outputs_;
    Targets targets_;
    Matrix limit_kernel_;
    ErrorLaw law_;
};

/// The table for a terminal.
std::string compare_table(const Json& report);

}  // namespace fntk::cli

// The comparison of networks on one data set, row by row. compare.cpp has the command, compare_rows.cpp the
// measuring, compare_kernel.cpp what is said of a kernel, compare_table.cpp the table.
//
// Up to `whole` samples kernels are taken as wholes: all eigenvalues, ‖K − K∞‖_F/‖K∞‖_F, drift and
// certificate. Beyond, memory and time grow with n as the methods' own do: λ_max by products, the distance
// on the kernel of `compared` samples, ridge regression by fit_kernel; what takes the whole spectrum is
// null.
#pragma once

#include "report.hpp"
#include "targets.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace fntk::cli {

struct CompareOptions {
    std::int64_t steps = 50;
    std::int64_t seeds = 1;
    std::uint64_t seed = 0;
    double ridge = 1e-3;
    std::int64_t whole = 10000;                   ///< samples
    std::int64_t compared = 2048;                 ///< samples, evenly spaced
    std::int64_t memory = std::int64_t{4} << 30;  ///< bytes of a fit, beyond `whole`
};

/// What is said of the kernel of one network; null: not known.
struct KernelFindings {
    double seconds = 0;  ///< of the Gram matrix: of all samples, or of those that are compared
    std::int64_t peak_bytes = 0;
    Json lambda_min = nullptr, lambda_max = nullptr, condition = nullptr;
    bool positive = false;  ///< λ_min is, beyond rounding
    double error = 0;
    Json ridge = nullptr;  ///< the score on the test rows
};

/// What every row is measured against.
class Comparison {
  public:
    Comparison(const Device& device, const Dataset& dataset, ActivationSpec activation,
               CompareOptions options);

    /// Throws MemoryError where ridge regression on the network's kernel does not fit into the memory.
    void check_memory(const Network& network) const;
    /// The infinite-width kernel: λ_min, λ_max, condition, ridge accuracy (all of them null where kernels
    /// are not formed), the error law.
    [[nodiscard]] Json limit_row();
    /// One network, averaged over the seeds. Throws Error, as the next one does, when interrupted() is
    /// found.
    [[nodiscard]] Json row(const std::string& name, NetworkSpec spec, const Progress& progress);
    /// A network as it is.
    [[nodiscard]] Json row(const std::string& name, const Network& network, const Progress& progress);
    [[nodiscard]] std::int64_t outputs() const { return outputs_; }
    /// Numerical rank of the training inputs.
    [[nodiscard]] std::int64_t data_rank() const;

  private:
    [[nodiscard]] Json measure(const Network& network, const Progress& progress);
    /// null where the law has no such width.
    [[nodiscard]] Json dense_width_of(const Json& error) const;
    /// λ's and the ridge's score into `row`.
    void limit_of_all(Json& row);
    [[nodiscard]] KernelFindings findings(const Network& network, const Tangent& at) const;
    [[nodiscard]] KernelFindings findings_of_all(const Network& network, const Tangent& at) const;
    [[nodiscard]] KernelFindings findings_by_products(const Network& network, const Tangent& at) const;
    /// f at the inputs, in host memory.
    [[nodiscard]] Matrix values_at(const Network& network, ConstMatrixView inputs) const;
    [[nodiscard]] Json ridge_score(ConstMatrixView kernel, ConstMatrixView cross) const;
    [[nodiscard]] Json fitted_score(const Network& network) const;
    [[nodiscard]] FitOptions fit_options() const;
    [[nodiscard]] bool tested() const;
    [[nodiscard]] bool whole() const { return dataset_.train.inputs.rows() <= options_.whole; }
    /// The samples whose kernel is compared with the limit's: all, or some.
    [[nodiscard]] ConstMatrixView compared() const {
        return some_inputs_.empty() ? dataset_.train.inputs.view() : some_inputs_.view();
    }

    Device device_;
    const Dataset& dataset_;
    ActivationSpec activation_;
    CompareOptions options_;
    std::int64_t outputs_;
    Targets targets_;
    Matrix some_inputs_;   // empty where all are compared
    Matrix limit_kernel_;  // of compared()
    ErrorLaw law_;
};

/// Seconds of the clock until the device has done it.
template <class Body>
double timed(const Device& device, Body&& body) {
    const auto begin = std::chrono::steady_clock::now();
    body();
    wait_for(device);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// The table for a terminal.
std::string compare_table(const Json& report);

}  // namespace fntk::cli

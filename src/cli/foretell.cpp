#include "foretell.hpp"

#include <cmath>

namespace fntk::cli {

namespace {

/// n × k values as one column, in the order of the full kernel's rows.
Matrix as_column(ConstMatrixView values) {
    const Matrix rows = Matrix::converted(values, DType::f64);
    return Matrix::copy_of(ConstMatrixView(rows.row<double>(0), values.rows * values.cols, 1));
}

KernelFunction kernel_of(const Network& start) {
    return KernelFunction::of_network(start, KernelOutput::full);
}

}  // namespace

SpectrumPlan plan_foretold(const Network& start, std::int64_t samples, std::int64_t memory) {
    return plan_spectrum(kernel_of(start), samples, {.memory = memory});
}

Foretold foretell(const Device& device, const Network& start, ConstMatrixView inputs,
                  ConstMatrixView targets, std::int64_t steps, double step, ConstMatrixView begun,
                  ConstMatrixView trained) {
    const Matrix first = as_column(begun), last = as_column(trained);
    const KernelDescent descent = [&] {
        const KernelBatch batch(device, kernel_of(start), inputs);
        return KernelDescent(device, gram(batch.tangent(), KernelOutput::full), as_column(targets), first);
    }();
    Foretold result;
    result.step_limit = descent.step_limit();
    result.converges = step < result.step_limit;
    if (!result.converges) return result;
    DescentState state = descent.after(steps, step);
    result.loss = state.loss;
    double apart = 0, moved = 0;
    for (std::int64_t i = 0; i < last.rows(); ++i) {
        const double f = state.outputs.at<double>(i, 0);
        apart += std::pow(last.at<double>(i, 0) - f, 2);
        moved += std::pow(f - first.at<double>(i, 0), 2);
    }
    result.distance = apart > 0 ? std::sqrt(apart / moved) : 0;
    result.outputs =
        Matrix::copy_of(ConstMatrixView(state.outputs.row<double>(0), targets.rows, targets.cols));
    return result;
}

}  // namespace fntk::cli

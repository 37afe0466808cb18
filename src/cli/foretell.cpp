#include "foretell.hpp"

#include <cmath>

namespace fntk::cli {

namespace {

/// n × k values in double as one column, in the order of the full kernel's rows.
ConstMatrixView as_column(const Matrix& values) {
    return {values.row<double>(0), values.rows() * values.cols(), 1};
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
    const Matrix y = Matrix::converted(targets, DType::f64), first = Matrix::converted(begun, DType::f64),
                 last = Matrix::converted(trained, DType::f64);
    const KernelDescent descent = [&] {
        const KernelBatch batch(device, kernel_of(start), inputs);
        return KernelDescent(device, gram(batch.tangent(), KernelOutput::full), as_column(y),
                             as_column(first));
    }();
    Foretold result;
    result.step_limit = descent.step_limit();
    result.converges = step < result.step_limit;
    if (!result.converges) return result;
    const DescentState state = descent.after(steps, step);
    result.loss = state.loss;
    result.outputs =
        Matrix::copy_of(ConstMatrixView(state.outputs.row<double>(0), targets.rows, targets.cols));
    double apart = 0, moved = 0;
    for (std::int64_t i = 0; i < targets.rows; ++i)
        for (std::int64_t c = 0; c < targets.cols; ++c) {
            const double f = result.outputs.at<double>(i, c);
            apart += std::pow(last.at<double>(i, c) - f, 2);
            moved += std::pow(f - first.at<double>(i, c), 2);
        }
    result.distance = apart > 0 ? std::sqrt(apart / moved) : 0;
    return result;
}

}  // namespace fntk::cli

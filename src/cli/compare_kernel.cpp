// What is said of a kernel: its eigenvalues, its distance from the infinite-width limit, ridge regression.
#include "compare.hpp"

#include <fmt/format.h>

#include <cmath>
#include <typeinfo>

namespace fntk::cli {

namespace {

/// ‖A − B‖_F/‖B‖_F.
double relative_error(ConstMatrixView a, ConstMatrixView b) {
    double difference = 0, norm = 0;
    for (std::int64_t i = 0; i < a.rows; ++i)
        for (std::int64_t j = 0; j < a.cols; ++j) {
            const double d = value(a, i, j) - value(b, i, j);
            difference += d * d;
            norm += value(b, i, j) * value(b, i, j);
        }
    return norm > 0 ? std::sqrt(difference / norm) : 0;
}

/// The score that `body` finds; null where K + jitter is singular and there is no ridge solution to score.
template <class Body>
Json score_or_null(const Body& body) {
    try {
        return body();
    } catch (const Error& error) {
        if (typeid(error) != typeid(Error)) throw;  // an argument, memory, a device
        return nullptr;
    }
}

}  // namespace

Json Comparison::ridge_score(ConstMatrixView kernel, ConstMatrixView cross) const {
    if (!tested()) return nullptr;
    return score_or_null([&] {
        const RidgeModel model = fit_ridge(device_, kernel, targets_.matrix(), options_.ridge);
        return targets_.score(predict(device_, model, cross), dataset_.test);
    });
}

Json Comparison::limit_row() {
    limit_kernel_ = limit_kernel(device_, activation_, {.down = true}, compared());
    law_ = activation_.kind == Activation::relu ? error_law(device_, compared()) : ErrorLaw{};
    Json row = {{"lambda_min", nullptr},
                {"lambda_max", nullptr},
                {"condition", nullptr},
                {"residual", nullptr},
                {"ridge", options_.ridge},
                {"compared_samples", compared().rows},
                {"test_accuracy", {{"ridge", nullptr}}}};
    if (whole()) limit_of_all(row);
    if (activation_.kind == Activation::relu)
        row["error_law"] = {{"rank_term", law_.rank_term}, {"width_term", law_.width_term}};
    return row;
}

void Comparison::limit_of_all(Json& row) {
    const Matrix &x = dataset_.train.inputs, &test = dataset_.test.inputs;
    const Spectrum eigen = spectrum(device_, limit_kernel_);
    row["lambda_min"] = eigen.min();
    row["lambda_max"] = eigen.max();
    row["condition"] = finite_or_null(eigen.condition());
    row["residual"] = eigen.residual;
    const Json score = ridge_score(
        limit_kernel_, tested() ? limit_kernel(device_, activation_, {.down = true}, test, x) : Matrix{});
    if (targets_.classification())
        row["test_accuracy"]["ridge"] = score;
    else
        row["test_rmse"] = {{"ridge", score}};
}

KernelFindings Comparison::findings(const Network& network, const Tangent& at) const {
    return whole() ? findings_of_all(network, at) : findings_by_products(network, at);
}

KernelFindings Comparison::findings_of_all(const Network& network, const Tangent& at) const {
    KernelFindings found;
    Matrix kernel;
    found.seconds = timed(device_, [&] { kernel = gram(at, KernelOutput::trace); });
    found.peak_bytes = memory_use(device_.place()).peak;
    const Spectrum eigen = spectrum(device_, kernel);
    found.lambda_min = eigen.min();
    found.lambda_max = eigen.max();
    found.condition = finite_or_null(eigen.condition());
    found.positive = eigen.positive();
    found.error = relative_error(device_.on_host(kernel), limit_kernel_);
    if (tested()) {
        const Tangent at_test = tangent(device_, network, dataset_.test.inputs);
        found.ridge = ridge_score(kernel, cross_gram(at_test, at, KernelOutput::trace));
    }
    return found;
}

FitOptions Comparison::fit_options() const {
    return {.ridges = {options_.ridge}, .memory = options_.memory, .diagnose_up_to = 0};
}

void Comparison::check_memory(const Network& network) const {
    if (whole() || !tested()) return;
    (void)plan_fit(KernelFunction::of_network(network), dataset_.train.inputs.rows(),
                   targets_.matrix().cols, fit_options());
}

Json Comparison::fitted_score(const Network& network) const {
    return score_or_null([&] {
        const KernelModel model = fit_kernel(device_, KernelFunction::of_network(network),
                                             dataset_.train.inputs, targets_.matrix(), fit_options());
        return targets_.score(predict_kernel(device_, model, dataset_.test.inputs).mean, dataset_.test);
    });
}

KernelFindings Comparison::findings_by_products(const Network& network, const Tangent& at) const {
    KernelFindings found;
    found.lambda_max = lambda_max(KernelOperator(at)).value;
    const Tangent some = tangent(device_, network, compared());
    Matrix kernel;
    found.seconds = timed(device_, [&] { kernel = gram(some, KernelOutput::trace); });
    found.error = relative_error(device_.on_host(kernel), limit_kernel_);
    if (tested()) found.ridge = fitted_score(network);
    found.peak_bytes = memory_use(device_.place()).peak;
    return found;
}

}  // namespace fntk::cli

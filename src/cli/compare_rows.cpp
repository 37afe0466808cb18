// One row: tangent, Gram, spectrum, distance to the limit, ridge regression, training.
#include "compare.hpp"

#include <fmt/format.h>

#include <cmath>

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

/// Mean of the numbers of many rows, field by field; a null anywhere stays null, booleans are joined by
/// "and".
Json mean(const std::vector<Json>& rows) {
    Json result = rows.front();
    for (auto& [key, field] : result.items()) {
        if (field.is_object()) {
            std::vector<Json> parts;
            for (const Json& row : rows) parts.push_back(row.at(key));
            field = mean(parts);
        } else if (field.is_boolean()) {
            for (const Json& row : rows) field = field.get<bool>() && row.at(key).get<bool>();
        } else if (field.is_number_float()) {
            double sum = 0;
            bool known = true;
            for (const Json& row : rows) {
                known = known && row.at(key).is_number();
                sum += known ? row.at(key).get<double>() : 0;
            }
            field = known ? Json(sum / static_cast<double>(rows.size())) : Json(nullptr);
        }
    }
    return result;
}

template <class Body>
double timed(Body&& body) {
    const auto begin = std::chrono::steady_clock::now();
    body();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

Comparison::Comparison(Device device, const Dataset& dataset, ActivationSpec activation,
                       CompareOptions options)
    : device_(std::move(device)),
      dataset_(dataset),
      activation_(activation),
      options_(options),
      outputs_(default_outputs(dataset)),
      targets_(dataset, outputs_) {
    if (options.steps < 0)
        throw ValueError(fmt::format("steps is {}; it must be at least 0", options.steps));
    if (options.seeds < 1)
        throw ValueError(fmt::format("seeds is {}; it must be at least 1", options.seeds));
    if (!(options.ridge >= 0) || !std::isfinite(options.ridge))
        throw ValueError(
            fmt::format("ridge is {}; it must be at least 0 and finite: try 1e-3", options.ridge));
}

bool Comparison::tested() const { return !dataset_.test.inputs.empty() && !dataset_.test.labels.empty(); }

std::int64_t Comparison::data_rank() const { return numerical_rank(device_, dataset_.train.inputs); }

Json Comparison::ridge_score(ConstMatrixView kernel, ConstMatrixView cross) const {
    if (!tested()) return nullptr;
    try {
        const RidgeModel model = fit_ridge(device_, kernel, targets_.matrix(), options_.ridge);
        return targets_.score(predict(device_, model, cross), dataset_.test);
    } catch (const ValueError&) {
        throw;
    } catch (const Error&) {
        return nullptr;  // K + jitter is singular: there is no ridge solution to score
    }
}

Json Comparison::limit_row() {
    const Matrix &x = dataset_.train.inputs, &test = dataset_.test.inputs;
    limit_kernel_ = limit_kernel(device_, activation_, {.down = true}, x);
    law_ = activation_.kind == Activation::relu ? error_law(device_, x) : ErrorLaw{};
    const Spectrum eigen = spectrum(device_, limit_kernel_);
    const Json score = ridge_score(
        limit_kernel_, tested() ? limit_kernel(device_, activation_, {.down = true}, test, x) : Matrix{});
    Json row = {{"lambda_min", eigen.min()},
                {"lambda_max", eigen.max()},
                {"condition", finite_or_null(eigen.condition())},
                {"residual", eigen.residual},
                {"ridge", options_.ridge},
                {"test_accuracy", {{"ridge", targets_.classification() ? score : Json(nullptr)}}}};
    if (!targets_.classification()) row["test_rmse"] = {{"ridge", score}};
    if (activation_.kind == Activation::relu)
        row["error_law"] = {{"rank_term", law_.rank_term}, {"width_term", law_.width_term}};
    return row;
}

Json Comparison::row(const std::string& name, NetworkSpec spec, const Progress& progress) {
    std::vector<Json> rows;
    for (std::int64_t s = 0; s < options_.seeds && !interrupted(); ++s) {
        spec.seed = options_.seed + static_cast<std::uint64_t>(s);
        rows.push_back(measure(Network::create(spec, dataset_.train.inputs), [&](double share) {
            return progress((static_cast<double>(s) + share) / static_cast<double>(options_.seeds));
        }));
    }
    if (rows.empty()) return nullptr;
    Json result = mean(rows);
    result["name"] = name;
    result["seeds"] = options_.seeds;
    return result;
}

Json Comparison::row(const std::string& name, const Network& network, const Progress& progress) {
    Json result = measure(network, progress);
    result["name"] = name;
    result["seeds"] = 1;
    return result;
}

Matrix Comparison::values_at(const Network& network, ConstMatrixView inputs) const {
    return device_.to_host(tangent(device_, network, inputs, {.only_these = true}).values());
}

Json Comparison::measure(const Network& network, const Progress& progress) {
    const NetworkSpec& spec = network.spec();
    const ConstMatrixView x = dataset_.train.inputs;
    const Cost estimate = cost(spec, x.rows);
    reset_memory_peak();
    const std::int64_t before = memory_use(device_.place()).current;

    std::optional<Tangent> at;
    const double tangent_seconds = timed([&] { at.emplace(tangent(device_, network, x)); });
    Matrix kernel;
    const double gram_seconds = timed([&] { kernel = gram(*at, KernelOutput::trace); });
    const std::int64_t kernel_peak = memory_use(device_.place()).peak - before;
    (void)progress(0.2);

    const Spectrum eigen = spectrum(device_, kernel);
    const double error = relative_error(device_.on_host(kernel), limit_kernel_);
    Json ridge = nullptr;
    if (tested()) {
        const Tangent at_test = tangent(device_, network, dataset_.test.inputs);
        ridge = ridge_score(kernel, cross_gram(at_test, *at, KernelOutput::trace));
    }
    at.reset();
    kernel = Matrix{};
    (void)progress(0.5);

    TrainingOptions training{.steps = options_.steps, .kernel_drift = true, .certificate = true};
    training.known_lambda_min = std::max(eigen.min(), 0.0);
    training.progress = [&](double share) { return progress(0.5 + 0.5 * share); };
    reset_memory_peak();
    const TrainingResult trained = train(device_, network, x, targets_.matrix(), training);
    const std::int64_t peak = std::max(kernel_peak, memory_use(device_.place()).peak - before);
    Json trained_score = nullptr;
    if (tested())
        trained_score = targets_.score(values_at(trained.network, dataset_.test.inputs), dataset_.test);
    (void)progress(1);

    const bool classes = targets_.classification();
    Json row = {
        {"name", ""},
        {"width", spec.width},
        {"rank", spec.rank},
        {"down", name(spec.down)},
        {"up", name(spec.up)},
        {"train", to_string(spec.train)},
        {"outputs", spec.outputs},
        {"parameters_trained", estimate.parameters_trained},
        {"bytes_stored", estimate.bytes_stored},
        {"flops_per_step", estimate.flops_step},
        {"seconds",
         {{"tangent", tangent_seconds}, {"gram", gram_seconds}, {"step", trained.seconds_per_step}}},
        {"peak_bytes", peak},
        {"lambda_min", eigen.min()},
        {"lambda_max", eigen.max()},
        {"condition", finite_or_null(eigen.condition())},
        {"relative_error", error},
        {"dense_width_of_equal_error",
         law_.width_term > 0 && error > 0 ? Json(dense_width_of_equal_error(law_, error)) : Json(nullptr)},
        {"train_loss", trained.history.back().loss},
        {"drift", trained.history.back().drift},
        {"flips", std::max(trained.history.back().flips, 0.0)},
        {"certificate_held", trained.certificate_held},
        {"test_accuracy",
         {{"trained", classes ? trained_score : Json(nullptr)},
          {"ridge", classes ? ridge : Json(nullptr)}}}};
    if (!classes) row["test_rmse"] = {{"trained", trained_score}, {"ridge", ridge}};
    return row;
}

}  // namespace fntk::cli

// One row: the tangent, what is said of its kernel, training.
#include "compare.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

namespace fntk::cli {

namespace {

/// Mean of the numbers of many rows, field by field; a null anywhere stays null unless another row has
/// words for it, booleans are joined by "and".
Json mean(const std::vector<Json>& rows) {
    Json result = rows.front();
    for (auto& [key, field] : result.items()) {
        if (field.is_object()) {
            std::vector<Json> parts;
            for (const Json& row : rows) parts.push_back(row.at(key));
            field = mean(parts);
        } else if (field.is_null()) {
            for (const Json& row : rows)
                if (row.at(key).is_string()) field = row.at(key);
        } else if (field.is_boolean()) {
            for (const Json& row : rows)
                field = field.is_boolean() && row.at(key).is_boolean()
                            ? Json(field.get<bool>() && row.at(key).get<bool>())
                            : Json(nullptr);
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

}  // namespace

Comparison::Comparison(const Device& device, const Dataset& dataset, ActivationSpec activation,
                       CompareOptions options)
    : device_(device),
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
    if (options.whole < 1 || options.compared < 1)
        throw ValueError(fmt::format("whole-up-to is {} and compared-samples {}; each must be at least 1",
                                     options.whole, options.compared));
    const Matrix& x = dataset.train.inputs;
    const std::int64_t some = std::min(options.compared, x.rows());
    if (whole() || some == x.rows()) return;
    some_inputs_ = Matrix(some, x.cols(), x.dtype());
    for (std::int64_t i = 0; i < some; ++i)
        std::memcpy(some_inputs_.view().row_block(i, 1).data,
                    x.view().row_block(i * x.rows() / some, 1).data,
                    static_cast<std::size_t>(x.cols()) * size_of(x.dtype()));
}

bool Comparison::tested() const { return !dataset_.test.inputs.empty() && !dataset_.test.labels.empty(); }

std::int64_t Comparison::data_rank() const { return numerical_rank(device_, dataset_.train.inputs); }

Json Comparison::row(const std::string& name, NetworkSpec spec, const Progress& progress) {
    std::vector<Json> rows;
    for (std::int64_t s = 0; s < options_.seeds; ++s) {
        stop_if_interrupted();
        spec.seed = options_.seed + static_cast<std::uint64_t>(s);
        rows.push_back(measure(Network::create(spec, dataset_.train.inputs), [&](double share) {
            return progress((static_cast<double>(s) + share) / static_cast<double>(options_.seeds));
        }));
    }
    Json result = mean(rows);
    result["name"] = name;
    result["seeds"] = options_.seeds;
    result["dense_width_of_equal_error"] =
        dense_width_of(result["relative_error"]);  // not a mean of widths
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

Json Comparison::dense_width_of(const Json& error) const {
    const double value = error.is_number() ? error.get<double>() : 0;
    if (!(law_.width_term > 0 && value > 0)) return nullptr;
    return dense_width_of_equal_error(law_, value);
}

Json Comparison::measure(const Network& network, const Progress& progress) {
    const NetworkSpec& spec = network.spec();
    const ConstMatrixView x = dataset_.train.inputs;
    const Cost estimate = cost(spec, x.rows);
    reset_memory_peak();
    const std::int64_t before = memory_use(device_.place()).current;

    std::optional<Tangent> at;
    const double tangent_seconds = timed(device_, [&] { at.emplace(tangent(device_, network, x)); });
    stop_if_interrupted();
    const KernelFindings kernel = findings(network, *at);
    const std::int64_t kernel_peak = kernel.peak_bytes - before;
    at.reset();
    (void)progress(0.5);
    stop_if_interrupted();

    TrainingOptions training{.steps = options_.steps, .kernel_drift = whole(), .certificate = whole()};
    if (whole()) training.known_lambda_min = kernel.positive ? kernel.lambda_min.get<double>() : 0.0;
    training.progress = [&](double share) { return progress(0.5 + 0.5 * share); };
    reset_memory_peak();
    const TrainingResult trained = train(device_, network, x, targets_.matrix(), training);
    stop_if_interrupted();
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
         {{"tangent", tangent_seconds}, {"gram", kernel.seconds}, {"step", trained.seconds_per_step}}},
        {"peak_bytes", peak},
        {"lambda_min", kernel.lambda_min},
        {"lambda_max", kernel.lambda_max},
        {"condition", kernel.condition},
        {"relative_error", kernel.error},
        {"dense_width_of_equal_error", dense_width_of(kernel.error)},
        {"train_loss", trained.history.back().loss},
        {"drift", whole() ? Json(trained.history.back().drift) : Json(nullptr)},
        {"flips", whole() ? Json(std::max(trained.history.back().flips, 0.0)) : Json(nullptr)},
        {"certificate_held", trained.certificate_checked ? Json(trained.certificate_held) : Json(nullptr)},
        {"no_certificate", trained.certificate_checked ? Json(nullptr)
                           : whole()                   ? Json("lambda_min is not positive beyond rounding")
                                                       : Json("lambda_min is not known")},
        {"test_accuracy",
         {{"trained", classes ? trained_score : Json(nullptr)},
          {"ridge", classes ? kernel.ridge : Json(nullptr)}}}};
    if (!classes) row["test_rmse"] = {{"trained", trained_score}, {"ridge", kernel.ridge}};
    return row;
}

}  // namespace fntk::cli

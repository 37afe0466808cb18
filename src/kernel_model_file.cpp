// Models as safetensors. Metadata: the kernel (a limit's activation and factors, or the network's spec) and
// the fit. Tensors: U, V, A where the seed does not give them; M, or X and alpha, or all three.
#include "binary.hpp"
#include "io_json.hpp"
#include "kernel_json.hpp"
#include "kernel_model_predict.hpp"
#include "network_file.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>
#include <fntk/kernel_model.hpp>
#include <fntk/version.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

namespace fntk {
namespace {

using nlohmann::ordered_json;

constexpr const char* model_format = "fntk-model";

std::int64_t integer(const ordered_json& object, const char* key) {
    const ordered_json& value = object.at(key);
    if (!value.is_number_integer() ||
        (value.is_number_unsigned() &&
         value.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()}))
        throw ValueError(fmt::format("{} is {}; it must be an integer below 2^63; write it with save_model",
                                     key, detail::printable(value.dump())));
    return value.get<std::int64_t>();
}

double number(const ordered_json& object, const char* key) {
    const ordered_json& value = object.at(key);
    if (!value.is_number())
        throw ValueError(fmt::format("{} is {}; it must be a number; write it with save_model", key,
                                     detail::printable(value.dump())));
    return value.get<double>();
}

DType precision(const ordered_json& value) {
    for (const DType dtype : {DType::f32, DType::f64})
        if (value == name(dtype)) return dtype;
    throw ValueError(fmt::format("precision is {}; it must be float32 or float64; write it with save_model",
                                 detail::printable(value.dump())));
}

KernelFunction kernel_from(const SafeTensors& file, const ordered_json& kernel) {
    if (kernel.at("kind") == "network")
        return KernelFunction::of_network(detail::read_network(file, kernel.at("spec").get<std::string>()),
                                          parse_kernel_output(kernel.at("output").get<std::string>()));
    return KernelFunction::limit(
        {parse_activation(kernel.at("activation").get<std::string>()), number(kernel, "slope")},
        parse_train(kernel.at("train").get<std::string>()), integer(kernel, "dim"),
        precision(kernel.at("precision")));
}

void check_fit(const KernelModel& model) {
    for (const auto& [field, value] : {std::pair{"ridge", model.ridge}, std::pair{"jitter", model.jitter}})
        if (!(value >= 0) || !std::isfinite(value))
            throw ValueError(fmt::format(
                "{} = {}: it must be finite and not negative; take the model of fit_kernel", field, value));
    if (model.targets < 1)
        throw ValueError(fmt::format("targets = {}: it must be at least 1; take the model of fit_kernel",
                                     model.targets));
}

/// A note as JSON has it, in UTF-8.
void check_note(const std::string& key, const std::string& text) {
    try {
        (void)ordered_json{key, text}.dump();
    } catch (const nlohmann::json::exception&) {
        throw ValueError(
            fmt::format("note '{}' is no UTF-8; encode its name and its text", detail::printable(key)));
    }
}

void check(const std::string& path, const KernelModel& model) {
    check_fit(model);
    if (const char* what = misfit(model); what != nullptr)
        throw IoError(fmt::format("{}: {} does not fit the kernel; the file is damaged", path, what));
    require_finite(model.moment, "M");
    require_finite(model.dual, "alpha");
}

}  // namespace

void save_model(const std::string& path, const KernelModel& model) {
    check_fit(model);
    for (const auto& [key, text] : model.notes) check_note(key, text);
    const ordered_json fit = {{"ridge", model.ridge},
                              {"jitter", model.jitter},
                              {"targets", model.targets},
                              {"solver", name(model.plan.solver)}};
    std::vector<std::pair<std::string, TensorView>> tensors;
    detail::NetworkTensorsOwner owner;
    if (!model.function.is_limit()) detail::add_tensors(model.function.network(), false, owner, tensors);
    if (!model.moment.empty()) tensors.emplace_back("M", tensor_view(model.moment));
    if (!model.dual.empty()) {
        tensors.emplace_back("X", tensor_view(model.inputs));
        tensors.emplace_back("alpha", tensor_view(model.dual));
    }
    save_safetensors(path,
                     {{"format", model_format},
                      {"notes", ordered_json(model.notes).dump()},
                      {"scheme", std::to_string(random_scheme)},
                      {"kernel", kernel_to_json(model.function).dump()},
                      {"fit", fit.dump()},
                      {"fntk_version", version()}},
                     tensors);
}

KernelModel load_model(const std::string& path) {
    const SafeTensors file(path);
    detail::expect_metadata(file, "format", model_format, "name a file written by save_model (fntk fit)");
    detail::expect_metadata(file, "scheme", std::to_string(random_scheme),
                            "load it with the version of fntk that wrote it");
    const auto object_of = [&](const char* key) {
        const auto found = file.metadata().find(key);
        ordered_json object = found == file.metadata().end()
                                  ? ordered_json()
                                  : detail::parse_json<ordered_json>(found->second);
        if (!object.is_object())
            throw IoError(
                fmt::format("{}: its metadata '{}' is missing or no JSON object of at most {} levels; "
                            "write it with save_model",
                            path, key, detail::deepest_json));
        return object;
    };
    try {
        const ordered_json fit = object_of("fit");
        KernelModel model{.function = kernel_from(file, object_of("kernel")),
                          .ridge = number(fit, "ridge"),
                          .jitter = number(fit, "jitter"),
                          .targets = integer(fit, "targets"),
                          .moment = detail::matrix_or_none(file, "M"),
                          .inputs = detail::matrix_or_none(file, "X"),
                          .dual = detail::matrix_or_none(file, "alpha")};
        model.notes = object_of("notes").get<std::map<std::string, std::string>>();
        model.plan.solver = parse_solver(fit.at("solver").get<std::string>());
        check(path, model);
        return model;
    } catch (const nlohmann::json::exception& error) {
        throw IoError(fmt::format("{}: its metadata is not that of a model ({}); write it with save_model",
                                  path, error.what()));
    } catch (const ValueError& error) {
        throw ValueError(detail::in_file(path, error.what()));
    } catch (const ShapeError& error) {
        throw ShapeError(detail::in_file(path, error.what()));
    }
}

}  // namespace fntk

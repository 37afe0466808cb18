// fntk info: what this build and this machine offer, or what a file that fntk wrote holds.
#include "options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace fntk::cli {

namespace {

void print_machine(Report& report) {
    for (const DeviceInfo& info : devices()) {
        fmt::print("  {:<10} {:<14} {}\n", info.name, info.available ? "available" : "not available",
                   info.description);
        report["devices"].push_back(
            {{"name", info.name}, {"available", info.available}, {"description", info.description}});
    }
}

/// Metadata are strings; those of fntk that are JSON are shown as such.
Json parsed(const std::string& text) {
    Json value = Json::parse(text, nullptr, false);
    return value.is_structured() ? value : Json(text);
}

/// Its metadata and tensors; of a network the spec too, where every report has it.
void print_file(const std::string& path, Report& report) {
    const SafeTensors file(path);
    Json metadata = Json::object(), tensors = Json::array();
    for (const auto& [key, text] : file.metadata()) metadata[key] = parsed(text);
    Json shown = metadata;
    if (shown.contains("history") && shown["history"].is_array())
        shown["history"] = fmt::format("{} records", shown["history"].size());
    fmt::print("{}\n", shown.dump(2));
    for (const auto& [name, tensor] : file.tensors()) {
        fmt::print("  {:<16} {} {}\n", name, tensor.dtype, fmt::join(tensor.shape, " × "));
        tensors.push_back({{"name", name}, {"dtype", tensor.dtype}, {"shape", tensor.shape}});
    }
    report["file"] = {{"metadata", std::move(metadata)}, {"tensors", std::move(tensors)}};
    const auto format = file.metadata().find("format");
    if (format != file.metadata().end() && format->second == "fntk-network")
        report.network(load_network(path));
}

}  // namespace

void add_info(CLI::App& app, Action& run) {
    auto* command = app.add_subcommand(
        "info", "devices of this build and machine, or what a .safetensors FILE of fntk holds");
    auto options = std::make_shared<RunOptions>();
    auto file = std::make_shared<std::string>();
    command->add_option("FILE", *file, "a network, a model, a checkpoint or a tangent");
    options->add(*command);
    command->callback([=, &run] {
        run = [=] {
            Report report("info", options->json, {}, {{"FILE", *file}});
            const Device device = options->open();
            report.device(device);
            if (!file->empty()) {
                print_file(*file, report);
                report.finish();
                return 0;
            }
            fmt::print("fntk {}, random-number scheme {}\n", version(), random_scheme);
            print_machine(report);
            fmt::print("chosen: {} with {} threads\n", device.name(), device.threads());
            if (const std::string core = better_blas_core(); !core.empty())
                fmt::print(
                    "this OpenBLAS does not know the processor; OPENBLAS_CORETYPE={} makes it several "
                    "times faster\n",
                    core);
            report.finish();
            return 0;
        };
    });
}

}  // namespace fntk::cli

// fntk info: what this build and this machine offer, or what a network file holds.
#include "options.hpp"

#include <fmt/format.h>

namespace fntk::cli {

void add_info(CLI::App& app, Action& run) {
    auto* command = app.add_subcommand(
        "info", "backends of this build and machine; with --network, what a network file holds");
    auto options = std::make_shared<RunOptions>();
    auto file = std::make_shared<std::string>();
    options->add(*command);
    command->add_option("--network", *file, "a network file");
    command->callback([=, &run] {
        run = [=] {
            Report report("info", options->json, {}, {{"--network", *file}});
            const Device device = options->open();
            report.device(device);
            fmt::print("fntk {}, random-number scheme {}\n", FNTK_VERSION, random_scheme);
            for (const DeviceInfo& info : devices()) {
                fmt::print("  {:<10} {:<14} {}\n", info.name,
                           info.available ? "available" : "not available", info.description);
                report["devices"].push_back({{"name", info.name},
                                             {"available", info.available},
                                             {"description", info.description}});
            }
            fmt::print("chosen: {} with {} threads\n", device.name(), device.threads());
            if (const std::string core = better_blas_core(); !core.empty())
                fmt::print(
                    "this OpenBLAS does not know the processor; OPENBLAS_CORETYPE={} makes it several "
                    "times faster\n",
                    core);
            if (!file->empty()) {
                const Network network = load_network(*file);
                report.network(network);
                fmt::print("{}\n", report["network"].dump(2));
            }
            report.finish();
            return 0;
        };
    });
}

}  // namespace fntk::cli

// fntk network: draws a network for DATA and writes it.
#include "options.hpp"

#include <fmt/format.h>

namespace fntk::cli {

namespace {

struct NetworkArguments : CommandOptions {
    std::string out;
    bool materialize = false;
};

int network(NetworkArguments& options) {
    Report report("network", options.run.json, {{"--out", options.out}}, options.inputs());
    const Setup setup = set_up(report, options);
    const Dataset& dataset = setup.dataset;
    const Network& network = setup.network;
    report.phase_to_end("write", [&] { save_network(options.out, network, options.materialize); });
    const Cost estimate = cost(network.spec(), dataset.train.inputs.rows());
    report["parameters_trained"] = estimate.parameters_trained;
    report["bytes_stored"] = estimate.bytes_stored;
    fmt::print(
        "{}: d = {}, m = {}, p = {}, k = {}, down = {}, up = {}, train = {}, {} parameters trained, {} "
        "path\n",
        options.out, network.spec().dim, network.spec().width, network.spec().rank, network.spec().outputs,
        name(network.spec().down), name(network.spec().up), to_string(network.spec().train),
        estimate.parameters_trained,
        network.exactness() == Exactness::integer ? "exact-integer" : "floating-point");
    report.finish();
    return 0;
}

}  // namespace

void add_network(CLI::App& app, Action& run) {
    auto* command = app.add_subcommand(
        "network", "draw a network for DATA (its columns; its basis for --down pca) and write it");
    auto options = std::make_shared<NetworkArguments>();
    options->add(*command);
    command->add_option("--out", options->out, "the .safetensors file to write")->required();
    command->add_flag("--materialize", options->materialize,
                      "write U (p × d), V (m × p) and A (m × k) as tensors, not only the seed");
    command->callback([=, &run] { run = [=] { return network(*options); }; });
}

}  // namespace fntk::cli

// fntk gram and fntk limit: Gram matrices to .npy, of the network or of its infinite-width limit.
#include "options.hpp"

#include <fmt/format.h>

#include <optional>

namespace fntk::cli {

namespace {

struct Options : CommandOptions {
    std::string out, against, kernel = "trace";
    bool limit = false;
    bool fixed_down = false;
};

/// The limit kernel; the full one is it ⊗ I_k.
Matrix limit(const Device& device, const Network& network, ConstMatrixView rows, ConstMatrixView cols,
             KernelOutput output, bool fixed_down) {
    const NetworkSpec& spec = network.spec();
    Matrix kernel = fixed_down ? fixed_down_limit(device, network, rows, cols)
                               : limit_kernel(device, spec.activation, spec.train, rows, cols);
    if (output != KernelOutput::full || spec.outputs == 1) return kernel;
    const std::int64_t k = spec.outputs;
    Matrix full(kernel.rows() * k, kernel.cols() * k, kernel.dtype());
    const auto copy = [&](auto type) {
        using T = decltype(type);
        for (std::int64_t i = 0; i < kernel.rows(); ++i)
            for (std::int64_t j = 0; j < kernel.cols(); ++j)
                for (std::int64_t c = 0; c < k; ++c)
                    full.row<T>(i * k + c)[j * k + c] = kernel.row<T>(i)[j];
    };
    kernel.dtype() == DType::f32 ? copy(float{}) : copy(double{});
    return full;
}

int run_gram(const char* command, Options& options) {
    Report report(command, options.run.json);
    const KernelOutput output = parse_kernel_output(options.kernel);
    const Setup setup = set_up(report, options);
    const Device& device = setup.device;
    const Dataset& dataset = setup.dataset;
    const Network& network = setup.network;
    std::optional<Dataset> other;
    if (!options.against.empty()) {
        other = report.phase(
            "load", [&] { return options.data.load_other(options.against, network.spec().precision); });
        report["against"] = DataOptions::describe(*other);
    }
    report["kernel"] = name(output);
    report["limit"] = options.limit;

    const ConstMatrixView rows = dataset.train.inputs,
                          cols = other ? other->train.inputs.view() : ConstMatrixView{};
    if (other && cols.cols != rows.cols)
        throw ShapeError(fmt::format("--against {} has {} columns, DATA has {}; they must agree",
                                     options.against, cols.cols, rows.cols));
    Matrix kernel;
    if (options.limit) {
        kernel = report.phase(
            "gram", [&] { return limit(device, network, rows, cols, output, options.fixed_down); });
    } else {
        const Tangent at = report.phase("tangent", [&] { return fntk::tangent(device, network, rows); });
        if (other) {
            const Tangent at_other =
                report.phase("tangent", [&] { return fntk::tangent(device, network, cols); });
            kernel = report.phase("gram", [&] { return cross_gram(at, at_other, output); });
        } else {
            kernel = report.phase("gram", [&] { return gram(at, output); });
        }
    }
    report.phase("write", [&] { save_npy(options.out, device.on_host(kernel)); });
    report["rows"] = kernel.rows();
    report["cols"] = kernel.cols();
    fmt::print("{}: {} × {} {} kernel of {}{}, {}\n", options.out, kernel.rows(), kernel.cols(),
               name(output), to_string(network.spec().train), options.limit ? " at infinite width" : "",
               name(kernel.dtype()));
    report.finish();
    return 0;
}

std::shared_ptr<Options> add_shared(CLI::App& command) {
    auto options = std::make_shared<Options>();
    options->add(command);
    command.add_option("--out", options->out, "the .npy file to write")->required();
    command.add_option("--against", options->against,
                       "second data set: the cross-Gram matrix K(DATA, DATA2)");
    command
        .add_option(
            "--kernel", options->kernel,
            "full (nk × nk, row i·k + c), trace ((1/k)·Σ_c K^cc) or sum-of-logits ((1/k)·Σ_cc' K^cc')")
        ->capture_default_str();
    return options;
}

}  // namespace

void add_gram(CLI::App& app, Action& run) {
    auto* command =
        app.add_subcommand("gram", "neural tangent kernel of DATA, or between two data sets, as .npy");
    auto options = add_shared(*command);
    command->add_flag("--limit", options->limit, "the infinite-width limit of the kernel instead");
    command->callback([=, &run] { run = [=] { return run_gram("gram", *options); }; });
}

void add_limit(CLI::App& app, Action& run) {
    auto* command = app.add_subcommand("limit", "infinite-width kernel of DATA as .npy");
    auto options = add_shared(*command);
    options->limit = true;
    command->add_flag("--fixed-down", options->fixed_down,
                      "only the width goes to infinity; U stays the network's own");
    command->callback([=, &run] { run = [=] { return run_gram("limit", *options); }; });
}

}  // namespace fntk::cli

// fntk spectrum: eigenvalues of the kernel, with their checks.
#include "options.hpp"

#include <fmt/format.h>

namespace fntk::cli {

namespace {

struct Options : CommandOptions {
    std::string kernel = "trace", eigenvalues;
    bool limit = false;
};

int run_spectrum(Options& options) {
    Report report("spectrum", options.run.json);
    const KernelOutput output = parse_kernel_output(options.kernel);
    const Setup setup = set_up(report, options);
    const Device& device = setup.device;
    const Dataset& dataset = setup.dataset;
    const Network& network = setup.network;
    report["kernel"] = name(output);
    report["limit"] = options.limit;
    Matrix kernel;
    if (options.limit) {  // of the full kernel, K ⊗ I_k, every eigenvalue has multiplicity k
        kernel = report.phase("gram", [&] {
            return limit_kernel(device, network.spec().activation, network.spec().train,
                                dataset.train.inputs);
        });
    } else {
        const Tangent at =
            report.phase("tangent", [&] { return tangent(device, network, dataset.train.inputs); });
        kernel = report.phase("gram", [&] { return gram(at, output); });
    }
    const Spectrum result = report.phase("spectrum", [&] { return spectrum(device, kernel); });
    if (!options.eigenvalues.empty())
        save_npy(options.eigenvalues,
                 ConstMatrixView(result.eigenvalues.data(),
                                 static_cast<std::int64_t>(result.eigenvalues.size()), 1));
    double trace = 0;
    for (const double value : result.eigenvalues) trace += value;
    report["lambda_min"] = result.min();
    report["lambda_max"] = result.max();
    report["condition"] = finite_or_null(result.condition());
    report["trace"] = trace;
    report["residual"] = result.residual;
    report["orthogonality"] = result.orthogonality;
    report["eigenvalues"] = result.eigenvalues;
    fmt::print("{} eigenvalues of the {} kernel of {}\n", result.eigenvalues.size(), name(output),
               to_string(network.spec().train));
    fmt::print("  lambda_min  {:.6e}\n  lambda_max  {:.6e}\n  condition   {:.4e}\n  trace       {:.6e}\n",
               result.min(), result.max(), result.condition(), trace);
    fmt::print("  residual max |K q - lambda q|/|K| {:.1e}, orthogonality {:.1e}\n", result.residual,
               result.orthogonality);
    report.finish();
    return 0;
}

}  // namespace

void add_spectrum(CLI::App& app, Action& run) {
    auto* command =
        app.add_subcommand("spectrum", "all eigenvalues of the kernel of DATA, residuals checked");
    auto options = std::make_shared<Options>();
    options->add(*command);
    command->add_option("--kernel", options->kernel, "full, trace or sum-of-logits")->capture_default_str();
    command->add_option("--eigenvalues", options->eigenvalues, "write them, ascending, to this .npy file");
    command->add_flag("--limit", options->limit, "of the infinite-width kernel instead");
    command->callback([=, &run] { run = [=] { return run_spectrum(*options); }; });
}

}  // namespace fntk::cli

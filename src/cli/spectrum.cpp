// fntk spectrum: eigenvalues of the kernel, all of them with their checks, or a few of them as intervals;
// estimates by random probes.
#include "options.hpp"
#include "plans.hpp"

#include <fmt/format.h>

#include <memory>
#include <optional>

namespace fntk::cli {

namespace {

struct SpectrumArguments : CommandOptions {
    std::string kernel = "trace", eigenvalues;
    bool limit = false, dry_run = false;
    KernelSpectrumOptions wanted;
    MemoryOption memory;
    std::uint64_t probe_seed = 0;
};

/// The plan inside the budget, or a refusal that names the ways that take less.
SpectrumPlan planned(const SpectrumArguments& options, const KernelFunction& function,
                     std::int64_t samples) {
    KernelSpectrumOptions wanted = options.wanted;
    return options.memory.within(
        [&](std::int64_t bytes) {
            wanted.memory = bytes;
            return plan_spectrum(function, samples, wanted);
        },
        !wanted.dense() ? "use fewer --samples"
        : wanted.all()  ? "--largest or --smallest with --matrix-free, or --trace-probes, or use fewer "
                          "--samples"
                        : "--matrix-free (not certified), or --trace-probes, or use fewer --samples");
}

void all_eigenvalues(Report& report, const SpectrumArguments& options, const Device& device,
                     ConstMatrixView kernel, const std::string& title) {
    const Spectrum result = report.phase("spectrum", [&] { return spectrum(device, kernel); });
    double trace = 0;
    for (const double value : result.eigenvalues) trace += value;
    report["lambda_min"] = result.min();
    report["lambda_max"] = result.max();
    report["condition"] = finite_or_null(result.condition());
    report["trace"] = trace;
    report["residual"] = result.residual;
    report["orthogonality"] = result.orthogonality;
    report["eigenvalues"] = result.eigenvalues;
    fmt::print("{} eigenvalues of {}\n", result.eigenvalues.size(), title);
    fmt::print("  lambda_min  {:.6e}\n  lambda_max  {:.6e}\n  condition   {:.4e}\n  trace       {:.6e}\n",
               result.min(), result.max(), result.condition(), trace);
    fmt::print("  residual max |K q - lambda q|/|K| {:.1e}, orthogonality {:.1e}\n", result.residual,
               result.orthogonality);
    if (!options.eigenvalues.empty())
        report.phase_to_end("write", [&] {
            save_npy(options.eigenvalues,
                     ConstMatrixView(result.eigenvalues.data(),
                                     static_cast<std::int64_t>(result.eigenvalues.size()), 1));
        });
}

/// Intervals of one end, printed with every digit: rounded ends would contain less.
void few_eigenvalues(Report& report, const ExtremalEigenvalues& found, const char* end,
                     const std::string& title) {
    Json& list = report[end] = Json::array();
    fmt::print("{} {} eigenvalues of {}\n", found.intervals.size(), end, title);
    std::string reason;
    for (const EigenvalueInterval& interval : found.intervals) {
        list.push_back({{"value", interval.value},
                        {"lower", interval.lower},
                        {"upper", interval.upper},
                        {"certified", interval.certified},
                        {"reason", interval.reason}});
        fmt::print("  [{}, {}]{}\n", interval.lower, interval.upper,
                   interval.certified ? "" : "  not certified");
        reason = interval.reason;
    }
    if (!reason.empty()) fmt::print("  not certified: {}\n", reason);
}

void estimates(Report& report, const TraceEstimates& found, std::int64_t probes, const std::string& title) {
    fmt::print("estimates of {} by {} probes\n", title, probes);
    Json& json = report["estimates"] = {{"probes", probes}};
    const auto add = [&](const char* name, const Estimate& estimate) {
        json[name] = {{"value", finite_or_null(estimate.value)},
                      {"standard_error", finite_or_null(estimate.standard_error)}};
        fmt::print("  {:<15} {:.6e} ± {:.1e}\n", name, estimate.value, estimate.standard_error);
    };
    add("trace", found.trace);
    add("squared_norm", found.squared_norm);
    add("effective_rank", found.effective_rank);
}

int run_spectrum(SpectrumArguments& options) {
    if (options.wanted.matrix_free && options.wanted.largest + options.wanted.smallest == 0)
        throw ValueError("--matrix-free is for a few eigenvalues: add --largest K or --smallest K");
    Report report("spectrum", options.run.json, {{"--eigenvalues", options.eigenvalues}}, options.inputs());
    const KernelOutput output = parse_kernel_output(options.kernel);
    const Setup setup = set_up(report, options);
    if (const std::int64_t k = setup.network.spec().outputs;
        options.limit && output == KernelOutput::full && k > 1)
        throw ValueError(fmt::format(
            "kernel is full: at infinite width its eigenvalues are those of the trace kernel, {} times "
            "each; take --kernel trace",
            k));
    const Device& device = setup.device;
    const Network& network = setup.network;
    report["kernel"] = name(output);
    report["limit"] = options.limit;
    const ConstMatrixView inputs = setup.dataset.train.inputs;
    const KernelSpectrumOptions& wanted = options.wanted;
    const KernelFunction function = kernel_function(network, output, options.limit);
    const SpectrumPlan plan = planned(options, function, inputs.rows);
    report["plan"] = describe(plan);
    if (options.dry_run) {
        const SpectrumEstimate seconds =
            report.phase("estimate", [&] { return estimate_spectrum(device, function, inputs, wanted); });
        report["plan"] = describe(plan, seconds);
        fmt::print("plan: {}\n", in_words(plan, seconds));
        report.finish();
        return 0;
    }
    std::optional<FileReservation> room;
    if (!options.eigenvalues.empty()) {
        const std::int64_t k = output == KernelOutput::full ? network.spec().outputs : 1;
        room.emplace(options.eigenvalues, 8 * k * inputs.rows);
    }
    std::optional<Tangent> at;
    std::optional<KernelBatch> batch;
    std::unique_ptr<LinearOperator> products;
    Matrix kernel;
    if (options.limit) {
        const NetworkSpec& spec = network.spec();
        if (wanted.products()) {
            report.phase("batch", [&] { batch.emplace(device, function, inputs); });
            products = make_operator(*batch, *batch);
        }
        if (wanted.dense())
            kernel = report.phase(
                "gram", [&] { return limit_kernel(device, spec.activation, spec.train, inputs); });
    } else {
        at = report.phase("tangent", [&] { return tangent(device, network, inputs); });
        products = std::make_unique<KernelOperator>(*at, output);
        if (wanted.dense()) kernel = report.phase("gram", [&] { return gram(*at, output); });
    }
    // Rounding moves eigenvalues by up to the precision times λ_max: those of K as it is held are shown.
    const std::string title =
        fmt::format("the {} kernel of {} in {}", options.limit ? "infinite-width" : name(output),
                    to_string(network.spec().train), name(function.precision()));

    room.reset();
    if (wanted.all()) all_eigenvalues(report, options, device, kernel, title);
    const auto few = [&](std::int64_t count, SpectrumEnd end, const char* name) {
        if (count == 0) return;
        const ExtremalOptions how{.end = end, .count = count, .seed = options.probe_seed};
        few_eigenvalues(report,
                        report.phase("extremal",
                                     [&] {
                                         return wanted.matrix_free ? extremal(*products, how)
                                                                   : extremal(device, kernel, how);
                                     }),
                        name, title);
    };
    few(wanted.largest, SpectrumEnd::largest, "largest");
    few(wanted.smallest, SpectrumEnd::smallest, "smallest");
    if (wanted.probes > 0)
        estimates(report,
                  report.phase("probes",
                               [&] {
                                   return estimate_trace(
                                       *products, {.probes = wanted.probes, .seed = options.probe_seed});
                               }),
                  wanted.probes, title);
    report.finish();
    return 0;
}

}  // namespace

void add_spectrum(CLI::App& app, Action& run) {
    auto* command = app.add_subcommand(
        "spectrum", "eigenvalues of the kernel of DATA: all, residuals checked, or a few as intervals");
    auto options = std::make_shared<SpectrumArguments>();
    options->add(*command);
    command->add_option("--kernel", options->kernel, "full, trace or sum-of-logits")->capture_default_str();
    auto* file = command->add_option("--eigenvalues", options->eigenvalues,
                                     "write all of them, ascending, to this .npy file");
    command->add_flag("--limit", options->limit, "of the infinite-width kernel instead");
    const auto number = [&](const char* name, std::int64_t& variable, const char* text,
                            std::int64_t least = 1) {
        return command->add_option(name, variable, text)->check(at_least(least))->excludes(file);
    };
    number(
        "--largest", options->wanted.largest,
        "instead, the K largest ones as intervals that hold those of the kernel as rounded to --precision, "
        "certified");
    number("--smallest", options->wanted.smallest, "the K smallest ones, in the same way");
    number("--trace-probes", options->wanted.probes,
           "estimate trace, squared norm and effective rank by N products, at least 2; needs no kernel in "
           "memory",
           2);
    command->add_flag("--matrix-free", options->wanted.matrix_free,
                      "--largest and --smallest by products, without the kernel: not certified");
    command->add_option("--probe-seed", options->probe_seed, "of Lanczos and the probes")
        ->capture_default_str()
        ->check(whole_number());
    options->memory.add(*command);
    command->add_flag("--dry-run", options->dry_run, "print the plan and stop");
    command->callback([=, &run] { run = [=] { return run_spectrum(*options); }; });
}

}  // namespace fntk::cli

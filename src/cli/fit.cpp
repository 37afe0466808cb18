// fntk fit: kernel ridge regression on labelled data, inside a memory budget, saved.
#include "options.hpp"
#include "plans.hpp"
#include "targets.hpp"

#include <fmt/format.h>

#include <exception>
#include <optional>

namespace fntk::cli {

namespace {

struct FitCommand : CommandOptions {
    FitOptions fit;
    std::string kernel = "trace", solver = "auto", selection = "leave-one-out", out;
    MemoryOption memory;
    bool limit = false, variance = false, dry_run = false;
};

/// What M, X and α of the model to come take in memory and on disk, where its header and stored factors are
/// little beside them.
std::int64_t bytes_of_model(const KernelFunction& function, std::int64_t samples, std::int64_t targets,
                            bool keep_inputs) {
    const std::int64_t d = function.dim(), e = static_cast<std::int64_t>(size_of(function.precision())),
                       columns = function.output() == KernelOutput::full ? 1 : targets;
    std::int64_t bytes = 0;
    if (function.has_moments()) {
        const NetworkSpec& spec = function.network().spec();
        bytes +=
            columns * (function.output() == KernelOutput::trace ? spec.outputs : 1) * spec.rank * d * e;
    }
    if (!function.has_moments() || keep_inputs)
        bytes += samples * (d * e + function.outputs() * columns * 8);
    return bytes;
}

/// The ridge, its path and the end of the iterations, to the report and to people.
void tell(Report& report, const KernelModel& model, const std::vector<double>& ridges, double tolerance) {
    const FitDiagnostics& found = model.diagnostics;
    report["ridge"] = model.ridge;
    report["jitter"] = model.jitter;
    if (!found.leave_one_out.empty()) {
        Json path = Json::array();
        fmt::print("{:>12} {:>18} {:>18}\n", "ridge", "leave-one-out rmse", "log evidence");
        for (std::size_t r = 0; r < ridges.size(); ++r) {
            path.push_back({{"ridge", ridges[r]},
                            {"leave_one_out_rmse", finite_or_null(found.leave_one_out[r])},
                            {"log_evidence", finite_or_null(found.log_evidence[r])}});
            fmt::print("{:>12.4g} {:>18.6g} {:>18.8g}{}\n", ridges[r], found.leave_one_out[r],
                       found.log_evidence[r], ridges[r] == model.ridge ? "  chosen" : "");
        }
        report["path"] = path;
    } else if (!found.log_evidence.empty()) {
        report["log_evidence"] = finite_or_null(found.log_evidence.front());
        fmt::print("log evidence {:.8g}\n", found.log_evidence.front());
    }
    if (found.iterations < 0) return;
    const double worst = *std::max_element(found.residuals.begin(), found.residuals.end());
    report["iterations"] = found.iterations;
    report["residual"] = worst;
    report["converged"] = found.converged;
    fmt::print("{} iterations, relative residual {:.2e}\n", found.iterations, worst);
    if (!found.converged)
        fmt::print(
            stderr,
            "fntk: warning: cg ended at a relative residual of {:.2e}, above --tolerance {:.2e}; raise "
            "--max-iterations or the ridge, or use --precision float64\n",
            worst, tolerance);
}

int run_fit(FitCommand& options) {
    Report report("fit", options.run.json, {{"--out", options.out}}, options.inputs());
    options.fit.solver = parse_solver(options.solver);
    options.fit.selection = parse_selection(options.selection);
    const KernelOutput output = parse_kernel_output(options.kernel);
    if (options.limit && output == KernelOutput::full)
        throw ValueError(
            "kernel is full: at infinite width it gives the predictions of the trace kernel; take --kernel "
            "trace");
    const Device device = options.run.open();
    report.device(device);
    const Dataset dataset =
        report.phase("load", [&] { return options.data.load(options.network.dtype()); });
    report["data"] = DataOptions::describe(dataset);
    if (dataset.train.labels.empty())
        throw ValueError(
            fmt::format("DATA {} has no labels of its own; give them with --labels", options.data.source));
    refuse_guessed_classes(dataset, parse_target_kind(options.data.targets));
    const bool full = output == KernelOutput::full;
    const Network network = report.phase("network", [&] {
        return options.network.make(dataset.train.inputs, full ? default_outputs(dataset) : 1);
    });
    report.network(network);
    const Targets targets(dataset, full ? network.spec().outputs : default_outputs(dataset));
    const KernelFunction function =
        kernel_function(network, options.limit ? KernelOutput::trace : output, options.limit);
    report["kernel"] = options.limit ? "limit" : name(function.output());
    const std::int64_t samples = dataset.train.inputs.rows(), columns = targets.matrix().cols,
                       of_model = bytes_of_model(function, samples, columns, options.variance);
    const bool tested = !dataset.test.inputs.empty() && !dataset.test.labels.empty();
    PredictOptions scoring{.progress = progress_bar("predict")};
    const FitPlan plan = options.memory.within(
        [&](std::int64_t bytes) {
            options.fit.memory = bytes;
            scoring.memory = left_of(bytes, of_model);
            if (tested) (void)plan_predict(function, samples, columns, dataset.test.inputs.rows(), scoring);
            return plan_fit(function, samples, columns, options.fit, options.variance);
        },
        options.fit.ridges.size() > 1 ? "one --ridge, or use fewer --samples" : "use fewer --samples");
    if (options.dry_run) {
        const FitEstimate estimate = report.phase("estimate", [&] {
            return estimate_fit(device, function, dataset.train.inputs, columns, plan);
        });
        report["plan"] = describe(plan, estimate);
        fmt::print("plan: {}\n", in_words(plan, estimate));
        report.finish();
        return 0;
    }
    std::optional<FileReservation> room;
    if (!options.out.empty()) room.emplace(options.out, of_model);
    report["plan"] = describe(plan);
    fmt::print("plan: {}\n", in_words(plan));

    options.fit.progress = progress_bar("fit");
    KernelModel model = report.phase("fit", [&] {
        return fit_kernel(device, function, dataset.train.inputs, targets.matrix(), options.fit,
                          options.variance);
    });
    model.notes = {{"classes", std::to_string(targets.classification() ? dataset.classes : 0)},
                   {"normalize", options.data.no_normalize ? "no" : "yes"}};
    // What was found out is reported even where the model cannot be saved or the test rows not be scored.
    std::exception_ptr failure;
    const auto attempt = [&](auto&& step) {
        try {
            step();
        } catch (const std::exception&) {
            if (!failure) failure = std::current_exception();
        }
    };
    if (room) {
        room.reset();
        attempt([&] { report.phase_to_end("write", [&] { save_model(options.out, model); }); });
        report["saved"] = !failure;
    }
    const bool saved = !options.out.empty() && !failure;
    tell(report, model, options.fit.ridges, options.fit.tolerance);
    fmt::print("fitted {} samples of {} at ridge {:.4g} in {:.2f} s\n", dataset.train.inputs.rows(),
               targets.classification() ? fmt::format("{} classes", dataset.classes) : "values",
               model.ridge, report.seconds("fit"));
    if (tested)
        attempt([&] {
            const Prediction prediction = report.phase_to_end(
                "predict", [&] { return predict_kernel(device, model, dataset.test.inputs, scoring); });
            report_score(report, "test", targets, prediction.mean, dataset.test);
        });
    report.finish();
    const std::string& written = saved ? options.out : options.run.json;
    if (interrupted() && !written.empty()) {
        fmt::print(stderr, "fntk: error: interrupted; {} is written, the test score is not known\n",
                   written);
        return 130;
    }
    if (failure) std::rethrow_exception(failure);
    return 0;
}

}  // namespace

void add_fit(CLI::App& app, Action& run) {
    auto* command =
        app.add_subcommand("fit", "kernel ridge regression on labelled DATA, inside a memory budget");
    auto options = std::make_shared<FitCommand>();
    FitOptions& fit = options->fit;
    options->add(*command, true);
    command->get_option("--outputs")
        ->description(
            "k, whose kernels --kernel reduces to one: more are less random; 0: one, with --kernel full "
            "one per class");
    options->data.add_targets(*command);
    command->add_option("--out", options->out, "write the model to this .safetensors file");
    command->add_option("--kernel", options->kernel, "full, trace or sum-of-logits")->capture_default_str();
    command->add_flag("--limit", options->limit,
                      "the infinite-width kernel of the trained factors instead");
    command
        ->add_option("--ridge", fit.ridges,
                     "relative to the mean of K's diagonal; of several, with commas, one is chosen")
        ->delimiter(',')
        ->capture_default_str();
    command->add_option("--selection", options->selection, "how: leave-one-out or evidence")
        ->capture_default_str();
    command->add_option("--solver", options->solver, "auto, cholesky, cg or primal")->capture_default_str();
    options->memory.add(*command);
    command->add_option("--tolerance", fit.tolerance, "of cg: relative residual")->capture_default_str();
    command->add_option("--max-iterations", fit.max_iterations, "of cg")->capture_default_str();
    command->add_option("--preconditioner-rank", fit.preconditioner_rank, "of cg; -1: the plan's choice")
        ->capture_default_str();
    command->add_flag("--variance", options->variance,
                      "keep the training data in the model: variances need them");
    command->add_flag("--dry-run", options->dry_run, "print the plan and stop");
    command->callback([=, &run] { run = [=] { return run_fit(*options); }; });
}

}  // namespace fntk::cli

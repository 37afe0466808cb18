// fntk predict: what a fitted model, or a network, says of other data inside a memory budget, scored where
// they are labelled.
#include "options.hpp"
#include "plans.hpp"
#include "targets.hpp"
#include "values.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <optional>

namespace fntk::cli {

namespace {

struct PredictArguments {
    RunOptions run;
    DataOptions data;
    MemoryOption memory;
    std::string model, out, variance;
    bool dry_run = false;
};

/// P_variance.npy for P.npy.
std::string variance_beside(const std::string& mean) {
    const std::filesystem::path path(mean);
    const std::string name = path.stem().string() + "_variance" + path.extension().string();
    return std::filesystem::path(path).replace_filename(name).string();
}

/// The rows to predict: the test split where there is one. Of fashion-mnist no more is loaded.
struct Rows {
    Dataset dataset;
    bool split = false;

    Rows(Report& report, PredictArguments& options, DType precision) {
        if (options.data.source == "fashion-mnist") {
            options.data.test_samples = options.data.samples;
            options.data.samples = 1;
        }
        dataset = report.phase("load", [&] { return options.data.load(precision); });
        report["data"] = DataOptions::describe(dataset);
        split = !dataset.test.inputs.empty();
    }
    [[nodiscard]] const Samples& samples() const { return split ? dataset.test : dataset.train; }
};

void tell(Report& report, const PredictArguments& options, const Rows& rows, ConstMatrixView mean) {
    report["rows"] = mean.rows;
    report["targets"] = mean.cols;
    fmt::print("{}: {} × {} predictions{}\n", options.out, mean.rows, mean.cols,
               rows.split ? " of the test split" : "");
}

/// f(x) of a network that fntk train or fntk network wrote.
int predict_by_network(Report& report, const Device& device, PredictArguments& options) {
    if (!options.variance.empty())
        throw ValueError(fmt::format(
            "--variance is for what fntk fit wrote; {} is a network, whose f has none", options.model));
    const Network network = report.phase("model", [&] { return load_network(options.model).on(device); });
    report.network(network);
    const Rows rows(report, options, network.spec().precision);
    const Samples& samples = rows.samples();
    if (samples.inputs.cols() != network.spec().dim)
        throw ShapeError(fmt::format("DATA has {} columns, {} was made for {}; give DATA of as many",
                                     samples.inputs.cols(), options.model, network.spec().dim));
    std::optional<Targets> known;
    if (!samples.labels.empty()) known.emplace(rows.dataset, network.spec().outputs);
    const std::int64_t block = options.memory.within(
        [&](std::int64_t bytes) { return values_block(network, samples.inputs.rows(), bytes); });
    report["plan"] = {{"block", block}};
    if (options.dry_run) {
        fmt::print("plan: f of {} rows, {} at a time\n", samples.inputs.rows(), block);
        report.finish();
        return 0;
    }
    std::optional<FileReservation> room(std::in_place, options.out,
                                        samples.inputs.rows() * network.spec().outputs *
                                            static_cast<std::int64_t>(size_of(network.spec().precision)));
    const Matrix values = report.phase("predict", [&] {
        return values_of(device, network, samples.inputs, block, progress_bar("predict"));
    });
    report.phase_to_end("write", [&] {
        room.reset();
        save_npy(options.out, values);
    });
    tell(report, options, rows, values);
    if (known) report_score(report, "test", *known, values, samples);
    report.finish();
    return 0;
}

int run_predict(PredictArguments& options) {
    Files inputs = options.data.files();
    inputs.push_back({"MODEL", options.model});
    Report report("predict", options.run.json, {{"--out", options.out}, {"--variance", options.variance}},
                  inputs);
    const Device device = options.run.open();
    report.device(device);
    const auto metadata = SafeTensors(options.model).metadata();
    if (const auto format = metadata.find("format");
        format != metadata.end() && format->second == "fntk-network")
        return predict_by_network(report, device, options);
    const KernelModel model = report.phase("model", [&] { return load_model(options.model); });
    const auto note = [&](const char* key) {
        const auto found = model.notes.find(key);
        return found == model.notes.end() ? std::string() : found->second;
    };
    const std::string classes = note("classes");
    const std::int64_t fitted = classes.empty() ? 0 : std::stoll(classes);
    if (options.data.no_normalize && note("normalize") == "yes")
        throw ValueError(
            fmt::format("--no-normalize: {} was fitted to rows of unit length, as which it takes those of "
                        "DATA; leave it "
                        "out",
                        options.model));
    options.data.no_normalize |= note("normalize") == "no";
    options.data.targets = fitted > 0 ? "classes" : "values";
    Rows rows(report, options, model.function.precision());
    report["data"]["normalized"] = !options.data.no_normalize;
    Dataset& dataset = rows.dataset;
    if (dataset.classes > fitted)
        throw ValueError(
            fmt::format("the labels have {} classes, the model was fitted to {}; give labels in [0, {})",
                        dataset.classes, fitted, fitted));
    const Samples& samples = rows.samples();
    if (samples.inputs.cols() != model.function.dim())
        throw ShapeError(fmt::format("DATA has {} columns, {} was fitted to {}; give DATA of as many",
                                     samples.inputs.cols(), options.model, model.function.dim()));
    if (fitted == 0 && !samples.labels.empty() && samples.labels.cols() != model.targets)
        throw ShapeError(fmt::format("the labels have {} columns, the model was fitted to {}; give as many",
                                     samples.labels.cols(), model.targets));
    std::optional<Targets> known;
    if (!samples.labels.empty()) {
        dataset.classes = fitted;
        known.emplace(dataset, model.targets);
    }
    PredictOptions how{.variance = !options.variance.empty(), .progress = progress_bar("predict")};
    const PredictPlan plan = options.memory.within(
        [&](std::int64_t bytes) {
            how.memory = bytes;
            return plan_predict(model, samples.inputs.rows(), how);
        },
        how.variance ? "leave out --variance" : "use fewer --samples");
    if (options.dry_run) {
        const double seconds =
            report.phase("estimate", [&] { return estimate_predict(device, model, samples.inputs, plan); });
        report["plan"] = describe(plan, seconds);
        fmt::print("plan: {}\n", in_words(plan, seconds));
        report.finish();
        return 0;
    }
    report["plan"] = describe(plan);
    std::optional<FileReservation> room(std::in_place, options.out,
                                        samples.inputs.rows() * model.targets * 8),
        more;
    if (!options.variance.empty())
        more.emplace(options.variance, samples.inputs.rows() * model.function.outputs() * 8);
    const Prediction prediction =
        report.phase("predict", [&] { return predict_kernel(device, model, samples.inputs, how); });
    report.phase_to_end("write", [&] {
        room.reset();
        more.reset();
        save_npy(options.out, prediction.mean);
        if (!options.variance.empty()) save_npy(options.variance, prediction.variance);
    });
    tell(report, options, rows, prediction.mean);
    if (known) report_score(report, "test", *known, prediction.mean, samples);
    report.finish();
    return 0;
}

}  // namespace

void add_predict(CLI::App& app, Action& run) {
    auto* command = app.add_subcommand(
        "predict", "predictions of a model or a network for DATA, or for its test split");
    auto options = std::make_shared<PredictArguments>();
    command
        ->add_option("MODEL", options->model,
                     "what fntk fit --out wrote, or a network: of fntk train --out")
        ->required();
    options->data.add(*command, true);
    options->run.add(*command);
    command->add_option("--out", options->out, "the .npy file of the means, n × targets, or of f, n × k")
        ->required();
    auto* variance = command
                         ->add_option("--variance", options->variance,
                                      "write the variances too, to this .npy file or to P_variance.npy "
                                      "beside P.npy")
                         ->expected(0, 1);
    options->memory.add(*command);
    command->add_flag("--dry-run", options->dry_run, "print the plan and stop");
    command->callback([=, &run] {
        if (variance->count() > 0 && options->variance.empty())
            options->variance = variance_beside(options->out);
        run = [=] { return run_predict(*options); };
    });
}

}  // namespace fntk::cli

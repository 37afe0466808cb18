// fntk predict: what a fitted model says of other data inside a memory budget, scored where they are
// labelled.
#include "options.hpp"
#include "plans.hpp"
#include "targets.hpp"

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

int run_predict(PredictArguments& options) {
    Files inputs = options.data.files();
    inputs.push_back({"MODEL", options.model});
    Report report("predict", options.run.json, {{"--out", options.out}, {"--variance", options.variance}},
                  inputs);
    const Device device = options.run.open();
    report.device(device);
    const KernelModel model = report.phase("model", [&] { return load_model(options.model); });
    const auto note = [&](const char* key) {
        const auto found = model.notes.find(key);
        return found == model.notes.end() ? std::string() : found->second;
    };
    const std::string classes = note("classes");
    const std::int64_t fitted = classes.empty() ? 0 : std::stoll(classes);
    options.data.no_normalize |= note("normalize") == "no";
    options.data.targets = fitted > 0 ? "classes" : "values";
    if (options.data.source == "fashion-mnist") {  // its test split, and as little as can be of the other
        options.data.test_samples = options.data.samples;
        options.data.samples = 1;
    }
    Dataset dataset = report.phase("load", [&] { return options.data.load(model.function.precision()); });
    report["data"] = DataOptions::describe(dataset);
    if (dataset.classes > fitted)
        throw ValueError(
            fmt::format("the labels have {} classes, the model was fitted to {}; give labels in [0, {})",
                        dataset.classes, fitted, fitted));
    const bool split = !dataset.test.inputs.empty();  // what the model has not been fitted to
    const Samples& samples = split ? dataset.test : dataset.train;
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
    report["rows"] = prediction.mean.rows();
    report["targets"] = prediction.mean.cols();
    fmt::print("{}: {} × {} predictions{}\n", options.out, prediction.mean.rows(), prediction.mean.cols(),
               split ? " of the test split" : "");
    if (known) report_score(report, "test", *known, prediction.mean, samples);
    report.finish();
    return 0;
}

}  // namespace

void add_predict(CLI::App& app, Action& run) {
    auto* command =
        app.add_subcommand("predict", "predictions of a fitted model for DATA, or for its test split");
    auto options = std::make_shared<PredictArguments>();
    command->add_option("MODEL", options->model, "what fntk fit --out wrote")->required();
    options->data.add(*command, true);
    options->run.add(*command);
    command->add_option("--out", options->out, "the .npy file of the means, n × targets")->required();
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

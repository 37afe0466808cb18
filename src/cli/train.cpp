// fntk train: gradient descent on DATA, with its history, checkpoints and resuming.
#include "foretell.hpp"
#include "options.hpp"
#include "plans.hpp"
#include "targets.hpp"
#include "values.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <exception>
#include <filesystem>
#include <optional>
#include <system_error>

namespace fntk::cli {

namespace {

struct TrainArguments : CommandOptions {
    TrainingOptions training;
    std::string step_size = "auto", loss = "squared", out;
    MemoryOption memory;
    bool resume = false, dry_run = false, foretell = false;
};

void parse_step(const std::string& text, TrainingOptions& training) {
    if (text == "auto") return;
    if (text == "auto2") {
        training.rule = StepRule::lambda_max_min;
        return;
    }
    training.rule = StepRule::given;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), training.step);
    if (error != std::errc{} || end != text.data() + text.size() || !(training.step > 0))
        throw ValueError(fmt::format(
            "step-size is '{}'; give a positive number, auto (1/λ_max) or auto2 (2/(λ_max + λ_min))",
            text));
}

Loss parse_loss(const std::string& text) {
    if (text == "squared") return Loss::squared;
    if (text == "cross-entropy") return Loss::cross_entropy;
    throw ValueError(fmt::format("loss is '{}'; choose squared or cross-entropy", text));
}

/// The options of the command line beside the run of a checkpoint, whose own win: what was given has to be
/// the same, what was not is taken from the run.
void go_on(const CLI::App& command, TrainArguments& options, const CheckpointRun& run) {
    TrainingOptions& training = options.training;
    const auto same = [&](const char* option, const auto& given, const auto& begun) {
        if (command.count(option) > 0 && given != begun)
            throw ValueError(fmt::format(
                "{} is {}, the run of {} was begun with {}; leave it out, or begin another run without "
                "--resume",
                option, given, training.checkpoint, begun));
    };
    const NetworkSpec& spec = run.initial.spec();
    const NetworkOptions& given = options.network;
    same("--width", given.width, spec.width);
    same("--rank", given.rank == 0 ? spec.rank : given.rank, spec.rank);
    same("--outputs", given.outputs == 0 ? spec.outputs : given.outputs, spec.outputs);
    same("--down", given.down, std::string(name(spec.down)));
    same("--up", given.up, std::string(name(spec.up)));
    same("--activation", given.activation, std::string(name(spec.activation.kind)));
    same("--slope", given.slope, spec.activation.slope);
    same("--seed", given.seed, spec.seed);
    same("--precision", given.precision, std::string(name(spec.precision)));
    same("--rounding", given.rounding, std::string(name(spec.rounding)));
    if (command.count("--train") > 0)
        same("--train", to_string(parse_train(given.train)), to_string(spec.train));
    if (!given.file.empty()) same("--network", to_json(load_network(given.file).spec()), to_json(spec));
    const TrainingOptions& begun = run.options;
    same("--loss", options.loss, std::string(begun.loss == Loss::squared ? "squared" : "cross-entropy"));
    same("--momentum", training.momentum, begun.momentum);
    same("--batch", training.batch, begun.batch);
    same("--spectrum-every", training.spectrum_every, begun.spectrum_every);
    if (training.rule == StepRule::given) same("--step-size", training.step, begun.step);
    if (!training.kernel_drift)
        same("--no-kernel", std::string("given"), std::string(begun.kernel_drift ? "the kernel" : "given"));
    TrainingOptions taken = begun;
    taken.steps = training.steps;
    taken.checkpoint = training.checkpoint;
    taken.checkpoint_every = training.checkpoint_every;
    training = std::move(taken);
}

/// Bytes of the trained factors, which a file of the network holds at least.
std::int64_t trained_bytes(const NetworkSpec& spec, std::int64_t samples) {
    return cost(spec, samples).parameters_trained * static_cast<std::int64_t>(size_of(spec.precision));
}

Json history_json(const std::vector<TrainingRecord>& history) {
    const auto known = [](double value) { return value < 0 ? Json(nullptr) : Json(value); };
    Json rows = Json::array();
    for (const TrainingRecord& row : history)
        rows.push_back({{"step", row.step},
                        {"loss", row.loss},
                        {"bound", known(row.bound)},
                        {"drift", known(row.drift)},
                        {"flips", known(row.flips)},
                        {"lambda_min", row.lambda_min == -1 ? Json(nullptr) : Json(row.lambda_min)}});
    return rows;
}

/// Rows that are scored at a time: about as many as a step has, so that they take no more than it.
std::int64_t scored(const TrainingPlan& plan) { return std::clamp<std::int64_t>(plan.batch, 128, 1024); }

/// What takes less memory.
const char* remedy(const TrainingOptions& training, bool foretell, const Network& network,
                   std::int64_t samples) {
    if (foretell) return "leave out --foretell, or use fewer --samples";
    if (plan_training(network, samples, training).kernel) return "--no-kernel, or use fewer --samples";
    return training.rule != StepRule::given ? "a --step-size of your own, or use fewer --samples"
                                            : "a smaller --batch, or use fewer --samples";
}

/// Empty where there is a certificate.
std::string why_no_certificate(const TrainingOptions& training, const TrainingResult& result) {
    if (result.certificate_checked) return "";
    if (!training.kernel_drift) return "--no-kernel leaves it out";
    if (!training.certificate) return "it is for the squared loss, full batches and no momentum";
    if (result.lambda_min == 0) return "the run that is resumed was begun without it";
    return fmt::format("lambda_min of the kernel at the start is not positive beyond rounding: {:.4g}",
                       result.lambda_min);
}

/// Beside what came of the run, to the report and to people.
void tell(Report& report, const Foretold& foretold, const Targets& targets, const Samples& samples,
          double step) {
    Json& json = report["foretold"] = {{"step_limit", finite_or_null(foretold.step_limit)}};
    if (!foretold.converges) {
        fmt::print(
            "the kernel of the start foretells no end: steps of {:.4g} are not below 2/lambda_max = "
            "{:.4g}\n",
            step, foretold.step_limit);
        return;
    }
    const bool classes = targets.classification();
    const double score = targets.score(foretold.outputs, samples);
    json["loss"] = foretold.loss;
    json["distance"] = finite_or_null(foretold.distance);
    json[classes ? "train_accuracy" : "train_rmse"] = score;
    fmt::print(
        "foretold by the kernel of the start: loss {:.6g}, train {} {:.4f}; outputs {:.2g} of their way "
        "apart\n",
        foretold.loss, classes ? "accuracy" : "rmse", score, foretold.distance);
}

int run_train(const CLI::App& command, TrainArguments& options) {
    Report report("train", options.run.json,
                  {{"--out", options.out}, {"--checkpoint", options.training.checkpoint}},
                  options.inputs());
    const Device device = options.run.open();
    report.device(device);
    TrainingOptions& training = options.training;
    parse_step(options.step_size, training);
    training.loss = parse_loss(options.loss);
    if (options.resume && training.checkpoint.empty())
        throw ValueError("--resume needs the file to go on from; name it with --checkpoint");
    if (!training.kernel_drift &&
        (training.spectrum_every > 0 || training.rule == StepRule::lambda_max_min))
        throw ValueError(
            "--no-kernel forms no kernel, which --spectrum-every and --step-size auto2 are of; drop "
            "either");
    std::optional<Network> begun;
    if (options.resume) {
        CheckpointRun run =
            report.phase("checkpoint", [&] { return read_checkpoint(training.checkpoint); });
        go_on(command, options, run);
        begun = std::move(run.initial);
    }

    const DType dtype = begun ? begun->spec().precision : options.network.dtype();
    const Dataset dataset = report.phase("load", [&] { return options.data.load(dtype); });
    report["data"] = DataOptions::describe(dataset);
    if (dataset.train.labels.empty())
        throw ValueError(
            fmt::format("DATA {} has no labels of its own; give them with --labels", options.data.source));
    refuse_guessed_classes(dataset, parse_target_kind(options.data.targets));
    if (training.loss == Loss::cross_entropy && dataset.classes == 0)
        throw ValueError(
            "loss is cross-entropy, which needs classes; the labels are values: take --loss squared");
    const std::int64_t wanted =
        training.loss == Loss::cross_entropy ? dataset.classes : default_outputs(dataset);
    const Network start = report.phase(
        "network", [&] { return begun ? *begun : options.network.make(dataset.train.inputs, wanted); });
    report.network(start);
    const Targets targets(dataset, start.spec().outputs, training.loss);
    training.seed = start.spec().seed;
    training.progress = progress_bar("training");
    const bool plain = training.momentum == 0 && training.batch == 0 && training.loss == Loss::squared;
    if (options.foretell && !plain)
        throw ValueError(
            "--foretell is for the squared loss, full batches and no momentum; drop it, or --loss, --batch "
            "and --momentum");
    if (!begun) training.certificate = training.kernel_drift && plain;
    const std::int64_t samples = dataset.train.inputs.rows();
    std::error_code none;
    const auto in_file = options.resume ? std::filesystem::file_size(training.checkpoint, none) : 0;
    const std::int64_t of_checkpoint =
        none ? 0 : 2 * static_cast<std::int64_t>(in_file);  // read, and its network
    const std::int64_t trained = trained_bytes(start.spec(), samples);
    const TrainingPlan plan = options.memory.within(
        [&](std::int64_t bytes) {
            training.memory = left_of(bytes, of_checkpoint);
            TrainingPlan found = plan_training(start, samples, training);
            if (options.foretell) {  // when the run is over, of which the trained factors are left
                const SpectrumPlan later = plan_foretold(start, samples, left_of(training.memory, trained));
                found.peak_bytes = std::max(found.peak_bytes, trained + later.peak_bytes);
                found.reason += "; then " + later.reason;
            }
            return found;
        },
        remedy(training, options.foretell, start, samples));
    report["plan"] = describe(plan);
    if (options.dry_run) {
        const TrainingEstimate seconds = report.phase("estimate", [&] {
            return estimate_training(device, start, dataset.train.inputs, targets.matrix(), training, plan);
        });
        report["plan"] = describe(plan, seconds);
        fmt::print("plan: {}\n", in_words(plan, seconds));
        report.finish();
        return 0;
    }
    std::optional<FileReservation> room;
    if (!options.out.empty()) room.emplace(options.out, trained);
    if (!training.checkpoint.empty())  // known before the work, and not kept: steps write it
        (void)FileReservation(training.checkpoint, (training.momentum != 0 ? 2 : 1) * trained);
    // What was found out is reported even where it cannot be saved.
    std::exception_ptr failure;
    const TrainingResult result = report.phase_to_end("training", [&] {
        try {
            return options.resume ? resume(device, training.checkpoint, dataset.train.inputs,
                                           targets.matrix(), training)
                                  : train(device, start, dataset.train.inputs, targets.matrix(), training);
        } catch (const UnsavedCheckpoint& unsaved) {
            failure = std::current_exception();
            return unsaved.result;
        }
    });
    room.reset();
    if (!options.out.empty() && !result.cancelled) try {
            save_network(options.out, result.network);
        } catch (const IoError&) {
            failure = std::current_exception();
        }
    report["step_size"] = result.step;
    report["lambda_max"] = result.lambda_max > 0 ? Json(result.lambda_max) : Json(nullptr);
    report["lambda_min"] = training.certificate ? Json(result.lambda_min) : Json(nullptr);
    report["certificate_held"] = result.certificate_checked ? Json(result.certificate_held) : Json(nullptr);
    const std::string reason = why_no_certificate(training, result);
    report["no_certificate"] = reason.empty() ? Json(nullptr) : Json(reason);
    report["seconds_per_step"] = result.seconds_per_step;
    report["cancelled"] = result.cancelled;
    report["history"] = history_json(result.history);
    const auto values = [&](const Network& of, const Samples& labelled) {
        return values_of(device, of, labelled.inputs, scored(plan));
    };
    const Matrix of_samples = values(result.network, dataset.train);
    const double of_training = targets.score(of_samples, dataset.train);
    report["train_accuracy"] = targets.classification() ? Json(of_training) : Json(nullptr);
    report["train_rmse"] = targets.classification() ? Json(nullptr) : Json(of_training);
    std::optional<double> of_test;
    if (!dataset.test.inputs.empty() && !dataset.test.labels.empty())
        of_test = targets.score(values(result.network, dataset.test), dataset.test);
    if (of_test) report[targets.classification() ? "test_accuracy" : "test_rmse"] = *of_test;

    const TrainingRecord& last = result.history.back();
    const bool whole = training.batch == 0 || training.batch >= samples;
    fmt::print("step {}: loss {:.6g} (from {:.6g}){}, step size {:.4g}, {:.4f} s a step\n", last.step,
               last.loss, result.history.front().loss, whole ? "" : " of one batch, times n/B", result.step,
               result.seconds_per_step);
    if (last.drift >= 0)
        fmt::print("kernel drift {:.4g}, gates flipped {:.4g}\n", last.drift, std::max(last.flips, 0.0));
    if (result.certificate_checked)
        fmt::print("certificate |y-f(t)|^2 <= (1-eta*lambda/2)^t |y-f(0)|^2, lambda = {:.4g}: {}\n",
                   result.lambda_min, result.certificate_held ? "held at every step" : "violated");
    else if (training.certificate)
        fmt::print("no certificate: {}\n", reason);
    const char* measure = targets.classification() ? "accuracy" : "rmse";
    fmt::print("train {} {:.4f}\n", measure, of_training);
    if (of_test) fmt::print("test {} {:.4f}\n", measure, *of_test);
    if (options.foretell && !result.cancelled) try {
            const Foretold foretold = report.phase_to_end("foretell", [&] {
                return foretell(device, start, dataset.train.inputs, targets.matrix(), last.step,
                                result.step, values(start, dataset.train), of_samples);
            });
            tell(report, foretold, targets, dataset.train, result.step);
        } catch (const Error&) {
            if (!failure) failure = std::current_exception();
        }
    report.finish();
    if (failure) std::rethrow_exception(failure);
    if (!result.cancelled) return 0;
    fmt::print(stderr, "fntk: error: interrupted at step {}; {}\n", last.step,
               training.checkpoint.empty() ? "nothing was saved, use --checkpoint to be able to resume"
                                           : "go on with --resume --checkpoint " + training.checkpoint);
    return 130;
}

}  // namespace

void add_train(CLI::App& app, Action& run) {
    auto* command = app.add_subcommand(
        "train", "gradient descent on labelled DATA, with step-size rule, certificate and checkpoints");
    auto options = std::make_shared<TrainArguments>();
    TrainingOptions& training = options->training;
    training.kernel_drift = true;
    options->add(*command, true);
    options->data.add_targets(*command);
    command->add_option("--steps", training.steps, "gradient steps in all")->capture_default_str();
    command
        ->add_option("--step-size", options->step_size,
                     "auto (1/lambda_max), auto2 (2/(lambda_max+lambda_min)) or a number")
        ->capture_default_str();
    command->add_option("--loss", options->loss, "squared or cross-entropy")->capture_default_str();
    command->add_option("--momentum", training.momentum, "in [0, 1)")->capture_default_str();
    command->add_option("--batch", training.batch, "samples a step; 0: all")->capture_default_str();
    command
        ->add_option("--spectrum-every", training.spectrum_every,
                     "lambda_min, drift and flips every N steps; 0: never")
        ->check(at_least(0))
        ->capture_default_str();
    command->add_flag("!--no-kernel", training.kernel_drift,
                      "form no n × n kernel: leaves out the certificate, drift and flips");
    command->add_flag("--foretell", options->foretell,
                      "say beside the result what the kernel of the start foretells: takes all eigenvalues "
                      "of the full kernel, n·k rows");
    auto* checkpoint =
        command->add_option("--checkpoint", training.checkpoint,
                            "a .safetensors file, written at the end, on Ctrl-C and every N steps");
    command->add_option("--checkpoint-every", training.checkpoint_every, "N; 0: only at the end")
        ->check(at_least(0))
        ->needs(checkpoint)
        ->capture_default_str();
    options->memory.add(*command);
    command->add_flag("--dry-run", options->dry_run, "print the plan and stop");
    command->add_flag("--resume", options->resume, "go on from --checkpoint, bit for bit");
    command->add_option("--out", options->out, "write the trained network to this .safetensors file");
    command->callback([=, &run] { run = [=] { return run_train(*command, *options); }; });
}

}  // namespace fntk::cli

// fntk plan: the rank and the width that a kernel error asks for, with the evidence.
#include "options.hpp"
#include "plans.hpp"
#include "targets.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <string_view>

namespace fntk::cli {

namespace {

/// As a shell takes it for one word.
std::string quoted(const std::string& word) {
    const auto plain = [](unsigned char c) {
        return std::isalnum(c) != 0 ||
               std::string_view("-_./+=:@%,").find(static_cast<char>(c)) != std::string_view::npos;
    };
    if (!word.empty() && std::ranges::all_of(word, plain)) return word;
    std::string result = "'";
    for (const char c : word) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return result + "'";
}

struct PlanArguments {
    RunOptions run;
    DataOptions data;
    PlannerOptions plan;
    MemoryOption memory;
    std::string criterion = "lambda-min", train = "down", down, up, precision = "float32";
};

const char* quantity(PlanCriterion criterion) {
    switch (criterion) {
        case PlanCriterion::lambda_min:
            return "1 - lambda_min(K)/lambda_min(K_inf)";
        case PlanCriterion::condition:
            return "cond(K)/cond(K_inf) - 1";
        case PlanCriterion::frobenius:
            return "|K - K_inf|_F/|K_inf|_F";
    }
    return "";
}

Json draws(const std::vector<PlannerDraw>& list) {
    Json result = Json::array();
    for (const PlannerDraw& draw : list)
        result.push_back({{"rank", draw.rank},
                          {"width", draw.width > 0 ? Json(draw.width) : Json(nullptr)},
                          {"seed", draw.seed},
                          {"error", finite_or_null(draw.error)},
                          {"frobenius", draw.frobenius},
                          {"lambda_min", draw.lambda_min},
                          {"seconds", {{"tangent", draw.tangent_seconds}, {"gram", draw.gram_seconds}}}});
    return result;
}

Json choice(const NetworkPlan& plan, const PlannerOptions& options) {
    return {
        {"criterion", name(options.criterion)},
        {"target_error", options.target_error},
        {"samples", plan.samples},
        {"pilot_samples", plan.pilot_samples},
        {"rank_x", plan.hard.data_rank},
        {"limit",
         {{"lambda_min", plan.limit_lambda_min}, {"condition", finite_or_null(plan.limit_condition)}}},
        {"error_law", {{"rank_term", plan.law.rank_term}, {"width_term", plan.law.width_term}}},
        {"hard_condition",
         {{"of", options.train.down ? "rank" : "width"},
          {"least", plan.hard.least},
          {"applied", plan.hard.applied},
          {"met", plan.hard.met}}},
        {"rank_pilots", draws(plan.rank_pilots)},
        {"width_pilots", draws(plan.width_pilots)},
        {"rank_constant", plan.rank_constant},
        {"width_constant", plan.width_constant},
        {"practical", {{"rank", plan.practical_rank}, {"width", plan.practical_width}}},
        {"theory",
         {{"rank", finite_or_null(plan.theory.rank)}, {"width", finite_or_null(plan.theory.width)}}},
        {"evidence", draws(plan.evidence)},
        {"doublings", plan.evidence.empty() ? 0 : plan.evidence.size() - 1},
        {"loss", {{"rank", finite_or_null(plan.rank_loss)}, {"width", finite_or_null(plan.width_loss)}}},
        {"dense_width_of_equal_error", finite_or_null(plan.dense_width)},
        {"cost",
         {{"parameters_trained", plan.cost.parameters_trained},
          {"bytes_stored", plan.cost.bytes_stored},
          {"flops_tangent", plan.cost.flops_tangent},
          {"flops_gram", plan.cost.flops_gram},
          {"flops_step", plan.cost.flops_step}}},
        {"estimated_seconds",
         {{"tangent", plan.tangent_seconds}, {"gram", plan.gram_seconds}, {"step", plan.step_seconds}}}};
}

std::string size(double value) { return std::isinf(value) ? "none" : fmt::format("{:.3g}", value); }

std::string line(const char* title, const PlannerDraw& draw) {
    return fmt::format("  {:<14} {:>8} {:>9} {:>10} {:>11.4f} {:>11.4f} {:>11.3e}\n", title, draw.rank,
                       draw.width > 0 ? std::to_string(draw.width) : "inf", draw.seed, draw.error,
                       draw.frobenius, draw.lambda_min);
}

std::string plan_table(const NetworkPlan& plan, const PlannerOptions& options, const DataOptions& data) {
    const NetworkSpec& spec = plan.spec;
    const bool down = options.train.down;
    std::string out =
        fmt::format("{}: n = {}, d = {}, rank {}; {} <= {}\n", data.source, plan.samples, spec.dim,
                    plan.hard.data_rank, quantity(options.criterion), options.target_error);
    out += fmt::format("train={}, U {}, V {}, k = {}\n", to_string(options.train), name(options.down),
                       name(options.up), options.outputs);
    if (plan.pilot_samples < plan.samples)
        out += fmt::format(
            "measured on {} evenly spaced rows: their lambda_min is only an upper bound for all {}\n",
            plan.pilot_samples, plan.samples);
    out += fmt::format("infinite width: lambda_min {:.3e}, condition {:.3g}\n", plan.limit_lambda_min,
                       plan.limit_condition);
    out += fmt::format("hard condition {} >= n: {} >= {}, {}{}\n", down ? "p*rank(X)" : "m*min(p, rank X)",
                       down ? "p" : "m", plan.hard.least, plan.hard.met ? "met" : "not met",
                       plan.hard.applied ? "" : " (not needed for this criterion)");

    out += fmt::format("\n  {:<14} {:>8} {:>9} {:>10} {:>11} {:>11} {:>11}\n", "draw", "p", "m", "seed",
                       "error", "frobenius", "lambda_min");
    for (const PlannerDraw& draw : plan.rank_pilots) out += line("pilot of p", draw);
    for (const PlannerDraw& draw : plan.width_pilots)
        out += line(down ? "pilot of m" : "pilot of m *", draw);
    for (const PlannerDraw& draw : plan.evidence)
        out += line(draw.error <= options.target_error ? "evidence" : "missed", draw);
    if (!down) out += "  * against the kernel of m = inf at the same U\n";

    out +=
        fmt::format("\npractical choice  p = {}, m = {}   (from the pilots: c_p = {:.3g}, c_m = {:.3g})\n",
                    plan.practical_rank, plan.practical_width, plan.rank_constant, plan.width_constant);
    out += fmt::format(
        "theory bound      p = {}, m = {}   (sufficient with probability 0.99; not the choice)\n",
        size(plan.theory.rank), size(plan.theory.width));
    out += fmt::format("after evidence    p = {}, m = {}   ({} doublings)\n", spec.rank, spec.width,
                       plan.evidence.size() - 1);
    out += fmt::format("loss              {:.3g} by p, {:.3g} by m ({})\n", plan.rank_loss, plan.width_loss,
                       down ? "shared as in the pilots" : "measured");
    out +=
        fmt::format("dense width       {} of equal Frobenius error\n", size(std::round(plan.dense_width)));
    out += fmt::format(
        "cost              {} parameters trained, {} bytes stored, flops: {:.3g} tangent, {:.3g} gram, "
        "{:.3g} step\n",
        plan.cost.parameters_trained, plan.cost.bytes_stored, static_cast<double>(plan.cost.flops_tangent),
        static_cast<double>(plan.cost.flops_gram), static_cast<double>(plan.cost.flops_step));
    out += fmt::format("seconds here      {:.3g} tangent, {:.3g} gram, {:.3g} step (estimated)\n",
                       plan.tangent_seconds, plan.gram_seconds, plan.step_seconds);
    out += fmt::format(
        "\nfntk network {}{}{} --width {} --rank {} --down {} --up {} --train {} --outputs {} --seed {} "
        "--precision {} --out net.safetensors\n",
        quoted(data.source), data.samples > 0 ? fmt::format(" --samples {}", data.samples) : "",
        data.no_normalize ? " --no-normalize" : "", spec.width, spec.rank, name(spec.down), name(spec.up),
        to_string(spec.train), spec.outputs, spec.seed, name(spec.precision));
    return out;
}

/// A line of what comes next, and its part of the report; of what does not fit the budget the reason.
template <class Plan>
std::string next_step(Json& operations, const char* name, Plan&& plan) {
    try {
        const auto [json, words] = plan();
        operations[name] = json;
        return fmt::format("fntk {:<12} {}\n", name, words);
    } catch (const MemoryError& error) {
        operations[name] = {{"does_not_fit", error.what()}};
        return fmt::format("fntk {:<12} does not fit: {}\n", name, error.what());
    }
}

/// What the chosen network takes inside the budget: the Gram matrix of all rows as a file, a fit of the
/// labels, all eigenvalues, and training as the command does it.
std::string next_steps(Report& report, const Device& device, const PlanArguments& options,
                       const Dataset& dataset, const NetworkSpec& spec) {
    const ConstMatrixView inputs = dataset.train.inputs;
    const KernelFunction function = KernelFunction::of_network(Network::create(spec, inputs));
    const std::int64_t targets = default_outputs(dataset);
    Json operations = Json::object();
    std::string lines = next_step(operations, "gram", [&] {
        const GramFilePlan plan = options.memory.spend([&](std::int64_t bytes) {
            return plan_gram_file(function, inputs.rows, {}, {.memory = bytes});
        });
        const double seconds = estimate_gram_file(device, function, inputs, {}, plan);
        return std::pair{describe(plan, seconds), in_words(plan, seconds)};
    });
    lines += next_step(operations, "fit", [&] {
        const FitPlan plan = options.memory.spend([&](std::int64_t bytes) {
            return plan_fit(function, inputs.rows, targets, {.memory = bytes});
        });
        const FitEstimate seconds = estimate_fit(device, function, inputs, targets, plan);
        return std::pair{describe(plan, seconds), in_words(plan, seconds)};
    });
    lines += next_step(operations, "spectrum", [&] {
        const SpectrumPlan plan = options.memory.spend(
            [&](std::int64_t bytes) { return plan_spectrum(function, inputs.rows, {.memory = bytes}); });
        const SpectrumEstimate seconds = estimate_spectrum(device, function, inputs, {});
        return std::pair{describe(plan, seconds), in_words(plan, seconds)};
    });
    lines += next_step(operations, "train", [&] {
        TrainingOptions how{.kernel_drift = true, .certificate = true};
        const TrainingPlan plan = options.memory.spend([&](std::int64_t bytes) {
            how.memory = bytes;
            return plan_training(function.network(), inputs.rows, how);
        });
        const Matrix zeros(inputs.rows, spec.outputs, spec.precision);
        const TrainingEstimate seconds =
            estimate_training(device, function.network(), inputs, zeros, how, plan);
        return std::pair{describe(plan, seconds), in_words(plan, seconds)};
    });
    report["operations"] = operations;
    return lines;
}

int run_plan(PlanArguments& options) {
    Report report("plan", options.run.json, {}, options.data.files());
    const Device device = options.run.open();
    report.device(device);
    PlannerOptions& plan = options.plan;
    plan.criterion = parse_plan_criterion(options.criterion);
    plan.train = parse_train(options.train);
    // V is trained from a gaussian start on the leading components, as fntk compare does it
    plan.down = options.down.empty() ? plan.train.up ? Down::pca : Down::srht : parse_down(options.down);
    plan.up = options.up.empty() ? plan.train.up ? Up::gaussian : Up::srht : parse_up(options.up);
    plan.progress = progress_bar("plan");
    const DType dtype = parse_precision(options.precision);
    const Dataset dataset = report.phase("load", [&] { return options.data.load(dtype); });
    report["data"] = DataOptions::describe(dataset);
    const auto planned = [&] {
        return options.memory.spend([&](std::int64_t bytes) {
            plan.memory_budget = bytes;
            return plan_network(device, dataset.train.inputs, plan);
        });
    };
    const NetworkPlan result = report.phase("plan", [&] {
        try {
            return planned();
        } catch (const RankError& error) {
            if (!options.down.empty() || plan.down != Down::srht) throw;
            fmt::print(stderr, "fntk: {}: going on with down = gaussian, whose rank may exceed d\n",
                       error.what());
            plan.down = Down::gaussian;
            return planned();
        }
    });
    if (result.cancelled) stop_if_interrupted();
    report["network"] = Json::parse(to_json(result.spec));
    report["plan"] = choice(result, plan);
    fmt::print("{}", plan_table(result, plan, options.data));
    fmt::print("{}", report.phase("operations", [&] {
        return next_steps(report, device, options, dataset, result.spec);
    }));
    report.finish();
    return 0;
}

}  // namespace

void add_plan(CLI::App& app, Action& run) {
    auto* command = app.add_subcommand("plan", "the rank and width that a kernel error on DATA asks for");
    auto options = std::make_shared<PlanArguments>();
    PlannerOptions& plan = options->plan;
    options->data.add(*command, false);
    options->run.add(*command);
    command->add_option("--target-error", plan.target_error, "the relative error to stay below")
        ->capture_default_str();
    command
        ->add_option("--criterion", options->criterion, "error of what: lambda-min, condition, frobenius")
        ->capture_default_str();
    command->add_option("--train", options->train, "the trained factor: down or up")->capture_default_str();
    command->add_option("--down", options->down,
                        "U: identity, gaussian, orthonormal, pca, srht [default: srht, gaussian where that "
                        "has no rank left; pca for "
                        "--train up]");
    command->add_option("--up", options->up,
                        "V: gaussian, rademacher, srht [default: srht; gaussian for --train up]");
    command->add_option("--outputs", plan.outputs, "k, whose kernels are averaged")->capture_default_str();
    command->add_option("--precision", options->precision, "float32 or float64")->capture_default_str();
    command->add_option("--pilot-samples", plan.pilot_samples, "rows that kernels are measured on")
        ->capture_default_str();
    command->add_option("--seeds", plan.seeds, "draws of every pilot")->capture_default_str();
    command->add_option("--seed", plan.seed, "first seed")->check(whole_number())->capture_default_str();
    command->add_option("--max-width", plan.max_width, "largest m")->capture_default_str();
    options->memory.add(*command);
    command->callback([=, &run] { run = [=] { return run_plan(*options); }; });
}

}  // namespace fntk::cli

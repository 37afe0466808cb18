// fntk compare: dense against factorised widths on one data set; the table, its JSON and its plot.
#include "compare.hpp"
#include "options.hpp"
#include "plot.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace fntk::cli {

namespace {

struct CompareArguments {
    RunOptions run;
    DataOptions data;
    CompareOptions compare;
    std::vector<std::int64_t> widths = {1024, 4096}, ranks;
    std::vector<std::string> bases = {"pca"}, kinds = {"dense", "up", "down"};
    std::string up = "srht", activation = "relu", precision = "float32", network, plot;
    double slope = 0.01;
};

struct Candidate {
    std::string name;
    NetworkSpec spec;
};

/// Per width, of the kinds that are wanted: the dense network; train=up at each basis and rank; train=down
/// with srht at each rank.
std::vector<Candidate> candidates(const CompareArguments& options, std::int64_t dim, std::int64_t outputs) {
    NetworkSpec base;
    base.dim = dim;
    base.outputs = outputs;
    base.activation = {parse_activation(options.activation), options.slope};
    base.precision = parse_precision(options.precision);
    std::vector<Candidate> result;
    for (const std::string& kind : options.kinds)
        if (kind != "dense" && kind != "up" && kind != "down")
            throw ValueError(fmt::format("kinds holds {}; choose among dense, up, down", kind));
    const auto add = [&](const char* kind, std::string name, NetworkSpec spec) {
        if (std::find(options.kinds.begin(), options.kinds.end(), kind) != options.kinds.end())
            result.push_back({std::move(name), spec});
    };
    for (const std::int64_t width : options.widths) {
        NetworkSpec spec = base;
        spec.width = width;
        spec.down = Down::identity;
        spec.up = Up::gaussian;
        spec.train = {.up = true};
        add("dense", fmt::format("dense m={}", width), spec);
        for (const std::int64_t rank : options.ranks) {
            spec.rank = rank;
            for (const std::string& basis : options.bases) {
                spec.down = parse_down(basis);
                if (spec.down == Down::identity)
                    throw ValueError(
                        "bases holds identity, which is the dense network; choose among pca, orthonormal, "
                        "gaussian, srht");
                add("up", fmt::format("up {} m={} p={}", basis, width, rank), spec);
            }
        }
        for (const std::int64_t rank : options.ranks) {
            spec = base;
            spec.width = width;
            spec.rank = rank;
            spec.up = parse_up(options.up);
            add("down", fmt::format("down srht m={} p={}", width, rank), spec);
        }
    }
    for (const Candidate& candidate : result)  // refuse before the first minute is spent
        if (candidate.spec.down != Down::pca) (void)Network::create(candidate.spec);
    return result;
}

/// A network that takes as much memory; that of pca needs the data.
Network of_these_extents(NetworkSpec spec) {
    if (spec.down == Down::pca) spec.down = Down::orthonormal;
    return Network::create(spec);
}

/// 64 and 256 where the data has as many columns, else its largest powers of two.
std::vector<std::int64_t> default_ranks(std::int64_t dim) {
    const std::int64_t most = default_rank(Down::pca, dim);
    if (dim >= 256) return {64, 256};
    return most >= 4 ? std::vector{most / 4, most} : std::vector{most};
}

/// The options beside a network of a file: its precision and activation are those of all rows, and given
/// ones have to be the same.
void take_over(const CLI::App& command, CompareArguments& options, const NetworkSpec& spec) {
    const auto take = [&](const char* option, auto& given, const auto& in_file) {
        if (command.count(option) > 0 && given != in_file)
            throw ValueError(fmt::format("{} is {}, --network {} has {}; leave it out", option, given,
                                         options.network, in_file));
        given = in_file;
    };
    take("--precision", options.precision, std::string(name(spec.precision)));
    take("--activation", options.activation, std::string(name(spec.activation.kind)));
    take("--slope", options.slope, spec.activation.slope);
    if (!(spec.train == Train{.up = true}) && !(spec.train == Train{.down = true}))
        throw ValueError(fmt::format(
            "--network {} has train = {}; networks are compared by the kernel of one hidden factor: take "
            "one with train = up or down",
            options.network, to_string(spec.train)));
}

int run_compare(const CLI::App& command, CompareArguments& options) {
    Files inputs = options.data.files();
    inputs.push_back({"--network", options.network});
    Report report("compare", options.run.json, {{"--plot", options.plot}}, inputs);
    const Device device = options.run.open();
    report.device(device);
    std::optional<Network> given;
    if (!options.network.empty()) {
        given = load_network(options.network);
        take_over(command, options, given->spec());
    }
    const DType dtype = parse_precision(options.precision);
    const Dataset dataset = report.phase("load", [&] { return options.data.load(dtype); });
    refuse_guessed_classes(dataset, parse_target_kind(options.data.targets));
    const std::int64_t dim = dataset.train.inputs.cols();
    if (options.ranks.empty()) options.ranks = default_ranks(dim);

    Comparison comparison(device, dataset, {parse_activation(options.activation), options.slope},
                          options.compare);
    const std::vector<Candidate> networks = candidates(options, dim, comparison.outputs());
    if (given && (given->spec().dim != dim || given->spec().outputs != comparison.outputs()))
        throw ShapeError(fmt::format("--network {} has dim {} and {} outputs; DATA asks for {} and {}",
                                     options.network, given->spec().dim, given->spec().outputs, dim,
                                     comparison.outputs()));
    for (const Candidate& candidate : networks) comparison.check_memory(of_these_extents(candidate.spec));
    if (given) comparison.check_memory(*given);
    report["data"] = DataOptions::describe(dataset);
    report["data"]["rank_x"] = comparison.data_rank();
    report["data"]["outputs"] = comparison.outputs();
    report["data"]["targets"] = dataset.train.labels.empty() ? "random signs"
                                : dataset.classes > 0        ? "classes"
                                                             : "real";
    report["options"] = {
        {"steps", options.compare.steps},       {"seeds", options.compare.seeds},
        {"seed", options.compare.seed},         {"ridge", options.compare.ridge},
        {"activation", options.activation},     {"precision", name(dtype)},
        {"whole_up_to", options.compare.whole}, {"compared_samples", options.compare.compared},
        {"memory", options.compare.memory},     {"kinds", options.kinds}};
    report["limit"] = report.phase("limit", [&] { return comparison.limit_row(); });
    report.note_peak(memory_use(device.place()).peak);
    report["rows"] = Json::array();

    const std::size_t total = networks.size() + (given ? 1 : 0);
    const auto add_row = [&](const std::string& label, auto&& what) {
        const auto done = static_cast<double>(report["rows"].size());
        const Progress bar = progress_bar(label);
        const auto measured = [&] {
            return comparison.row(label, what, [&](double share) {
                return bar((done + share) / static_cast<double>(total));
            });
        };
        Json row;
        try {
            row = report["rows"].empty() ? report.phase("rows", measured)
                                         : report.phase_to_end("rows", measured);
        } catch (const Error&) {
            if (!interrupted()) throw;
            return;
        }
        report.note_peak(memory_use(device.place()).current + row.at("peak_bytes").get<std::int64_t>());
        report["rows"].push_back(std::move(row));
    };
    for (const Candidate& candidate : networks)
        if (!interrupted()) add_row(candidate.name, candidate.spec);
    if (given && !interrupted()) add_row(options.network, *given);
    const std::size_t found = report["rows"].size();
    if (found == 0) stop_if_interrupted();
    report["interrupted"] = found < total;

    fmt::print("{}", compare_table(report.json()));
    report.finish();
    if (!options.plot.empty())
        save_text(options.plot, compare_plot(nlohmann::json::parse(to_text(report.json()))));
    if (!options.plot.empty()) fmt::print("plot: {}\n", options.plot);
    if (!options.run.json.empty()) fmt::print("json: {}\n", options.run.json);
    if (found == total) return 0;
    fmt::print(
        stderr, "fntk: error: interrupted after {} of {} networks{}\n", found, total,
        options.run.json.empty() && options.plot.empty() ? "" : "; what is written holds those alone");
    return 130;
}

}  // namespace

void add_compare(CLI::App& app, Action& run) {
    auto* command = app.add_subcommand(
        "compare", "dense against factorised widths on DATA: kernel, spectrum, training, cost, accuracy");
    auto options = std::make_shared<CompareArguments>();
    options->data.samples = options->data.test_samples = 2000;
    options->data.add(*command, true);
    command->get_option("--labels")
        ->description(
            "a file with a row of labels for each row (.npy, .csv, .idx[.gz]); DATA without labels is "
            "trained on "
            "random targets of +1/2 and -1/2");
    options->data.add_targets(*command);
    options->run.add(*command);
    command->add_option("--widths", options->widths, "m, several, with commas or spaces")
        ->delimiter(',')
        ->capture_default_str();
    command->add_option("--ranks", options->ranks, "p, several [default: 64,256, less for narrow data]")
        ->delimiter(',');
    command
        ->add_option("--bases", options->bases,
                     "down factors of the train=up rows: pca, orthonormal, gaussian, srht")
        ->delimiter(',')
        ->capture_default_str();
    command
        ->add_option("--kinds", options->kinds, "of networks: dense, up (train=up) and down (train=down)")
        ->delimiter(',')
        ->capture_default_str();
    command->add_option("--up", options->up, "V of the train=down rows: srht, rademacher, gaussian")
        ->capture_default_str();
    command->add_option("--activation", options->activation, "relu, leaky_relu, abs or erf")
        ->capture_default_str();
    command->add_option("--slope", options->slope, "slope of leaky_relu below 0")->capture_default_str();
    command->add_option("--precision", options->precision, "float32 or float64")->capture_default_str();
    command->add_option("--steps", options->compare.steps, "gradient steps, full batch")
        ->capture_default_str();
    command
        ->add_option("--seeds", options->compare.seeds, "draws of every network; the rows are their means")
        ->capture_default_str();
    command->add_option("--seed", options->compare.seed, "first seed")
        ->check(whole_number())
        ->capture_default_str();
    command
        ->add_option("--ridge", options->compare.ridge,
                     "of kernel ridge regression, relative to mean(diag K)")
        ->capture_default_str();
    command
        ->add_option(
            "--whole-up-to", options->compare.whole,
            "samples up to which kernels are taken as wholes, with all eigenvalues, drift and certificate")
        ->capture_default_str();
    command
        ->add_option("--compared-samples", options->compare.compared,
                     "beyond, samples whose kernel is compared with the infinite-width one")
        ->capture_default_str();
    command
        ->add_option("--memory", options->compare.memory,
                     "beyond, what ridge regression may take, as 1.5GiB or 512MiB; 0: no limit")
        ->transform(byte_count())
        ->default_str("4GiB");
    command->add_option("--network", options->network,
                        "one more row: the network in this file, whose precision and activation all have");
    command->add_option("--plot", options->plot, "write the comparison as one self-contained HTML page");
    command->callback([=, &run] { run = [=] { return run_compare(*command, *options); }; });
}

}  // namespace fntk::cli

// fntk's side of the comparison with peers: one network, one operation, one JSON line on standard output.
//     export  draws a network; writes its file (the seed) and, for the peers, its weights U, V, A as values
//     gram    tangent and Gram matrix of X; result: K (n × n)
//     step    a full-batch gradient step on ½‖f − y‖²; result: the trained factor after one step of --step
// Peak memory is read before the timed repeats, as in harness.py.
#include <fntk/fntk.hpp>

#include <cli/better_blas.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace {

using namespace fntk;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

struct Options {
    std::string operation, network, weights, data, targets, result;
    std::string down = "srht", up = "srht", trained = "down";
    NetworkSpec spec;
    int threads = 0, repeats = 5;
    double step = 1;
};

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// A row of /proc/self/status in MB: VmRSS or VmHWM, its peak.
double status_mb(const std::string& key) {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;)
        if (word == key + ":") {
            double kib = 0;
            status >> kib;
            return kib * 1024 / 1e6;
        }
    return -1;
}

Json export_network(Options& options) {
    options.spec.down = parse_down(options.down);
    options.spec.up = parse_up(options.up);
    options.spec.train = parse_train(options.trained);
    const Network network = Network::create(options.spec);
    save_network(options.network, network);
    if (!options.weights.empty()) save_network(options.weights, network, true);
    return {{"parameters", cost(network.spec(), 1).parameters_trained}};
}

Json run_gram(const Options& options) {
    const Device device = Device::open("cpu", options.threads);
    const Network network = load_network(options.network);
    const Matrix inputs = Matrix::copy_of(MappedNpy(options.data).view());
    const double before = status_mb("VmRSS");
    const auto first = Clock::now();
    save_npy(options.result, gram(tangent(device, network, inputs, {.values = false})));
    Json report{{"threads", device.threads()},
                {"first_s", seconds_since(first)},
                {"before_mb", before},
                {"peak_mb", status_mb("VmHWM")}};
    std::vector<double> seconds;
    for (int repeat = -1; repeat < options.repeats; ++repeat) {  // the second call does not count either
        const auto begin = Clock::now();
        const Matrix kernel = gram(tangent(device, network, inputs, {.values = false}));
        if (repeat >= 0) seconds.push_back(seconds_since(begin));
    }
    report["seconds"] = seconds;
    return report;
}

/// The timed steps are those between two progress calls, so neither the set-up of train() nor the first
/// step counts; their size is too small to move the network.
Json run_step(const Options& options) {
    const Device device = Device::open("cpu", options.threads);
    const Network network = load_network(options.network);
    const Matrix inputs = Matrix::copy_of(MappedNpy(options.data).view());
    const Matrix targets = Matrix::copy_of(MappedNpy(options.targets).view());
    const double before = status_mb("VmRSS");
    TrainingOptions training{.steps = 1, .rule = StepRule::given, .step = options.step};
    const auto first = Clock::now();
    const TrainingResult once = train(device, network, inputs, targets, training);
    Json report{{"threads", device.threads()},
                {"first_s", seconds_since(first)},
                {"loss", once.history.front().loss},
                {"before_mb", before},
                {"peak_mb", status_mb("VmHWM")}};
    save_npy(options.result,
             network.spec().train.up ? once.network.materialize_up() : once.network.materialize_down());

    std::vector<Clock::time_point> ends;
    training.steps = options.repeats + 1;
    training.step = 1e-9;
    training.progress = [&](double) {
        ends.push_back(Clock::now());
        return true;
    };
    train(device, network, inputs, targets, training);
    std::vector<double> seconds;
    for (std::size_t i = 1; i < ends.size(); ++i)
        seconds.push_back(std::chrono::duration<double>(ends[i] - ends[i - 1]).count());
    report["seconds"] = seconds;
    return report;
}

}  // namespace

int main(int argc, char** argv) try {
    cli::restart_with_better_blas(argv);
    Options options;
    CLI::App app("One network, one operation, one JSON line: fntk's side of bench/peers");
    app.add_option("operation", options.operation, "export, gram or step")
        ->required()
        ->check(CLI::IsMember({"export", "gram", "step"}));
    app.add_option("--network", options.network, "network file")->required();
    app.add_option("--weights", options.weights, "export: file for U, V and A as values, if wanted");
    app.add_option("--dim", options.spec.dim, "export: d");
    app.add_option("--width", options.spec.width, "export: m");
    app.add_option("--rank", options.spec.rank, "export: p");
    app.add_option("--down", options.down, "export: family of U");
    app.add_option("--up", options.up, "export: family of V");
    app.add_option("--train", options.trained, "export: trained factor");
    app.add_option("--seed", options.spec.seed, "export: seed of the network");
    app.add_option("--data", options.data, "X, n × d, .npy, float32; rows are taken as they are");
    app.add_option("--targets", options.targets, "step: y, n × 1, .npy, float32");
    app.add_option("--result", options.result, ".npy to write");
    app.add_option("--threads", options.threads, "0: all processors");
    app.add_option("--repeats", options.repeats, "timed repeats");
    app.add_option("--step", options.step, "size of the step whose result is written");
    CLI11_PARSE(app, argc, argv);
    const Json report = options.operation == "export" ? export_network(options)
                        : options.operation == "gram" ? run_gram(options)
                                                      : run_step(options);
    fmt::print("{}\n", report.dump());
    return 0;
} catch (const std::exception& error) {
    fmt::print(stderr, "fntk_peer_case: error: {}\n", error.what());
    return 1;
}

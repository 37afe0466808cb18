// fntk's side of bench/gpu: one network, one operation, one device, one JSON line on standard output.
//     wide      H → G and f, the pass over the width alone (a network with down = identity: X is H)
//     tangent   X → H, G and f
//     gram      a tangent's G and X → K_down into memory that is there
//     ntk       X → K_down, nothing kept from the call before
//     dense     X → gates → K_up
//     operator  a tangent and v (n × r) → K_down v without K
//     step      a full-batch gradient step on ½‖f − y‖²
// Times are of groups of calls between two waits for the device, of 20 ms or one call, beside which the
// wait is nothing: 3 calls first, then at least 20 groups and half a second, but no more than --most
// seconds where there are three. Inputs and network lie on the device.
#include <fntk/fntk.hpp>

#include <backend/ops.hpp>
#include <cli/better_blas.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace {

using namespace fntk;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr double step_for_times = 1e-9;  // too small to move the network; as in peers/harness.py
constexpr double group_seconds = 20e-3;  // as in peer.py, like the next
constexpr int most_calls = 1000;

struct Options {
    std::string operation, device = "cuda", network, data, targets, vectors, result, rounding = "fine";
    std::int64_t sample = 128;
    int threads = 0;
    double step = 1, most = 4;
};

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

void wait(const Device& device) {
    if (device.place() != Place::host) (void)device.to_host(device.zeros(1, 1, DType::f32));
}

bool enough(std::size_t count, double total, double most) {
    return (count >= 20 && total >= 0.5) || (count >= 3 && total >= most);
}

Json summary(std::vector<double> seconds) {
    std::sort(seconds.begin(), seconds.end());
    const auto at = [&](double share) {
        return 1e3 * seconds[static_cast<std::size_t>(share * static_cast<double>(seconds.size() - 1))];
    };
    return {{"median", at(0.5)}, {"p10", at(0.1)}, {"p90", at(0.9)}, {"reps", seconds.size()}};
}

Network rounded(const Network& network, Rounding rounding) {
    NetworkSpec spec = network.spec();
    if (spec.rounding == rounding) return network;
    spec.rounding = rounding;
    return Network::from_tensors(spec, {.down = network.down()});
}

/// What one job works on: everything on the device.
struct Problem {
    explicit Problem(const Options& asked)
        : options(asked),
          device(Device::open(asked.device, asked.threads)),
          network(rounded(load_network(asked.network), parse_rounding(asked.rounding)).on(device)),
          inputs(device.to_device(MappedNpy(asked.data).view())) {}

    Matrix load(const std::string& path) const { return device.to_device(MappedNpy(path).view()); }
    std::int64_t samples() const { return std::min(options.sample, inputs.rows()); }
    /// Row i of the sample, one of each range of rows, at another place of each; check.py takes the same
    /// ones.
    std::int64_t row(std::int64_t i) const {
        const std::int64_t step = inputs.rows() / samples();
        return i * step + i * 37 % step;
    }

    /// The rows of the sample of a matrix with a row a sample, in host memory.
    Matrix sampled(ConstMatrixView matrix) const {
        Matrix rows(samples(), matrix.cols, matrix.dtype);
        for (std::int64_t i = 0; i < samples(); ++i) {
            const Matrix one = device.to_host(matrix.row_block(row(i), 1));
            std::memcpy(rows.view().row_block(i, 1).data, one.view().data,
                        static_cast<std::size_t>(one.bytes()));
        }
        return rows;
    }
    /// K at the rows and columns of the sample.
    void save_block(const Matrix& kernel) const {
        const Matrix rows = sampled(kernel);
        Matrix block(samples(), samples(), DType::f32);
        for (std::int64_t i = 0; i < samples(); ++i)
            for (std::int64_t j = 0; j < samples(); ++j) block.at<float>(i, j) = rows.at<float>(i, row(j));
        save_npy(options.result + ".K.npy", block);
    }
    bool checked() const { return !options.result.empty() && options.sample > 0; }

    /// What is allocated up to here does not count.
    void count_memory() {
        base_ = memory_use(device.place()).current;
        reset_memory_peak();
    }
    Json report(Json ms) const {
        return {
            {"ms", std::move(ms)}, {"base_bytes", base_}, {"peak_bytes", memory_use(device.place()).peak}};
    }
    template <class Body>
    Json timed(const Body& body) const {
        const auto of = [&](int calls) {
            const auto begin = Clock::now();
            for (int i = 0; i < calls; ++i) body();
            wait(device);
            return seconds_since(begin) / calls;
        };
        (void)of(1);  // the first call also loads and plans
        const double once = of(2);
        const int group = std::clamp(static_cast<int>(std::ceil(group_seconds / once)), 1, most_calls);
        std::vector<double> seconds;
        for (double total = 0; !enough(seconds.size(), total, options.most);) {
            seconds.push_back(of(group));
            total += seconds.back() * group;
        }
        return report(summary(std::move(seconds)));
    }

    const Options& options;
    Device device;
    Network network;
    Matrix inputs;

  private:
    std::int64_t base_ = 0;
};

/// The gates of the sample, written as words; whether they and Ĝ are those of the backend to compare with.
bool check_exactly(const Problem& problem, ConstMatrixView gradients_int) {
    const TangentOptions keep{
        .gradients = !gradients_int.empty(), .gates = true, .only_these = true, .values = false};
    const Matrix rows = problem.sampled(problem.inputs);
    const Device other = Device::open(problem.device.name() == "cpu" ? "reference" : "cpu");
    const Network there = problem.network.on_host();
    const Tangent here = tangent(problem.device, problem.network, rows, keep),
                  oracle = tangent(other, there, rows, keep);
    const BitMatrix gates = problem.device.to_host(here.gates()), wanted = other.to_host(oracle.gates());
    const auto words = static_cast<std::size_t>(gates.words_per_row()) * 8;
    std::ofstream file(problem.options.result + ".gates.bin", std::ios::binary);
    bool equal = true;
    for (std::int64_t i = 0; i < gates.rows(); ++i) {
        file.write(reinterpret_cast<const char*>(gates.view().row(i)), static_cast<std::streamsize>(words));
        equal = equal && std::memcmp(gates.view().row(i), wanted.view().row(i), words) == 0;
    }
    if (gradients_int.empty()) return equal;
    const Matrix sums = problem.sampled(gradients_int);
    return equal && std::memcmp(sums.view().data, other.to_host(oracle.gradients_int()).view().data,
                                static_cast<std::size_t>(sums.bytes())) == 0;
}

Json run_tangent(Problem& problem) {
    const bool wide = problem.options.operation == "wide";
    const TangentOptions keep{.gradients = true, .only_these = true, .known_finite = true};
    const auto body = [&] { return tangent(problem.device, problem.network, problem.inputs, keep); };
    Json report = problem.timed(body);
    if (!problem.checked()) return report;
    const Tangent last = body();
    save_npy(problem.options.result + ".G.npy", problem.sampled(last.gradients()));
    save_npy(problem.options.result + ".f.npy", problem.sampled(last.values()));
    if (wide) report["bit_exact"] = check_exactly(problem, last.gradients_int());
    return report;
}

Json run_gram(Problem& problem) {
    const Tangent at = tangent(problem.device, problem.network, problem.inputs, {.values = false});
    if (!problem.options.result.empty())  // what the check starts from
        save_npy(problem.options.result + ".gradients.npy", problem.device.to_host(at.gradients()));
    const TangentRows all{&at, 0, at.size()};
    problem.count_memory();
    Matrix kernel = problem.device.zeros(at.size(), at.size(), DType::f32);
    const auto body = [&] {
        gram_tile(all, all, KernelOutput::trace, problem.network.spec().train, kernel);
    };
    Json report = problem.timed(body);
    if (problem.checked()) problem.save_block(kernel);
    return report;
}

/// ntk and dense.
Json run_kernel(Problem& problem) {
    const auto body = [&] {
        return gram(tangent(problem.device, problem.network, problem.inputs,
                            {.values = false, .known_finite = true}));
    };
    Json report = problem.timed(body);
    if (!problem.checked()) return report;
    problem.save_block(body());
    if (problem.options.operation == "dense") report["bit_exact"] = check_exactly(problem, {});
    return report;
}

Json run_operator(Problem& problem) {
    const Tangent at = tangent(problem.device, problem.network, problem.inputs, {.values = false});
    if (!problem.options.result.empty())
        save_npy(problem.options.result + ".gradients.npy", problem.device.to_host(at.gradients()));
    const Matrix vectors = problem.load(problem.options.vectors);
    problem.count_memory();
    const KernelOperator kernel(at);
    Matrix out = problem.device.zeros(vectors.rows(), vectors.cols(), DType::f32);
    Json report = problem.timed([&] { kernel.apply(vectors, out); });
    if (problem.checked()) save_npy(problem.options.result + ".Kv.npy", problem.sampled(out));
    return report;
}

/// The times between the progress calls of one run behind which the device was waited for.
Json run_step(Problem& problem) {
    const Matrix targets = problem.load(problem.options.targets);
    TrainingOptions training{.steps = 1, .rule = StepRule::given, .step = problem.options.step};
    if (problem.checked()) {
        const TrainingResult once =
            train(problem.device, problem.network, problem.inputs, targets, training);
        save_npy(problem.options.result + ".U.npy", once.network.on_host().materialize_down());
    }
    problem.count_memory();
    std::vector<double> seconds;
    double total = 0;
    int calls = 0;
    auto begin = Clock::now();
    training.steps = 100000;
    training.step = step_for_times;
    const int together = problem.device.ops().look_every();
    training.progress = [&](double) {
        if (++calls % together != 0) return true;
        const double took = seconds_since(begin) / together;
        begin = Clock::now();
        if (calls <= 3 * together) return true;
        seconds.push_back(took);
        total += took * together;
        return !enough(seconds.size(), total, problem.options.most);
    };
    train(problem.device, problem.network, problem.inputs, targets, training);
    return problem.report(summary(std::move(seconds)));
}

Json run(const Options& options) {
    Problem problem(options);
    problem.count_memory();
    if (options.operation == "wide" || options.operation == "tangent") return run_tangent(problem);
    if (options.operation == "gram") return run_gram(problem);
    if (options.operation == "operator") return run_operator(problem);
    if (options.operation == "step") return run_step(problem);
    return run_kernel(problem);
}

}  // namespace

int main(int argc, char** argv) try {
    cli::restart_with_better_blas(argv);
    Options options;
    CLI::App app("One network, one operation, one device, one JSON line: fntk's side of bench/gpu");
    app.add_option("operation", options.operation, "what is timed")
        ->required()
        ->check(CLI::IsMember({"wide", "tangent", "gram", "ntk", "dense", "operator", "step"}));
    app.add_option("--device", options.device, "of Device::open");
    app.add_option("--network", options.network, "network file")->required();
    app.add_option("--data", options.data, "X, n × d, .npy, float32")->required();
    app.add_option("--targets", options.targets, "step: y, n × 1, .npy, float32");
    app.add_option("--vectors", options.vectors, "operator: v, n × r, .npy, float32");
    app.add_option("--rounding", options.rounding, "of H: fine or fast; V and A are drawn");
    app.add_option("--result", options.result, "prefix of the files to write for the check");
    app.add_option("--sample", options.sample, "rows in them, 0: none");
    app.add_option("--threads", options.threads, "of a CPU; 0: all processors");
    app.add_option("--step", options.step, "step: size of the step whose result is written");
    app.add_option("--most", options.most, "seconds to time for where there are three repeats");
    CLI11_PARSE(app, argc, argv);
    fmt::print("{}\n", run(options).dump());
    return 0;
} catch (const std::exception& error) {
    fmt::print(stderr, "fntk_gpu_case: error: {}\n", error.what());
    return 1;
}

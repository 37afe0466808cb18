// Tangent, Gram, operator and training step on random unit rows, dense against factorised.
// Counters: flop/s of the formula 2ndp + 4nmp (the transforms of srht do the same work in fewer
// operations), and the measured sgemm rate of the same process, their ratio being the effective rate.
//     build/release/bin/fntk_bench --benchmark_filter=tangent
#include <fntk/fntk.hpp>

#include <backend/ops.hpp>

#include <benchmark/benchmark.h>

#include <chrono>
#include <cmath>
#include <random>

namespace {

using namespace fntk;

Matrix unit_rows(std::int64_t n, std::int64_t d) {
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal;
    Matrix x(n, d, DType::f32);
    for (std::int64_t i = 0; i < n; ++i) {
        double norm = 0;
        for (std::int64_t j = 0; j < d; ++j) {
            x.at<float>(i, j) = normal(random);
            norm += std::pow(x.at<float>(i, j), 2);
        }
        for (std::int64_t j = 0; j < d; ++j) x.at<float>(i, j) /= static_cast<float>(std::sqrt(norm));
    }
    return x;
}

/// flop/s of a 2048³ float product on this device.
double sgemm_rate(const Device& device) {
    static const double rate = [&] {
        const Matrix a = unit_rows(2048, 2048);
        Matrix c(2048, 2048, DType::f32);
        double best = 0;
        for (int repeat = 0; repeat < 5; ++repeat) {
            const auto begin = std::chrono::steady_clock::now();
            device.ops().gemm(false, true, 1, a, a, 0, c);
            best = std::max(
                best, 2 * std::pow(2048.0, 3) /
                          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
        }
        return best;
    }();
    return rate;
}

struct Case {
    const char* name;
    Down down;
    Up up;
    Train train;
    std::int64_t rank;
};
constexpr Case cases[] = {
    {"dense", Down::identity, Up::gaussian, {.up = true}, 0},
    {"dense_srht", Down::identity, Up::srht, {.up = true}, 0},
    {"up_orthonormal", Down::orthonormal, Up::gaussian, {.up = true}, 128},
    {"down_srht", Down::srht, Up::srht, {.down = true}, 128},
    {"down_rademacher", Down::srht, Up::rademacher, {.down = true}, 128},
};

Network draw(const Case& which, std::int64_t d, std::int64_t m) {
    return Network::create({.dim = d,
                            .width = m,
                            .rank = which.rank,
                            .down = which.down,
                            .up = which.up,
                            .train = which.train});
}

void report(benchmark::State& state, const Device& device, double flops) {
    const double rate = flops * static_cast<double>(state.iterations());
    state.counters["flop/s"] = benchmark::Counter(rate, benchmark::Counter::kIsRate);
    state.counters["of_sgemm"] = benchmark::Counter(rate / sgemm_rate(device), benchmark::Counter::kIsRate);
}

void bench_tangent(benchmark::State& state, const Case& which, std::int64_t n, std::int64_t d,
                   std::int64_t m) {
    const Device device = Device::open();
    const Matrix x = unit_rows(n, d);
    const Network network = draw(which, d, m);
    for (auto _ : state) benchmark::DoNotOptimize(tangent(device, network, x));
    report(state, device, static_cast<double>(cost(network.spec(), n).flops_tangent));
}

void bench_gram(benchmark::State& state, const Case& which, std::int64_t n, std::int64_t d,
                std::int64_t m) {
    const Device device = Device::open();
    const Matrix x = unit_rows(n, d);
    const Tangent at = tangent(device, draw(which, d, m), x);
    for (auto _ : state) benchmark::DoNotOptimize(gram(at));
    report(state, device, static_cast<double>(cost(at.network().spec(), n).flops_gram));
}

void bench_operator(benchmark::State& state, const Case& which, std::int64_t n, std::int64_t d,
                    std::int64_t m) {
    const Device device = Device::open();
    const Matrix x = unit_rows(n, d), v = unit_rows(n, 1);
    const Tangent at = tangent(device, draw(which, d, m), x);
    const KernelOperator kernel(at);
    Matrix out(n, 1, DType::f32);
    for (auto _ : state) kernel.apply(v, out);
    report(state, device,
           which.train.down
               ? 4.0 * static_cast<double>(n * d * which.rank)
               : 8.0 * static_cast<double>(n * m) * static_cast<double>(at.network().spec().rank));
}

void bench_step(benchmark::State& state, const Case& which, std::int64_t n, std::int64_t d,
                std::int64_t m) {
    const Device device = Device::open();
    const Matrix x = unit_rows(n, d), y = unit_rows(n, 1);
    const Network network = draw(which, d, m);
    const TrainingOptions options{.steps = 1, .rule = StepRule::given, .step = 1e-6};
    double seconds = 0;
    for (auto _ : state) {
        const double step = train(device, network, x, y, options).seconds_per_step;
        state.SetIterationTime(step);
        seconds += step;
    }
    state.counters["flop/s"] = static_cast<double>(cost(network.spec(), n).flops_step) *
                               static_cast<double>(state.iterations()) / seconds;
}

const int registered = [] {
    for (const Case& which : cases) {
        constexpr std::int64_t n = 1024, d = 784, m = 16384;
        const std::string name = which.name;
        const auto unit = benchmark::kMillisecond;
        benchmark::RegisterBenchmark(("tangent/" + name).c_str(), bench_tangent, which, n, d, m)
            ->Unit(unit)
            ->UseRealTime();
        benchmark::RegisterBenchmark(("gram/" + name).c_str(), bench_gram, which, n, d, m)
            ->Unit(unit)
            ->UseRealTime();
        benchmark::RegisterBenchmark(("operator/" + name).c_str(), bench_operator, which, n, d, m)
            ->Unit(unit)
            ->UseRealTime();
        benchmark::RegisterBenchmark(("step/" + name).c_str(), bench_step, which, n, d, m)
            ->Unit(unit)
            ->UseManualTime();
    }
    return 0;
}();

}  // namespace

// How cost grows: the tangent of a factorised network against the width, the number of samples and the
// threads, with the peak of the library's memory; and the size of a whole training set.
//     growth/what/n/d/m/p/threads
#include "measure.hpp"

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace {

using namespace fntk;

constexpr std::int64_t dim = 784, rank = 128;

Network draw(std::int64_t m) {
    return Network::create(
        {.dim = dim, .width = m, .rank = rank, .down = Down::srht, .train = {.down = true}});
}

constexpr std::int64_t images = 60000;

/// The training images of Fashion-MNIST where n is their number and they are installed; else random rows.
Matrix rows_for(benchmark::State& state, std::int64_t n) {
    if (n == images) try {
            Matrix x = load_dataset("fashion-mnist").train.inputs;
            state.SetLabel("Fashion-MNIST");
            return x;
        } catch (const IoError&) {
            state.SetLabel("random rows");
        }
    return bench::unit_rows(n, dim);
}

/// ns_per_nm: nanoseconds per sample and unit, constant where time is linear. peak_MB: of Matrix memory
/// above the inputs.
void add_tangent(std::int64_t n, std::int64_t m, int threads) {
    bench::add(fmt::format("growth/tangent/n:{}/m:{}/threads:{}", n, m, threads),
               [=](benchmark::State& state) {
                   const Device device = Device::open("cpu", threads);
                   const Matrix x = rows_for(state, n);
                   const Network network = draw(m);
                   const std::int64_t before = memory_use().current;
                   reset_memory_peak();
                   double seconds = HUGE_VAL;
                   for (auto _ : state) {
                       const auto begin = std::chrono::steady_clock::now();
                       benchmark::DoNotOptimize(tangent(device, network, x));
                       const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
                       state.SetIterationTime(took.count());
                       seconds = std::min(seconds, took.count());
                   }
                   const double pairs = static_cast<double>(n) * static_cast<double>(m);
                   state.counters["best_ms"] = seconds * 1e3;
                   state.counters["ns_per_nm"] = seconds * 1e9 / pairs;
                   state.counters["peak_MB"] = static_cast<double>(memory_use().peak - before) * 1e-6;
                   bench::report(state, {.flops = 4 * pairs * rank}, seconds);
               });
}

/// The pass alone, without the product H = XUᵀ/√p that comes before it and knows nothing of m.
void add_wide_pass(std::int64_t n, std::int64_t m, int threads) {
    bench::add(fmt::format("growth/wide_pass_exact/n:{}/m:{}/threads:{}", n, m, threads),
               [=](benchmark::State& state) {
                   const Device device = Device::open("cpu", threads);
                   const Matrix x = bench::unit_rows(n, dim);
                   const Network network = draw(m);
                   const Tangent at = tangent(device, draw(64), x);
                   Matrix gradients(n, rank, DType::i32), values(n, 1, DType::i64);
                   const double pairs = static_cast<double>(n) * static_cast<double>(m);
                   double best = HUGE_VAL;
                   for (auto _ : state) {
                       const auto begin = std::chrono::steady_clock::now();
                       device.ops().wide_pass_exact(network.up(), network.readout(), at.hidden_int(),
                                                    network.hidden_bits(), {{}, gradients, values});
                       const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
                       state.SetIterationTime(took.count());
                       best = std::min(best, took.count());
                   }
                   state.counters["best_ms"] = best * 1e3;
                   state.counters["ns_per_nm"] = best * 1e9 / pairs;
                   bench::report(state, {.flops = 4 * pairs * rank}, best);
               });
}

void add_operator(std::int64_t n, std::int64_t m) {
    bench::add(fmt::format("growth/operator/n:{}/m:{}", n, m), [=](benchmark::State& state) {
        const Device device = Device::open();
        const Matrix x = rows_for(state, n), v = bench::unit_rows(n, 1);
        const Tangent at = tangent(device, draw(m), x);
        const KernelOperator kernel(at);
        Matrix out(n, 1, DType::f32);
        bench::timed(state, {.flops = 4.0 * static_cast<double>(n) * dim * rank},
                     [&] { kernel.apply(v, out); });
    });
}

const int registered = [] {
    const int threads = Device::open("cpu").threads();
    for (int log = 14; log <= 22; log += 2) {
        add_wide_pass(1024, std::int64_t{1} << log, threads);
        add_tangent(1024, std::int64_t{1} << log, threads);
    }
    for (const int t : {1, 2}) add_wide_pass(1024, 1048576, t);
    for (int log = 10; log <= 15; ++log) add_tangent(std::int64_t{1} << log, 65536, threads);
    add_tangent(1024, 262144, 1);
    add_tangent(1024, 262144, 2);
    add_tangent(images, 65536, threads);
    add_operator(images, 65536);
    return 0;
}();

}  // namespace

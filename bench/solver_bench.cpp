// Kernel methods without the kernel: K_down·v and conjugate gradients on a million rows, against the floor
// of 4npd flop a product; tiles of the up kernel and of the infinite-width limit, which a product with K
// takes N²/2 entries of.
//     solve/what/n/d/m/p
#include "measure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace {

using namespace fntk;

constexpr std::int64_t million = 1'000'000, dim = 94, rank = 64, width = 4096;

Network draw() {
    return Network::create(
        {.dim = dim, .width = width, .rank = rank, .down = Down::srht, .train = {.down = true}});
}

std::int64_t mark() {
    reset_memory_peak();
    return memory_use().current;
}
double peak_mb(std::int64_t before) { return static_cast<double>(memory_use().peak - before) * 1e-6; }

void add_product() {
    bench::add(fmt::format("solve/product/n:{}/d:{}/m:{}/p:{}", million, dim, width, rank),
               [](benchmark::State& state) {
                   const Device device = Device::open("cpu");
                   const Matrix x = bench::unit_rows(million, dim);
                   const std::int64_t before = mark();
                   const Tangent at = tangent(device, draw(), x);
                   const KernelOperator op(at);
                   const Matrix v = bench::unit_rows(million, 1);
                   Matrix out(million, 1, DType::f32);
                   bench::timed(state, {.flops = 4.0 * million * rank * dim}, [&] { op.apply(v, out); });
                   state.counters["peak_MB"] = peak_mb(before);
               });
}

/// 50 iterations; the time reported is that of one, set-up and check of the residual included.
void add_iterations() {
    bench::add(fmt::format("solve/cg50/n:{}/d:{}/m:{}/p:{}", million, dim, width, rank),
               [](benchmark::State& state) {
                   const Device device = Device::open("cpu");
                   const Matrix x = bench::unit_rows(million, dim), y = bench::unit_rows(million, 1);
                   const std::int64_t before = mark();
                   const Tangent at = tangent(device, draw(), x);
                   const KernelOperator op(at);
                   double total = 0, iterations = 0;
                   for (auto _ : state) {
                       const auto begin = std::chrono::steady_clock::now();
                       const CgResult result = conjugate_gradient(
                           op, 1e-3, y, nullptr, {.tolerance = 1e-12, .max_iterations = 50});
                       const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
                       state.SetIterationTime(took.count());
                       total += took.count();
                       iterations += result.iterations;
                   }
                   state.counters["iterations"] = iterations / static_cast<double>(state.iterations());
                   state.counters["peak_MB"] = peak_mb(before);
                   bench::report(state, {.flops = 4.0 * million * rank * dim}, total / iterations);
               });
}

/// One tile of 2048 × 2048 between two halves of a batch; entries counts its numbers.
void add_tile(const char* what, const KernelFunction& function, double flops) {
    constexpr std::int64_t step = 2048;
    bench::add(fmt::format("solve/tile/{}", what), [=](benchmark::State& state) {
        const Device device = Device::open("cpu");
        const Matrix x = bench::unit_rows(2 * step, function.dim());
        const KernelBatch batch(device, function, x);
        Matrix tile = device.zeros(step, step, DType::f32);
        bench::timed(state, {.flops = flops * step * step},
                     [&] { batch.tile(0, step, batch, step, step, tile); });
    });
}

const bool registered = [] {
    add_product();
    add_iterations();
    add_tile("limit/d:784", KernelFunction::limit({}, {.up = true}, 784), 2 * 784);
    for (const std::int64_t m : {8192, 65536})
        add_tile(fmt::format("up/d:784/p:128/m:{}", m).c_str(),
                 KernelFunction::of_network(Network::create(
                     {.dim = 784, .width = m, .rank = 128, .down = Down::srht, .train = {.up = true}})),
                 2.0 * 128);
    return true;
}();

}  // namespace

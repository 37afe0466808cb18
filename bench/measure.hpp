// How the benchmarks time and what they compare with: the rates that this machine reaches in this process.
#pragma once

#include <fntk/fntk.hpp>

#include <benchmark/benchmark.h>

#include <chrono>

namespace fntk::bench {

/// Best of several runs on all threads of Device::open(), the CPU unless FNTK_DEVICE names another;
/// measured once per process.
struct Ceilings {
    double sgemm = 0;     ///< flop/s of 2048 × 2048 × 2048
    double dgemm = 0;     ///< flop/s of the same
    double copy = 0;      ///< bytes/s read and written, 256 MiB
    double popcount = 0;  ///< bits/s of AND, popcount and add, operands in the nearest cache
};
const Ceilings& ceilings();

/// What one call does at least. Zeros are not reported.
struct Work {
    double flops = 0;  ///< of the formula: a multiply-add is two, whatever way the library takes
    double bytes = 0;  ///< operands read and results written once
    double bits = 0;   ///< pairs of bits that meet
};

/// Returns when the device has done what it was asked for: a GPU is asked and goes on by itself.
void wait(const Device& device);

/// Random rows of unit length, float32.
Matrix unit_rows(std::int64_t n, std::int64_t d, std::uint64_t seed = 1);

void report(benchmark::State& state, const Work& work, double seconds);

/// Times the calls of body; counters: rates, and their fractions of the ceilings.
template <class Body>
void timed(benchmark::State& state, const Work& work, const Body& body) {
    body();
    double total = 0;
    for (auto _ : state) {
        const auto begin = std::chrono::steady_clock::now();
        body();
        const double seconds =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        state.SetIterationTime(seconds);
        total += seconds;
    }
    report(state, work, total / static_cast<double>(state.iterations()));
}

/// name/n/d/m/p…: registers body under manual time.
template <class Body>
void add(const std::string& name, Body body) {
    benchmark::RegisterBenchmark(name.c_str(), body)->Unit(benchmark::kMillisecond)->UseManualTime();
}

}  // namespace fntk::bench

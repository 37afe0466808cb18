// fntk_bench: every operation of the backend, and what is built of them. Options are those of Google
// Benchmark; FNTK_THREADS and FNTK_SIMD choose threads and instruction set, FNTK_DEVICE the device of what
// does not name one (gpu.sh).
//     fntk_bench --benchmark_filter=wide_pass --benchmark_format=json
#include "measure.hpp"

#include <cli/better_blas.hpp>

#include <fmt/format.h>

#include <cstdlib>

int main(int argc, char** argv) {
    setenv("FNTK_DEVICE", "cpu", 0);  // unless it names another
    fntk::cli::restart_with_better_blas(argv);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    const fntk::bench::Ceilings& most = fntk::bench::ceilings();
    const fntk::Device device = fntk::Device::open();
    benchmark::AddCustomContext("threads", std::to_string(device.threads()));
    for (const fntk::DeviceInfo& info : fntk::devices())
        if (info.name == device.name()) benchmark::AddCustomContext("device", info.description);
    benchmark::AddCustomContext("sgemm", fmt::format("{:.3g} flop/s", most.sgemm));
    benchmark::AddCustomContext("dgemm", fmt::format("{:.3g} flop/s", most.dgemm));
    benchmark::AddCustomContext("copy", fmt::format("{:.3g} byte/s", most.copy));
    benchmark::AddCustomContext("popcount", fmt::format("{:.3g} bit/s", most.popcount));
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}

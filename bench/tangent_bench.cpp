// From the data to what is wanted of it: tangent, Gram matrix, kernel × vectors and training step on
// random unit rows, dense against factorised, on the device that FNTK_DEVICE names, data and network in its
// memory.
//     what/network/n/d/m
#include "measure.hpp"

#include <fmt/format.h>

namespace {

using namespace fntk;
using bench::add;
using bench::timed;
using bench::unit_rows;

struct Case {
    const char* name;
    Down down;
    Up up;
    Train train;
    std::int64_t rank;
    std::int64_t width;
};
constexpr Case cases[] = {
    {"dense", Down::identity, Up::gaussian, {.up = true}, 0, 16384},
    {"dense_srht", Down::identity, Up::srht, {.up = true}, 0, 65536},
    {"up_orthonormal", Down::orthonormal, Up::gaussian, {.up = true}, 128, 16384},
    {"down_srht", Down::srht, Up::srht, {.down = true}, 128, 65536},
    {"down_rademacher", Down::srht, Up::rademacher, {.down = true}, 128, 65536},
};

Network draw(const Case& which, std::int64_t d) {
    return Network::create({.dim = d,
                            .width = which.width,
                            .rank = which.rank,
                            .down = which.down,
                            .up = which.up,
                            .train = which.train});
}

/// The formulas with products, whatever way the library takes: 2ndp for H, 2nmp for Z, 2nmp for G.
double tangent_flops(const NetworkSpec& spec, double n) {
    const auto d = static_cast<double>(spec.dim), m = static_cast<double>(spec.width),
               p = static_cast<double>(spec.rank);
    return (spec.down == Down::identity ? 0 : 2 * n * d * p) + (spec.train.down ? 4 : 2) * n * m * p;
}

void add_case(const Case& which, std::int64_t n, std::int64_t d) {
    const auto nn = static_cast<double>(n), dd = static_cast<double>(d);
    const auto name = [&](const char* what) {
        return fmt::format("{}/{}/n:{}/d:{}/m:{}", what, which.name, n, d, which.width);
    };
    add(name("tangent"), [=](benchmark::State& state) {
        const Device device = Device::open();
        const Matrix x = device.to_device(unit_rows(n, d));
        const Network network = draw(which, d).on(device);
        timed(state, {.flops = tangent_flops(network.spec(), nn)}, [&] {
            benchmark::DoNotOptimize(tangent(device, network, x));
            bench::wait(device);
        });
    });
    add(name("gram"), [=](benchmark::State& state) {
        const Device device = Device::open();
        const Matrix x = device.to_device(unit_rows(n, d));
        const Tangent at = tangent(device, draw(which, d), x);
        const double flops = static_cast<double>(cost(at.network().spec(), n).flops_gram);
        timed(state, {.flops = flops, .bytes = 4 * nn * nn}, [&] {
            benchmark::DoNotOptimize(gram(at));
            bench::wait(device);
        });
    });
    for (const std::int64_t vectors : {1, 10})
        add(fmt::format("{}/r:{}", name("operator"), vectors), [=](benchmark::State& state) {
            const Device device = Device::open();
            const Matrix x = device.to_device(unit_rows(n, d)), v = device.to_device(unit_rows(n, vectors));
            const Tangent at = tangent(device, draw(which, d), x);
            const KernelOperator kernel(at);
            Matrix out = device.zeros(n, vectors, DType::f32);
            const NetworkSpec& spec = at.network().spec();
            const auto r = static_cast<double>(vectors), p = static_cast<double>(spec.rank);
            timed(state,
                  {.flops = which.train.down ? 4 * nn * dd * p * r
                                             : (2 + 4 * r) * nn * static_cast<double>(spec.width) * p},
                  [&] {
                      kernel.apply(v, out);
                      bench::wait(device);
                  });
        });
    add(name("step"), [=](benchmark::State& state) {
        const Device device = Device::open();
        const Matrix x = device.to_device(unit_rows(n, d)), y = device.to_device(unit_rows(n, 1));
        const Network network = draw(which, d).on(device);
        const TrainingOptions options{.steps = 2, .rule = StepRule::given, .step = 1e-6};
        double total = 0;
        for (auto _ : state) {
            const double seconds = train(device, network, x, y, options).seconds_per_step;
            state.SetIterationTime(seconds);
            total += seconds;
        }
        const NetworkSpec& spec = network.spec();
        const double backward = 2 * nn * static_cast<double>(spec.rank) *
                                static_cast<double>(which.train.down ? spec.dim : spec.width);
        bench::report(state, {.flops = tangent_flops(spec, nn) + backward},
                      total / static_cast<double>(state.iterations()));
    });
}

const int registered = [] {
    for (const Case& which : cases) add_case(which, 1024, 784);
    return 0;
}();

}  // namespace

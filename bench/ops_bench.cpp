// The operations of the backend contract, one by one, on both backends (the reference at small sizes).
//     op/backend/shape
#include "measure.hpp"

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <random>

namespace {

using namespace fntk;
using bench::add;
using bench::timed;
using bench::unit_rows;
using bench::Work;

constexpr double f32 = 4, f64 = 8;

/// Integers of 22 bits, as quantise_rows makes them.
Matrix hidden(std::int64_t n, std::int64_t p) {
    std::mt19937 random(1);
    Matrix h(n, p, DType::i32);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t q = 0; q < p; ++q)
            h.at<std::int32_t>(i, q) = static_cast<std::int32_t>(random() >> 10) - (1 << 21);
    return h;
}

Network network(std::int64_t d, std::int64_t m, std::int64_t p, Up up, Down down) {
    return Network::create(
        {.dim = d, .width = m, .rank = p, .down = down, .up = up, .train = {.down = true}});
}

/// flops: 4nmp, the two products of the formula; 2nmp when only gates are kept.
void wide_pass(const std::string& backend, std::int64_t n, std::int64_t m, std::int64_t p, Up up,
               bool sums) {
    const std::string name = fmt::format("wide_pass_exact/{}/{}/n:{}/m:{}/p:{}/{}", backend, fntk::name(up),
                                         n, m, p, sums ? "G_and_f" : "gates");
    add(name, [=](benchmark::State& state) {
        const Device device = Device::open(backend);
        const Network net = network(p, m, p, up, Down::identity);
        const Matrix h = hidden(n, p);
        Matrix gradients(sums ? n : 0, p, DType::i32), values(n, 1, DType::i64);
        BitMatrix gates(sums ? 0 : n, m);
        const backend::WideSums out =
            sums ? backend::WideSums{{}, gradients, values} : backend::WideSums{gates, {}, {}};
        const double products = static_cast<double>(n * m) * static_cast<double>(p);
        timed(state, {.flops = (sums ? 4 : 2) * products},
              [&] { device.ops().wide_pass_exact(net.up(), net.readout(), h, net.hidden_bits(), out); });
    });
}

void others(const std::string& backend, std::int64_t n, std::int64_t d, std::int64_t m, std::int64_t p) {
    const auto nn = static_cast<double>(n), dd = static_cast<double>(d), mm = static_cast<double>(m),
               pp = static_cast<double>(p);
    const auto name = [&](const char* op) {
        return fmt::format("{}/{}/n:{}/d:{}/m:{}/p:{}", op, backend, n, d, m, p);
    };
    add(name("down_product"), [=](benchmark::State& state) {
        const Device device = Device::open(backend);
        const Network net = network(d, m, p, Up::srht, Down::srht);
        const Matrix x = unit_rows(n, d);
        Matrix v(n, p, DType::f64), exponents(n, 1, DType::i32);
        timed(state, {.flops = 2 * nn * dd * pp, .bytes = f32 * nn * dd + f64 * nn * pp},
              [&] { device.ops().down_product(x, net.fixed_down(), 1, v, exponents); });
    });
    add(name("quantise_rows"), [=](benchmark::State& state) {
        const Device device = Device::open(backend);
        const Matrix v = Matrix::converted(unit_rows(n, p), DType::f64);
        Matrix h(n, p, DType::i32), exponents(n, 1, DType::i32);
        timed(state, {.bytes = (f64 + f32) * nn * pp},
              [&] { device.ops().quantise_rows(v, 22, h, exponents); });
    });
    add(name("hidden_rows"), [=](benchmark::State& state) {
        const Device device = Device::open(backend);
        const Matrix x = unit_rows(n, p);
        Matrix h(n, p, DType::i32), exponents(n, 1, DType::i32), hidden(n, p, DType::f32);
        timed(state, {.bytes = 3 * f32 * nn * pp},
              [&] { device.ops().hidden_rows(x, {}, 1, 22, h, exponents, hidden); });
    });
    add(name("open_sum"), [=](benchmark::State& state) {
        const Device device = Device::open(backend);
        const Network net = network(d, m, p, Up::srht, Down::srht);
        Matrix sum(1, p, DType::i32);
        timed(state, {.flops = 2 * mm * pp}, [&] { device.ops().open_sum(net.up(), net.readout(), sum); });
    });
    add(name("gate_gram"), [=](benchmark::State& state) {
        const Device device = Device::open(backend);
        BitMatrix gates(n, m);
        std::mt19937_64 random(1);
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t w = 0; w < gates.words_per_row(); ++w) gates.view().row(i)[w] = random();
        Matrix counts(n, n, DType::i32);
        timed(state, {.flops = nn * nn * mm, .bits = nn * (nn + 1) / 2 * mm},
              [&] { device.ops().gate_gram(gates, gates, {}, counts); });
    });
    add(name("hadamard_gram"), [=](benchmark::State& state) {
        const Device device = Device::open(backend);
        const Matrix x = unit_rows(n, d), g = unit_rows(n, p);
        Matrix k(n, n, DType::f32);
        timed(state, {.flops = nn * (nn + 1) * (dd + pp), .bytes = f32 * nn * nn},
              [&] { device.ops().hadamard_gram(x, x, g, g, 1, k); });
    });
    add(name("moment"), [=](benchmark::State& state) {
        const Device device = Device::open(backend);
        const Matrix a = unit_rows(n, p), x = unit_rows(n, d, 2), v = unit_rows(n, 1, 3),
                     scales = device.ops().moment_scales(x, p);
        Matrix sum(p, d, DType::f32);
        timed(state, {.flops = 2 * nn * pp * dd, .bytes = f32 * nn * (pp + dd)},
              [&] { device.ops().moment(a, v, x, scales, 1, sum); });
    });
    add(name("along_moment"), [=](benchmark::State& state) {
        const Device device = Device::open(backend);
        const Matrix a = unit_rows(n, p), x = unit_rows(n, d, 2), sum = unit_rows(p, d, 3),
                     scales = device.ops().moment_scales(x, p);
        Matrix out(n, 1, DType::f32);
        timed(state, {.flops = 2 * nn * pp * dd, .bytes = f32 * nn * (pp + dd)},
              [&] { device.ops().along_moment(a, x, scales, sum, out); });
    });
    add(name("column_dots"), [=](benchmark::State& state) {
        const Device device = Device::open(backend);
        const Matrix a = unit_rows(n, p), b = unit_rows(n, p, 2);
        Matrix sums(1, p, DType::f64);
        timed(state, {.flops = 2 * nn * pp, .bytes = 2 * f32 * nn * pp},
              [&] { device.ops().column_dots(a, b, sums); });
    });
    add(name("combine_columns"), [=](benchmark::State& state) {
        const Device device = Device::open(backend);
        const Matrix x = unit_rows(n, p);
        Matrix y(n, p, DType::f32);
        const Matrix factors = Matrix::converted(unit_rows(1, p, 2), DType::f64);
        timed(state, {.flops = 2 * nn * pp, .bytes = 3 * f32 * nn * pp},
              [&] { device.ops().combine_columns(1, factors, x, 1, {}, y); });
    });
    add(name("arc_gram"), [=](benchmark::State& state) {
        const Device device = Device::open(backend);
        const Matrix u = unit_rows(n, d), u_cols = unit_rows(n, d, 2);
        Matrix norms(n, 1, DType::f32), k(n, n, DType::f32);
        for (std::int64_t i = 0; i < n; ++i) norms.at<float>(i, 0) = 1;
        timed(state, {.flops = 2 * nn * nn * dd, .bytes = f32 * nn * nn},
              [&] { device.ops().arc_gram(u, norms, u_cols, norms, 0, 2, 1, k); });
    });
}

const int registered = [] {
    for (const Up up : {Up::srht, Up::rademacher}) {
        for (const std::int64_t p : {8, 16, 32, 64, 128, 256})
            for (const bool sums : {true, false}) wide_pass("cpu", 1024, 65536, p, up, sums);
        wide_pass("cpu", 1024, 65536, 784, up, false);
        wide_pass("cpu", 1, 65536, 128, up, true);
        wide_pass("reference", 16, 1024, 64, up, true);
    }
    others("cpu", 1024, 784, 65536, 128);
    others("reference", 64, 96, 512, 16);
    return 0;
}();

}  // namespace

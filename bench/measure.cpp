#include "measure.hpp"

#include <backend/ops.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <vector>

namespace fntk::bench {

namespace {

double best_seconds(const std::function<void()>& body) {
    double best = HUGE_VAL;
    for (int repeat = 0; repeat < 7; ++repeat) {
        const auto begin = std::chrono::steady_clock::now();
        body();
        best =
            std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return best;
}

double gemm_rate(const Device& device, DType dtype) {
    const Matrix a = device.to_device(Matrix::converted(unit_rows(2048, 2048), dtype));
    Matrix c = device.zeros(2048, 2048, dtype);
    return 2 * std::pow(2048.0, 3) / best_seconds([&] {
               device.ops().gemm(false, true, 1, a, a, 0, c);
               wait(device);
           });
}

double host_copy_rate(int threads) {
    constexpr std::size_t bytes = std::size_t{128} << 20;
    std::vector<char> from(bytes, 1), to(bytes);
    const std::size_t part = bytes / static_cast<std::size_t>(threads);
    return 2.0 * static_cast<double>(part * threads) / best_seconds([&] {
               std::vector<std::jthread> workers;
               for (std::size_t t = 0; t < static_cast<std::size_t>(threads); ++t)
                   workers.emplace_back(
                       [&, t] { std::memcpy(to.data() + t * part, from.data() + t * part, part); });
           });
}

double copy_rate(const Device& device) {
    if (device.place() == Place::host) return host_copy_rate(device.threads());
    const Matrix from = device.zeros(4096, 8192, DType::f32);
    Matrix to = device.zeros(4096, 8192, DType::f32);
    return 2.0 * static_cast<double>(from.bytes()) / best_seconds([&] {
               device.ops().copy(from, to);
               wait(device);
           });
}

/// Blocks of 64 rows of 16 Ki bits, two of which lie in the second-level cache; on a GPU enough to fill it.
double popcount_rate(const Device& device) {
    const bool host = device.place() == Place::host;
    const std::int64_t rows = host ? 64 * device.threads() : 4096, cols = host ? 64 : 4096, width = 16384;
    const BitMatrix a = device.zero_bits(rows, width), b = device.zero_bits(cols, width);
    Matrix counts = device.zeros(rows, cols, DType::i32);
    return static_cast<double>(rows * cols * width) / best_seconds([&] {
               device.ops().gate_gram(a, b, {}, counts);
               wait(device);
           });
}

}  // namespace

const Ceilings& ceilings() {
    static const Ceilings measured = [] {
        const Device device = Device::open();
        return Ceilings{gemm_rate(device, DType::f32), gemm_rate(device, DType::f64), copy_rate(device),
                        popcount_rate(device)};
    }();
    return measured;
}

void wait(const Device& device) {
    if (device.place() != Place::host) (void)device.to_host(device.zeros(1, 1, DType::f32));
}

Matrix unit_rows(std::int64_t n, std::int64_t d, std::uint64_t seed) {
    std::mt19937_64 random(seed);
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

void report(benchmark::State& state, const Work& work, double seconds) {
    const Ceilings& most = ceilings();
    const auto put = [&](const char* rate, const char* fraction, double amount, double ceiling) {
        if (amount == 0) return;
        state.counters[rate] = amount / seconds;
        state.counters[fraction] = amount / seconds / ceiling;
    };
    put("flop/s", "of_sgemm", work.flops, most.sgemm);
    put("byte/s", "of_copy", work.bytes, most.copy);
    put("bit/s", "of_popcount", work.bits, most.popcount);
}

}  // namespace fntk::bench

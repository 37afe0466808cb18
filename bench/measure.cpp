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
    const Matrix a = Matrix::converted(unit_rows(2048, 2048), dtype);
    Matrix c(2048, 2048, dtype);
    return 2 * std::pow(2048.0, 3) / best_seconds([&] { device.ops().gemm(false, true, 1, a, a, 0, c); });
}

double copy_rate(int threads) {
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

/// Blocks of 64 rows of 16 Ki bits, two of which lie in the second-level cache.
double popcount_rate(const Device& device) {
    const std::int64_t rows = 64 * device.threads(), cols = 64, width = 16384;
    BitMatrix a(rows, width), b(cols, width);
    Matrix counts(rows, cols, DType::i32);
    return static_cast<double>(rows * cols * width) /
           best_seconds([&] { device.ops().gate_gram(a, b, {}, counts); });
}

}  // namespace

const Ceilings& ceilings() {
    static const Ceilings measured = [] {
        const Device device = Device::open();
        return Ceilings{gemm_rate(device, DType::f32), gemm_rate(device, DType::f64),
                        copy_rate(device.threads()), popcount_rate(device)};
    }();
    return measured;
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

// N probes z of independent ±1, t_r = z_rᵀ K z_r and f_r = ‖K z_r‖²:
//     tr K    = E t,  Var t = 2·(‖K‖_F² − Σ K_ii²) for symmetric K (Hutchinson 1990)
//     ‖K‖_F²  = E f
//     standard errors of the means: √(Σ (t_r − t̄)²/(N(N − 1)))
//     ρ       = (tr K)²/‖K‖_F² from means without probe r, ρ_(r): N ρ(all) − (N − 1)·mean ρ_(r), and the
//               standard error √((N − 1)/N · Σ (ρ_(r) − mean)²) (jackknife; Efron 1982)
// Sign of probe r in row i: bit r mod 32 of word ⌊r/32⌋·n + i of the stream `probes`.
#include "spectrum_scaled.hpp"

#include <fntk/eigenvalues.hpp>
#include <fntk/error.hpp>

#include <philox.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace fntk {

namespace {

/// Rows of ±1 for the probes [first, first + count), n × count.
Matrix signs(std::uint64_t seed, std::int64_t n, std::int64_t first, std::int64_t count) {
    Matrix z(n, count, DType::f64);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t c = 0; c < count; ++c) {
            const std::int64_t r = first + c;
            const std::uint32_t word = kernels::random_word(seed, kernels::Stream::probes,
                                                            static_cast<std::uint64_t>(r / 32 * n + i));
            z.at<double>(i, c) = (word >> (r % 32)) & 1U ? 1 : -1;
        }
    return z;
}

double mean(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value;
    return sum / static_cast<double>(values.size());
}

double squared_deviations(const std::vector<double>& values) {
    const double centre = mean(values);
    double sum = 0;
    for (const double value : values) sum += (value - centre) * (value - centre);
    return sum;
}

Estimate mean_of(const std::vector<double>& values) {
    const auto n = static_cast<double>(values.size());
    return {mean(values), std::sqrt(squared_deviations(values) / (n * (n - 1)))};
}

Estimate ratio_of(const std::vector<double>& traces, const std::vector<double>& squares) {
    const auto n = static_cast<double>(traces.size());
    const double t = mean(traces), f = mean(squares);
    std::vector<double> without(traces.size());
    for (std::size_t r = 0; r < without.size(); ++r) {
        const double others = (n * t - traces[r]) / (n - 1), square = (n * f - squares[r]) / (n - 1);
        if (!(square > 0)) return {};
        without[r] = others * others / square;
    }
    return {n * (t * t / f) - (n - 1) * mean(without),
            std::sqrt((n - 1) / n * squared_deviations(without))};
}

Estimate scaled(Estimate estimate, int exponent) {
    return {std::ldexp(estimate.value, exponent), std::ldexp(estimate.standard_error, exponent)};
}

}  // namespace

TraceEstimates estimate_trace(const LinearOperator& op, const ProbeOptions& options) {
    require_square(op);
    if (options.probes < 2)
        throw ValueError(fmt::format(
            "probes = {}: it must be at least 2, for a standard error; 32 is usual", options.probes));
    if (options.block < 1)
        throw ValueError(fmt::format("block = {}: it must be at least 1; 16 is usual", options.block));
    if (options.memory != 0) (void)plan_trace(op.rows(), op.dtype(), options);

    const Device& device = op.device();
    const std::int64_t n = op.rows();
    std::vector<double> traces, squares;  // of 2^−e K
    int exponent = 0;
    for (std::int64_t first = 0; first < options.probes; first += options.block) {
        const std::int64_t count = std::min(options.block, options.probes - first);
        const Matrix z = signs(options.seed, n, first, count);
        Matrix image = device.zeros(n, count, DType::f64);
        apply_finite(op, device.staged(z), image);
        if (first == 0) exponent = scale_exponent(device.ops().norm(image));
        const double scale = std::ldexp(1.0, -exponent);
        const Staged on_host = device.on_host(image);
        for (std::int64_t c = 0; c < count; ++c) {
            double trace = 0, square = 0;
            for (std::int64_t i = 0; i < n; ++i) {
                const double value = scale * on_host.view().at<double>(i, c);
                trace += z.at<double>(i, c) * value;
                square += value * value;
            }
            traces.push_back(trace), squares.push_back(square);
        }
    }
    return {scaled(mean_of(traces), exponent), scaled(mean_of(squares), 2 * exponent),
            ratio_of(traces, squares)};
}

}  // namespace fntk

// Coefficients by the trapezoidal rule on [−13, 13] in steps of 1/16, whose error is that of rounding: what
// is integrated is analytic beside the line, and h_k·φ has frequencies up to √k and little beyond.
#include "limit_hermite.hpp"

#include <fntk/error.hpp>

#include <backend/ops.hpp>

#include <activation.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace fntk {
namespace {

constexpr double reach = 13, step = 1.0 / 16;  // e^(−13²/4) = 5e-19
constexpr auto nodes = static_cast<std::int64_t>(2 * reach / step) + 1;
constexpr std::int64_t block_rows = 512;
constexpr std::int64_t stride = 4;    // terms that are summed side by side
constexpr double negligible = 1e-18;  // of a sum of squares, a square

double node(std::int64_t q) { return -reach + step * static_cast<double>(q); }

/// h_k(x_q)·φ(x_q)·step, terms × nodes.
Matrix weights(std::int64_t terms) {
    Matrix w(terms, nodes, DType::f64);
    for (std::int64_t q = 0; q < nodes; ++q) {
        const double x = node(q);
        double before = 0, here = step * std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
        for (std::int64_t k = 0; k < terms; ++k) {
            w.at<double>(k, q) = here;
            const auto order = static_cast<double>(k);
            const double next = (x * here - std::sqrt(order) * before) / std::sqrt(order + 1);
            before = here, here = next;
        }
    }
    return w;
}

double length(const Norm& norm) { return std::ldexp(norm.value, norm.exponent); }

/// σ(z), or σ'(z).
double sigma(Activation kind, bool derivative, double z) {
    if (kind == Activation::gelu) return derivative ? kernels::gelu_slope(z) : kernels::gelu(z);
    if (kind == Activation::tanh) return derivative ? kernels::tanh_slope(z) : std::tanh(z);
    return derivative ? kernels::softplus_slope(z) : kernels::softplus(z);
}

/// E σ(s g) h_k(g) of each norm, or of σ': n × terms, in host memory.
Matrix coefficients(const Device& device, const ActivationSpec& activation, bool derivative,
                    const std::vector<Norm>& norms, ConstMatrixView weights) {
    const auto n = static_cast<std::int64_t>(norms.size());
    Matrix result(n, weights.rows, DType::f64);
    for (std::int64_t i0 = 0; i0 < n; i0 += block_rows) {
        const std::int64_t count = std::min(block_rows, n - i0);
        Matrix at(count, nodes, DType::f64), part = device.zeros(count, weights.rows, DType::f64);
        for (std::int64_t i = 0; i < count; ++i) {
            const double s = length(norms[static_cast<std::size_t>(i0 + i)]);
            for (std::int64_t q = 0; q < nodes; ++q)
                at.at<double>(i, q) = sigma(activation.kind, derivative, s * node(q));
        }
        device.ops().inner(1, device.staged(at), weights, 0, part);
        const Staged there = device.on_host(part);
        for (std::int64_t i = 0; i < count; ++i)
            std::copy_n(there.view().row<double>(i), weights.rows, result.row<double>(i0 + i));
    }
    return result;
}

/// How many of a row's terms count.
std::int64_t counting(const double* row, std::int64_t terms) {
    double sum = 0;
    for (std::int64_t k = 0; k < terms; ++k) sum += row[k] * row[k];
    std::int64_t last = terms - 1;
    while (last > 0 && row[last] * row[last] <= negligible * sum) --last;
    return last + 1;
}

/// Σ_k a_k b_k c^k; terms is a multiple of `stride`.
double series(const double* a, const double* b, std::int64_t terms, double c) {
    const double power = (c * c) * (c * c);
    std::array<double, stride> sums{};
    for (std::int64_t k = terms - stride; k >= 0; k -= stride)
        for (std::size_t r = 0; r < stride; ++r)
            sums[r] =
                sums[r] * power + a[k + static_cast<std::int64_t>(r)] * b[k + static_cast<std::int64_t>(r)];
    return sums[0] + c * (sums[1] + c * (sums[2] + c * sums[3]));
}

}  // namespace

HermiteSeries::HermiteSeries(const Device& device, const ActivationSpec& activation, Train train,
                             const std::vector<Norm>& rows, const std::vector<Norm>* cols)
    : symmetric_(cols == nullptr) {
    const bool slopes = train.down || train.up, values = train.readout;
    const auto longest = [](const std::vector<Norm>& norms) {
        return std::max_element(norms.begin(), norms.end(),
                                [](const Norm& a, const Norm& b) { return length(a) < length(b); });
    };
    const Matrix there = device.to_device(weights(hermite_terms));
    terms_ = stride;
    for (const std::vector<Norm>* norms : {&rows, cols}) {
        if (norms == nullptr || norms->empty()) continue;
        const auto at = longest(*norms);
        for (const bool derivative : {false, true}) {
            if (derivative ? !slopes : !values) continue;
            const Matrix of_longest = coefficients(device, activation, derivative, {*at}, there);
            const std::int64_t needed = counting(of_longest.row<double>(0), hermite_terms);
            if (!(needed <= hermite_terms - stride) || !std::isfinite(of_longest.at<double>(0, 0)))
                throw ValueError(
                    fmt::format("{}: row {} has the length {:.3g} in the hidden layer, for which the "
                                "series of the {} kernel "
                                "takes more than {} terms; scale the rows down, to unit length for example",
                                norms == &rows ? "inputs" : "others", at - norms->begin(), length(*at),
                                name(activation.kind), hermite_terms));
            terms_ = std::max(terms_, (needed + stride - 1) / stride * stride);
        }
    }
    const ConstMatrixView kept = there.view().row_block(0, terms_);
    const auto fill = [&](const std::vector<Norm>& norms, Coefficients& to) {
        if (values) to.values = coefficients(device, activation, false, norms, kept);
        if (slopes) to.slopes = coefficients(device, activation, true, norms, kept);
    };
    fill(rows, rows_);
    if (cols != nullptr) fill(*cols, cols_);
}

double HermiteSeries::kernel(Train train, std::int64_t i, std::int64_t j, const Pair& pair) const {
    const Coefficients& cols = symmetric_ ? rows_ : cols_;
    double kernel = 0;
    if (train.down || train.up) {
        const double slopes =
            series(rows_.slopes.row<double>(i), cols.slopes.row<double>(j), terms_, pair.angle.cos);
        if (train.down) kernel += times_norms(pair.x_cos * slopes, pair.x_i, pair.x_j);
        if (train.up) kernel += times_norms(pair.angle.cos * slopes, pair.h_i, pair.h_j);
    }
    if (train.readout)
        kernel += series(rows_.values.row<double>(i), cols.values.row<double>(j), terms_, pair.angle.cos);
    return kernel;
}

}  // namespace fntk

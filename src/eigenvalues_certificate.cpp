// B = τI − M + Σ_{i ≤ j} s_i q_i q_iᵀ positive definite: then M ≺ τI + (a matrix of rank j), and at most j
// eigenvalues of M exceed τ (Weyl), whatever the vectors q_i. Deflated are the θ_i above τ.
//     Cholesky in floating point ends only if λ_min(B) ≥ −γ_{n+1}/(1 − γ_{n+1})·tr B (Rump 2006, theorem
//     2.3; Higham 2002, theorem 10.3). Twice as many roundings are allowed for, since libraries multiply by
//     reciprocals.
//     B as formed differs from B by at most γ_{j+3}·(‖M‖_F + Σ s_i ‖q_i‖² + |τ|).
// Their sum is the slack, and the bound is τ + slack. The rest are the θ that follow min θ without a gap of
// 2·radius + 3·slack: τ stands above the last of them by radius + 2·slack, so that Cholesky does end where
// nothing was missed, and θ − radius of any other stands above the bound.
#include "eigenvalues_certificate.hpp"

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace fntk {

namespace {

/// The diagonal as a column.
template <class View>
View diagonal(View square) {
    return {square.data, square.rows, 1, square.stride + 1, square.dtype, square.place};
}

double trace(const Device& device, ConstMatrixView m) {
    const Staged values = device.on_host(diagonal(m));
    double sum = 0;
    for (std::int64_t i = 0; i < m.rows; ++i) sum += values.view().at<double>(i, 0);
    return sum;
}

/// The last value of the lowest chain of values that are at most `gap` apart.
double top_of_rest(const RitzPairs& pairs, double gap) {
    std::vector<double> values = pairs.values;
    std::sort(values.begin(), values.end());
    const auto last = std::adjacent_find(values.begin(), values.end(),
                                         [=](double low, double high) { return high - low > gap; });
    return last == values.end() ? values.back() : *last;
}

/// The columns √s_i q_i of the pairs above `bound`, s_i = θ_i − τ + lift; n × j.
Matrix deflating(const Device& device, const RitzPairs& pairs, double bound, double tau, double lift) {
    const Staged vectors = device.on_host(pairs.vectors);
    std::vector<std::int64_t> columns;
    for (std::size_t i = 0; i < pairs.values.size(); ++i)
        if (pairs.values[i] - pairs.radius > bound) columns.push_back(static_cast<std::int64_t>(i));
    Matrix result(pairs.vectors.rows(), static_cast<std::int64_t>(columns.size()), DType::f64);
    for (std::int64_t c = 0; c < result.cols(); ++c) {
        const std::int64_t i = columns[static_cast<std::size_t>(c)];
        const double root = std::sqrt(pairs.values[static_cast<std::size_t>(i)] - tau + lift);
        for (std::int64_t row = 0; row < result.rows(); ++row)
            result.at<double>(row, c) = root * vectors.view().at<double>(row, i);
    }
    return device.to_device(std::move(result));
}

}  // namespace

RestBound bound_rest(const Device& device, ConstMatrixView m, const RitzPairs& pairs) {
    backend::Ops& ops = device.ops();
    const std::int64_t n = m.rows;
    const auto k = static_cast<double>(pairs.values.size()), order = static_cast<double>(n);
    double top = *std::min_element(pairs.values.begin(), pairs.values.end()), lift = 0;  // max |θ|
    for (const double value : pairs.values) lift = std::max(lift, std::abs(value));

    // what tr B and ‖M‖_F + ‖S‖_F² + |τ| come to at most, S the deflating columns
    const double norm = ops.norm(m), of_m = std::abs(trace(device, m)), columns = 3.1 * k * lift;
    const double cholesky = rounding_of(2 * order + 8), forming = rounding_of(k + 6);
    double slack = 0;
    for (int pass = 0; pass < 2; ++pass) {  // the second one with the top that the first one's slack gives
        const double about = std::abs(top) + 2 * pairs.radius;
        slack = 1.1 * (cholesky * (order * about + of_m + columns) + forming * (norm + columns + about)) +
                0x1p-1000;  // far above what underflow does
        top = top_of_rest(pairs, 2 * pairs.radius + 3 * slack);
    }
    RestBound result;
    const double tau = top + pairs.radius + 2 * slack;
    result.bound = tau + slack;

    Matrix b = device.to_device(m);
    const Matrix deflate = deflating(device, pairs, result.bound, tau, lift);
    if (deflate.cols() > 0)
        ops.inner(1, deflate, deflate, -1, b);
    else
        ops.axpby(-1, m, 0, b);
    Matrix ones(n, 1, DType::f64);
    for (std::int64_t i = 0; i < n; ++i) ones.at<double>(i, 0) = 1;
    ops.axpby(tau, device.staged(ones), 1, diagonal(b.view()));

    const double grown = ops.norm(deflate);
    const double rounding =
        1.01 * (cholesky * trace(device, b) + forming * (norm + grown * grown + std::abs(tau)));
    const std::int64_t minor = ops.solve_spd(b, {});
    if (minor != 0)
        result.reason = fmt::format(
            "Cholesky at order {} of {} does not exclude another eigenvalue beyond the {} found: lower the "
            "tolerance with more restarts, or set subspace to the order, which computes all eigenvectors",
            minor, n, pairs.values.size());
    else if (!(rounding <= slack))
        result.reason =
            fmt::format("rounding errors of {:.2g} exceed the {:.2g} allowed for", rounding, slack);
    return result;
}

}  // namespace fntk

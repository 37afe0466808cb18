// Kernels and errors by hand for the tests of the planner: materialised factors, one Jacobian a sample, the
// limit by its formula, eigenvalues by Jacobi rotations, all in double.
#pragma once

#include "support.hpp"

#include <fntk/planner.hpp>

#include <algorithm>
#include <numbers>

namespace fntk::test {

using Square = std::vector<std::vector<double>>;

inline constexpr PlanCriterion criteria[] = {PlanCriterion::lambda_min, PlanCriterion::condition,
                                             PlanCriterion::frobenius};

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

inline Square rows_in_double(ConstMatrixView x) {
    Square rows(x.rows, std::vector<double>(x.cols));
    for (std::int64_t i = 0; i < x.rows; ++i)
        for (std::int64_t j = 0; j < x.cols; ++j) rows[i][j] = value(x, i, j);
    return rows;
}

/// Ascending, by Jacobi rotations.
inline std::vector<double> eigenvalues(Square a) {
    const std::size_t n = a.size();
    for (int sweep = 0; sweep < 40; ++sweep)
        for (std::size_t p = 0; p < n; ++p)
            for (std::size_t q = p + 1; q < n; ++q) {
                if (a[p][q] == 0) continue;
                const double angle = 0.5 * std::atan2(2 * a[p][q], a[q][q] - a[p][p]), c = std::cos(angle),
                             s = std::sin(angle);
                for (std::size_t i = 0; i < n; ++i) {
                    const double x = a[i][p], y = a[i][q];
                    a[i][p] = c * x - s * y, a[i][q] = s * x + c * y;
                }
                for (std::size_t i = 0; i < n; ++i) {
                    const double x = a[p][i], y = a[q][i];
                    a[p][i] = c * x - s * y, a[q][i] = s * x + c * y;
                }
            }
    std::vector<double> result;
    for (std::size_t i = 0; i < n; ++i) result.push_back(a[i][i]);
    std::sort(result.begin(), result.end());
    return result;
}

/// <x, x'>·(π − θ)/2π with θ the angle of h and <x, x'> of the rows that the trained factor multiplies.
inline Square limit_of(const Square& x, const Square& h) {
    Square k(x.size(), std::vector<double>(x.size()));
    for (std::size_t i = 0; i < x.size(); ++i)
        for (std::size_t j = 0; j < x.size(); ++j) {
            const double norms = std::sqrt(dot(h[i], h[i]) * dot(h[j], h[j]));
            const double cosine = norms > 0 ? std::clamp(dot(h[i], h[j]) / norms, -1.0, 1.0) : 0;
            const double theta = i == j ? 0 : std::acos(cosine);
            k[i][j] = dot(x[i], x[j]) * (std::numbers::pi - theta) / (2 * std::numbers::pi);
        }
    return k;
}

/// H = X Uᵀ/√p of a network.
inline Square hidden_of(const Network& network, const Square& x) {
    const Square u = rows_in_double(network.materialize_down());
    Square h(x.size(), std::vector<double>(u.size()));
    for (std::size_t i = 0; i < x.size(); ++i)
        for (std::size_t q = 0; q < u.size(); ++q)
            h[i][q] = dot(x[i], u[q]) / std::sqrt(static_cast<double>(u.size()));
    return h;
}

/// (1/k)·Σ_c <J_i^c, J_j^c>, every Jacobian written out: of U (p × d) or of V (m × p).
inline Square trace_kernel(const Network& network, const Square& x) {
    const NetworkSpec& spec = network.spec();
    const Square h = hidden_of(network, x), v = rows_in_double(network.materialize_up()),
                 a = rows_in_double(network.materialize_readout());
    const double root_m = std::sqrt(static_cast<double>(spec.width)),
                 root_p = std::sqrt(static_cast<double>(spec.rank));
    Square k(x.size(), std::vector<double>(x.size()));
    for (std::int64_t c = 0; c < spec.outputs; ++c) {
        Square jacobians;
        for (std::size_t i = 0; i < x.size(); ++i) {
            std::vector<double> g(spec.rank), jacobian;
            for (std::int64_t r = 0; r < spec.width; ++r) {
                const bool open = dot(v[r], h[i]) > 0;
                for (std::int64_t q = 0; q < spec.rank; ++q) {
                    if (spec.train.down) g[q] += open ? a[r][c] * v[r][q] / (root_m * root_p) : 0;
                    if (spec.train.up) jacobian.push_back(open ? a[r][c] * h[i][q] / root_m : 0);
                }
            }
            if (spec.train.down)
                for (const double gq : g)
                    for (const double xj : x[i]) jacobian.push_back(gq * xj);
            jacobians.push_back(std::move(jacobian));
        }
        for (std::size_t i = 0; i < x.size(); ++i)
            for (std::size_t j = 0; j < x.size(); ++j)
                k[i][j] += dot(jacobians[i], jacobians[j]) / static_cast<double>(spec.outputs);
    }
    return k;
}

inline double frobenius_error(const Square& k, const Square& reference) {
    double off = 0, norm = 0;
    for (std::size_t i = 0; i < k.size(); ++i)
        for (std::size_t j = 0; j < k.size(); ++j) {
            off += (k[i][j] - reference[i][j]) * (k[i][j] - reference[i][j]);
            norm += reference[i][j] * reference[i][j];
        }
    return std::sqrt(off / norm);
}

inline double error_by_hand(PlanCriterion criterion, const Square& k, const Square& reference) {
    if (criterion == PlanCriterion::frobenius) return frobenius_error(k, reference);
    const std::vector<double> have = eigenvalues(k), want = eigenvalues(reference);
    if (criterion == PlanCriterion::lambda_min) return 1 - have.front() / want.front();
    return have.back() / have.front() / (want.back() / want.front()) - 1;
}

inline NetworkSpec spec_of(const PlannerDraw& draw, const NetworkPlan& plan) {
    NetworkSpec spec = plan.spec;
    spec.rank = draw.rank;
    spec.width = std::max<std::int64_t>(draw.width, 1);
    spec.seed = draw.seed;
    return spec;
}

/// The draw's errors against the kernel that it is meant to be near: K∞, or (width pilots of up) at its U.
inline void expect_by_hand(const PlannerDraw& draw, const NetworkPlan& plan, const PlannerOptions& options,
                           ConstMatrixView inputs, bool at_its_u) {
    SCOPED_TRACE("p = " + std::to_string(draw.rank) + ", m = " + std::to_string(draw.width) + ", seed " +
                 std::to_string(draw.seed));
    const Network network = Network::create(spec_of(draw, plan), inputs);
    const Square x = rows_in_double(inputs), h = hidden_of(network, x);
    const Square at_u = limit_of(h, h);
    const Square kernel = draw.width == 0 ? at_u : trace_kernel(network, x);
    const Square reference = at_its_u ? at_u : limit_of(x, x);
    const double tolerance = options.criterion == PlanCriterion::condition ? 1e-7 : 1e-9;
    const double want = error_by_hand(options.criterion, kernel, reference);
    EXPECT_NEAR(draw.error, want, tolerance * (1 + std::abs(want)));
    EXPECT_NEAR(draw.frobenius, frobenius_error(kernel, reference), 1e-9);
    EXPECT_NEAR(draw.lambda_min, eigenvalues(kernel).front(), 1e-9);
}

inline PlannerOptions small_plan(PlanCriterion criterion, Train train) {
    PlannerOptions options{.target_error = 0.5, .criterion = criterion, .train = train};
    options.down = train.up ? Down::gaussian : Down::srht;
    options.up = train.up ? Up::gaussian : Up::srht;
    options.seeds = 2;
    options.pilot_rank = 8;
    options.pilot_width = 32;
    return options;
}

}  // namespace fntk::test

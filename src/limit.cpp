// Infinite-width kernels: expectations of σ'σ' and σσ over z = <v, h>, z' = <v, h'>, v ~ N(0, I), for every
// pair of rows h, h'. With θ the angle, φ = π − θ and α the slope of σ at z < 0 (relu 0, abs −1):
//     E σ'σ' = α + (1 − α)²·φ/2π        E σσ = |h||h'|·(α cos θ + (1 − α)²·(sin θ + φ cos θ)/2π)
// erf, with c = 1/√(1 + 2|h|²), τ = √2|h|c, N = (cc')² + (cτ')² + (τc')² + (ττ' sin θ)²:
//     E σ'σ' = (4/π)·cc'/√N             E σσ = (2/π)·atan2(ττ' cos θ, √N)
// Invariants. Angles and norms are those of limit_pairs.hpp, sound for any rows; the formulas add no
// cancellation: N = 1 − (ττ' cos θ)² is taken as a sum of squares, and a kernel overflows only where its
// value does. The first two, at h = x of ordinary scale, are the backend's (limit_arc.hpp). gelu, tanh and
// softplus are series (limit_hermite.hpp).
#include "limit_arc.hpp"
#include "limit_check.hpp"
#include "limit_hermite.hpp"
#include "limit_pairs.hpp"
#include "matrix_real.hpp"

#include <fntk/error.hpp>
#include <fntk/limit.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>

namespace fntk {
namespace {

constexpr double pi = std::numbers::pi;

double homogeneous_kernel(double alpha, Train train, const Pair& pair) {
    const double gain = (1 - alpha) * (1 - alpha);
    double derivative = alpha + gain * (pair.angle.open / (2 * pi));
    const bool zero_i = pair.h_i.value == 0, zero_j = pair.h_j.value == 0;
    if (zero_i || zero_j)  // σ'(0) = α, and E σ' of the other row (1 + α)/2
        derivative = (zero_i ? alpha : (1 + alpha) / 2) * (zero_j ? alpha : (1 + alpha) / 2);
    double kernel = 0;
    if (train.down) kernel += times_norms(pair.x_cos * derivative, pair.x_i, pair.x_j);
    if (train.up) kernel += times_norms(pair.angle.cos * derivative, pair.h_i, pair.h_j);
    const double product = alpha * pair.angle.cos + gain * (pair.angle.arc / (2 * pi));
    if (train.readout) kernel += times_norms(product, pair.h_i, pair.h_j);
    return kernel;
}

/// Of one row of h, and |x|c: all of them finite.
struct ErfRow {
    double c, tau, x_c;

    ErfRow(const Norm& x, const Norm& h) {
        const double t = std::min(std::numbers::sqrt2 * std::ldexp(h.value, h.exponent), 1e308);
        const double root = std::hypot(1.0, t);
        c = 1 / root;
        tau = t / root;
        x_c = std::min(std::ldexp(x.value, x.exponent), 1e308) * c;
    }
};

double erf_kernel(Train train, const Pair& pair) {
    const ErfRow i(pair.x_i, pair.h_i), j(pair.x_j, pair.h_j);
    const double both = i.tau * j.tau;
    const double root = std::hypot(i.c * j.c, std::hypot(i.c * j.tau, i.tau * j.c), both * pair.angle.sin);
    double kernel = 0;
    if (train.down) kernel += 4 / pi * i.x_c * pair.x_cos / root * j.x_c;
    if (train.up) kernel += 2 / pi * both * pair.angle.cos / root;
    if (train.readout) kernel += 2 / pi * std::atan2(both * pair.angle.cos, root);
    return kernel;
}

double kernel_of(const ActivationSpec& activation, Train train, const Pair& pair) {
    return activation.homogeneous() ? homogeneous_kernel(activation.closed_slope(), train, pair)
                                    : erf_kernel(train, pair);
}

void store(Matrix& matrix, std::int64_t i, std::int64_t j, double value) {
    if (matrix.dtype() == DType::f64)
        matrix.at<double>(i, j) = value;
    else
        matrix.at<float>(i, j) = static_cast<float>(value);
}

/// The kernel at h = U x/√p, or at h = x when U is empty.
Matrix kernel_matrix(const Device& device, const ActivationSpec& activation, Train train, ConstMatrixView u,
                     ConstMatrixView given_inputs, ConstMatrixView given_others) {
    const Staged inputs_owner = device.on_host(given_inputs), others_owner = device.on_host(given_others);
    const ConstMatrixView inputs = inputs_owner, others = others_owner;
    require_limit(activation, train);
    const bool symmetric = others.rows == 0 && others.cols == 0;
    if (!symmetric && others.cols != inputs.cols)
        throw ShapeError(
            fmt::format("others has {} columns, inputs has {}: both must have the same features",
                        others.cols, inputs.cols));
    require_real(inputs, "inputs");
    if (!symmetric) require_real(others, "others");

    Matrix kernel(inputs.rows, symmetric ? inputs.rows : others.rows, inputs.dtype);
    if (u.empty() && activation.homogeneous() &&
        arc_limit(device, activation.closed_slope(), train, inputs, symmetric ? nullptr : &others, kernel))
        return kernel;
    const Side rows = make_side(device, inputs, u),
               cols = symmetric ? Side{} : make_side(device, others, u);
    std::optional<HermiteSeries> series;
    if (is_series(activation)) {
        const std::vector<Norm> of_cols = symmetric ? std::vector<Norm>{} : hidden_norms(cols);
        series.emplace(device, activation, train, hidden_norms(rows), symmetric ? nullptr : &of_cols);
    }
    for_pairs(device, rows, symmetric ? nullptr : &cols,
              [&](std::int64_t i, std::int64_t j, const Pair& pair) {
                  const double value =
                      series ? series->kernel(train, i, j, pair) : kernel_of(activation, train, pair);
                  store(kernel, i, j, value);
                  if (symmetric) store(kernel, j, i, value);
              });
    return kernel;
}

}  // namespace

void require_limit(const ActivationSpec& activation, Train train) {
    if (!std::isfinite(activation.closed_slope()))
        throw ValueError(
            fmt::format("activation.slope = {}: it must be finite; 0.01 is usual", activation.slope));
    if (!train.any())
        throw ValueError(
            "train is empty: a tangent kernel needs a trained factor; set down, up or readout");
}

Matrix limit_kernel(const Device& device, ActivationSpec activation, Train train, ConstMatrixView inputs,
                    ConstMatrixView others) {
    return kernel_matrix(device, activation, train, {}, inputs, others);
}

Matrix fixed_down_limit(const Device& device, const Network& network, ConstMatrixView inputs,
                        ConstMatrixView others) {
    const NetworkSpec& spec = network.spec();
    if (inputs.cols != spec.dim)
        throw ShapeError(
            fmt::format("inputs has {} columns, the network was made for dim = {}: give it the features "
                        "it was made for",
                        inputs.cols, spec.dim));
    const Network here = network.on(device);
    return kernel_matrix(device, spec.activation, spec.train, here.down(), inputs, others);
}

ErrorLaw error_law(const Device& device, ConstMatrixView given_inputs) {
    const Staged owner = device.on_host(given_inputs);
    const ConstMatrixView inputs = owner;
    require_real(inputs, "inputs");
    int largest = std::numeric_limits<int>::min();
    for (const Norm& norm : row_norms(inputs))
        if (norm.value > 0) largest = std::max(largest, norm.exponent);

    double norm2 = 0, rank_sum = 0, width_sum = 0;
    for_pairs(device, make_side(device, inputs, {}), nullptr,
              [&](std::int64_t i, std::int64_t j, const Pair& pair) {
                  if (pair.h_i.value == 0 || pair.h_j.value == 0) return;
                  const double k = pair.angle.open / (2 * pi);  // k_ii = k_jj = 1/2
                  const double rho = std::ldexp(pair.angle.cos * pair.h_i.value * pair.h_j.value,
                                                pair.h_i.exponent + pair.h_j.exponent - 2 * largest);
                  const double weight = (i == j ? 1 : 2) * rho * rho;
                  norm2 += weight * k * k;
                  rank_sum += weight * (0.25 + k * k);
                  width_sum += weight * k * (1 - k);
              });
    if (!(norm2 > 0))
        throw ValueError(fmt::format(
            "inputs ({} rows) has no row other than zero: its limit kernel is 0 and has no relative "
            "error; give it at least one row that is not zero",
            inputs.rows));
    return {rank_sum / norm2, width_sum / norm2};
}

double dense_width_of_equal_error(const ErrorLaw& law, double relative_error) {
    if (!(relative_error > 0) || !std::isfinite(relative_error))
        throw ValueError(fmt::format(
            "relative_error = {}: it must be positive and finite; an exact kernel has no finite width",
            relative_error));
    return law.width_term / relative_error / relative_error;  // the square may underflow
}

}  // namespace fntk

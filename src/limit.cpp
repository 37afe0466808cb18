// Infinite-width kernels: expectations of σ'σ' and σσ over z = <v, h>, z' = <v, h'>, v ~ N(0, I), for every pair of
// rows h = |h|·u, h' = |h'|·u'. With θ the angle, φ = π − θ and α the slope of σ at z < 0 (relu 0, abs −1):
//     E σ'σ' = α + (1 − α)²·φ/2π        E σσ = |h||h'|·(α cos θ + (1 − α)²·(sin θ + φ cos θ)/2π)
// erf, with c = 1/√(1 + 2|h|²), τ = √2|h|c, N = (cc')² + (cτ')² + (τc')² + (ττ' sin θ)², which is 1 − (ττ' cos θ)²:
//     E σ'σ' = (4/π)·cc'/√N             E σσ = (2/π)·atan2(ττ' cos θ, √N)
// Invariants. θ and φ come from <u, u'> where |<u, u'>| < 0.99, else from |u − u'| and |u + u'|: no small angle is the
// arccosine of a rounded cosine, no small φ a difference. Norms are mantissa·2^exponent and meet in one product at
// the end, so that no intermediate value over- or underflows. Memory beside the result: a few blocks of rows.
#include <fntk/error.hpp>
#include <fntk/limit.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

namespace fntk {
namespace {

constexpr std::int64_t block_rows = 512;
constexpr double pi = std::numbers::pi;

// --- rows in polar form ------------------------------------------------------------------------------------------

/// A norm, value·2^exponent; value is 0 or in [1, 2√d).
struct Norm {
    double value = 0;
    int exponent = 0;
};

/// factor·|a|·|b|; overflows or underflows only where the result does.
double times_norms(double factor, const Norm& a, const Norm& b) {
    return std::ldexp(factor * a.value * b.value, a.exponent + b.exponent);
}

struct Polar {
    Matrix unit;  // f64; a row of zeros stays one
    std::vector<Norm> norm;
};

/// Two sums over a row at once in eight lanes each: f adds column j's share to its two arguments.
template <class F>
std::array<double, 2> lane_sums(std::int64_t cols, F&& f) {
    constexpr int lanes = 8;
    double first[lanes] = {}, second[lanes] = {};
    std::int64_t j = 0;
    for (; j + lanes <= cols; j += lanes)
        for (int lane = 0; lane < lanes; ++lane) f(j + lane, first[lane], second[lane]);
    for (; j < cols; ++j) f(j, first[j % lanes], second[j % lanes]);
    std::array<double, 2> total{};
    for (int lane = 0; lane < lanes; ++lane) {
        total[0] += first[lane];
        total[1] += second[lane];
    }
    return total;
}

Polar polar(ConstMatrixView rows) {
    Polar result{Matrix::converted(rows, DType::f64), std::vector<Norm>(static_cast<std::size_t>(rows.rows))};
    for (std::int64_t i = 0; i < rows.rows; ++i) {
        double* row = result.unit.row<double>(i);
        double largest = 0;
        for (std::int64_t j = 0; j < rows.cols; ++j) largest = std::max(largest, std::abs(row[j]));
        if (largest == 0) continue;
        Norm& norm = result.norm[static_cast<std::size_t>(i)];
        norm.exponent = std::max(std::ilogb(largest), -1022);  // 2^1022 is the largest scale that is finite
        const double scale = std::ldexp(1.0, -norm.exponent);
        for (std::int64_t j = 0; j < rows.cols; ++j) row[j] *= scale;
        norm.value = std::sqrt(lane_sums(rows.cols, [&](std::int64_t j, double& sum, double&) {
            sum += row[j] * row[j];
        })[0]);
        for (std::int64_t j = 0; j < rows.cols; ++j) row[j] /= norm.value;
    }
    return result;
}

// --- angles ------------------------------------------------------------------------------------------------------

struct Angle {
    double open = 0;  // φ = π − θ
    double sin = 0, cos = 0;
    double arc = 0;  // sin θ + φ cos θ
};

/// sin φ − φ cos φ = φ³/3 − φ⁵/30 + φ⁷/840 − ..., for φ < 0.15 to the last bit.
double small_arc(double open) {
    const double x = open * open;
    return open * x * (1.0 / 3 - x * (1.0 / 30 - x * (1.0 / 840 - x * (1.0 / 45360 - x / 3991680))));
}

Angle angle_from_cosine(double cos) {
    Angle angle;
    angle.cos = cos;
    angle.sin = std::sqrt((1 - cos) * (1 + cos));
    angle.open = std::acos(-cos);
    angle.arc = angle.sin + angle.open * cos;
    return angle;
}

/// θ = 2·atan2(|u − u'|, |u + u'|): 0 for equal rows, π for opposite ones, exactly.
Angle angle_from_rows(const double* u, const double* v, std::int64_t cols) {
    const auto [minus2, plus2] = lane_sums(cols, [&](std::int64_t j, double& minus, double& plus) {
        minus += (u[j] - v[j]) * (u[j] - v[j]);
        plus += (u[j] + v[j]) * (u[j] + v[j]);
    });
    const double minus = std::sqrt(minus2), plus = std::sqrt(plus2);
    Angle angle;
    angle.cos = (plus2 - minus2) / (plus2 + minus2);
    angle.sin = 2 * plus * minus / (plus2 + minus2);
    if (angle.cos > 0) {
        angle.open = pi - 2 * std::atan2(minus, plus);
        angle.arc = angle.sin + angle.open * angle.cos;
    } else {
        angle.open = 2 * std::atan2(plus, minus);
        angle.arc = small_arc(angle.open);
    }
    return angle;
}

// --- one batch against another -----------------------------------------------------------------------------------

/// X, and U u/√p for its unit rows u when the kernel lives on h = U x/√p (empty: h is x).
struct Side {
    ConstMatrixView inputs;
    Matrix projected;
};

struct Block {
    Polar x, projected;
    bool h_is_x = true;

    [[nodiscard]] const Polar& h() const { return h_is_x ? x : projected; }
};

Block block_of(const Side& side, bool h_is_x, std::int64_t first, std::int64_t count) {
    Block block{polar(side.inputs.row_block(first, count)), {}, h_is_x};
    if (h_is_x) return block;
    block.projected = polar(side.projected.view().row_block(first, count));
    for (std::size_t i = 0; i < block.x.norm.size(); ++i) {
        block.projected.norm[i].value *= block.x.norm[i].value;
        block.projected.norm[i].exponent += block.x.norm[i].exponent;
    }
    return block;
}

/// What a formula may ask of rows i and j.
struct Pair {
    Norm x_i, x_j, h_i, h_j;
    Angle angle;       // of h
    double x_cos = 0;  // of x
};

/// Calls visit(i, j, Pair) for every pair; with `cols` null those of one batch, j ≤ i only.
template <class Visit>
void for_pairs(backend::Ops& ops, const Side& rows, const Side* cols, bool h_is_x, Visit&& visit) {
    const Side& other = cols != nullptr ? *cols : rows;
    const std::int64_t n_rows = rows.inputs.rows, n_cols = other.inputs.rows;
    Matrix cosines(std::min(n_rows, block_rows), std::min(n_cols, block_rows), DType::f64);
    Matrix x_cosines(h_is_x ? 0 : cosines.rows(), cosines.cols(), DType::f64);
    for (std::int64_t i0 = 0; i0 < n_rows; i0 += block_rows) {
        const std::int64_t count_i = std::min(block_rows, n_rows - i0);
        const Block a = block_of(rows, h_is_x, i0, count_i);
        const std::int64_t end = cols != nullptr ? n_cols : i0 + count_i;
        for (std::int64_t j0 = 0; j0 < end; j0 += block_rows) {
            const std::int64_t count_j = std::min(block_rows, n_cols - j0);
            const bool diagonal = cols == nullptr && j0 == i0;
            const Block fresh = diagonal ? Block{} : block_of(other, h_is_x, j0, count_j);
            const Block& b = diagonal ? a : fresh;
            const auto part = [&](Matrix& whole) { return whole.view().row_block(0, count_i).col_block(0, count_j); };
            ops.inner(1, a.h().unit, b.h().unit, 0, part(cosines));
            if (!h_is_x) ops.inner(1, a.x.unit, b.x.unit, 0, part(x_cosines));
            const std::int64_t length = a.h().unit.cols();
            for (std::int64_t i = 0; i < count_i; ++i) {
                const double* u = a.h().unit.row<double>(i);
                const double* cosine = cosines.row<double>(i);
                for (std::int64_t j = 0; j < (diagonal ? i + 1 : count_j); ++j) {
                    const auto r = static_cast<std::size_t>(i), s = static_cast<std::size_t>(j);
                    Pair pair{a.x.norm[r], b.x.norm[s], a.h().norm[r], b.h().norm[s], {}, 0};
                    pair.angle = std::abs(cosine[j]) < 0.99
                                     ? angle_from_cosine(cosine[j])
                                     : angle_from_rows(u, b.h().unit.row<double>(j), length);
                    pair.x_cos = h_is_x ? pair.angle.cos : x_cosines.at<double>(i, j);
                    visit(i0 + i, j0 + j, pair);
                }
            }
        }
    }
}

// --- the formulas ------------------------------------------------------------------------------------------------

double homogeneous_kernel(double alpha, Train train, const Pair& pair) {
    const double gain = (1 - alpha) * (1 - alpha);
    double derivative = alpha + gain * (pair.angle.open / (2 * pi));
    const bool zero_i = pair.h_i.value == 0, zero_j = pair.h_j.value == 0;
    if (zero_i || zero_j)  // σ'(0) = α, and E σ' of the other row (1 + α)/2
        derivative = (zero_i ? alpha : (1 + alpha) / 2) * (zero_j ? alpha : (1 + alpha) / 2);
    double kernel = 0;
    if (train.down) kernel += times_norms(pair.x_cos * derivative, pair.x_i, pair.x_j);
    if (train.up) kernel += times_norms(pair.angle.cos * derivative, pair.h_i, pair.h_j);
    if (train.readout) kernel += times_norms(alpha * pair.angle.cos + gain * (pair.angle.arc / (2 * pi)), pair.h_i, pair.h_j);
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
    if (train.down) kernel += 4 / pi * i.x_c * j.x_c * pair.x_cos / root;
    if (train.up) kernel += 2 / pi * both * pair.angle.cos / root;
    if (train.readout) kernel += 2 / pi * std::atan2(both * pair.angle.cos, root);
    return kernel;
}

double kernel_of(const ActivationSpec& activation, Train train, const Pair& pair) {
    return activation.homogeneous() ? homogeneous_kernel(activation.closed_slope(), train, pair)
                                    : erf_kernel(train, pair);
}

// --- arguments ---------------------------------------------------------------------------------------------------

void check_activation(const ActivationSpec& activation) {
    if (!activation.homogeneous() && activation.kind != Activation::erf)
        throw NotSupported(fmt::format("activation = {}: its infinite-width kernel has no closed form here (relu, leaky_relu, "
                                       "abs and erf have); use the Gram matrix of a wide network", name(activation.kind)));
    if (!std::isfinite(activation.closed_slope()))
        throw ValueError(fmt::format("activation.slope = {}: it must be finite; 0.01 is usual", activation.slope));
}

void check_inputs(ConstMatrixView inputs, const char* argument) {
    if (inputs.dtype != DType::f32 && inputs.dtype != DType::f64)
        throw ValueError(fmt::format("{} holds {}: it must be float32 or float64; convert it with Matrix::converted",
                                     argument, name(inputs.dtype)));
    require_finite(inputs, argument);
}

void store(Matrix& matrix, std::int64_t i, std::int64_t j, double value) {
    if (matrix.dtype() == DType::f64)
        matrix.at<double>(i, j) = value;
    else
        matrix.at<float>(i, j) = static_cast<float>(value);
}

/// U u/√p for the unit rows u of X; nothing for the identity.
Matrix project(backend::Ops& ops, ConstMatrixView inputs, ConstMatrixView u) {
    if (u.empty()) return {};
    Matrix projected(inputs.rows, u.rows, DType::f64);
    for (std::int64_t i0 = 0; i0 < inputs.rows; i0 += block_rows) {
        const std::int64_t count = std::min(block_rows, inputs.rows - i0);
        const Polar x = polar(inputs.row_block(i0, count));
        ops.inner(1 / std::sqrt(static_cast<double>(u.rows)), x.unit, u, 0, projected.view().row_block(i0, count));
    }
    return projected;
}

/// The kernel at h = U x/√p, or at h = x when U is empty.
Matrix kernel_matrix(const Device& device, const ActivationSpec& activation, Train train, ConstMatrixView u,
                     ConstMatrixView inputs, ConstMatrixView others) {
    check_activation(activation);
    if (!train.any())
        throw ValueError("train is empty: a tangent kernel needs a trained factor; set down, up or readout");
    const bool symmetric = others.rows == 0 && others.cols == 0;
    if (!symmetric && others.cols != inputs.cols)
        throw ShapeError(fmt::format("others has {} columns, inputs has {}: both must have the same features",
                                     others.cols, inputs.cols));
    check_inputs(inputs, "inputs");
    if (!symmetric) check_inputs(others, "others");

    backend::Ops& ops = device.ops();
    const Side rows{inputs, project(ops, inputs, u)};
    const Side cols = symmetric ? Side{} : Side{others, project(ops, others, u)};
    Matrix kernel(inputs.rows, symmetric ? inputs.rows : others.rows, inputs.dtype);
    for_pairs(ops, rows, symmetric ? nullptr : &cols, u.empty(), [&](std::int64_t i, std::int64_t j, const Pair& pair) {
        const double value = kernel_of(activation, train, pair);
        store(kernel, i, j, value);
        if (symmetric) store(kernel, j, i, value);
    });
    return kernel;
}

}  // namespace

Matrix limit_kernel(const Device& device, ActivationSpec activation, Train train, ConstMatrixView inputs,
                    ConstMatrixView others) {
    return kernel_matrix(device, activation, train, {}, inputs, others);
}

Matrix fixed_down_limit(const Device& device, const Network& network, ConstMatrixView inputs, ConstMatrixView others) {
    const NetworkSpec& spec = network.spec();
    if (inputs.cols != spec.dim)
        throw ShapeError(fmt::format("inputs has {} columns, the network was made for dim = {}: give it the features "
                                     "it was made for", inputs.cols, spec.dim));
    return kernel_matrix(device, spec.activation, spec.train, network.down(), inputs, others);
}

ErrorLaw error_law(const Device& device, ConstMatrixView inputs) {
    check_inputs(inputs, "inputs");
    int largest = std::numeric_limits<int>::min();
    for (std::int64_t i0 = 0; i0 < inputs.rows; i0 += block_rows)
        for (const Norm& norm : polar(inputs.row_block(i0, std::min(block_rows, inputs.rows - i0))).norm)
            if (norm.value > 0) largest = std::max(largest, norm.exponent);

    double norm2 = 0, rank_sum = 0, width_sum = 0;
    const Side rows{inputs, {}};
    for_pairs(device.ops(), rows, nullptr, true, [&](std::int64_t i, std::int64_t j, const Pair& pair) {
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
        throw ValueError(fmt::format("inputs ({} rows) has no row other than zero: its limit kernel is 0 and has no relative "
                                     "error; give it at least one row that is not zero", inputs.rows));
    return {rank_sum / norm2, width_sum / norm2};
}

double dense_width_of_equal_error(const ErrorLaw& law, double relative_error) {
    if (!(relative_error > 0) || !std::isfinite(relative_error))
        throw ValueError(fmt::format("relative_error = {}: it must be positive and finite; an exact kernel has no finite width",
                                     relative_error));
    return law.width_term / (relative_error * relative_error);
}

}  // namespace fntk

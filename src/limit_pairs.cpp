// Polar form, angles and blocks of pairs; the formulas and what they promise stand in limit_pairs.hpp.
#include "limit_pairs.hpp"

#include <backend/ops.hpp>

#include <arc.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace fntk {
namespace {

constexpr std::int64_t block_rows = 512;
constexpr double pi = std::numbers::pi;

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
        angle.arc = kernels::small_arc(angle.open);
    }
    return angle;
}

/// |h| = |x|·|U u|/√p.
Norm product(const Norm& a, const Norm& b) { return {a.value * b.value, a.exponent + b.exponent}; }

struct Block {
    Polar x, projected;
    bool h_is_x = true;
    Staged x_units, projected_units;  // where products are taken

    void stage(const Device& device) {
        x_units = device.staged(x.unit);
        if (!h_is_x) projected_units = device.staged(projected.unit);
    }
    [[nodiscard]] const Polar& h() const { return h_is_x ? x : projected; }
    [[nodiscard]] const Staged& h_units() const { return h_is_x ? x_units : projected_units; }
};

Block block_of(const Device& device, const Side& side, bool h_is_x, std::int64_t first,
               std::int64_t count) {
    Block block{polar_form(side.inputs.row_block(first, count)), {}, h_is_x, {}, {}};
    if (h_is_x) {
        block.stage(device);
        return block;
    }
    block.projected = polar_form(side.projected.view().row_block(first, count));
    for (std::size_t i = 0; i < block.x.norm.size(); ++i)
        block.projected.norm[i] = product(block.x.norm[i], block.projected.norm[i]);
    block.stage(device);
    return block;
}

}  // namespace

double times_norms(double factor, const Norm& a, const Norm& b) {
    return std::ldexp(factor * a.value * b.value, a.exponent + b.exponent);
}

Polar polar_form(ConstMatrixView rows) {
    Polar result{Matrix::converted(rows, DType::f64),
                 std::vector<Norm>(static_cast<std::size_t>(rows.rows))};
    for (std::int64_t i = 0; i < rows.rows; ++i) {
        double* row = result.unit.row<double>(i);
        double largest = 0;
        for (std::int64_t j = 0; j < rows.cols; ++j) largest = std::max(largest, std::abs(row[j]));
        if (largest == 0) continue;
        Norm& norm = result.norm[static_cast<std::size_t>(i)];
        norm.exponent = std::max(std::ilogb(largest), -1022);  // 2^1022 is the largest scale that is finite
        const double scale = std::ldexp(1.0, -norm.exponent);
        for (std::int64_t j = 0; j < rows.cols; ++j) row[j] *= scale;
        norm.value = std::sqrt(
            lane_sums(rows.cols, [&](std::int64_t j, double& sum, double&) { sum += row[j] * row[j]; })[0]);
        for (std::int64_t j = 0; j < rows.cols; ++j) row[j] /= norm.value;
    }
    return result;
}

std::vector<Norm> row_norms(ConstMatrixView rows) {
    std::vector<Norm> norms;
    for (std::int64_t i = 0; i < rows.rows; i += block_rows) {
        const Polar block = polar_form(rows.row_block(i, std::min(block_rows, rows.rows - i)));
        norms.insert(norms.end(), block.norm.begin(), block.norm.end());
    }
    return norms;
}

std::vector<Norm> hidden_norms(const Side& side) {
    std::vector<Norm> norms = row_norms(side.inputs);
    if (side.projected.cols() == 0) return norms;
    const std::vector<Norm> projected = row_norms(side.projected);
    for (std::size_t i = 0; i < norms.size(); ++i) norms[i] = product(norms[i], projected[i]);
    return norms;
}

Side make_side(const Device& device, ConstMatrixView inputs, ConstMatrixView u) {
    if (u.empty()) return {inputs, {}};
    const Staged down = device.staged(u);
    Matrix projected = device.zeros(inputs.rows, u.rows, DType::f64);
    for (std::int64_t i = 0; i < inputs.rows; i += block_rows) {
        const std::int64_t count = std::min(block_rows, inputs.rows - i);
        const Polar x = polar_form(inputs.row_block(i, count));
        device.ops().inner(1 / std::sqrt(static_cast<double>(u.rows)), device.staged(x.unit), down, 0,
                           projected.view().row_block(i, count));
    }
    projected = device.to_host(std::move(projected));
    return {inputs, std::move(projected)};
}

void for_pairs(const Device& device, const Side& rows, const Side* cols,
               const std::function<void(std::int64_t, std::int64_t, const Pair&)>& visit) {
    const Side& other = cols != nullptr ? *cols : rows;
    const bool h_is_x = rows.projected.cols() == 0;
    const std::int64_t n_rows = rows.inputs.rows, n_cols = other.inputs.rows;
    Matrix cosines = device.zeros(std::min(n_rows, block_rows), std::min(n_cols, block_rows), DType::f64);
    Matrix x_cosines = device.zeros(h_is_x ? 0 : cosines.rows(), cosines.cols(), DType::f64);

    const auto visit_block = [&](const Block& a, const Block& b, std::int64_t i0, std::int64_t j0) {
        const bool diagonal = &a == &b;
        const std::int64_t count_i = a.x.unit.rows(), count_j = b.x.unit.rows(), length = a.h().unit.cols();
        const auto part = [&](Matrix& whole) {
            return whole.view().row_block(0, count_i).col_block(0, count_j);
        };
        const auto inner = [&](const Staged& left, const Staged& right, Matrix& whole) {
            device.ops().inner(1, left, right, 0, part(whole));
            return device.on_host(part(whole));
        };
        const Staged h_cosines = inner(a.h_units(), b.h_units(), cosines);
        const Staged of_x = h_is_x ? Staged{} : inner(a.x_units, b.x_units, x_cosines);
        for (std::int64_t i = 0; i < count_i; ++i) {
            const double* u = a.h().unit.row<double>(i);
            const double* cosine = h_cosines.view().row<double>(i);
            for (std::int64_t j = 0; j < (diagonal ? i + 1 : count_j); ++j) {
                const auto r = static_cast<std::size_t>(i), s = static_cast<std::size_t>(j);
                Pair pair{a.x.norm[r], b.x.norm[s], a.h().norm[r], b.h().norm[s], {}, 0};
                pair.angle = std::abs(cosine[j]) < kernels::well_conditioned
                                 ? angle_from_cosine(cosine[j])
                                 : angle_from_rows(u, b.h().unit.row<double>(j), length);
                pair.x_cos = h_is_x ? pair.angle.cos : of_x.view().at<double>(i, j);
                visit(i0 + i, j0 + j, pair);
            }
        }
    };

    for (std::int64_t i0 = 0; i0 < n_rows; i0 += block_rows) {
        const std::int64_t count = std::min(block_rows, n_rows - i0);
        const Block a = block_of(device, rows, h_is_x, i0, count);
        const std::int64_t end = cols != nullptr ? n_cols : i0;
        for (std::int64_t j0 = 0; j0 < end; j0 += block_rows)
            visit_block(a, block_of(device, other, h_is_x, j0, std::min(block_rows, n_cols - j0)), i0, j0);
        if (cols == nullptr) visit_block(a, a, i0, i0);
    }
}

}  // namespace fntk

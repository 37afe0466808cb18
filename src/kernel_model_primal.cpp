// K = ΦΦᵀ of train = down with Q = P·d features Φ_i = √scale·vec(G_i x_iᵀ), fewer than rows: with
// B = ΦᵀΦ + μI and w = B⁻¹ΦᵀY the prediction <√scale·vec(G xᵀ), w_c> is <G, M_c x>, M_c = √scale·w_c, and
//     log det(K + μI) = log det B + (N − Q) log μ        yᵀ(K + μI)⁻¹y = (‖y − Φw‖² + μ‖w‖²)/μ
#include "device_memory.hpp"
#include "kernel_model_fit.hpp"
#include "model_parts.hpp"

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace fntk {
namespace {

/// body(first, count, vec(G_i x_iᵀ) of the block in double, count × Q).
template <class Body>
void over_features(const FitProblem& problem, const DownForm& form, Body&& body) {
    const std::int64_t n = problem.batch.size(), features = form.rank * form.inputs.cols;
    for (std::int64_t i = 0; i < n; i += problem.plan.tile) {
        const std::int64_t count = std::min(problem.plan.tile, n - i);
        Matrix rows = problem.device.zeros(count, features, problem.batch.function().precision());
        problem.device.ops().outer_rows(form.gradients.row_block(i, count), form.inputs.row_block(i, count),
                                        rows);
        body(i, count, as_double(problem.device, rows));
    }
}

}  // namespace

FitSolution fit_primal(const FitProblem& problem) {
    const Device& device = problem.device;
    backend::Ops& ops = device.ops();
    const BatchMoments parts(problem.batch);
    const DownForm form = parts.form();
    const std::int64_t n = problem.batch.size(), features = form.rank * form.inputs.cols,
                       s = problem.rhs.cols();
    const double root = std::sqrt(form.scale);
    FitSolution result{.ridge = problem.options.ridges.front()};
    const double shift = problem.jitter(result.ridge);
    Matrix normal = device.zeros(features, features, DType::f64), w = device.zeros(features, s, DType::f64);
    over_features(problem, form, [&](std::int64_t i, std::int64_t count, const Matrix& phi) {
        ops.gemm(true, false, form.scale, phi, phi, i == 0 ? 0 : 1, normal);
        ops.gemm(true, false, root, phi, problem.rhs.view().row_block(i, count), i == 0 ? 0 : 1, w);
        problem.report(0.8 * static_cast<double>(i) / static_cast<double>(n));
    });
    add_to_diagonal(device, normal, shift);
    const Matrix before = device.to_device(std::as_const(w).view());
    const std::int64_t minor = ops.solve_spd(normal, w);
    if (minor != 0) problem.refuse(result.ridge, fmt::format("leading minor {} of ΦᵀΦ", minor));
    if (problem.singular(w, before)) problem.refuse(result.ridge, "ΦᵀΦ is singular to working precision");
    if (shift > 0) {
        double squares = 0;
        over_features(problem, form, [&](std::int64_t i, std::int64_t count, const Matrix& phi) {
            Matrix rest = device.to_device(problem.rhs.view().row_block(i, count));
            ops.gemm(false, false, -root, phi, w, 1, rest);
            squares += std::pow(ops.norm(rest), 2);
        });
        const double fit = squares / shift + std::pow(ops.norm(w), 2);
        const double log_det =
            log_det_of_factor(device, normal) + static_cast<double>(n - features) * std::log(shift);
        result.diagnostics.log_evidence = {log_evidence(fit, log_det, n, s)};
    }
    const Staged host = device.on_host(w);
    result.values = Matrix(s * form.rank, form.inputs.cols, DType::f64);
    for (std::int64_t c = 0; c < s; ++c)
        for (std::int64_t f = 0; f < features; ++f)
            result.values.row<double>(c * form.rank)[f] = root * host.view().at<double>(f, c);
    return result;
}

}  // namespace fntk

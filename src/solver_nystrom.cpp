// Low-rank approximations K ≈ F Fᵀ and what they precondition.
//     a block of the factor   C = K(:, S) − F F(S, :)ᵀ, C(S, :) = Q Λ Qᵀ, F' = C Q Λ^(−1/2),
//                             so that F' F'ᵀ = C C(S, :)⁻¹ Cᵀ
//     the basis               FᵀF = Q Λ Qᵀ in double, U = F Q Λ^(−1/2)
// Directions of C(S, :) at the level of rounding are left out, and so are those of FᵀF.
#include "device_memory.hpp"

#include <fntk/error.hpp>
#include <fntk/solver.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>

namespace fntk {
namespace {

double epsilon(DType dtype) {
    return dtype == DType::f32 ? std::numeric_limits<float>::epsilon()
                               : std::numeric_limits<double>::epsilon();
}

/// Q Λ^(−1/2) of the eigenpairs of a symmetric matrix (f64, device memory) above `least`·λ_max, the largest
/// first; n × q, in the device's memory, and their λ.
std::pair<Matrix, std::vector<double>> whitening(const Device& device, const Matrix& symmetric,
                                                 double least) {
    Matrix vectors = device.zeros(symmetric.rows(), symmetric.rows(), DType::f64);
    std::vector<double> ascending;
    if (!device.ops().eigh(symmetric, ascending, vectors))
        throw Error("the eigensolver failed on a block of the low-rank factor");
    std::int64_t kept = 0;
    const auto n = static_cast<std::int64_t>(ascending.size());
    while (kept < n &&
           ascending[static_cast<std::size_t>(n - 1 - kept)] > least * std::max(ascending.back(), 0.0))
        ++kept;
    const Staged host = device.on_host(vectors);
    Matrix result(n, kept, DType::f64);
    std::vector<double> values;
    for (std::int64_t j = 0; j < kept; ++j) {
        values.push_back(ascending[static_cast<std::size_t>(n - 1 - j)]);
        for (std::int64_t i = 0; i < n; ++i)
            result.at<double>(i, j) = value(host, i, n - 1 - j) / std::sqrt(values.back());
    }
    return {device.to_device(std::move(result)), values};
}

/// `count` different rows, drawn one after the other with probability proportional to the weight (the
/// remaining ones).
std::vector<std::int64_t> draw_rows(std::vector<double> weights, std::int64_t count,
                                    std::mt19937_64& random) {
    std::vector<std::int64_t> rows;
    double total = 0;
    for (const double weight : weights) total += weight;
    while (static_cast<std::int64_t>(rows.size()) < count && total > 0) {
        double left = static_cast<double>(random() >> 11) * 0x1p-53 * total;
        std::size_t last = weights.size();
        for (std::size_t i = 0; i < weights.size(); ++i) {
            if (weights[i] <= 0) continue;
            last = i;
            left -= weights[i];
            if (left < 0) break;
        }
        if (last == weights.size()) break;
        rows.push_back(static_cast<std::int64_t>(last));
        total -= std::exchange(weights[last], 0.0);
    }
    return rows;
}

}  // namespace

Matrix pivoted_cholesky(const KernelBatch& batch, std::int64_t rank, std::uint64_t seed,
                        const Progress& progress) {
    if (rank < 1) throw ValueError(fmt::format("rank = {}: it must be at least 1", rank));
    constexpr std::int64_t block = 128;
    const Device& device = batch.device();
    backend::Ops& ops = device.ops();
    const KernelFunction& function = batch.function();
    const std::int64_t n = batch.size(), k = function.outputs(), tile = 2048;
    rank = std::min(rank, batch.rows());
    std::mt19937_64 random(seed);
    std::vector<double> rest = batch.diagonal();  // of K − F Fᵀ
    double trace = 0;
    for (const double value : rest) trace += value;
    const double floor = 8 * epsilon(function.precision()) * trace;
    Matrix factor = device.zeros(batch.rows(), rank, function.precision());
    std::int64_t done = 0;
    while (done < rank) {
        std::vector<double> weights(static_cast<std::size_t>(n));  // of a sample: its k rows together
        double total = 0;
        for (std::size_t i = 0; i < rest.size(); ++i) {
            weights[i / static_cast<std::size_t>(k)] += std::max(rest[i], 0.0);
            total += std::max(rest[i], 0.0);
        }
        if (!(total > floor)) break;
        const std::int64_t wanted = std::max<std::int64_t>(1, std::min(block, rank - done) / k);
        const std::vector<std::int64_t> pivots = draw_rows(weights, wanted, random);
        if (pivots.empty()) break;
        Matrix index(1, static_cast<std::int64_t>(pivots.size()), DType::i64);
        std::copy(pivots.begin(), pivots.end(), index.row<std::int64_t>(0));
        const Matrix on_device = device.to_device(std::move(index));
        Matrix chosen = device.zeros(on_device.cols(), function.dim(), function.precision());
        ops.gather_rows(batch.inputs(), on_device, chosen);
        const KernelBatch columns(device, function, chosen);

        const std::int64_t width = columns.rows();
        Matrix c = device.zeros(batch.rows(), width, function.precision()),
               f_pivots = device.zeros(columns.size(), k * rank, function.precision());
        for (std::int64_t i = 0; i < n; i += tile) {
            const std::int64_t count = std::min(tile, n - i);
            batch.tile(i, count, columns, 0, columns.size(), c.view().row_block(i * k, count * k));
        }
        ops.gather_rows(std::as_const(factor).view().reshaped(n, k * rank), on_device, f_pivots);
        if (done > 0)
            ops.gemm(false, true, -1, std::as_const(factor).view().col_block(0, done),
                     f_pivots.view().reshaped(width, rank).col_block(0, done), 1, c);
        Matrix core = device.zeros(columns.size(), k * width, function.precision());
        ops.gather_rows(std::as_const(c).view().reshaped(n, k * width), on_device, core);
        auto [whiten, lambda] = whitening(device, as_double(device, core.view().reshaped(width, width)),
                                          64 * epsilon(function.precision()));
        const std::int64_t added = std::min<std::int64_t>(whiten.cols(), rank - done);
        if (added == 0) break;
        Matrix narrow = device.zeros(width, whiten.cols(), function.precision());
        ops.axpby(1, whiten, 0, narrow);
        const MatrixView fresh = factor.view().col_block(done, added);
        ops.gemm(false, false, 1, c, narrow.view().col_block(0, added), 0, fresh);
        Matrix squares = device.zeros(batch.rows(), 1, function.precision());
        ops.row_dot(fresh, fresh, squares);
        const Staged host = device.on_host(squares);
        for (std::size_t i = 0; i < rest.size(); ++i)
            rest[i] -= value(host, static_cast<std::int64_t>(i), 0);
        for (const std::int64_t i : pivots)
            for (std::int64_t o = 0; o < k; ++o) rest[static_cast<std::size_t>(i * k + o)] = 0;
        done += added;
        if (progress && !progress(static_cast<double>(done) / static_cast<double>(rank))) break;
    }
    if (done == rank) return factor;
    Matrix shorter = device.zeros(batch.rows(), done, function.precision());
    ops.axpby(1, factor.view().col_block(0, done), 0, shorter);
    return shorter;
}

LowRankPreconditioner::LowRankPreconditioner(const Device& device, Matrix factor, double shift)
    : device_(device), basis_(std::move(factor)) {
    if (!(shift > 0) || !std::isfinite(shift))
        throw ValueError(
            fmt::format("shift = {}: a preconditioner needs a positive one; use a ridge above 0", shift));
    backend::Ops& ops = device_.ops();
    constexpr std::int64_t block = 2048;
    const std::int64_t n = basis_.rows(), q = basis_.cols();
    Matrix square = device_.zeros(q, q, DType::f64);
    for (std::int64_t i = 0; i < n; i += block) {
        const Matrix rows = as_double(device_, basis_.view().row_block(i, std::min(block, n - i)));
        ops.gemm(true, false, 1, rows, rows, i == 0 ? 0 : 1, square);
    }
    auto [whiten, values] = whitening(device_, square, 1e-12);
    square = {};
    const auto kept = static_cast<std::int64_t>(values.size());
    for (std::int64_t i = 0; i < n; i += block) {  // U in place of F, in double
        const MatrixView part = basis_.view().row_block(i, std::min(block, n - i));
        const Matrix rows = as_double(device_, part);
        Matrix turned = device_.zeros(part.rows, kept, DType::f64);
        ops.gemm(false, false, 1, rows, whiten, 0, turned);
        ops.axpby(1, turned, 0, part.col_block(0, kept));
    }
    Matrix weights(kept, kept, DType::f64);
    for (std::int64_t j = 0; j < kept; ++j)
        weights.at<double>(j, j) =
            (values.back() + shift) / (values[static_cast<std::size_t>(j)] + shift) - 1;
    weights_ = device_.to_device(Matrix::converted(weights, basis_.dtype()));
    eigenvalues_ = std::move(values);
}

void LowRankPreconditioner::apply(ConstMatrixView r, MatrixView out) const {
    backend::Ops& ops = device_.ops();
    const std::int64_t q = weights_.cols();
    if (r.rows != basis_.rows() || out.rows != r.rows || out.cols != r.cols)
        throw ShapeError(
            fmt::format("a preconditioner of order {} of r ({} × {}) into out ({} × {}): the "
                        "extents do not fit",
                        basis_.rows(), r.rows, r.cols, out.rows, out.cols));
    const ConstMatrixView basis = basis_.view().col_block(0, q);
    Matrix along = device_.zeros(q, r.cols, basis_.dtype()),
           weighted = device_.zeros(q, r.cols, basis_.dtype());
    ops.axpby(1, r, 0, out);
    if (q == 0) return;
    ops.gemm(true, false, 1, basis, r, 0, along);
    ops.gemm(false, false, 1, weights_, along, 0, weighted);
    ops.gemm(false, false, 1, basis, weighted, 1, out);
}

}  // namespace fntk

#include "spectrum_krylov.hpp"
#include "device_memory.hpp"
#include "spectrum_scaled.hpp"

#include <fntk/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace fntk {

namespace {

constexpr double epsilon = std::numeric_limits<double>::epsilon();

}  // namespace

Krylov::Krylov(const LinearOperator& op, double factor, std::int64_t most, std::uint64_t seed)
    : op_(&op),
      factor_(factor),
      n_(op.rows()),
      seed_(seed),
      basis_(op.device().zeros(most + 1, n_, DType::f64)),
      h_(op.device().zeros(most, most, DType::f64)),
      lengths_(op.device().zeros(2, most + 1, DType::f64)),
      overlaps_(op.device().zeros(1, most + 1, DType::f64)),
      inverse_(op.device().zeros(1, 1, DType::f64)) {
    Matrix one(1, 1, DType::f64);
    one.at<double>(0, 0) = 1;
    one_ = op.device().to_device(std::move(one));
    backend::Ops& ops = op.device().ops();
    ops.copy(unit_start(op.device(), n_, seed), basis_.view().row_block(0, 1));
    const MatrixView image = basis_.view().row_block(1, 1);
    apply_finite(op, std::as_const(basis_).view().row_block(0, 1).reshaped(n_, 1), image.reshaped(n_, 1));
    products_ = 1;
    if (const double length = std::abs(factor) * ops.norm(image);
        length > 0 && !(length > 1e-100 && length < 1e100))
        exponent_ = scale_exponent(length);
    factor_ = std::ldexp(factor, -exponent_);
}

void Krylov::make_orthogonal(MatrixView w, std::int64_t count, MatrixView overlaps) {
    const ConstMatrixView before = basis_.view().row_block(0, count);
    backend::Ops& ops = op_->device().ops();
    ops.inner(1, w, before, 0, overlaps);
    ops.gemm(false, false, -1, overlaps, before, 1, w);
}

void Krylov::make_unit(MatrixView w, MatrixView length) {
    const MatrixView column = w.reshaped(n_, 1);
    backend::Ops& ops = op_->device().ops();
    ops.column_dots(column, column, length);
    ops.square_roots(length);
    ops.divide(one_, length, inverse_, {});
    ops.combine_columns(1, inverse_, column, 0, {}, column);
}

void Krylov::step(std::int64_t j) {
    backend::Ops& ops = op_->device().ops();
    const ConstMatrixView v = basis_.view().row_block(j, 1);
    const MatrixView w = basis_.view().row_block(j + 1, 1),
                     h = h_.view().row_block(j, 1).col_block(0, j + 1),
                     again = overlaps_.view().col_block(0, j + 1);
    if (j > 0)  // the first product is there already
        apply_in_double(*op_, v.reshaped(n_, 1), w.reshaped(n_, 1));
    if (factor_ != 1) ops.axpby(factor_, w, 0, w);
    make_orthogonal(w, j + 1, h);
    make_orthogonal(w, j + 1, again);
    ops.axpby(1, again, 1, h);
    // Of a w that is nothing but rounding, which points anywhere, the unit vector is made orthogonal.
    make_unit(w, lengths_.view().row_block(0, 1).col_block(j, 1));
    make_orthogonal(w, j + 1, again);
    make_unit(w, lengths_.view().row_block(1, 1).col_block(j, 1));
}

void Krylov::steps(std::int64_t from, std::int64_t to) {
    const auto issue = [this, from, to] {
        for (std::int64_t j = from; j < to; ++j) step(j);
    };
    products_ += to - std::max<std::int64_t>(from, 1);
    if (!op_->only_issues()) return issue();
    if (!round_ || round_from_ != from || round_to_ != to) {
        round_ = op_->device().ops().repeated(issue);
        round_from_ = from, round_to_ = to;
    }
    round_->run();
}

bool Krylov::extend(std::int64_t size) {
    const std::int64_t from = size_;
    steps(from, size);
    const Staged lengths = op_->device().on_host(lengths_.view().col_block(0, size));
    seen_ = op_->device().to_host(h_.view().row_block(0, size).col_block(0, size));
    double scale = 0;
    for (std::int64_t j = 0; j < size; ++j) {
        scale = std::max(scale, std::abs(seen_.at<double>(j, j)));
        if (j < from) continue;
        const double length = value(lengths, 0, j), unit = value(lengths, 1, j);
        if (!std::isfinite(length)) {
            Matrix image = op_->device().zeros(n_, 1, DType::f64);
            apply_finite(*op_, basis_.view().row_block(j, 1).reshaped(n_, 1), image);
            throw Error(
                fmt::format("a product with the operator has the length {}: scale the data down", length));
        }
        scale = std::max(scale, length);
        size_ = j + 1;
        coupling_ = length;
        if (size_ == n_ || length <= 4 * epsilon * std::sqrt(static_cast<double>(n_)) * scale ||
            unit < 0.5) {
            coupling_ = 0;
            return false;
        }
    }
    return true;
}

void Krylov::renew() {
    const Device& device = op_->device();
    const MatrixView w = basis_.view().row_block(size_, 1), again = overlaps_.view().col_block(0, size_),
                     length = lengths_.view().row_block(1, 1).col_block(size_ - 1, 1);
    // A random direction lies outside a proper subspace; what is left of it may be short, and then is drawn
    // anew.
    for (double left = 0; left < 0.5;) {
        device.ops().copy(unit_start(device, n_, ++seed_), w);
        for (int pass = 0; pass < 3; ++pass) {
            make_orthogonal(w, size_, again);
            make_unit(w, length);
        }
        left = read(device, length, 0, 0);
    }
}

Matrix Krylov::projected() const {
    Matrix h(size_, size_, DType::f64);
    for (std::int64_t i = 0; i < size_; ++i)
        for (std::int64_t j = 0; j <= i; ++j)
            h.at<double>(j, i) = h.at<double>(i, j) = seen_.at<double>(i, j);
    return h;
}

Krylov::Ritz Krylov::ritz() const {
    const Device& device = op_->device();
    Ritz result;
    result.y = device.zeros(size_, size_, DType::f64);
    std::vector<double> ascending;
    if (!device.ops().eigh(device.to_device(projected()), ascending, result.y))
        throw Error(fmt::format(
            "the eigensolver did not converge on the {} × {} Lanczos matrix; try another seed or subspace",
            size_, size_));
    const Staged last = device.on_host(std::as_const(result.y).view().row_block(size_ - 1, 1));
    for (std::int64_t c = size_ - 1; c >= 0; --c) {
        result.values.push_back(ascending[static_cast<std::size_t>(c)]);
        result.residuals.push_back(coupling_ * std::abs(value(last, 0, c)));
    }
    return result;
}

Matrix Krylov::vectors(const Ritz& ritz, std::int64_t count) const {
    Matrix result = op_->device().zeros(n_, count, DType::f64);
    op_->device().ops().gemm(true, false, 1, basis_.view().row_block(0, size_), ritz.largest(count), 0,
                             result);
    return result;
}

void Krylov::restart(const Ritz& ritz, std::int64_t count) {
    const Device& device = op_->device();
    backend::Ops& ops = device.ops();
    Matrix kept = device.zeros(count, n_, DType::f64), diagonal(count, count, DType::f64);
    ops.gemm(true, false, 1, ritz.largest(count), std::as_const(basis_).view().row_block(0, size_), 0,
             kept);
    for (std::int64_t c = 0; c < count; ++c)
        diagonal.at<double>(c, c) = ritz.values[static_cast<std::size_t>(count - 1 - c)];
    ops.axpby(1, kept, 0, basis_.view().row_block(0, count));
    ops.copy(diagonal, h_.view().row_block(0, count).col_block(0, count));
    const ConstMatrixView next = std::as_const(basis_).view().row_block(size_, 1);
    size_ = count;
    ops.axpby(1, next, 0, basis_.view().row_block(count, 1));
}

LanczosBasis largest_ritz_vectors(const LinearOperator& op, double factor, std::int64_t k,
                                  std::int64_t subspace, int max_restarts, double tolerance,
                                  std::uint64_t seed) {
    Krylov space(op, factor, subspace, seed);
    for (int restarts = 0;; ++restarts) {
        // A step after a breakdown is of no use: once there was one, ever more steps go before the next
        // look.
        for (std::int64_t steps = subspace; space.size() < subspace;) {
            const bool grown = space.extend(std::min(subspace, space.size() + steps));
            steps = grown ? 2 * steps : 1;
            if (!grown && space.size() < subspace) space.renew();
        }
        const Krylov::Ritz ritz = space.ritz();
        std::int64_t converged = 0;
        for (std::int64_t c = 0; c < k; ++c)
            converged += ritz.residuals[static_cast<std::size_t>(c)] <= tolerance;
        if (converged == k || restarts == max_restarts)
            return {space.vectors(ritz, k), space.products(), converged == k};
        // Half of the room that the wanted vectors leave: what is kept beyond them speeds up the next
        // space.
        space.restart(ritz, std::min(subspace - 1, k + (subspace - k) / 2));
    }
}

}  // namespace fntk

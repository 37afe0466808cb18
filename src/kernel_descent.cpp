// Gradient descent under a kernel that stays. With r = Qᵀ(Y − f₀), and by each eigenvalue λ what is left of r
// and how much of it α holds,
//     left     (1 − ηλ)^T                   e^(−λt)
//     held     (1 − (1 − ηλ)^T)/λ           (1 − e^(−λt))/λ          0 where λ = 0
//     f_t = Y − Q (left ∘ r)      α_t = Q (held ∘ r)      loss ½‖left ∘ r‖²
// `held` by expm1 and log1p, so that nothing cancels in α where λt is small. Where λ is 0 but for rounding r stays, and
// what α would hold of it is seen by no kernel K(x, X), whose rows lie in K's range: it holds nothing.
#include "device_memory.hpp"
#include "spectrum_dense.hpp"

#include <fntk/error.hpp>
#include <fntk/kernel_descent.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace fntk {
namespace {

struct Factor {
    double left = 0, held = 0;
};

/// For left = e^exponent.
Factor factor_of(double exponent, double eigenvalue) {
    return {std::exp(exponent), eigenvalue > 0 ? -std::expm1(exponent) / eigenvalue : 0};
}

void require_shape(ConstMatrixView matrix, const char* argument, std::int64_t rows, std::int64_t cols) {
    if (matrix.rows != rows || matrix.cols != cols)
        throw ShapeError(fmt::format("{} is {} × {}: it must be {} × {}, one row for each of the kernel",
                                     argument, matrix.rows, matrix.cols, rows, cols));
}

}  // namespace

KernelDescent::KernelDescent(const Device& device, ConstMatrixView kernel, ConstMatrixView targets,
                             ConstMatrixView initial, std::int64_t memory)
    : device_(device) {
    const std::int64_t n = kernel.rows, columns = targets.cols;
    require_shape(targets, "targets", n, columns);
    require_real(device, targets, "targets");
    const bool from_zero = initial.data == nullptr && initial.rows == 0;
    if (!from_zero) {
        require_shape(initial, "initial", n, columns);
        require_real(device, initial, "initial");
    }
    eigenvalues_ = eigenpairs(device, kernel, memory, vectors_).eigenvalues;
    const double largest = eigenvalues_.back(), least = eigenvalues_.front();
    if (!std::isfinite(largest))
        throw ValueError("kernel has an eigenvalue beyond the range of double; scale the kernel down");
    // Of the eigensolver, and of K's entries, which of few rows is the larger.
    const double solver = static_cast<double>(std::max<std::int64_t>(n, 64)) *
                          std::numeric_limits<double>::epsilon() * std::abs(largest),
                 rounding = kernel.dtype == DType::f32 ? 0x1p29 * solver : solver;
    if (least < -rounding)
        throw ValueError(fmt::format(
            "kernel has the eigenvalue {:.6g}, of which rounding explains {:.3g}: descent needs "
            "a kernel that is positive semidefinite; pass a Gram matrix",
            least, -rounding));
    // What rounding made negative it made positive as well.
    const double noise = std::max(solver, -2 * least);
    for (double& eigenvalue : eigenvalues_)
        if (eigenvalue <= noise) eigenvalue = 0;

    Matrix missing = as_double(device, targets);
    targets_ = Matrix::copy_of(device.on_host(missing));
    if (!from_zero) device.ops().axpby(-1, as_double(device, initial), 1, missing);
    Matrix along = device.zeros(n, columns, DType::f64);
    device.ops().gemm(true, false, 1, vectors_, missing, 0, along);
    along_ = device.to_host(std::move(along));
}

double KernelDescent::step_limit() const {
    const double largest = eigenvalues_.back();
    return largest > 0 ? 2 / largest : std::numeric_limits<double>::infinity();
}

template <class Factors>
DescentState KernelDescent::state(const Factors& factors) const {
    const std::int64_t n = along_.rows(), columns = along_.cols();
    Matrix scaled(n, 2 * columns, DType::f64);  // left ∘ r, held ∘ r
    DescentState result{targets_.copy(), {}, 0};
    for (std::int64_t j = 0; j < n; ++j) {
        const Factor factor = factors(eigenvalues_[static_cast<std::size_t>(j)]);
        for (std::int64_t c = 0; c < columns; ++c) {
            const double r = along_.at<double>(j, c), left = factor.left * r;
            result.loss += 0.5 * left * left;
            scaled.at<double>(j, c) = left;
            scaled.at<double>(j, columns + c) = factor.held * r;
        }
    }
    Matrix turned = device_.zeros(n, 2 * columns, DType::f64);
    device_.ops().gemm(false, false, 1, vectors_, device_.staged(scaled), 0, turned);
    const Matrix found = device_.to_host(std::move(turned));
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t c = 0; c < columns; ++c)
            result.outputs.at<double>(i, c) -= found.at<double>(i, c);
    result.dual = Matrix::copy_of(found.view().col_block(columns, columns));
    return result;
}

DescentState KernelDescent::after(std::int64_t steps, double step) const {
    if (steps < 0)
        throw ValueError(fmt::format("steps = {}: it must not be negative; 0 is the start", steps));
    if (!(step > 0) || !(step < step_limit()))
        throw ValueError(
            fmt::format("step = {}: it must lie between 0 and 2/λ_max = {:.6g}, from which on "
                        "descent does not converge; 1/λ_max is usual",
                        step, step_limit()));
    const double count = static_cast<double>(steps);
    return state([&](double eigenvalue) -> Factor {
        const double kept = 1 - step * eigenvalue;
        if (kept > 0) return factor_of(count * std::log1p(-step * eigenvalue), eigenvalue);
        const double left = std::pow(kept, count);
        return {left, (1 - left) / eigenvalue};
    });
}

DescentState KernelDescent::at(double time) const {
    if (!(time >= 0) || !std::isfinite(time))
        throw ValueError(
            fmt::format("time = {}: it must be finite and not negative; for the end of "
                        "training take fit_ridge with a ridge of 0",
                        time));
    return state([&](double eigenvalue) { return factor_of(-eigenvalue * time, eigenvalue); });
}

}  // namespace fntk

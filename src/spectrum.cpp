// Eigenvalues of symmetric K (n × n).
//     dense      K Q = Q Λ, kept only if max_i ‖K q_i − λ_i q_i‖/‖K‖₂ ≤ 1e-10·n and max |QᵀQ − I| ≤ 1e-10·n
//     Lanczos    the largest Ritz pair of a Krylov space that grows (spectrum_krylov.hpp)
// K is scaled by a power of two before the eigensolver sees it, so that any scale is legal.
#include "byte_counts.hpp"
#include "device_memory.hpp"
#include "spectrum_dense.hpp"
#include "spectrum_krylov.hpp"
#include "spectrum_scaled.hpp"

#include <fntk/error.hpp>
#include <fntk/spectrum.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace fntk {
namespace {

/// max_j ‖(K Q)_j − λ_j q_j‖.
double largest_residual(ConstMatrixView product, ConstMatrixView vectors,
                        const std::vector<double>& eigenvalues) {
    std::vector<double> squares(eigenvalues.size());
    for (std::int64_t i = 0; i < product.rows; ++i) {
        const double* p = product.row<double>(i);
        const double* q = vectors.row<double>(i);
        for (std::size_t j = 0; j < squares.size(); ++j) {
            const double difference = p[j] - eigenvalues[j] * q[j];
            squares[j] += difference * difference;
        }
    }
    return std::sqrt(*std::max_element(squares.begin(), squares.end()));
}

double distance_from_identity(ConstMatrixView matrix) {
    double distance = 0;
    for (std::int64_t i = 0; i < matrix.rows; ++i) {
        const double* row = matrix.row<double>(i);
        for (std::int64_t j = 0; j < matrix.cols; ++j)
            distance = std::max(distance, std::abs(row[j] - (i == j ? 1.0 : 0.0)));
    }
    return distance;
}

}  // namespace

void require_symmetric(ConstMatrixView matrix, const char* argument) {
    if (matrix.rows != matrix.cols || matrix.rows < 1)
        throw ShapeError(
            fmt::format("{} is {} × {}: it must be square with at least one row; pass a Gram matrix",
                        argument, matrix.rows, matrix.cols));
    require_real(matrix, argument);
    double largest = 0, worst = 0;
    std::int64_t row = 0, col = 0;
    const auto scan = [&](auto type) {
        using T = decltype(type);
        for (std::int64_t i = 0; i < matrix.rows; ++i) {
            const T* values = matrix.row<T>(i);
            for (std::int64_t j = 0; j <= i; ++j) {
                const double below = values[j], above = matrix.at<T>(j, i);
                largest = std::max({largest, std::abs(below), std::abs(above)});
                const double difference = std::abs(0.5 * below - 0.5 * above);
                if (difference > worst) worst = difference, row = i, col = j;
            }
        }
    };
    matrix.dtype == DType::f32 ? scan(float{}) : scan(double{});
    const double allowed = matrix.dtype == DType::f32 ? 1e-6 : 1e-12;
    if (worst > 0.5 * allowed * largest)
        throw ValueError(fmt::format(
            "{} is not symmetric: ({}, {}) holds {}, ({}, {}) holds {}, and they may differ by {} of "
            "the largest entry {}; symmetrise it as (K + Kᵀ)/2",
            argument, row, col, value(matrix, row, col), col, row, value(matrix, col, row), allowed,
            largest));
}

double Spectrum::condition() const {
    return min() > 0 ? max() / min() : std::numeric_limits<double>::infinity();
}

bool Spectrum::positive() const {
    const double rounding =
        static_cast<double>(eigenvalues.size()) * std::numeric_limits<double>::epsilon() * max();
    return min() > std::max(rounding, 0.0);
}

SpectrumPlan plan_spectrum(std::int64_t order, std::int64_t memory) {
    if (order < 1) throw ValueError(fmt::format("order = {}: it must be at least 1", order));
    const double limit = budget_of(memory), n = static_cast<double>(order),
                 bytes = 40 * n * n + workspaces;  // K, a copy, Q, and LAPACK's 2n²
    if (bytes > limit)
        throw MemoryError(fmt::format(
            "memory = {}: all {} eigenvalues and their vectors take {} at least beside the kernel; allow "
            "that, or take a few with extremal(), estimates with estimate_trace()",
            in_words(limit), order, in_words(bytes)));
    return {
        whole_bytes(bytes), 13 * n * n * n,
        fmt::format("all {} eigenvalues, with vectors that check them: at most {}, {} of them workspaces",
                    order, in_words(bytes), in_words(workspaces))};
}

Spectrum spectrum(const Device& device, ConstMatrixView kernel, std::int64_t memory) {
    Matrix vectors;
    return eigenpairs(device, kernel, memory, vectors);
}

Spectrum eigenpairs(const Device& device, ConstMatrixView kernel, std::int64_t memory, Matrix& vectors) {
    const std::int64_t n = kernel.rows;
    if (memory != 0) (void)plan_spectrum(n, memory);
    backend::Ops& ops = device.ops();
    int exponent = 0;
    const Matrix k = [&] {
        const Staged host = device.on_host(kernel);
        require_symmetric(host, "kernel");
        return device.to_device(scaled_symmetric(host, exponent));
    }();
    vectors = device.zeros(n, n, DType::f64);
    Spectrum result;
    if (!ops.eigh(k, result.eigenvalues, vectors))
        throw Error(fmt::format(
            "the eigensolver did not converge on the {} × {} kernel; add a small ridge to its diagonal, or "
            "try device \"reference\"",
            n, n));
    const double norm = std::max(std::abs(result.min()), std::abs(result.max()));
    Matrix product = device.zeros(n, n, DType::f64);
    ops.gemm(false, false, 1, k, vectors, 0, product);
    const double residual =
        largest_residual(device.on_host(product), device.on_host(vectors), result.eigenvalues);
    result.residual = norm > 0 ? residual / norm : residual;
    ops.gemm(true, false, 1, vectors, vectors, 0, product);
    result.orthogonality = distance_from_identity(device.on_host(product));

    const double limit = 1e-10 * static_cast<double>(n);
    if (!(result.residual <= limit) || !(result.orthogonality <= limit))
        throw Error(
            fmt::format("the eigenvectors of the {} × {} kernel fail their check: residual {:.3g}, "
                        "orthogonality {:.3g}, limit {:.3g}; try device \"reference\" or another LAPACK",
                        n, n, result.residual, result.orthogonality, limit));
    for (double& eigenvalue : result.eigenvalues) eigenvalue = std::ldexp(eigenvalue, exponent);
    return result;
}

namespace {

void check(const LinearOperator& op, const LanczosOptions& options) {
    require_square(op);
    if (options.max_iterations < 1)
        throw ValueError(fmt::format("max_iterations = {}: it must be at least 1; 200 is usual",
                                     options.max_iterations));
    if (!(options.tolerance >= 0) || !std::isfinite(options.tolerance))
        throw ValueError(fmt::format("tolerance = {}: it must be finite and not negative; 1e-4 is usual",
                                     options.tolerance));
}

}  // namespace

ExtremalEigenvalue lambda_max(const LinearOperator& op, LanczosOptions options) {
    check(op, options);
    const std::int64_t n = op.rows(), most = std::min<std::int64_t>(options.max_iterations, n);
    const Device& device = op.device();
    backend::Ops& ops = device.ops();
    Krylov space(op, 1, most, options.seed);
    space.extend(1);
    ExtremalEigenvalue result;
    Krylov::Ritz ritz = space.ritz();
    while (true) {
        const bool exhausted = space.coupling() == 0;
        result.converged = exhausted || ritz.residuals[0] <= options.tolerance * std::abs(ritz.values[0]);
        const std::int64_t k = space.size();
        if (result.converged || k == most) break;
        // All the small problems together cost a few times the last one.
        ritz = {};
        space.extend(std::min(most, k + std::max<std::int64_t>(1, k / 8)));
        ritz = space.ritz();
    }
    result.iterations = static_cast<int>(space.size());
    result.value = std::ldexp(ritz.values[0], space.exponent());
    const Matrix q = space.vectors(ritz, 1);
    Matrix next = device.zeros(n, 1, DType::f64);
    apply_finite(op, q, next);
    ops.axpby(-result.value, q, 1, next);
    result.residual = ops.norm(next) / ops.norm(q);
    return result;
}

std::int64_t numerical_rank(const Device& device, ConstMatrixView inputs) {
    require_finite(device, inputs, "inputs");
    if (inputs.empty()) return 0;
    const bool wide = inputs.cols > inputs.rows;
    const std::int64_t n = std::min(inputs.rows, inputs.cols), length = std::max(inputs.rows, inputs.cols);
    constexpr std::int64_t block = 1024;  // rows of XᵀX's sum, columns of XXᵀ's
    Matrix product = device.zeros(n, n, DType::f64);
    for (std::int64_t i = 0; i < length; i += block) {
        const std::int64_t count = std::min(block, length - i);
        const Matrix x = as_double(device, wide ? inputs.col_block(i, count) : inputs.row_block(i, count));
        device.ops().gemm(!wide, wide, 1, x, x, i == 0 ? 0 : 1, product);
    }
    std::vector<double> eigenvalues;
    if (!device.ops().eigh(product, eigenvalues, {}))
        throw Error(
            fmt::format("the rank of the {} × {} inputs was not found: their eigenvalues did not converge",
                        inputs.rows, inputs.cols));
    const double threshold = 1e-12 * static_cast<double>(length) * eigenvalues.back();
    return std::count_if(eigenvalues.begin(), eigenvalues.end(),
                         [=](double value) { return value > threshold; });
}

}  // namespace fntk

// A draw of a network on the pilot rows, measured against a kernel of infinite width.
// Invariants. Reference kernels and their eigenvalues are double whatever the element type of the data; a
// draw is in the element type of the data, which is what its user will run.
#include "device_memory.hpp"
#include "planner_parts.hpp"

#include <fntk/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace fntk {
namespace {

double ratio_or_infinity(double a, double b) {
    return b > 0 ? a / b : std::numeric_limits<double>::infinity();
}

/// ‖A − B‖_F/‖B‖_F, both in host memory, B float64.
double relative_distance(ConstMatrixView a, ConstMatrixView b) {
    double largest = 0, difference = 0, norm = 0;
    for (std::int64_t i = 0; i < b.rows; ++i)
        for (std::int64_t j = 0; j < b.cols; ++j)
            largest = std::max(largest, std::abs(b.row<double>(i)[j]));
    const int scale = largest > 0 ? -std::ilogb(largest) : 0;  // by a power of two, so that squares fit
    for (std::int64_t i = 0; i < a.rows; ++i)
        for (std::int64_t j = 0; j < a.cols; ++j) {
            const double want = std::ldexp(b.row<double>(i)[j], scale),
                         off = std::ldexp(value(a, i, j), scale) - want;
            difference += off * off;
            norm += want * want;
        }
    return std::sqrt(ratio_or_infinity(difference, norm));
}

/// `count` rows, evenly spaced.
std::vector<std::int64_t> evenly_spaced(std::int64_t rows, std::int64_t count) {
    std::vector<std::int64_t> result;
    for (std::int64_t i = 0; i < count; ++i) result.push_back(i * rows / count);
    return result;
}

Matrix gathered(ConstMatrixView inputs, const std::vector<std::int64_t>& rows) {
    Matrix result(static_cast<std::int64_t>(rows.size()), inputs.cols, inputs.dtype);
    for (std::size_t i = 0; i < rows.size(); ++i)
        std::memcpy(result.view().row_block(static_cast<std::int64_t>(i), 1).data,
                    inputs.row_block(rows[i], 1).data,
                    static_cast<std::size_t>(inputs.cols) * size_of(inputs.dtype));
    return result;
}

template <class Body>
double seconds_of(Body&& body) {
    const auto begin = std::chrono::steady_clock::now();
    body();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// −1, 0 or 1 as row i comes before, equals or comes behind row j.
int compare_rows(ConstMatrixView matrix, std::int64_t i, std::int64_t j) {
    const auto compare = [&](auto type) {
        using T = decltype(type);
        const T *a = matrix.row<T>(i), *b = matrix.row<T>(j);
        const auto [at, bt] = std::mismatch(a, a + matrix.cols, b);
        return at == a + matrix.cols ? 0 : *at < *bt ? -1 : 1;
    };
    return matrix.dtype == DType::f32 ? compare(float{}) : compare(double{});
}

constexpr const char* singular_remedy = "remove it, or use criterion frobenius";

}  // namespace

double ReferenceKernel::condition() const { return ratio_or_infinity(lambda_max, lambda_min); }

void require_scale(ConstMatrixView inputs) {
    double largest = 0;
    for (std::int64_t i = 0; i < inputs.rows; ++i)
        for (std::int64_t j = 0; j < inputs.cols; ++j)
            largest = std::max(largest, std::abs(value(inputs, i, j)));
    const double most = inputs.dtype == DType::f32 ? 1e18 : 1e150,
                 norm = largest * std::sqrt(static_cast<double>(inputs.cols));
    if (largest > 0 && (norm > most || largest < 1 / most))
        throw ValueError(fmt::format(
            "inputs: the largest absolute value is {:.3g}; it must lie in [{}, {:.3g}], so that kernels "
            "are "
            "in the range of {}: scale the data",
            largest, 1 / most, most / std::sqrt(static_cast<double>(inputs.cols)), name(inputs.dtype)));
}

void require_distinct_rows(ConstMatrixView inputs) {
    for (std::int64_t i = 0; i < inputs.rows; ++i) {
        std::int64_t j = 0;
        while (j < inputs.cols && value(inputs, i, j) == 0) ++j;
        if (j == inputs.cols)
            throw ValueError(fmt::format("inputs: row {} is zero, so that λ_min of the kernel is 0; {}", i,
                                         singular_remedy));
    }
    std::vector<std::int64_t> order(static_cast<std::size_t>(inputs.rows));
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](std::int64_t i, std::int64_t j) {
        const int sign = compare_rows(inputs, i, j);
        return sign != 0 ? sign < 0 : i < j;
    });
    for (std::size_t i = 1; i < order.size(); ++i)
        if (compare_rows(inputs, order[i - 1], order[i]) == 0)
            throw ValueError(
                fmt::format("inputs: rows {} and {} are equal, so that λ_min of the kernel is 0; {}",
                            order[i - 1], order[i], singular_remedy));
}

std::int64_t draw_bytes(const NetworkSpec& spec, std::int64_t n) {
    const auto d = static_cast<double>(spec.dim), p = static_cast<double>(spec.rank),
               m = static_cast<double>(spec.width), k = static_cast<double>(spec.outputs),
               rows = static_cast<double>(n), s = static_cast<double>(size_of(spec.precision));
    const double digits = spec.precision == DType::f32 ? 1 : 3;
    const double down = spec.down == Down::identity ? 0 : p * d * (16 + 4 * digits);
    const double basis = spec.down == Down::pca ? 2 * 8 * d * d + 8 * 4096 * d : 0;
    const double up = s * m * p * (spec.up == Up::gaussian || spec.train.up ? 1 : 0);
    const double batch = rows * d * (2 * s + 8) + rows * p * (s + 24) + rows * p * k * (s + 4) +
                         rows * k * 16 + rows * (m + 64) / 8 * (spec.train.up ? 2 : 0);
    const double limit = 8 * (2 * rows * p + 4 * 512 * (d + p + 512));
    const double kernels = rows * rows * (2 * s + 6 * 8);  // Gram, its copies, eigenvectors, two references
    const double total = down + basis + up + batch + limit + kernels;
    return total < 9e18 ? static_cast<std::int64_t>(total) : std::numeric_limits<std::int64_t>::max();
}

void check_budget(const PlannerOptions& options, ConstMatrixView inputs) {
    if (options.memory_budget == 0) return;
    const std::int64_t rows = std::min(inputs.rows, options.pilot_samples),
                       least = draw_bytes({.dim = inputs.cols,
                                           .width = 1,
                                           .rank = 1,
                                           .outputs = options.outputs,
                                           .down = Down::identity,
                                           .up = Up::rademacher,
                                           .train = options.train,
                                           .precision = inputs.dtype},
                                          rows);
    if (least > options.memory_budget)
        throw MemoryError(
            fmt::format("memory_budget = {}: kernels of {} rows and their eigenvalues take {} "
                        "bytes at least; allow as much, or use fewer pilot_samples",
                        options.memory_budget, rows, least));
    const auto r = static_cast<double>(std::min(inputs.rows, inputs.cols));
    if (const double rank = 8 * (2 * r * r + 1024 * r); rank > static_cast<double>(options.memory_budget))
        throw MemoryError(fmt::format(
            "memory_budget = {}: the rank of the {} × {} inputs takes {:.0f} bytes, two matrices of order "
            "{:.0f}; allow as much, or give fewer rows or columns",
            options.memory_budget, inputs.rows, inputs.cols, rank, r));
}

PilotSet::PilotSet(const Device& device, ConstMatrixView inputs, const PlannerOptions& options)
    : device_(device),
      inputs_(inputs),
      criterion_(options.criterion),
      budget_(options.memory_budget),
      chosen_(evenly_spaced(inputs.rows, std::min(inputs.rows, options.pilot_samples))),
      rows_(gathered(inputs, chosen_)),
      exact_(Matrix::converted(rows_, DType::f64)) {
    limit_ = reference(limit_kernel(device_, {}, options.train, exact_));
}

ReferenceKernel PilotSet::reference(Matrix kernel) const {
    const Spectrum eigen = spectrum(device_, kernel);
    return {std::move(kernel), eigen.min(), eigen.max()};
}

void PilotSet::require_definite_limit() const {
    const std::int64_t n = size();
    const auto k = [&](std::int64_t i, std::int64_t j) { return limit_.kernel.at<double>(i, j); };
    double largest = 0, closest = 0;
    std::int64_t row = 0, other = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        largest = std::max(largest, k(i, i));
        for (std::int64_t j = 0; j < i; ++j)
            if (const double cosine = k(i, j) / std::sqrt(k(i, i)) / std::sqrt(k(j, j)); cosine > closest)
                closest = cosine, row = j, other = i;
    }
    const double rounding = rows_.dtype() == DType::f32 ? std::numeric_limits<float>::epsilon()
                                                        : std::numeric_limits<double>::epsilon();
    const double floor =
        std::max(static_cast<double>(n) * std::numeric_limits<double>::epsilon() * limit_.lambda_max,
                 std::sqrt(static_cast<double>(n)) * rounding * largest);
    if (limit_.lambda_min > floor) return;
    throw ValueError(fmt::format(
        "inputs: λ_min of the limit kernel is {:.3g}, not above the rounding of {}, {:.3g}; rows {} and {} "
        "are the closest to multiples of each other (1 − cosine {:.3g}): remove one of such rows, use "
        "float64, or criterion frobenius",
        limit_.lambda_min, name(rows_.dtype()), floor, chosen_[static_cast<std::size_t>(row)],
        chosen_[static_cast<std::size_t>(other)], 1 - closest));
}

double PilotSet::squared_norm() const {
    const Matrix x = device_.to_device(exact_.view());
    Matrix product = device_.zeros(size(), size(), DType::f64);
    device_.ops().gemm(false, true, 1, x, x, 0, product);
    const ExtremalEigenvalue top = lambda_max(DenseOperator(device_, product));
    return top.value + top.residual;  // an eigenvalue lies within the residual of the one found
}

Network PilotSet::draw(const NetworkSpec& spec) {
    if (const std::int64_t bytes = draw_bytes(spec, size()); budget_ > 0 && bytes > budget_)
        throw MemoryError(
            fmt::format("memory_budget = {}: a draw of p = {} and m = {} on {} rows takes up to {} bytes; "
                        "allow as much, "
                        "or use fewer pilot_samples",
                        budget_, spec.rank, spec.width, size(), bytes));
    if (spec.down != Down::pca) return Network::create(spec);
    const auto [at, fresh] = bases_.try_emplace(spec.rank);
    if (fresh) at->second = Matrix::copy_of(Network::create(spec, inputs_).down());
    return Network::from_tensors(spec, {.down = at->second});
}

ReferenceKernel PilotSet::limit_at(const Network& network) const {
    if (network.spec().down == Down::identity)
        return {limit_.kernel.copy(), limit_.lambda_min, limit_.lambda_max};
    return reference(fixed_down_limit(device_, network, exact_));
}

KernelError PilotSet::error(const ReferenceKernel& kernel, const ReferenceKernel& reference) const {
    KernelError result;
    result.frobenius = relative_distance(kernel.kernel, reference.kernel);
    switch (criterion_) {
        case PlanCriterion::lambda_min:
            result.criterion = reference.lambda_min > 0 ? 1 - kernel.lambda_min / reference.lambda_min : 1;
            break;
        case PlanCriterion::condition:
            result.criterion = kernel.lambda_min > 0 && reference.lambda_min > 0
                                   ? kernel.condition() / reference.condition() - 1
                                   : std::numeric_limits<double>::infinity();
            break;
        case PlanCriterion::frobenius:
            result.criterion = result.frobenius;
            break;
    }
    return result;
}

MeasuredDraw PilotSet::measure(const Network& network, const ReferenceKernel& reference) const {
    const NetworkSpec& spec = network.spec();
    PlannerDraw draw{.rank = spec.rank, .width = spec.width, .seed = spec.seed};
    const Network here = network.on(device_);
    std::optional<Tangent> at;
    draw.tangent_seconds = seconds_of([&] {  // a copy to the host waits for the device
        at.emplace(tangent(device_, here, rows_));
        (void)device_.to_host(at->values());
    });
    Matrix kernel;
    draw.gram_seconds = seconds_of([&] { kernel = device_.to_host(gram(*at, KernelOutput::trace)); });
    at.reset();
    ReferenceKernel measured = this->reference(Matrix::converted(kernel, DType::f64));
    const KernelError off = error(measured, reference);
    draw.error = off.criterion;
    draw.frobenius = off.frobenius;
    draw.lambda_min = measured.lambda_min;
    return {draw, std::move(measured)};
}

PlannerDraw PilotSet::measure_limit(const Network& network) const {
    const ReferenceKernel kernel = limit_at(network);
    const KernelError off = error(kernel, limit_);
    return {.rank = network.spec().rank,
            .width = 0,
            .seed = network.spec().seed,
            .error = off.criterion,
            .frobenius = off.frobenius,
            .lambda_min = kernel.lambda_min};
}

}  // namespace fntk

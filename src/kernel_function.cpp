// Kernels tile by tile. A network's kernel comes from its tangents (kernel.cpp). The limit of a homogeneous
// σ is a function of unit rows u and norms |x|, K∞ = |x||x'|·κ(<u, u'>), made by one operation; that of erf
// by limit_kernel.
#include "device_memory.hpp"
#include "kernel_bytes.hpp"
#include "limit_check.hpp"
#include "tiles.hpp"

#include <fntk/error.hpp>
#include <fntk/kernel_function.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace fntk {
namespace {

struct PolarRows {
    Matrix unit;   // n × d; a row of zeros stays one
    Matrix norms;  // n × 1
};

/// The rows in polar form, by arithmetic in double on rows scaled to their largest entry; in the device's
/// memory.
PolarRows polar_rows(const Device& device, ConstMatrixView inputs) {
    const Staged owner = device.on_host(inputs);
    PolarRows result{Matrix(inputs.rows, inputs.cols, inputs.dtype), Matrix(inputs.rows, 1, inputs.dtype)};
    const auto fill = [&](auto type) {
        using T = decltype(type);
        for (std::int64_t i = 0; i < inputs.rows; ++i) {
            const T* x = owner.view().row<T>(i);
            T* unit = result.unit.row<T>(i);
            double largest = 0, sum = 0;
            for (std::int64_t j = 0; j < inputs.cols; ++j)
                largest = std::max(largest, std::abs(static_cast<double>(x[j])));
            if (largest == 0) continue;
            for (std::int64_t j = 0; j < inputs.cols; ++j) sum += x[j] / largest * (x[j] / largest);
            const double norm = std::sqrt(sum);
            for (std::int64_t j = 0; j < inputs.cols; ++j) unit[j] = static_cast<T>(x[j] / largest / norm);
            result.norms.row<T>(i)[0] = static_cast<T>(largest * norm);
        }
    };
    inputs.dtype == DType::f32 ? fill(float{}) : fill(double{});
    return {device.to_device(std::move(result.unit)), device.to_device(std::move(result.norms))};
}

}  // namespace

KernelFunction::KernelFunction(std::optional<Network> network, KernelOutput output,
                               ActivationSpec activation, Train train, std::int64_t dim, DType precision)
    : network_(std::move(network)),
      output_(output),
      activation_(activation),
      train_(train),
      dim_(dim),
      precision_(precision) {}

KernelFunction KernelFunction::of_network(Network network, KernelOutput output) {
    const NetworkSpec spec = network.spec();
    if (!spec.train.any()) throw ValueError("train is empty; name at least one of down, up, readout");
    return {std::move(network), output, spec.activation, spec.train, spec.dim, spec.precision};
}

KernelFunction KernelFunction::limit(ActivationSpec activation, Train train, std::int64_t dim,
                                     DType precision) {
    if (dim < 1)
        throw ValueError(fmt::format("dim = {}: it must be at least 1, the columns of the data", dim));
    if (precision != DType::f32 && precision != DType::f64)
        throw ValueError(fmt::format("precision is {}; it must be float32 or float64", name(precision)));
    require_limit(activation, train);
    return {std::nullopt, KernelOutput::trace, activation, train, dim, precision};
}

const Network& KernelFunction::network() const {
    if (is_limit()) throw ValueError("the kernel is an infinite-width limit: it has no network");
    return *network_;
}

std::int64_t KernelFunction::outputs() const {
    return output_ == KernelOutput::full ? network().spec().outputs : 1;
}

struct KernelBatch::State {
    Device device;
    KernelFunction function;
    Staged inputs;
    std::optional<Tangent> tangent{};
    PolarRows polar{};  // of the limit of a homogeneous σ

    [[nodiscard]] bool arc() const { return function.is_limit() && function.activation().homogeneous(); }
};

KernelBatch::KernelBatch(const Device& device, const KernelFunction& function, ConstMatrixView inputs)
    : state_(std::make_unique<State>(State{device, function, device.staged(inputs)})) {
    if (inputs.cols != function.dim())
        throw ShapeError(fmt::format("inputs has {} columns, the kernel was made for dim = {}", inputs.cols,
                                     function.dim()));
    if (inputs.dtype != function.precision())
        throw ValueError(fmt::format("inputs is {}, the kernel works in {}; convert them",
                                     name(inputs.dtype), name(function.precision())));
    if (!function.is_limit()) {
        state_->tangent =
            fntk::tangent(device, function.network(), state_->inputs.view(), {.values = false});
        return;
    }
    require_finite(device, inputs, "inputs");
    if (state_->arc()) state_->polar = polar_rows(device, state_->inputs);
}
KernelBatch::~KernelBatch() = default;
KernelBatch::KernelBatch(KernelBatch&&) noexcept = default;
KernelBatch& KernelBatch::operator=(KernelBatch&&) noexcept = default;

const KernelFunction& KernelBatch::function() const { return state_->function; }
const Device& KernelBatch::device() const { return state_->device; }
ConstMatrixView KernelBatch::inputs() const { return state_->inputs; }
std::int64_t KernelBatch::size() const { return state_->inputs.view().rows; }
const Tangent& KernelBatch::tangent() const {
    if (!state_->tangent) throw ValueError("the kernel is an infinite-width limit: it has no tangent");
    return *state_->tangent;
}

void KernelBatch::tile(std::int64_t first, std::int64_t count, const KernelBatch& cols,
                       std::int64_t col_first, std::int64_t col_count, MatrixView out) const {
    const KernelFunction &here = function(), &there = cols.function();
    if (here.is_limit() != there.is_limit() || here.output() != there.output() ||
        here.train() != there.train())
        throw ValueError("the two batches were made for different kernels; make both for one");
    if (!here.is_limit())
        return gram_tile({&tangent(), first, count}, {&cols.tangent(), col_first, col_count}, here.output(),
                         here.train(), out);
    check_tile({first, count, size()}, {col_first, col_count, cols.size()}, out, here.precision(),
               device());
    if (here.activation().kind != there.activation().kind ||
        here.activation().slope != there.activation().slope || here.dim() != there.dim() ||
        here.precision() != there.precision())
        throw ValueError("the two batches were made for different kernels; make both for one");
    const bool same = this == &cols && first == col_first && count == col_count;
    if (!state_->arc()) {
        const Matrix kernel =
            limit_kernel(device(), here.activation(), here.train(), inputs().row_block(first, count),
                         same ? ConstMatrixView{} : cols.inputs().row_block(col_first, col_count));
        return device().ops().copy(kernel, out);
    }
    const PolarRows &a = state_->polar, &b = cols.state_->polar;
    device().ops().arc_gram(
        a.unit.view().row_block(first, count), a.norms.view().row_block(first, count),
        b.unit.view().row_block(col_first, col_count), b.norms.view().row_block(col_first, col_count),
        here.activation().closed_slope(), here.train().down + here.train().up, here.train().readout, out);
}

std::vector<double> KernelBatch::diagonal() const {
    constexpr std::int64_t step = 64;  // tiles on the diagonal, of which the diagonal is kept
    const std::int64_t k = function().outputs();
    Matrix tile_owner = device().zeros(step * k, step * k, function().precision());
    std::vector<double> result;
    result.reserve(static_cast<std::size_t>(rows()));
    for (std::int64_t i = 0; i < size(); i += step) {
        const std::int64_t count = std::min(step, size() - i);
        const MatrixView part = tile_owner.view().row_block(0, count * k).col_block(0, count * k);
        tile(i, count, *this, i, count, part);
        const Staged host = device().on_host(part);
        for (std::int64_t j = 0; j < count * k; ++j) result.push_back(value(host, j, j));
    }
    return result;
}

std::int64_t batch_bytes(const KernelFunction& function, std::int64_t samples) {
    if (samples < 0)
        throw ValueError(
            fmt::format("samples = {}: it must be at least 0; give the rows of the inputs", samples));
    return whole_bytes(batch_bytes(kernel_extents(function), static_cast<double>(samples)));
}

TiledOperator::TiledOperator(const KernelBatch& rows, const KernelBatch& cols, std::int64_t tile)
    : rows_(&rows), cols_(&cols), tile_(tile) {
    if (tile < 1) throw ValueError(fmt::format("tile = {}: it must be at least 1; 2048 is usual", tile));
}

void TiledOperator::apply(ConstMatrixView v, MatrixView out) const {
    check_product(*this, v, out);
    with_vectors_on_device(device(), v, out, [&](ConstMatrixView from, MatrixView to) {
        backend::Ops& ops = device().ops();
        const std::int64_t k = rows_->function().outputs();
        const bool symmetric = rows_ == cols_;
        ops.zero(to);
        Matrix owner =
            device().zeros(std::min(tile_, rows_->size()) * k, std::min(tile_, cols_->size()) * k, dtype());
        for (std::int64_t i = 0; i < rows_->size(); i += tile_) {
            const std::int64_t count = std::min(tile_, rows_->size() - i);
            for (std::int64_t j = 0; j < (symmetric ? i + 1 : cols_->size()); j += tile_) {
                const std::int64_t col_count = std::min(tile_, cols_->size() - j);
                const MatrixView tile = owner.view().row_block(0, count * k).col_block(0, col_count * k);
                rows_->tile(i, count, *cols_, j, col_count, tile);
                ops.gemm(false, false, 1, tile, from.row_block(j * k, col_count * k), 1,
                         to.row_block(i * k, count * k));
                if (symmetric && i != j)
                    ops.gemm(true, false, 1, tile, from.row_block(i * k, count * k), 1,
                             to.row_block(j * k, col_count * k));
            }
        }
    });
}

std::unique_ptr<LinearOperator> make_operator(const KernelBatch& rows, const KernelBatch& cols,
                                              std::int64_t tile) {
    const KernelFunction& function = rows.function();
    if (function.has_moments())
        return std::make_unique<KernelOperator>(rows.tangent(), cols.tangent(), function.output(),
                                                function.train());
    return std::make_unique<TiledOperator>(rows, cols, tile);
}

}  // namespace fntk

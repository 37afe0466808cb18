// The wide pass: exact integers where the network allows it, floating point else.
#include "device_memory.hpp"

#include <fntk/error.hpp>
#include <fntk/tangent.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <cmath>
#include <utility>

namespace fntk {

namespace {

/// s = 1/√p, and 1/√m, each rounded once.
double inverse_root(std::int64_t n) { return 1.0 / std::sqrt(static_cast<double>(n)); }

}  // namespace

Tangent::Tangent(const Device& device, const Network& network, ConstMatrixView inputs,
                 TangentOptions options)
    : device_(device), network_(network.on(device_)) {
    const NetworkSpec& spec = network_.spec();
    if (inputs.cols != spec.dim)
        throw ShapeError(fmt::format(
            "inputs have {} columns, the network was made for dim {}; use data of that many columns "
            "or a network made for these",
            inputs.cols, spec.dim));
    if (inputs.dtype != spec.precision)
        throw ValueError(
            fmt::format("inputs are {}, the network's precision is {}; convert them with Matrix::converted",
                        name(inputs.dtype), name(spec.precision)));
    if (!options.known_finite) require_finite(device_, inputs, "inputs");
    inputs_ = device_.staged(inputs);
    if (!options.only_these) {
        options.gradients |= spec.train.down;
        options.gates |= spec.train.up;
    }
    options.gates &= spec.activation.homogeneous();

    hidden_ = unwritten(device_, inputs.rows, spec.rank, spec.precision);
    if (options.values) values_ = unwritten(device_, inputs.rows, spec.outputs, spec.precision);
    if (options.gradients)
        gradients_ = unwritten(device_, inputs.rows, spec.outputs * spec.rank, spec.precision);
    if (options.gates) gates_ = unwritten_bits(device_, inputs.rows, spec.width);
    if (network_.exactness() == Exactness::integer)
        exact_pass(options);
    else
        floating_pass(options);
}

void Tangent::exact_pass(TangentOptions keep) {
    const NetworkSpec& spec = network_.spec();
    const std::int64_t n = size(), p = spec.rank, k = spec.outputs;
    const bool wide = spec.precision == DType::f64;
    const double closed = spec.activation.closed_slope(), open = spec.activation.open_slope();
    backend::Ops& ops = device_.ops();

    hidden_int_ = unwritten(device_, n, p, wide ? DType::i64 : DType::i32);
    hidden_exp_ = unwritten(device_, n, 1, DType::i32);
    ops.hidden_rows(inputs_, network_.fixed_down(), inverse_root(p), network_.hidden_bits(), hidden_int_,
                    hidden_exp_, hidden_);

    // f = (closed·<h, S> + (open − closed)·f̂·2^e)/√m; S is needed only where closed gates leak
    const double root_m = inverse_root(spec.width);
    const bool leaks = closed != 0 && (keep.values || keep.gradients);
    const Matrix sum = leaks ? open_sum() : Matrix{};
    if (keep.values) values_int_ = unwritten(device_, n, k, wide ? DType::f64 : DType::i64);
    if (keep.gradients) gradients_int_ = unwritten(device_, n, k * p, DType::i32);
    if (keep.any())
        ops.wide_pass_scaled(network_.up(), network_.readout(), hidden_int_, network_.hidden_bits(),
                             {keep.gates ? gates_.view() : BitView{}, gradients_int_, values_int_},
                             {.closed = closed,
                              .open = open,
                              .exponents = hidden_exp_,
                              .values_scale = root_m,
                              .values = values_,
                              .gradients_scale = inverse_root(p) * root_m,
                              .open_sum = sum,
                              .gradients = gradients_});
    if (leaks && keep.values) {
        Matrix real_sum = unwritten(device_, k, p, spec.precision);
        ops.dequantise(sum, {}, 1, 0, 1, {}, real_sum);
        ops.gemm(false, true, closed * root_m, hidden_, real_sum, 1, values_);
    }
}

Matrix Tangent::open_sum() const {
    if (network_.exactness() != Exactness::integer) return {};
    Matrix sum = unwritten(device_, outputs(), network_.spec().rank, DType::i32);
    device_.ops().open_sum(network_.up(), network_.readout(), sum);
    return sum;
}

void Tangent::floating_pass(TangentOptions keep) {
    const NetworkSpec& spec = network_.spec();
    const std::int64_t n = size(), p = spec.rank;
    backend::Ops& ops = device_.ops();
    if (network_.fixed_down().empty()) {
        ops.axpby(1, inputs_, 0, hidden_);
    } else {
        Matrix v = unwritten(device_, n, p, DType::f64), exponents = unwritten(device_, n, 1, DType::i32);
        ops.down_product(inputs_, network_.fixed_down(), inverse_root(p), v, exponents);
        ops.dequantise(v, exponents, 1, 0, 1, {}, hidden_);
    }
    if (keep.any())
        ops.wide_pass_real(network_.up(), network_.readout(), spec.activation, hidden_,
                           {keep.gates ? gates_.view() : BitView{}, gradients_, values_});
    const double root_m = inverse_root(spec.width);
    if (keep.values) ops.axpby(root_m, values_, 0, values_);
    if (keep.gradients) ops.axpby(inverse_root(p) * root_m, gradients_, 0, gradients_);
}

ConstMatrixView Tangent::values() const {
    if (values_.empty() && size() > 0)
        throw ValueError("the tangent did not keep f; ask for it with TangentOptions{.values = true}");
    return values_;
}

ConstMatrixView Tangent::gradients() const {
    if (gradients_.dtype() != network_.spec().precision || (gradients_.empty() && size() > 0))
        throw ValueError("the tangent did not keep G; ask for it with TangentOptions{.gradients = true}");
    return gradients_;
}

ConstBitView Tangent::gates() const {
    if (gates_.empty() && size() > 0)
        throw ValueError(
            network_.spec().activation.homogeneous()
                ? "the tangent did not keep its gates; ask for them with TangentOptions{.gates = true}"
                : "gates exist for relu, leaky_relu and abs only; a smooth activation has none");
    return gates_;
}

Tangent tangent(const Device& device, const Network& network, ConstMatrixView inputs,
                TangentOptions options) {
    return Tangent(device, network, inputs, options);
}

namespace {

/// The gradients in V and A of single samples at single outputs, by the backward pass.
class SampleByOutput {
  public:
    explicit SampleByOutput(const Tangent& tangent)
        : tangent_(tangent), outputs_(tangent.outputs()), unit_(unit(tangent)) {}

    /// ∂f_c/∂V (m × p) and ∂f_c/∂A (m × k) at sample i, or one of them.
    void write(std::int64_t i, std::int64_t c, MatrixView dv, MatrixView da) const {
        const Network& network = tangent_.network();
        backend::Ops& ops = tangent_.device().ops();
        const double root_m = inverse_root(network.spec().width);
        ops.wide_gradient(network.up(), network.readout(), network.spec().activation,
                          tangent_.hidden().row_block(i, 1),
                          unit_.view().col_block(outputs_ - 1 - c, outputs_), {}, 0, dv, da);
        if (dv.data != nullptr) ops.axpby(root_m, dv, 0, dv);
        if (da.data != nullptr) ops.axpby(root_m, da, 0, da);
    }

  private:
    /// 2k − 1 zeros around a one: every unit vector of k entries is a part of it.
    static Matrix unit(const Tangent& tangent) {
        const std::int64_t k = tangent.outputs();
        Matrix row(1, 2 * k - 1, DType::f64);
        row.at<double>(0, k - 1) = 1;
        return tangent.device().to_device(Matrix::converted(row, tangent.network().spec().precision));
    }

    const Tangent& tangent_;
    std::int64_t outputs_;
    Matrix unit_;
};

}  // namespace

Matrix per_sample_gradients(const Tangent& tangent, Train train, std::int64_t first, std::int64_t count) {
    const NetworkSpec& spec = tangent.network().spec();
    if (first < 0 || count < 0 || first > tangent.size() - count)
        throw ShapeError(
            fmt::format("{} samples from {} are not in the batch of {}; ask for a block inside it", count,
                        first, tangent.size()));
    if (!train.any()) throw ValueError("train is empty; name at least one of down, up, readout");
    const std::int64_t m = spec.width, p = spec.rank, k = spec.outputs;
    const std::int64_t down = train.down ? p * spec.dim : 0, up = train.up ? m * p : 0,
                       readout = train.readout ? m * k : 0;
    const std::int64_t all = down + up + readout;
    Matrix result = unwritten(tangent.device(), count * k, all, spec.precision);
    if (count == 0) return result;
    backend::Ops& ops = tangent.device().ops();
    const ConstMatrixView h = tangent.hidden().row_block(first, count);
    const auto of_output = [&](std::int64_t c, std::int64_t begin, std::int64_t columns) {
        return result.view().reshaped(count, k * all).col_block(c * all + begin, columns);
    };

    if (train.down)  // G^c xᵀ
        for (std::int64_t c = 0; c < k; ++c)
            ops.outer_rows(tangent.gradients().row_block(first, count).col_block(c * p, p),
                           tangent.inputs().row_block(first, count), of_output(c, 0, down));
    const bool gated = train.up && tangent.has_gates();
    if (gated) {  // (1/√m)(D_i ∘ A_c) h_iᵀ with the gates that were kept
        Matrix slopes = unwritten(tangent.device(), count, m, spec.precision);
        for (std::int64_t c = 0; c < k; ++c) {
            ops.slope_rows(tangent.gates(), first, tangent.network().readout(), c, inverse_root(m),
                           spec.activation.closed_slope(), spec.activation.open_slope(), slopes);
            ops.outer_rows(slopes, h, of_output(c, down, up));
        }
    }
    const bool smooth = train.up && !gated;
    if (!smooth && !train.readout) return result;
    const SampleByOutput backward(tangent);
    for (std::int64_t i = 0; i < count; ++i)
        for (std::int64_t c = 0; c < k; ++c) {
            const MatrixView row = result.view().row_block(i * k + c, 1);
            backward.write(first + i, c, smooth ? row.col_block(down, up).reshaped(m, p) : MatrixView{},
                           train.readout ? row.col_block(down + up, readout).reshaped(m, k) : MatrixView{});
        }
    return result;
}

}  // namespace fntk

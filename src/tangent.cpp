// The wide pass: exact integers where the network allows it, floating point else.
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

Tangent::Tangent(Device device, Network network, ConstMatrixView inputs, TangentOptions options)
    : device_(std::move(device)), network_(std::move(network)), inputs_(inputs) {
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
    require_finite(inputs, "inputs");
    if (!options.only_these) {
        options.gradients |= spec.train.down;
        options.gates |= spec.train.up;
    }
    options.gates &= spec.activation.homogeneous();

    hidden_ = Matrix(inputs.rows, spec.rank, spec.precision);
    values_ = Matrix(inputs.rows, spec.outputs, spec.precision);
    if (options.gradients) gradients_ = Matrix(inputs.rows, spec.outputs * spec.rank, spec.precision);
    if (options.gates) gates_ = BitMatrix(inputs.rows, spec.width);
    if (network_.exactness() == Exactness::integer)
        exact_pass(options);
    else
        floating_pass(options);
}

void Tangent::exact_pass(TangentOptions keep) {
    const NetworkSpec& spec = network_.spec();
    const std::int64_t n = inputs_.rows, p = spec.rank, k = spec.outputs;
    const bool wide = spec.precision == DType::f64;
    const double closed = spec.activation.closed_slope(), open = spec.activation.open_slope();
    backend::Ops& ops = device_.ops();

    hidden_int_ = Matrix(n, p, wide ? DType::i64 : DType::i32);
    hidden_exp_ = Matrix(n, 1, DType::i32);
    {
        Matrix v(n, p, DType::f64);
        ops.down_product(inputs_, network_.fixed_down(), inverse_root(p), v, hidden_exp_);
        ops.quantise_rows(v, network_.hidden_bits(), hidden_int_, hidden_exp_);
    }
    ops.dequantise(hidden_int_, hidden_exp_, 1, 0, 1, {}, hidden_);

    values_int_ = Matrix(n, k, wide ? DType::f64 : DType::i64);
    if (keep.gradients) gradients_int_ = Matrix(n, k * p, DType::i32);
    ops.wide_pass_exact(network_.up(), network_.readout(), hidden_int_,
                        {keep.gates ? gates_.view() : BitView{}, gradients_int_, values_int_});

    // f = (closed·<h, S> + (open − closed)·f̂·2^e)/√m; S is needed only where closed gates leak
    const double root_m = inverse_root(spec.width);
    ops.dequantise(values_int_, hidden_exp_, root_m, closed, open, {}, values_);
    if (closed != 0 || keep.gradients) {
        open_sum_ = Matrix(k, p, DType::i32);
        ops.open_sum(network_.up(), network_.readout(), open_sum_);
    }
    if (closed != 0)
        ops.gemm(false, true, closed * root_m, hidden_, Matrix::converted(open_sum_, spec.precision), 1,
                 values_);
    if (keep.gradients) {
        const ConstMatrixView sum(open_sum_.row<std::int32_t>(0), 1, k * p);
        ops.dequantise(gradients_int_, {}, inverse_root(p) * root_m, closed, open, sum, gradients_);
    }
}

void Tangent::floating_pass(TangentOptions keep) {
    const NetworkSpec& spec = network_.spec();
    const std::int64_t n = inputs_.rows, p = spec.rank;
    backend::Ops& ops = device_.ops();
    if (network_.fixed_down().empty()) {
        ops.axpby(1, inputs_, 0, hidden_);
    } else {
        Matrix v(n, p, DType::f64), exponents(n, 1, DType::i32);
        ops.down_product(inputs_, network_.fixed_down(), inverse_root(p), v, exponents);
        ops.dequantise(v, exponents, 1, 0, 1, {}, hidden_);
    }
    ops.wide_pass_real(network_.up(), network_.readout(), spec.activation, hidden_,
                       {keep.gates ? gates_.view() : BitView{}, gradients_, values_});
    const double root_m = inverse_root(spec.width);
    ops.axpby(root_m, values_, 0, values_);
    if (keep.gradients) ops.axpby(inverse_root(p) * root_m, gradients_, 0, gradients_);
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

/// ∂f_c/∂U at x: G^c xᵀ.
template <class T>
T* write_down(const Tangent& tangent, std::int64_t i, std::int64_t c, T* out) {
    const std::int64_t p = tangent.network().spec().rank, d = tangent.inputs().cols;
    const T* g = tangent.gradients().row<T>(i) + c * p;
    const T* x = tangent.inputs().row<T>(i);
    for (std::int64_t q = 0; q < p; ++q)
        for (std::int64_t j = 0; j < d; ++j) *out++ = g[q] * x[j];
    return out;
}

}  // namespace

Matrix per_sample_gradients(const Tangent& tangent, Train train, std::int64_t first, std::int64_t count) {
    const NetworkSpec& spec = tangent.network().spec();
    if (first < 0 || count < 0 || first + count > tangent.size())
        throw ShapeError(
            fmt::format("samples [{}, {}) are outside the batch of {}; ask for a block inside it", first,
                        first + count, tangent.size()));
    if (!train.any()) throw ValueError("train is empty; name at least one of down, up, readout");
    const std::int64_t m = spec.width, p = spec.rank, k = spec.outputs;
    const std::int64_t down = train.down ? p * spec.dim : 0, up = train.up ? m * p : 0,
                       readout = train.readout ? m * k : 0;
    Matrix result(count * k, down + up + readout, spec.precision);
    backend::Ops& ops = tangent.device().ops();
    const bool gated = train.up && tangent.has_gates();
    const double root_m = inverse_root(m),
                 closed = spec.activation.homogeneous() ? spec.activation.closed_slope() : 0;
    const Matrix a = gated ? tangent.network().materialize_readout() : Matrix{};
    Matrix e(1, k, spec.precision);

    const auto fill = [&](auto type) {
        using T = decltype(type);
        for (std::int64_t i = first; i < first + count; ++i)
            for (std::int64_t c = 0; c < k; ++c) {
                T* out = result.row<T>((i - first) * k + c);
                if (train.down) out = write_down(tangent, i, c, out);
                for (std::int64_t o = 0; o < k; ++o) e.row<T>(0)[o] = o == c ? T(1) : T(0);
                const ConstMatrixView h = tangent.hidden().row_block(i, 1);
                const MatrixView dv(out, train.up ? m : 0, p), da(out + up, train.readout ? m : 0, k);
                if (gated) {  // a_rc·D_ir·h_i with the gates that were kept
                    for (std::int64_t r = 0; r < m; ++r) {
                        const double slope = tangent.gates().get(i, r) ? 1.0 : closed;
                        const T weight = static_cast<T>(root_m * slope) * a.row<T>(r)[c];
                        for (std::int64_t q = 0; q < p; ++q) dv.row<T>(r)[q] = weight * h.row<T>(0)[q];
                    }
                }
                const bool smooth = train.up && !gated;
                if (!smooth && !train.readout) continue;
                ops.wide_gradient(tangent.network().up(), tangent.network().readout(), spec.activation, h,
                                  e, {}, 0, smooth ? dv : MatrixView{}, train.readout ? da : MatrixView{});
                if (smooth) ops.axpby(root_m, dv, 0, dv);
                if (train.readout) ops.axpby(root_m, da, 0, da);
            }
    };
    if (spec.precision == DType::f32)
        fill(float{});
    else
        fill(double{});
    return result;
}

}  // namespace fntk

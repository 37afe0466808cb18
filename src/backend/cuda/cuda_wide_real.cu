// The wide pass in floating point: Z = H Vᵀ by cuBLAS, one block of the width at a time, so that the
// workspace is n × block. The steps are those of src/backend/cpu_wide_real.cpp.
#include <backend/cuda/cuda.hpp>
#include <backend/scalar.hpp>

#include <activation_rows.hpp>
#include <elementwise.hpp>
#include <gates_and_values.hpp>
#include <transpose.hpp>
#include <weighted_slopes.hpp>

namespace fntk::backend::cuda {

namespace {

using kernels::Sigma;

constexpr std::int64_t block_bytes = std::int64_t{128} << 20;  // of Z

/// Units of the width in one block: whole words of gates.
std::int64_t width_block(std::int64_t samples, std::int64_t width, DType dtype) {
    const std::int64_t row_bytes =
        std::max<std::int64_t>(samples, 1) * static_cast<std::int64_t>(size_of(dtype));
    return std::min(width, std::clamp<std::int64_t>(block_bytes / row_bytes, 64, 16384) / 64 * 64);
}

/// f(integral_constant of the kernels' σ).
template <class F>
void with_sigma(Activation kind, F&& f) {
    switch (kind) {
        case Activation::relu:
        case Activation::leaky_relu:
        case Activation::abs:
            return f(std::integral_constant<Sigma, Sigma::piecewise_linear>{});
        case Activation::erf:
            return f(std::integral_constant<Sigma, Sigma::erf>{});
        case Activation::gelu:
            return f(std::integral_constant<Sigma, Sigma::gelu>{});
        case Activation::tanh:
            return f(std::integral_constant<Sigma, Sigma::tanh>{});
        case Activation::softplus:
            return f(std::integral_constant<Sigma, Sigma::softplus>{});
    }
}

template <class T>
T closed_slope(const ActivationSpec& activation) {
    return static_cast<T>(activation.homogeneous() ? activation.closed_slope() : 0.0);
}

/// z ← φ(z).
void map(Context& context, const ActivationSpec& activation, bool derivative, MatrixView z) {
    with_real(z.dtype, [&](auto type) {
        using T = decltype(type);
        with_sigma(activation.kind, [&](auto sigma) {
            constexpr Sigma kind = decltype(sigma)::value;
            const T closed = closed_slope<T>(activation);
            if (derivative)
                context.run(kernels::ActivationRows<T, kind, true>{rows_of<T>(z), closed});
            else
                context.run(kernels::ActivationRows<T, kind, false>{rows_of<T>(z), closed});
        });
    });
}

/// out_ir = σ'(z_ir)·w_ir, w n × b; or w_ir = w_rc with w b × k and `column` = c.
void slopes_times(Context& context, const ActivationSpec& activation, ConstMatrixView z, ConstMatrixView w,
                  std::int64_t column, MatrixView out) {
    with_real(z.dtype, [&](auto type) {
        using T = decltype(type);
        with_sigma(activation.kind, [&](auto sigma) {
            kernels::SlopesTimes<T, decltype(sigma)::value> kernel;
            kernel.z = rows_of<T>(z);
            kernel.closed = closed_slope<T>(activation);
            kernel.w = rows_of<T>(w).data + (column < 0 ? 0 : column);
            kernel.w_row = column < 0 ? w.stride : 0;
            kernel.w_unit = column < 0 ? 1 : w.stride;
            kernel.out = rows_of<T>(out);
            context.run(kernel);
        });
    });
}

/// rows × cols real elements for the length of one operation, in the type of a matrix.
class RealScratch {
  public:
    RealScratch(Context& context, std::int64_t rows, std::int64_t cols, DType dtype)
        : memory_(context, rows * cols * static_cast<std::int64_t>(size_of(dtype))),
          view_(memory_.data(), rows, cols, cols, dtype, memory_.place()) {}

    /// The first `rows` rows; the first `cols` columns.
    [[nodiscard]] MatrixView rows(std::int64_t rows) const { return view_.row_block(0, rows); }
    [[nodiscard]] MatrixView cols(std::int64_t cols) const { return view_.col_block(0, cols); }

  private:
    Workspace memory_;
    MatrixView view_;
};

}  // namespace

void Cuda::wide_pass_real(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                          ConstMatrixView h, const WideSums& out) {
    const Scope scope(*context_, "wide_pass_real");
    const std::int64_t n = h.rows, p = up.rank, k = readout.outputs,
                       block = width_block(n, up.width, h.dtype);
    const bool gradients = out.gradients.data != nullptr, values = out.values.data != nullptr;
    const RealScratch v_all(*context_, block, p, h.dtype), a_all(*context_, block, k, h.dtype),
        z_all(*context_, n, block, h.dtype), gated_all(*context_, gradients ? n : 0, block, h.dtype);
    for (std::int64_t r0 = 0; r0 < up.width; r0 += block) {
        const std::int64_t count = std::min(block, up.width - r0);
        const MatrixView v = v_all.rows(count), a = a_all.rows(count), z = z_all.cols(count);
        const double beta = r0 == 0 ? 0 : 1;
        up_rows(up, r0, v);
        readout_rows(readout, r0, a);
        product(false, true, 1, h, v, 0, z);
        if (activation.homogeneous() && (values || !out.gates.empty()))
            with_real(h.dtype, [&](auto type) {
                using T = decltype(type);
                kernels::GatesAndValues<T> kernel;
                kernel.z = rows_of<T>(ConstMatrixView(z));
                kernel.closed = closed_slope<T>(activation);
                if (!out.gates.empty()) {
                    kernel.gates = words_of(out.gates);
                    kernel.gates.data += r0 / 64;
                }
                kernel.a = rows_of<T>(ConstMatrixView(a));
                if (values) kernel.values = rows_of<T>(out.values);
                kernel.add = r0 > 0;
                context_->run(kernel);
            });
        for (std::int64_t c = 0; c < (gradients ? k : 0); ++c) {
            const MatrixView gated = gated_all.cols(count);
            slopes_times(*context_, activation, z, a, c, gated);
            product(false, false, 1, gated, v, beta, out.gradients.col_block(c * p, p));
        }
        if (!values || activation.homogeneous()) continue;
        map(*context_, activation, false, z);
        product(false, false, 1, z, a, beta, out.values);
    }
}

void Cuda::feature_gram(const UpFactor& up, const ActivationSpec& activation, bool derivative,
                        ConstMatrixView weights, ConstMatrixView rows, ConstMatrixView cols,
                        MatrixView out) {
    const Scope scope(*context_, "feature_gram");
    const bool symmetric = same(rows, cols), weighted = weights.data != nullptr;
    const std::int64_t block = width_block(std::max(rows.rows, cols.rows), up.width, rows.dtype);
    const RealScratch v_all(*context_, block, up.rank, rows.dtype),
        phi_all(*context_, rows.rows, block, rows.dtype),
        other_all(*context_, symmetric && !weighted ? 0 : cols.rows, block, rows.dtype);
    for (std::int64_t r0 = 0; r0 < up.width; r0 += block) {
        const std::int64_t count = std::min(block, up.width - r0);
        const MatrixView v = v_all.rows(count), phi = phi_all.cols(count);
        const double beta = r0 == 0 ? 0 : 1;
        up_rows(up, r0, v);
        product(false, true, 1, rows, v, 0, phi);
        map(*context_, activation, derivative, phi);
        if (symmetric && !weighted) {
            inner(1, phi, phi, beta, out);
            continue;
        }
        const MatrixView phi_cols = other_all.cols(count);
        if (symmetric) {
            axpby(1, phi, 0, phi_cols);
        } else {
            product(false, true, 1, cols, v, 0, phi_cols);
            map(*context_, activation, derivative, phi_cols);
        }
        if (weighted) combine_columns(1, weights.col_block(r0, count), phi_cols, 0, {}, phi_cols);
        product(false, true, 1, phi, phi_cols, beta, out);
    }
    if (symmetric && weighted)
        with_real(out.dtype, [&](auto type) {
            context_->run(kernels::MirrorLower<decltype(type)>{rows_of<decltype(type)>(out)});
        });
}

void Cuda::wide_gradient(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                         ConstMatrixView h, ConstMatrixView e, ConstBitView gates, std::int64_t r0,
                         MatrixView up_rows_out, MatrixView readout_rows_out) {
    const Scope scope(*context_, "wide_gradient");
    const bool up_wanted = up_rows_out.data != nullptr, readout_wanted = readout_rows_out.data != nullptr;
    const bool needs_z = readout_wanted || gates.empty();
    const std::int64_t count = up_wanted ? up_rows_out.rows : readout_rows_out.rows, n = h.rows;
    const RealScratch v(*context_, needs_z ? count : 0, up.rank, h.dtype),
        z(*context_, needs_z ? n : 0, count, h.dtype), a(*context_, count, readout.outputs, h.dtype),
        weight(*context_, up_wanted ? n : 0, count, h.dtype);
    if (needs_z) {
        up_rows(up, r0, v.rows(count));
        product(false, true, 1, h, v.rows(count), 0, z.rows(n));
    }
    if (up_wanted) {
        readout_rows(readout, r0, a.rows(count));
        if (gates.empty()) {
            product(false, true, 1, e, a.rows(count), 0, weight.rows(n));
            slopes_times(*context_, activation, z.rows(n), weight.rows(n), -1, weight.rows(n));
        } else {
            with_real(h.dtype, [&](auto type) {
                using T = decltype(type);
                kernels::WeightedSlopes<T> kernel;
                kernel.gates = words_of(gates);
                kernel.gates.data += r0 / 64;
                kernel.closed = closed_slope<T>(activation);
                kernel.e = rows_of<T>(e);
                kernel.a = rows_of<T>(ConstMatrixView(a.rows(count)));
                kernel.out = rows_of<T>(weight.rows(n));
                context_->run(kernel);
            });
        }
        product(true, false, 1, weight.rows(n), h, 0, up_rows_out);
    }
    if (readout_wanted) {
        map(*context_, activation, false, z.rows(n));
        product(true, false, 1, z.rows(n), e, 0, readout_rows_out);
    }
}

void Cuda::wide_apply(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                      WideTrain train, ConstMatrixView h, ConstMatrixView h_from, ConstMatrixView e,
                      MatrixView out) {
    const Scope scope(*context_, "wide_apply");
    const bool shared = same(h, h_from);
    const std::int64_t k = readout.outputs, n = h.rows, n_from = h_from.rows;
    const std::int64_t block = width_block(std::max(n, n_from), up.width, h.dtype);
    const RealScratch v_all(*context_, block, up.rank, h.dtype), dv_all(*context_, block, up.rank, h.dtype),
        a_all(*context_, block, k, h.dtype), da_all(*context_, block, k, h.dtype),
        z_all(*context_, n, block, h.dtype), along_all(*context_, n, block, h.dtype),
        z_from_all(*context_, shared ? 0 : n_from, block, h.dtype),
        weight_all(*context_, n_from, block, h.dtype);
    for (std::int64_t r0 = 0; r0 < up.width; r0 += block) {
        const std::int64_t count = std::min(block, up.width - r0);
        const MatrixView v = v_all.rows(count), dv = dv_all.rows(count), a = a_all.rows(count),
                         da = da_all.rows(count), z = z_all.cols(count), along = along_all.cols(count),
                         weight = weight_all.cols(count), z_from = shared ? z : z_from_all.cols(count);
        up_rows(up, r0, v);
        readout_rows(readout, r0, a);
        product(false, true, 1, h, v, 0, z);
        if (!shared) product(false, true, 1, h_from, v, 0, z_from);
        if (train.up) {  // dV = (D' ∘ e Aᵀ)ᵀ H', then (D ∘ H dVᵀ) A
            product(false, true, 1, e, a, 0, weight);
            slopes_times(*context_, activation, z_from, weight, -1, weight);
            product(true, false, 1, weight, h_from, 0, dv);
            product(false, true, 1, h, dv, 0, along);
            slopes_times(*context_, activation, z, along, -1, along);
            product(false, false, 1, along, a, 1, out);
        }
        if (train.readout) {  // dA = σ(Z')ᵀ e, then σ(Z) dA
            map(*context_, activation, false, z);
            if (!shared) map(*context_, activation, false, z_from);
            product(true, false, 1, z_from, e, 0, da);
            product(false, false, 1, z, da, 1, out);
        }
    }
}

}  // namespace fntk::backend::cuda

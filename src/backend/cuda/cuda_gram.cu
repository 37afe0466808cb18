// Gram matrices that carry an error bound, not bits: compiled with fused multiply-adds, unlike the rest of
// the device code.
#include <backend/cuda/cuda.hpp>
#include <backend/scalar.hpp>

#include <arc_gram.hpp>
#include <hadamard_gram.hpp>
#include <hadamard_gram_s8.hpp>

#include <optional>
#include <utility>

namespace fntk::backend::cuda {

namespace {

/// Floats as digits for as long as the products with them are issued.
class Digits {
  public:
    Digits(Context& context, ConstMatrixView x)
        : tiles_(context, 1, kernels::DigitTiles::quads_of(x.rows, x.cols)),
          units_(context, 1, kernels::DigitTiles::padded_rows(x.rows)),
          view_{tiles_.data(), units_.data(), x.rows, kernels::DigitTiles::steps_of(x.cols)} {
        context.run(kernels::PackDigits{rows_of<float>(x), tiles_.data(), units_.data()});
    }
    [[nodiscard]] const kernels::DigitTiles& view() const { return view_; }

  private:
    Scratch<kernels::Quad> tiles_;
    Scratch<std::int32_t> units_;
    kernels::DigitTiles view_;
};

}  // namespace

void Cuda::hadamard_gram(ConstMatrixView x, ConstMatrixView x_cols, ConstMatrixView g,
                         ConstMatrixView g_cols, double alpha, MatrixView k) {
    const Scope scope(*context_, "hadamard_gram");
    const bool symmetric = same(x, x_cols) && same(g, g_cols);
    if (k.dtype == DType::f64)
        return context_->run(kernels::HadamardGram{{alpha, rows_of<double>(k), symmetric},
                                                   rows_of<double>(x),
                                                   rows_of<double>(x_cols),
                                                   rows_of<double>(g),
                                                   rows_of<double>(g_cols)});
    const auto other = [&](ConstMatrixView cols, ConstMatrixView rows) {
        return same(cols, rows) ? std::optional<Digits>()
                                : std::optional<Digits>(std::in_place, *context_, cols);
    };
    const Digits of_x(*context_, x), of_g(*context_, g);
    const std::optional<Digits> of_x_cols = other(x_cols, x), of_g_cols = other(g_cols, g);
    const kernels::HadamardDigits products{
        {alpha, rows_of<float>(k), symmetric},
        {of_x.view(), of_g.view()},
        {(of_x_cols ? *of_x_cols : of_x).view(), (of_g_cols ? *of_g_cols : of_g).view()}};
    context_->run(kernels::HadamardGramS8{products});
}

void Cuda::arc_gram(ConstMatrixView u, ConstMatrixView norms, ConstMatrixView u_cols,
                    ConstMatrixView norms_cols, double alpha, double derivative, double product,
                    MatrixView out) {
    const Scope scope(*context_, "arc_gram");
    inner(1, u, u_cols, 0, out);
    with_real(out.dtype, [&](auto type) {
        using T = decltype(type);
        kernels::ArcGram<T> kernel;
        kernel.kernel = kernels::ArcKernel(alpha, derivative, product);
        kernel.u = rows_of<T>(u);
        kernel.u_cols = rows_of<T>(u_cols);
        kernel.norms = rows_of<T>(norms);
        kernel.norms_cols = rows_of<T>(norms_cols);
        kernel.out = rows_of<T>(out);
        context_->run(kernel);
    });
}

}  // namespace fntk::backend::cuda

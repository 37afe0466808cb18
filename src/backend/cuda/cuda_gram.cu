// Gram matrices that carry an error bound, not bits: compiled with fused multiply-adds, unlike the rest of
// the device code.
#include <backend/cuda/cuda.hpp>
#include <backend/cuda/digits.hpp>
#include <backend/cuda/hopper.hpp>
#include <backend/scalar.hpp>

#include <arc_gram.hpp>
#include <hadamard_gram.hpp>
#include <hadamard_gram_s8.hpp>
#include <hadamard_gram_wgmma.hpp>

#include <cstring>
#include <optional>
#include <utility>
#include <vector>

namespace fntk::backend::cuda {

void Cuda::hadamard_gram(ConstMatrixView x, ConstMatrixView x_cols, ConstMatrixView g,
                         ConstMatrixView g_cols, double alpha, MatrixView k) {
    const Scope scope(*context_, "hadamard_gram");
    if (k.dtype == DType::f64)
        return context_->run(
            kernels::HadamardGram{{alpha, rows_of<double>(k), same(x, x_cols) && same(g, g_cols)},
                                  rows_of<double>(x),
                                  rows_of<double>(x_cols),
                                  rows_of<double>(g),
                                  rows_of<double>(g_cols)});
    digit_gram(x, x_cols, g, g_cols, alpha, k,
               context_->limits().compute_capability == 90 && gram_wgmma_works());
}

void Cuda::digit_gram(ConstMatrixView x, ConstMatrixView x_cols, ConstMatrixView g, ConstMatrixView g_cols,
                      double alpha, MatrixView k, bool wgmma) {
    const auto other = [&](ConstMatrixView cols, ConstMatrixView rows) {
        return same(cols, rows) ? std::optional<Digits>()
                                : std::optional<Digits>(std::in_place, *context_, cols);
    };
    const Digits of_x(*context_, x), of_g(*context_, g);
    const std::optional<Digits> of_x_cols = other(x_cols, x), of_g_cols = other(g_cols, g);
    const kernels::HadamardDigits products{
        {alpha, rows_of<float>(k), same(x, x_cols) && same(g, g_cols)},
        {of_x.view(), of_g.view()},
        {(of_x_cols ? *of_x_cols : of_x).view(), (of_g_cols ? *of_g_cols : of_g).view()}};
    if (wgmma)
        context_->run_at(hadamard_wgmma_entry(), kernels::HadamardGramWgmma{products});
    else
        context_->run(kernels::HadamardGramS8{products});
}

// On small problems: three tiles, of which one has whole rows below the diagonal, and one of other rows and
// columns, ragged in every extent.
bool Cuda::gram_wgmma_works() {
    constexpr std::int64_t n = 192, d = 100, p = 40;
    const auto agrees = [&] {
        const Context::Narrowed narrowed(*context_, 2);  // of which one takes two tiles
        std::vector<float> entries(static_cast<std::size_t>(n * (d + p)));
        TrialNumbers random;
        for (float& entry : entries) {
            entry = static_cast<float>(static_cast<std::int32_t>(random())) * 0x1p-31F;
        }
        const Scratch<float> x(*context_, n, d), g(*context_, n, p), k(*context_, n, n);
        copy(ConstMatrixView(entries.data(), n, d), x.view());
        copy(ConstMatrixView(entries.data() + n * d, n, p), g.view());
        const auto equal = [&](std::int64_t rows, std::int64_t cols) {
            std::vector<float> values[2];
            for (const bool wgmma : {false, true}) {
                const MatrixView out = k.view().row_block(0, rows).col_block(0, cols);
                digit_gram(x.view().row_block(0, rows), x.view().row_block(n - cols, cols),
                           g.view().row_block(0, rows), g.view().row_block(n - cols, cols), 0.5, out,
                           wgmma);
                values[wgmma].resize(static_cast<std::size_t>(rows * cols));
                copy(out, MatrixView(values[wgmma].data(), rows, cols));
            }
            return std::memcmp(values[0].data(), values[1].data(), 4 * values[0].size()) == 0;
        };
        return equal(n, n) && equal(20, 30);
    };
    return works(context_->gram_wgmma, agrees);
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

// Gram matrices that carry an error bound, not bits: compiled with fused multiply-adds, unlike the rest of
// the device code.
#include <backend/cuda/cuda.hpp>
#include <backend/scalar.hpp>

#include <arc_gram.hpp>
#include <hadamard_gram.hpp>
#include <hadamard_gram_tf32.hpp>

namespace fntk::backend::cuda {

void Cuda::hadamard_gram(ConstMatrixView x, ConstMatrixView x_cols, ConstMatrixView g,
                         ConstMatrixView g_cols, double alpha, double beta, MatrixView k) {
    const Scope scope(*context_, "hadamard_gram");
    const auto run = [&](auto kernel) {
        using T = std::remove_pointer_t<decltype(kernel.k.data)>;
        kernel.x = rows_of<T>(x);
        kernel.x_cols = rows_of<T>(x_cols);
        kernel.g = rows_of<T>(g);
        kernel.g_cols = rows_of<T>(g_cols);
        kernel.alpha = alpha;
        kernel.beta = beta;
        kernel.k = rows_of<T>(k);
        kernel.symmetric = same(x, x_cols) && same(g, g_cols);
        context_->run(kernel);
    };
    k.dtype == DType::f32 ? run(kernels::HadamardGramTf32{}) : run(kernels::HadamardGram{});
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

// The fused Gram matrix. Compiled with fused multiply-adds, unlike the rest of the device code: its
// products carry an error bound, not bits.
#include <backend/cuda/cuda.hpp>
#include <backend/scalar.hpp>

#include <hadamard_gram.hpp>

namespace fntk::backend::cuda {

void Cuda::hadamard_gram(ConstMatrixView x, ConstMatrixView x_cols, ConstMatrixView g,
                         ConstMatrixView g_cols, double alpha, double beta, MatrixView k) {
    const Scope scope(*context_, "hadamard_gram");
    with_real(k.dtype, [&](auto type) {
        using T = decltype(type);
        kernels::HadamardGram<T> kernel;
        kernel.x = rows_of<T>(x);
        kernel.x_cols = rows_of<T>(x_cols);
        kernel.g = rows_of<T>(g);
        kernel.g_cols = rows_of<T>(g_cols);
        kernel.alpha = alpha;
        kernel.beta = beta;
        kernel.k = rows_of<T>(k);
        kernel.symmetric = same(x, x_cols) && same(g, g_cols);
        context_->run(kernel);
    });
}

}  // namespace fntk::backend::cuda

// Elementwise operations, products of rows and reductions.
#include <backend/cuda/cuda.hpp>
#include <backend/scalar.hpp>

#include <elementwise.hpp>
#include <norm.hpp>
#include <per_sample_gradients.hpp>
#include <residual.hpp>
#include <row_products.hpp>
#include <transpose.hpp>

namespace fntk::backend::cuda {

namespace {

/// out = the reduction of `source` over rows × cols elements.
template <class Source>
void reduce(Context& context, const Source& source, std::int64_t rows, std::int64_t cols,
            typename Source::Value* out) {
    const std::int64_t count = kernels::reduction_slots(rows, cols);
    const Scratch<typename Source::Value> slots(context, 1, count);
    context.run(kernels::ReduceElements<Source>{source, rows, cols, slots.data()});
    context.run(kernels::FinishReduction<Source>{slots.data(), count, out});
}

}  // namespace

void Cuda::affine_hadamard(ConstMatrixView counts, ConstMatrixView s, ConstMatrixView t, double alpha,
                           double beta, double gamma, MatrixView k) {
    const Scope scope(*context_, "affine_hadamard");
    with_real(k.dtype, [&](auto type) {
        using T = decltype(type);
        context_->run(kernels::AffineHadamard<T>{rows_of<std::int32_t>(counts), rows_of<std::int32_t>(s),
                                                 rows_of<std::int32_t>(t), alpha, beta, gamma,
                                                 rows_of<T>(k)});
    });
}

void Cuda::multiply(ConstMatrixView a, MatrixView k) {
    const Scope scope(*context_, "multiply");
    with_real(k.dtype, [&](auto type) {
        using T = decltype(type);
        context_->run(kernels::Multiply<T>{rows_of<T>(a), rows_of<T>(k)});
    });
}

void Cuda::add_output_block(ConstMatrixView block, std::int64_t outputs, std::int64_t c, std::int64_t c_col,
                            MatrixView k) {
    const Scope scope(*context_, "add_output_block");
    with_real(k.dtype, [&](auto type) {
        using T = decltype(type);
        context_->run(kernels::AddOutputBlock<T>{rows_of<T>(block), outputs, c, c_col, rows_of<T>(k)});
    });
}

void Cuda::transpose(MatrixView k) {
    const Scope scope(*context_, "transpose");
    with_real(k.dtype, [&](auto type) {
        using T = decltype(type);
        context_->run(kernels::TransposeSquare<T>{rows_of<T>(k)});
    });
}

void Cuda::row_dot(ConstMatrixView a, ConstMatrixView b, MatrixView out) {
    const Scope scope(*context_, "row_dot");
    with_real(out.dtype, [&](auto type) {
        using T = decltype(type);
        context_->run(kernels::RowDot<T>{rows_of<T>(a), rows_of<T>(b), rows_of<T>(out)});
    });
}

void Cuda::row_combine(ConstMatrixView a, ConstMatrixView v, MatrixView out) {
    const Scope scope(*context_, "row_combine");
    with_real(out.dtype, [&](auto type) {
        using T = decltype(type);
        context_->run(kernels::RowCombine<T>{rows_of<T>(a), rows_of<T>(v), rows_of<T>(out)});
    });
}

void Cuda::outer_rows(ConstMatrixView left, ConstMatrixView right, MatrixView out) {
    const Scope scope(*context_, "outer_rows");
    with_real(out.dtype, [&](auto type) {
        using T = decltype(type);
        context_->run(kernels::OuterRows<T>{rows_of<T>(left), rows_of<T>(right), rows_of<T>(out)});
    });
}

void Cuda::norm(ConstMatrixView a, MatrixView out) {
    const Scope scope(*context_, "norm");
    with_real(a.dtype, [&](auto type) {
        using T = decltype(type);
        const kernels::Rows<const T> x = rows_of<T>(a);
        const Scratch<double> found(*context_, 1, 2);  // the largest magnitude, the sum of scaled squares
        reduce(*context_, kernels::Magnitude<T>{x}, a.rows, a.cols, found.data());
        reduce(*context_, kernels::ScaledSquare<T>{x, found.data()}, a.rows, a.cols, found.data() + 1);
        context_->run(kernels::FinishNorm{found.data(), rows_of<double>(out).data});
    });
}

void Cuda::axpby(double alpha, ConstMatrixView x, double beta, MatrixView y) {
    const Scope scope(*context_, "axpby");
    with_real(x.dtype, [&](auto x_type) {
        with_real(y.dtype, [&](auto y_type) {
            using X = decltype(x_type);
            using Y = decltype(y_type);
            context_->run(kernels::Axpby<X, Y>{alpha, rows_of<X>(x), beta, rows_of<Y>(y)});
        });
    });
}

void Cuda::residual(Residual loss, ConstMatrixView f, ConstMatrixView y, MatrixView e, MatrixView total) {
    const Scope scope(*context_, "residual");
    if (f.rows == 0) return zero(total);
    const Scratch<double> losses(*context_, f.rows, 1);
    with_real(f.dtype, [&](auto f_type) {
        with_real(y.dtype, [&](auto y_type) {
            using T = decltype(f_type);
            using Y = decltype(y_type);
            if (loss == Residual::squared)
                context_->run(kernels::SquaredResidual<T, Y>{rows_of<T>(f), rows_of<Y>(y), rows_of<T>(e),
                                                             losses.data()});
            else
                context_->run(kernels::CrossEntropyResidual<T, Y>{rows_of<T>(f), rows_of<Y>(y),
                                                                  rows_of<T>(e), losses.data()});
        });
    });
    reduce(*context_, kernels::Number{losses.data()}, f.rows, 1, rows_of<double>(total).data);
}

}  // namespace fntk::backend::cuda

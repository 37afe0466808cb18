// Kernels and linear algebra by BLAS and LAPACK, in tiles of rows where an intermediate would be as large
// as K.
#include <backend/blas.hpp>
#include <backend/cpu.hpp>
#include <backend/scalar.hpp>

#include <lapacke.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace fntk::backend {

namespace {

constexpr std::int64_t gram_rows = 256;

template <class T>
void multiply_row(const T* a, std::int64_t count, T* out) {
    for (std::int64_t j = 0; j < count; ++j) out[j] *= a[j];
}

}  // namespace

void Cpu::mirror(MatrixView k) {
    constexpr std::int64_t tile = 32;
    const auto body = [&](auto type) {
        using T = decltype(type);
        T* first = k.row<T>(0);
        pool_.run(k.rows, tile, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t j0 = begin; j0 < k.rows; j0 += tile)
                for (std::int64_t i = begin; i < end; ++i)
                    for (std::int64_t j = std::max(j0, i + 1); j < std::min(j0 + tile, k.rows); ++j)
                        first[i * k.stride + j] = first[j * k.stride + i];
        });
    };
    if (k.dtype == DType::i32) return body(std::int32_t{});
    with_real(k.dtype, body);
}

void Cpu::hadamard_gram(ConstMatrixView x, ConstMatrixView x_cols, ConstMatrixView g,
                        ConstMatrixView g_cols, double alpha, double beta, MatrixView k) {
    const bool symmetric = same(x, x_cols) && same(g, g_cols);
    Matrix xx(std::min(gram_rows, k.rows), k.cols, k.dtype),
        gg(std::min(gram_rows, k.rows), k.cols, k.dtype);
    for (std::int64_t i0 = 0; i0 < k.rows; i0 += gram_rows) {
        const std::int64_t rows = std::min(gram_rows, k.rows - i0);
        const std::int64_t cols = symmetric ? i0 + rows : k.cols;  // the lower triangle's tile row
        const MatrixView xt = xx.view().row_block(0, rows).col_block(0, cols);
        const MatrixView gt = gg.view().row_block(0, rows).col_block(0, cols);
        gemm(false, true, alpha, x.row_block(i0, rows), x_cols.row_block(0, cols), 0, xt);
        gemm(false, true, 1, g.row_block(i0, rows), g_cols.row_block(0, cols), 0, gt);
        with_real(k.dtype, [&](auto type) {
            using T = decltype(type);
            over_rows(rows, [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t i = begin; i < end; ++i) {
                    const T* a = xt.row<T>(i);
                    const T* b = gt.row<T>(i);
                    T* out = k.row<T>(i0 + i);
                    if (beta == 0)
                        for (std::int64_t j = 0; j < cols; ++j) out[j] = a[j] * b[j];
                    else
                        for (std::int64_t j = 0; j < cols; ++j)
                            out[j] = a[j] * b[j] + static_cast<T>(beta) * out[j];
                }
            });
        });
    }
    if (symmetric) mirror(k);
}

void Cpu::affine_hadamard(ConstMatrixView counts, ConstMatrixView s, ConstMatrixView t, double alpha,
                          double beta, double gamma, MatrixView k) {
    std::vector<double> tj(k.cols);
    for (std::int64_t j = 0; j < k.cols; ++j) tj[j] = t.at<std::int32_t>(j, 0);
    with_real(k.dtype, [&](auto type) {
        using T = decltype(type);
        over_rows(k.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) {
                const std::int32_t* c = counts.row<std::int32_t>(i);
                T* out = k.row<T>(i);
                const double si = s.at<std::int32_t>(i, 0);
                for (std::int64_t j = 0; j < k.cols; ++j)
                    out[j] *= static_cast<T>(alpha + beta * (si + tj[j]) + gamma * c[j]);
            }
        });
    });
}

void Cpu::multiply(ConstMatrixView a, MatrixView k) {
    with_real(k.dtype, [&](auto type) {
        using T = decltype(type);
        over_rows(k.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) multiply_row(a.row<T>(i), k.cols, k.row<T>(i));
        });
    });
}

void Cpu::add_output_block(ConstMatrixView block, std::int64_t outputs, std::int64_t c, std::int64_t c_col,
                           MatrixView k) {
    with_real(k.dtype, [&](auto type) {
        using T = decltype(type);
        over_rows(block.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) {
                const T* from = block.row<T>(i);
                T* to = k.row<T>(i * outputs + c) + c_col;
                for (std::int64_t j = 0; j < block.cols; ++j) to[j * outputs] += from[j];
            }
        });
    });
}

void Cpu::transpose(MatrixView k) {
    constexpr std::int64_t tile = 32;
    with_real(k.dtype, [&](auto type) {
        using T = decltype(type);
        if (k.rows == 0) return;
        T* first = k.row<T>(0);
        pool_.run(k.rows, tile, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t j0 = begin; j0 < k.rows; j0 += tile)
                for (std::int64_t i = begin; i < end; ++i)
                    for (std::int64_t j = std::max(j0, i + 1); j < std::min(j0 + tile, k.rows); ++j)
                        std::swap(first[i * k.stride + j], first[j * k.stride + i]);
        });
    });
}

void Cpu::gemm(bool transpose_a, bool transpose_b, double alpha, ConstMatrixView a, ConstMatrixView b,
               double beta, MatrixView c) {
    set_blas_threads(threads());
    blas_gemm(transpose_a, transpose_b, alpha, a, b, beta, c);
}

void Cpu::inner(double alpha, ConstMatrixView a, ConstMatrixView b, double beta, MatrixView c) {
    if (!same(a, b)) return gemm(false, true, alpha, a, b, beta, c);
    set_blas_threads(threads());
    blas_syrk(alpha, a, beta, c);
    mirror(c);
}

void Cpu::axpby(double alpha, ConstMatrixView x, double beta, MatrixView y) {
    with_real(x.dtype, [&](auto x_type) {
        with_real(y.dtype, [&](auto y_type) {
            using X = decltype(x_type);
            using Y = decltype(y_type);
            over_rows(y.rows, [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t i = begin; i < end; ++i) {
                    const X* from = x.row<X>(i);
                    Y* to = y.row<Y>(i);
                    if (beta == 0)
                        for (std::int64_t j = 0; j < y.cols; ++j) to[j] = static_cast<Y>(alpha * from[j]);
                    else
                        for (std::int64_t j = 0; j < y.cols; ++j)
                            to[j] = static_cast<Y>(alpha * from[j] + beta * to[j]);
                }
            });
        });
    });
}

double Cpu::residual(Residual loss, ConstMatrixView f, ConstMatrixView y, MatrixView e) {
    double total = 0;
    with_real(e.dtype, [&](auto type) {
        using T = decltype(type);
        std::vector<double> shifted(f.cols);
        for (std::int64_t i = 0; i < f.rows; ++i) {
            const T* fi = f.row<T>(i);
            T* ei = e.row<T>(i);
            if (loss == Residual::squared) {
                for (std::int64_t c = 0; c < f.cols; ++c) {
                    const double difference = fi[c] - value(y, i, c);
                    ei[c] = static_cast<T>(difference);
                    total += 0.5 * difference * difference;
                }
                continue;
            }
            const double largest = *std::max_element(fi, fi + f.cols);
            double sum = 0;
            for (std::int64_t c = 0; c < f.cols; ++c) sum += shifted[c] = std::exp(fi[c] - largest);
            for (std::int64_t c = 0; c < f.cols; ++c) {
                ei[c] = static_cast<T>(shifted[c] / sum - value(y, i, c));
                total -= value(y, i, c) * (fi[c] - largest - std::log(sum));
            }
        }
    });
    return total;
}

bool Cpu::eigh(ConstMatrixView k, std::vector<double>& eigenvalues, MatrixView vectors) {
    set_blas_threads(threads());
    const auto n = static_cast<lapack_int>(k.rows);
    Matrix work = Matrix::copy_of(k);
    eigenvalues.resize(k.rows);
    if (n == 0) return true;
    const bool want = vectors.data != nullptr;
    if (LAPACKE_dsyevd(LAPACK_COL_MAJOR, want ? 'V' : 'N', 'L', n, work.row<double>(0), n,
                       eigenvalues.data()) != 0)
        return false;
    for (std::int64_t j = 0; want && j < k.rows; ++j)  // LAPACK's columns are the rows of `work`
        for (std::int64_t i = 0; i < k.rows; ++i) vectors.row<double>(i)[j] = work.row<double>(j)[i];
    return true;
}

std::int64_t Cpu::solve_spd(MatrixView k, MatrixView b) {
    set_blas_threads(threads());
    const auto n = static_cast<lapack_int>(k.rows);
    if (n == 0) return 0;
    const auto info =
        LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', n, k.row<double>(0), static_cast<lapack_int>(k.stride));
    if (info != 0 || b.cols == 0) return info;
    return LAPACKE_dpotrs(LAPACK_ROW_MAJOR, 'L', n, static_cast<lapack_int>(b.cols), k.row<double>(0),
                          static_cast<lapack_int>(k.stride), b.row<double>(0),
                          static_cast<lapack_int>(b.stride));
}

}  // namespace fntk::backend

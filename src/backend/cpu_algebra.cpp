// Kernels and linear algebra by BLAS and LAPACK. One pool of threads shares every product: its threads call
// a BLAS that runs on one, so that no second set of threads waits beside it.
#include <backend/blas.hpp>
#include <backend/cpu.hpp>
#include <backend/eigensolver.hpp>
#include <backend/scalar.hpp>
#include <backend/simd/arc.hpp>
#include <backend/simd/products.hpp>

#include <cblas.h>
#include <lapacke.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace fntk::backend {

namespace {

constexpr std::int64_t gram_tile = 256, largest_tile = 1024;
constexpr double small_product = 4e6;  // flops below which a second thread costs more than it saves

template <class T>
void multiply_row(const T* a, std::int64_t count, T* out) {
    for (std::int64_t j = 0; j < count; ++j) out[j] *= a[j];
}

/// Entry (j, i) of the square k from (i, j) for i in [i0, i0 + rows), j in [j0, j0 + cols), j < i.
template <class T>
void mirror_tile(MatrixView k, std::int64_t i0, std::int64_t rows, std::int64_t j0, std::int64_t cols) {
    constexpr std::int64_t block = 16;  // lines of the nearest cache on both sides
    T* first = k.row<T>(0);
    for (std::int64_t i1 = i0; i1 < i0 + rows; i1 += block)
        for (std::int64_t j = j0; j < j0 + cols; ++j)
            for (std::int64_t i = std::max(i1, j + 1); i < std::min(i1 + block, i0 + rows); ++i)
                first[j * k.stride + i] = first[i * k.stride + j];
}

}  // namespace

void Cpu::over_tiles(std::int64_t rows, std::int64_t cols, std::int64_t tile, bool symmetric,
                     const Tile& body) {
    const std::int64_t across = (cols + tile - 1) / tile;
    pool_.run((rows + tile - 1) / tile * across, 1, [&](std::int64_t task, std::int64_t) {
        const std::int64_t i0 = task / across * tile, j0 = task % across * tile;
        if (symmetric && j0 > i0) return;
        body(i0, std::min(tile, rows - i0), j0, std::min(tile, cols - j0));
    });
}

void Cpu::mirror(MatrixView k) {
    const auto body = [&](auto type) {
        over_tiles(k.rows, k.rows, gram_tile, true,
                   [&](std::int64_t i0, std::int64_t rows, std::int64_t j0, std::int64_t cols) {
                       mirror_tile<decltype(type)>(k, i0, rows, j0, cols);
                   });
    };
    if (k.dtype == DType::i32) return body(std::int32_t{});
    with_real(k.dtype, body);
}

void Cpu::hadamard_gram(ConstMatrixView x, ConstMatrixView x_cols, ConstMatrixView g,
                        ConstMatrixView g_cols, double alpha, MatrixView k) {
    const bool symmetric = same(x, x_cols) && same(g, g_cols);
    const BlasThreads one(1);
    with_real(k.dtype, [&](auto type) {
        using T = decltype(type);
        over_tiles(k.rows, k.cols, gram_tile, symmetric,
                   [&](std::int64_t i0, std::int64_t rows, std::int64_t j0, std::int64_t cols) {
                       const MatrixView out = k.row_block(i0, rows).col_block(j0, cols);
                       Matrix gg(rows, cols, k.dtype);
                       blas_gemm(false, true, 1, g.row_block(i0, rows), g_cols.row_block(j0, cols), 0, gg);
                       blas_gemm(false, true, alpha, x.row_block(i0, rows), x_cols.row_block(j0, cols), 0,
                                 out);
                       for (std::int64_t i = 0; i < rows; ++i)
                           multiply_row(gg.row<T>(i), cols, out.row<T>(i));
                       if (symmetric) mirror_tile<T>(k, i0, rows, j0, cols);
                   });
    });
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

void Cpu::arc_gram(ConstMatrixView u, ConstMatrixView norms, ConstMatrixView u_cols,
                   ConstMatrixView norms_cols, double alpha, double derivative, double product,
                   MatrixView out) {
    const bool symmetric = same(u, u_cols) && same(norms, norms_cols);
    const kernels::ArcKernel kernel(alpha, derivative, product);
    std::int64_t tile_size = largest_tile;  // BLAS is faster on larger ones; threads want 16 each
    while (tile_size > gram_tile && out.size() / tile_size < 16 * threads() * tile_size) tile_size /= 2;
    const BlasThreads one(1);
    with_real(out.dtype, [&](auto type) {
        using T = decltype(type);
        std::vector<T> lengths(out.cols);
        for (std::int64_t j = 0; j < out.cols; ++j) lengths[j] = norms_cols.at<T>(j, 0);
        over_tiles(out.rows, out.cols, tile_size, symmetric,
                   [&](std::int64_t i0, std::int64_t rows, std::int64_t j0, std::int64_t cols) {
                       const MatrixView tile = out.row_block(i0, rows).col_block(j0, cols);
                       const ConstMatrixView others = u_cols.row_block(j0, cols);
                       blas_gemm(false, true, 1, u.row_block(i0, rows), others, 0, tile);
                       ArcRow<T> row{nullptr, others.row<T>(0),   others.stride, others.cols,
                                     0,       lengths.data() + j0};
                       for (std::int64_t i = 0; i < rows; ++i) {
                           row.u = u.row<T>(i0 + i);
                           row.norm = norms.at<T>(i0 + i, 0);
                           arc_row(kernel, row, symmetric ? std::min(cols, i0 + i + 1 - j0) : cols,
                                   tile.row<T>(i));
                       }
                       if (symmetric) mirror_tile<T>(out, i0, rows, j0, cols);
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
    const BlasThreads one(1);
    const double depth = static_cast<double>(transpose_a ? a.rows : a.cols);
    const std::int64_t extent = std::max(c.rows, c.cols);
    const double flops = 2 * static_cast<double>(c.rows) * static_cast<double>(c.cols) * depth;
    const std::int64_t pieces = flops < small_product ? 1 : threads() * (extent >= 512 * threads() ? 2 : 1);
    const std::int64_t piece = std::max<std::int64_t>(1, (extent + 16 * pieces - 1) / (16 * pieces) * 16);
    pool_.run(extent, pieces == 1 ? std::max<std::int64_t>(1, extent) : piece,
              [&](std::int64_t begin, std::int64_t end) {
                  const std::int64_t count = end - begin;
                  if (c.rows >= c.cols)
                      blas_gemm(transpose_a, transpose_b, alpha,
                                transpose_a ? a.col_block(begin, count) : a.row_block(begin, count), b,
                                beta, c.row_block(begin, count));
                  else
                      blas_gemm(transpose_a, transpose_b, alpha, a,
                                transpose_b ? b.row_block(begin, count) : b.col_block(begin, count), beta,
                                c.col_block(begin, count));
              });
}

void Cpu::inner(double alpha, ConstMatrixView a, ConstMatrixView b, double beta, MatrixView c) {
    if (!same(a, b)) return gemm(false, true, alpha, a, b, beta, c);
    const BlasThreads one(1);
    with_real(c.dtype, [&](auto type) {
        over_tiles(c.rows, c.rows, gram_tile, true,
                   [&](std::int64_t i0, std::int64_t rows, std::int64_t j0, std::int64_t cols) {
                       blas_gemm(false, true, alpha, a.row_block(i0, rows), a.row_block(j0, cols), beta,
                                 c.row_block(i0, rows).col_block(j0, cols));
                       mirror_tile<decltype(type)>(c, i0, rows, j0, cols);
                   });
    });
}

namespace {

/// to = alpha·from + beta·to; with beta = 0 `to` is not read.
template <class X, class Y>
void axpby_of(double alpha, const X* from, std::int64_t count, double beta, Y* to) {
    if (beta == 0)
        for (std::int64_t j = 0; j < count; ++j) to[j] = static_cast<Y>(alpha * from[j]);
    else
        for (std::int64_t j = 0; j < count; ++j) to[j] = static_cast<Y>(alpha * from[j] + beta * to[j]);
}

}  // namespace

void Cpu::axpby(double alpha, ConstMatrixView x, double beta, MatrixView y) {
    const bool one_row = x.stride == x.cols && y.stride == y.cols;  // narrow matrices are a long loop too
    const std::int64_t rows = one_row ? y.rows * y.cols : y.rows, cols = one_row ? 1 : y.cols;
    with_real(x.dtype, [&](auto x_type) {
        with_real(y.dtype, [&](auto y_type) {
            using X = decltype(x_type);
            using Y = decltype(y_type);
            over_rows(rows, [&](std::int64_t begin, std::int64_t end) {
                if (one_row)
                    return axpby_of(alpha, x.row<X>(0) + begin, end - begin, beta, y.row<Y>(0) + begin);
                for (std::int64_t i = begin; i < end; ++i)
                    axpby_of(alpha, x.row<X>(i), cols, beta, y.row<Y>(i));
            });
        });
    });
}

void Cpu::combine_columns(double a, ConstMatrixView alpha, ConstMatrixView x, double b,
                          ConstMatrixView beta, MatrixView y) {
    const auto factor = [](double scale, ConstMatrixView numbers, std::int64_t j) {
        return numbers.data == nullptr ? scale : scale * numbers.at<double>(0, j);
    };
    if (y.cols == 1) return axpby(factor(a, alpha, 0), x, b == 0 ? 0 : factor(b, beta, 0), y);
    with_real(y.dtype, [&](auto type) {
        using T = decltype(type);
        over_rows(y.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) {
                const T* from = x.row<T>(i);
                T* to = y.row<T>(i);
                for (std::int64_t j = 0; j < y.cols; ++j) {
                    const double added = b == 0 ? 0 : factor(b, beta, j) * to[j];
                    to[j] = static_cast<T>(factor(a, alpha, j) * from[j] + added);
                }
            }
        });
    });
}

// Sums of fixed chunks, added in order: the same bits for every number of threads.
void Cpu::column_dots(ConstMatrixView a, ConstMatrixView b, MatrixView sums) {
    constexpr std::int64_t chunk = 4096;
    const std::int64_t chunks = (a.rows + chunk - 1) / chunk, cols = a.cols;
    std::vector<double> of_chunks(static_cast<std::size_t>(chunks * cols));
    const bool dense = cols == 1 && a.stride == 1 && b.stride == 1;
    with_real(a.dtype, [&](auto type) {
        using T = decltype(type);
        pool_.run(chunks, 1, [&](std::int64_t c, std::int64_t) {
            const std::int64_t begin = c * chunk, end = std::min(begin + chunk, a.rows);
            double* sum = of_chunks.data() + c * cols;
            if (dense) {
                *sum = dot(a.row<T>(begin), b.row<T>(begin), end - begin);
                return;
            }
            for (std::int64_t i = begin; i < end; ++i)
                for (std::int64_t j = 0; j < cols; ++j)
                    sum[j] += static_cast<double>(a.row<T>(i)[j]) * static_cast<double>(b.row<T>(i)[j]);
        });
    });
    for (std::int64_t j = 0; j < cols; ++j) {
        double total = 0;
        for (std::int64_t c = 0; c < chunks; ++c)
            total += of_chunks[static_cast<std::size_t>(c * cols + j)];
        sums.at<double>(0, j) = total;
    }
}

void Cpu::residual(Residual loss, ConstMatrixView f, ConstMatrixView y, MatrixView e, MatrixView total) {
    double sum_of_losses = 0;
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
                    sum_of_losses += 0.5 * difference * difference;
                }
                continue;
            }
            const double largest = *std::max_element(fi, fi + f.cols);
            double sum = 0;
            for (std::int64_t c = 0; c < f.cols; ++c) sum += shifted[c] = std::exp(fi[c] - largest);
            for (std::int64_t c = 0; c < f.cols; ++c) {
                ei[c] = static_cast<T>(shifted[c] / sum - value(y, i, c));
                sum_of_losses -= value(y, i, c) * (fi[c] - largest - std::log(sum));
            }
        }
    });
    total.at<double>(0, 0) = sum_of_losses;
}

bool Cpu::eigh(ConstMatrixView k, std::vector<double>& eigenvalues, MatrixView vectors) {
    const BlasThreads all(threads());
    return symmetric_eigenvalues(eigensolver_for(k.rows), k, eigenvalues, vectors);
}

std::int64_t Cpu::solve_spd(MatrixView k, MatrixView b) {
    const BlasThreads all(threads());
    const auto n = static_cast<lapack_int>(k.rows);
    if (n == 0) return 0;
    const auto ld = static_cast<lapack_int>(k.stride);
    // K's rows are its columns: the upper triangle by columns is the lower one by rows, and L lies there,
    // no copy made
    const auto info = LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', n, k.row<double>(0), ld);
    if (info != 0 || b.cols == 0) return info;
    for (const CBLAS_TRANSPOSE transpose : {CblasNoTrans, CblasTrans})  // L, then Lᵀ
        cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, transpose, CblasNonUnit, n,
                    static_cast<int>(b.cols), 1, k.row<double>(0), ld, b.row<double>(0),
                    static_cast<int>(b.stride));
    return 0;
}

}  // namespace fntk::backend

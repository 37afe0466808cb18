// BLAS for views: row-major, typed by overload, extents checked against the 32-bit integers of CBLAS.
#pragma once

#include <fntk/matrix.hpp>

#include <string>

namespace fntk::backend {

/// Threads that the BLAS in use may take, where it is one that can be told (OpenBLAS, MKL, BLIS).
void set_blas_threads(int threads);

/// Name of the kernels that OpenBLAS chose ("SkylakeX", "Prescott", ...); empty for another BLAS.
std::string blas_core();

/// C = alpha·op(A) op(B) + beta·C.
void blas_gemm(bool transpose_a, bool transpose_b, double alpha, ConstMatrixView a, ConstMatrixView b,
               double beta, MatrixView c);
/// Lower triangle of C = alpha·A Aᵀ + beta·C.
void blas_syrk(double alpha, ConstMatrixView a, double beta, MatrixView c);

}  // namespace fntk::backend

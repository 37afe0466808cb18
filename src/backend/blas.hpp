// BLAS for views: row-major, typed by overload, extents checked against the 32-bit integers of CBLAS.
#pragma once

#include <fntk/matrix.hpp>

#include <string>

namespace fntk::backend {

/// For its lifetime the BLAS in use takes at most `threads` threads, where it is one that can be told
/// (OpenBLAS, MKL, BLIS), and never more than it was set to (by OPENBLAS_NUM_THREADS, say); afterwards as
/// many as before. The number is one of the process: scopes that overlap share the first one's, and the
/// last one to end restores it.
class BlasThreads {
  public:
    explicit BlasThreads(int threads);
    ~BlasThreads();
    BlasThreads(const BlasThreads&) = delete;
    BlasThreads& operator=(const BlasThreads&) = delete;
};

/// Name of the kernels that OpenBLAS chose ("SkylakeX", "Prescott", ...); empty for another BLAS.
std::string blas_core();

/// C = alpha·op(A) op(B) + beta·C, on the thread that calls if a BlasThreads(1) is alive.
void blas_gemm(bool transpose_a, bool transpose_b, double alpha, ConstMatrixView a, ConstMatrixView b,
               double beta, MatrixView c);

}  // namespace fntk::backend

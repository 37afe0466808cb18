// cuBLAS by CBLAS, which counts by columns too if asked.
#include "cublas_v2.h"
#include "library.hpp"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

struct cublasContext {
    cudaStream_t stream = nullptr;
    int device = 0;
};

namespace fntk::test::gpu {

namespace {

cublasStatus_t status(cudaError_t code) {
    if (code == cudaSuccess) return CUBLAS_STATUS_SUCCESS;
    if (code == cudaErrorMemoryAllocation) return CUBLAS_STATUS_ALLOC_FAILED;
    return code == cudaErrorInvalidValue ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_EXECUTION_FAILED;
}

CBLAS_TRANSPOSE op(cublasOperation_t transpose) {
    return transpose == CUBLAS_OP_T ? CblasTrans : CblasNoTrans;
}
CBLAS_UPLO part(cublasFillMode_t fill) { return fill == CUBLAS_FILL_MODE_UPPER ? CblasUpper : CblasLower; }

template <class T, class Gemm>
cublasStatus_t gemm(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, std::int64_t m,
                    std::int64_t n, std::int64_t k, const T* alpha, const T* a, std::int64_t lda,
                    const T* b, std::int64_t ldb, const T* beta, T* c, std::int64_t ldc, Gemm run) {
    return status(library(handle, [&] {
        const bool at = ta == CUBLAS_OP_T, bt = tb == CUBLAS_OP_T;
        const cudaError_t code =
            first_of({is_matrix(a, at ? k : m, at ? m : k, lda), is_matrix(b, bt ? n : k, bt ? k : n, ldb),
                      is_matrix(c, m, n, ldc)});
        if (code != cudaSuccess) return code;
        return submit(handle->stream, [=, scale = *alpha, old = *beta] {
            if (m > 0 && n > 0)
                run(CblasColMajor, op(ta), op(tb), library_extent(m), library_extent(n), library_extent(k),
                    scale, a, library_extent(lda), b, library_extent(ldb), old, c, library_extent(ldc));
        });
    }));
}

/// An empty matrix leaves y as it is, whatever beta.
template <class T, class Gemv>
cublasStatus_t gemv(cublasHandle_t handle, cublasOperation_t transpose, std::int64_t m, std::int64_t n,
                    const T* alpha, const T* a, std::int64_t lda, const T* x, std::int64_t incx,
                    const T* beta, T* y, std::int64_t incy, Gemv run) {
    return status(library(handle, [&] {
        const bool t = transpose == CUBLAS_OP_T;
        const cudaError_t code = first_of(
            {is_matrix(a, m, n, lda), is_matrix(x, 1, t ? m : n, incx), is_matrix(y, 1, t ? n : m, incy)});
        if (code != cudaSuccess) return code;
        return submit(handle->stream, [=, scale = *alpha, old = *beta] {
            if (m > 0 && n > 0)
                run(CblasColMajor, op(transpose), library_extent(m), library_extent(n), scale, a,
                    library_extent(lda), x, library_extent(incx), old, y, library_extent(incy));
        });
    }));
}

template <class T, class Syrk>
cublasStatus_t syrk(cublasHandle_t handle, cublasFillMode_t fill, cublasOperation_t transpose,
                    std::int64_t n, std::int64_t k, const T* alpha, const T* a, std::int64_t lda,
                    const T* beta, T* c, std::int64_t ldc, Syrk run) {
    return status(library(handle, [&] {
        const bool t = transpose == CUBLAS_OP_T;
        const cudaError_t code =
            first_of({is_matrix(a, t ? k : n, t ? n : k, lda), is_matrix(c, n, n, ldc)});
        if (code != cudaSuccess) return code;
        return submit(handle->stream, [=, scale = *alpha, old = *beta] {
            if (n > 0)
                run(CblasColMajor, part(fill), op(transpose), library_extent(n), library_extent(k), scale,
                    a, library_extent(lda), old, c, library_extent(ldc));
        });
    }));
}

}  // namespace

}  // namespace fntk::test::gpu

using namespace fntk::test::gpu;

const char* cublasGetStatusString(cublasStatus_t code) {
    return code == CUBLAS_STATUS_SUCCESS ? "success" : "a failure of the tests";
}
cublasStatus_t cublasCreate(cublasHandle_t* handle) { return status(make(handle)); }
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
    destroy(handle);
    return status(begin(Can::nothing));
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
    const cudaError_t code = begin(Can::fail);
    if (code == cudaSuccess) handle->stream = stream;
    return status(code);
}
cublasStatus_t cublasSetWorkspace(cublasHandle_t /*handle*/, void* workspace, std::size_t bytes) {
    const cudaError_t code = begin(Can::fail);
    if (code != cudaSuccess) return status(code);
    Block* const block = block_of(workspace, bytes);
    if (block == nullptr || block->graph != nullptr)
        return status(against_the_rules("cuBLAS's workspace is not on the device, or memory of a graph"));
    block->lent = true;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t /*handle*/, cublasMath_t /*mode*/) {
    return status(begin(Can::fail));
}

cublasStatus_t cublasSgemm_64(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb,
                              std::int64_t m, std::int64_t n, std::int64_t k, const float* alpha,
                              const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
                              const float* beta, float* c, std::int64_t ldc) {
    return gemm(handle, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, &cblas_sgemm);
}
cublasStatus_t cublasDgemm_64(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb,
                              std::int64_t m, std::int64_t n, std::int64_t k, const double* alpha,
                              const double* a, std::int64_t lda, const double* b, std::int64_t ldb,
                              const double* beta, double* c, std::int64_t ldc) {
    return gemm(handle, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, &cblas_dgemm);
}
cublasStatus_t cublasSgemv_64(cublasHandle_t handle, cublasOperation_t transpose, std::int64_t m,
                              std::int64_t n, const float* alpha, const float* a, std::int64_t lda,
                              const float* x, std::int64_t incx, const float* beta, float* y,
                              std::int64_t incy) {
    return gemv(handle, transpose, m, n, alpha, a, lda, x, incx, beta, y, incy, &cblas_sgemv);
}
cublasStatus_t cublasDgemv_64(cublasHandle_t handle, cublasOperation_t transpose, std::int64_t m,
                              std::int64_t n, const double* alpha, const double* a, std::int64_t lda,
                              const double* x, std::int64_t incx, const double* beta, double* y,
                              std::int64_t incy) {
    return gemv(handle, transpose, m, n, alpha, a, lda, x, incx, beta, y, incy, &cblas_dgemv);
}
cublasStatus_t cublasSsyrk_64(cublasHandle_t handle, cublasFillMode_t fill, cublasOperation_t transpose,
                              std::int64_t n, std::int64_t k, const float* alpha, const float* a,
                              std::int64_t lda, const float* beta, float* c, std::int64_t ldc) {
    return syrk(handle, fill, transpose, n, k, alpha, a, lda, beta, c, ldc, &cblas_ssyrk);
}
cublasStatus_t cublasDsyrk_64(cublasHandle_t handle, cublasFillMode_t fill, cublasOperation_t transpose,
                              std::int64_t n, std::int64_t k, const double* alpha, const double* a,
                              std::int64_t lda, const double* beta, double* c, std::int64_t ldc) {
    return syrk(handle, fill, transpose, n, k, alpha, a, lda, beta, c, ldc, &cblas_dsyrk);
}

// Products of int8: A transposed and B not, scales of 0 and 1, extents and leading dimensions that are
// multiples of four (cuBLAS, cublasGemmEx).
cublasStatus_t cublasGemmEx_64(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb,
                               std::int64_t m, std::int64_t n, std::int64_t k, const void* alpha,
                               const void* a, cudaDataType a_type, std::int64_t lda, const void* b,
                               cudaDataType b_type, std::int64_t ldb, const void* beta, void* c,
                               cudaDataType c_type, std::int64_t ldc, cublasComputeType_t compute,
                               cublasGemmAlgo_t /*algorithm*/) {
    if (a_type != CUDA_R_8I || b_type != CUDA_R_8I || c_type != CUDA_R_32I || compute != CUBLAS_COMPUTE_32I)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return status(library(handle, [&] {
        std::int32_t scale = 0, old = 0;
        std::memcpy(&scale, alpha, sizeof(scale));
        std::memcpy(&old, beta, sizeof(old));
        const auto odd = [](std::int64_t extent) { return extent % 4 != 0; };
        if (ta != CUBLAS_OP_T || tb != CUBLAS_OP_N || scale != 1 || (old != 0 && old != 1) || odd(m) ||
            odd(k) || odd(n) || odd(lda) || odd(ldb) || odd(ldc))
            return against_the_rules("an int8 product that cuBLAS does not promise");
        const auto* left = static_cast<const std::int8_t*>(a);
        const auto* right = static_cast<const std::int8_t*>(b);
        auto* sum = static_cast<std::int32_t*>(c);
        const cudaError_t code =
            first_of({is_matrix(left, k, m, lda), is_matrix(right, k, n, ldb), is_matrix(sum, m, n, ldc)});
        if (code != cudaSuccess) return code;
        return submit(handle->stream, [=] {  // whole numbers, exact in double
            const auto doubles = [&](const std::int8_t* from, std::int64_t cols, std::int64_t stride) {
                std::vector<double> to(static_cast<std::size_t>(k * cols));
                for (std::int64_t j = 0; j < cols; ++j)
                    std::copy_n(from + j * stride, k, to.begin() + j * k);
                return to;
            };
            const std::vector<double> of_a = doubles(left, m, lda), of_b = doubles(right, n, ldb);
            std::vector<double> products(static_cast<std::size_t>(m * n));
            if (products.empty()) return;
            cblas_dgemm(CblasColMajor, CblasTrans, CblasNoTrans, library_extent(m), library_extent(n),
                        library_extent(k), 1, of_a.data(), library_extent(std::max<std::int64_t>(k, 1)),
                        of_b.data(), library_extent(std::max<std::int64_t>(k, 1)), 0, products.data(),
                        library_extent(m));
            for (std::int64_t j = 0; j < n; ++j)
                for (std::int64_t i = 0; i < m; ++i) {
                    const double total =
                        products[static_cast<std::size_t>(j * m + i)] + (old == 0 ? 0 : sum[j * ldc + i]);
                    if (std::abs(total) > 0x7FFFFFFF) against_the_rules("an int8 product beyond int32");
                    sum[j * ldc + i] = static_cast<std::int32_t>(static_cast<std::int64_t>(total));
                }
        });
    }));
}

// The part of cuBLAS that the backend calls, by the CBLAS of the host (host_gpu.hpp): products by columns,
// in the order of a stream, refused where cuBLAS's documentation does.
#pragma once

#include "cuda_runtime.h"

#include <cstdint>

enum cublasStatus_t {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_NOT_INITIALIZED = 1,
    CUBLAS_STATUS_ALLOC_FAILED = 3,
    CUBLAS_STATUS_INVALID_VALUE = 7,
    CUBLAS_STATUS_EXECUTION_FAILED = 13,
    CUBLAS_STATUS_NOT_SUPPORTED = 15,
};
enum cublasOperation_t { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 };
enum cublasFillMode_t { CUBLAS_FILL_MODE_LOWER = 0, CUBLAS_FILL_MODE_UPPER = 1 };
enum cublasMath_t { CUBLAS_DEFAULT_MATH = 0, CUBLAS_PEDANTIC_MATH = 2 };
enum cublasComputeType_t { CUBLAS_COMPUTE_32I = 72 };
enum cublasGemmAlgo_t { CUBLAS_GEMM_DEFAULT = -1 };
enum cudaDataType { CUDA_R_64F = 1, CUDA_R_8I = 3, CUDA_R_32I = 10 };

struct cublasContext;
using cublasHandle_t = cublasContext*;

const char* cublasGetStatusString(cublasStatus_t status);
cublasStatus_t cublasCreate(cublasHandle_t* handle);
cublasStatus_t cublasDestroy(cublasHandle_t handle);
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream);
cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void* workspace, std::size_t bytes);
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode);
cublasStatus_t cublasSgemm_64(cublasHandle_t handle, cublasOperation_t transpose_a,
                              cublasOperation_t transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                              const float* alpha, const float* a, std::int64_t lda, const float* b,
                              std::int64_t ldb, const float* beta, float* c, std::int64_t ldc);
cublasStatus_t cublasDgemm_64(cublasHandle_t handle, cublasOperation_t transpose_a,
                              cublasOperation_t transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                              const double* alpha, const double* a, std::int64_t lda, const double* b,
                              std::int64_t ldb, const double* beta, double* c, std::int64_t ldc);
cublasStatus_t cublasSgemv_64(cublasHandle_t handle, cublasOperation_t transpose, std::int64_t m,
                              std::int64_t n, const float* alpha, const float* a, std::int64_t lda,
                              const float* x, std::int64_t incx, const float* beta, float* y,
                              std::int64_t incy);
cublasStatus_t cublasDgemv_64(cublasHandle_t handle, cublasOperation_t transpose, std::int64_t m,
                              std::int64_t n, const double* alpha, const double* a, std::int64_t lda,
                              const double* x, std::int64_t incx, const double* beta, double* y,
                              std::int64_t incy);
cublasStatus_t cublasSsyrk_64(cublasHandle_t handle, cublasFillMode_t fill, cublasOperation_t transpose,
                              std::int64_t n, std::int64_t k, const float* alpha, const float* a,
                              std::int64_t lda, const float* beta, float* c, std::int64_t ldc);
cublasStatus_t cublasDsyrk_64(cublasHandle_t handle, cublasFillMode_t fill, cublasOperation_t transpose,
                              std::int64_t n, std::int64_t k, const double* alpha, const double* a,
                              std::int64_t lda, const double* beta, double* c, std::int64_t ldc);
cublasStatus_t cublasGemmEx_64(cublasHandle_t handle, cublasOperation_t transpose_a,
                               cublasOperation_t transpose_b, std::int64_t m, std::int64_t n,
                               std::int64_t k, const void* alpha, const void* a, cudaDataType a_type,
                               std::int64_t lda, const void* b, cudaDataType b_type, std::int64_t ldb,
                               const void* beta, void* c, cudaDataType c_type, std::int64_t ldc,
                               cublasComputeType_t compute, cublasGemmAlgo_t algorithm);

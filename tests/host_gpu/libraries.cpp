// cuBLAS and cuSOLVER by CBLAS and LAPACKE, which count by columns too if asked.
#include "cublas_v2.h"
#include "cusolverDn.h"
#include "state.hpp"

#include <cblas.h>
#include <lapacke.h>

#include <algorithm>
#include <cstring>

struct cublasContext {
    cudaStream_t stream = nullptr;
    int device = 0;
};
struct cusolverDnContext {
    cudaStream_t stream = nullptr;
    int device = 0;
};

struct cusolverDnParams {
    int device = 0;
};

namespace fntk::test::gpu {

namespace {

cublasStatus_t status(cudaError_t code) {
    if (code == cudaSuccess) return CUBLAS_STATUS_SUCCESS;
    if (code == cudaErrorMemoryAllocation) return CUBLAS_STATUS_ALLOC_FAILED;
    return code == cudaErrorInvalidValue ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_EXECUTION_FAILED;
}
cusolverStatus_t solver_status(cudaError_t code) {
    if (code == cudaSuccess) return CUSOLVER_STATUS_SUCCESS;
    if (code == cudaErrorMemoryAllocation) return CUSOLVER_STATUS_ALLOC_FAILED;
    return code == cudaErrorInvalidValue ? CUSOLVER_STATUS_INVALID_VALUE : CUSOLVER_STATUS_EXECUTION_FAILED;
}

/// A library's call: work on its handle's stream and device. Its failure is no failure of the runtime, but
/// for those that are final.
template <class Handle, class Body>
cudaError_t library(const Handle* handle, Body&& body) {
    const cudaError_t code = begin(Can::run_out_of_memory);
    if (code != cudaSuccess) return code;
    if (const cudaError_t stream = known(handle->stream); stream != cudaSuccess) return stream;
    if (handle->device != state().device) return against_the_rules("a handle of another device");
    return body();
}

/// A handle takes memory, which no stream that is being recorded allows.
template <class Handle>
cudaError_t make(Handle** handle) {
    const cudaError_t code = begin(Can::run_out_of_memory);
    if (code != cudaSuccess) return code;
    for (auto& stream : state().streams)
        if (const cudaError_t free = not_while_recording(*stream); free != cudaSuccess) return free;
    *handle = new Handle;
    (*handle)->device = state().device;
    ++state().alive.handles;
    return cudaSuccess;
}
template <class Handle>
void destroy(Handle* handle) {
    delete handle;
    --state().alive.handles;
}

/// A matrix of a library, by columns: that its leading dimension holds its rows, and that it is on the
/// device.
template <class T>
cudaError_t is_matrix(const T* data, std::int64_t rows, std::int64_t cols, std::int64_t leading) {
    if (rows < 0 || cols < 0 || leading < std::max<std::int64_t>(rows, 1) || leading > 0x7FFFFFFF)
        return against_the_rules("a leading dimension of " + std::to_string(leading) + " for " +
                                 std::to_string(rows) + " rows");
    if (rows == 0 || cols == 0) return cudaSuccess;
    const auto bytes = static_cast<std::size_t>((cols - 1) * leading + rows) * sizeof(T);
    return block_of(data, bytes) != nullptr ? cudaSuccess
                                            : against_the_rules("a library's matrix is not on the device");
}
cudaError_t first_of(std::initializer_list<cudaError_t> codes) {
    for (const cudaError_t code : codes)
        if (code != cudaSuccess) return code;
    return cudaSuccess;
}

CBLAS_TRANSPOSE op(cublasOperation_t transpose) {
    return transpose == CUBLAS_OP_T ? CblasTrans : CblasNoTrans;
}
CBLAS_UPLO part(cublasFillMode_t fill) { return fill == CUBLAS_FILL_MODE_UPPER ? CblasUpper : CblasLower; }
int extent(std::int64_t n) { return static_cast<int>(n); }

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
                run(CblasColMajor, op(ta), op(tb), extent(m), extent(n), extent(k), scale, a, extent(lda),
                    b, extent(ldb), old, c, extent(ldc));
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
                run(CblasColMajor, part(fill), op(transpose), extent(n), extent(k), scale, a, extent(lda),
                    old, c, extent(ldc));
        });
    }));
}

constexpr std::size_t host_workspace = 64;
std::size_t device_workspace(std::int64_t n) { return static_cast<std::size_t>(8 * n + 8); }

/// Writes to all of a workspace.
void use(void* memory, std::size_t bytes) {
    if (bytes > 0) std::memset(memory, 0xA5, bytes);
}
bool enough(std::int64_t n, const void* on_device, std::size_t device_bytes, const void* on_host,
            std::size_t host_bytes) {
    return device_bytes >= device_workspace(n) && block_of(on_device, device_bytes) != nullptr &&
           on_host != nullptr && host_bytes >= host_workspace;
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
    handle->stream = stream;
    return status(begin(Can::fail));
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
        return submit(handle->stream, [=] {
            for (std::int64_t j = 0; j < n; ++j)
                for (std::int64_t i = 0; i < m; ++i) {
                    std::int32_t dot = 0;
                    for (std::int64_t l = 0; l < k; ++l) dot += left[i * lda + l] * right[j * ldb + l];
                    sum[j * ldc + i] = dot + (old == 0 ? 0 : sum[j * ldc + i]);
                }
        });
    }));
}

cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t* handle) { return solver_status(make(handle)); }
cusolverStatus_t cusolverDnDestroy(cusolverDnHandle_t handle) {
    destroy(handle);
    return solver_status(begin(Can::nothing));
}
cusolverStatus_t cusolverDnCreateParams(cusolverDnParams_t* params) { return solver_status(make(params)); }
cusolverStatus_t cusolverDnDestroyParams(cusolverDnParams_t params) {
    destroy(params);
    return solver_status(begin(Can::nothing));
}
cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t handle, cudaStream_t stream) {
    handle->stream = stream;
    return solver_status(begin(Can::fail));
}

cusolverStatus_t cusolverDnXsyevd_bufferSize(cusolverDnHandle_t handle, cusolverDnParams_t /*params*/,
                                             cusolverEigMode_t /*mode*/, cublasFillMode_t /*fill*/,
                                             std::int64_t n, cudaDataType /*a_type*/, const void* a,
                                             std::int64_t lda, cudaDataType /*w_type*/, const void* w,
                                             cudaDataType /*compute*/, std::size_t* device_bytes,
                                             std::size_t* host_bytes) {
    return solver_status(library(handle, [&] {
        *device_bytes = device_workspace(n);
        *host_bytes = host_workspace;
        return first_of({is_matrix(static_cast<const double*>(a), n, n, lda),
                         is_matrix(static_cast<const double*>(w), n, 1, n)});
    }));
}
cusolverStatus_t cusolverDnXsyevd(cusolverDnHandle_t handle, cusolverDnParams_t /*params*/,
                                  cusolverEigMode_t mode, cublasFillMode_t fill, std::int64_t n,
                                  cudaDataType a_type, void* a, std::int64_t lda, cudaDataType w_type,
                                  void* w, cudaDataType compute, void* on_device, std::size_t device_bytes,
                                  void* on_host, std::size_t host_bytes, int* info) {
    return solver_status(library(handle, [&] {
        auto* matrix = static_cast<double*>(a);
        auto* values = static_cast<double*>(w);
        if (a_type != CUDA_R_64F || w_type != CUDA_R_64F || compute != CUDA_R_64F ||
            !enough(n, on_device, device_bytes, on_host, host_bytes))
            return against_the_rules("an eigendecomposition without what it needs");
        const cudaError_t code =
            first_of({is_matrix(matrix, n, n, lda), is_matrix(values, n, 1, n), is_matrix(info, 1, 1, 1)});
        if (code != cudaSuccess) return code;
        return submit(handle->stream, [=] {
            use(on_device, device_bytes);
            use(on_host, host_bytes);
            *info = LAPACKE_dsyevd(LAPACK_COL_MAJOR, mode == CUSOLVER_EIG_MODE_VECTOR ? 'V' : 'N',
                                   fill == CUBLAS_FILL_MODE_UPPER ? 'U' : 'L', extent(n), matrix,
                                   extent(lda), values);
        });
    }));
}

cusolverStatus_t cusolverDnXpotrf_bufferSize(cusolverDnHandle_t handle, cusolverDnParams_t /*params*/,
                                             cublasFillMode_t /*fill*/, std::int64_t n,
                                             cudaDataType /*a_type*/, const void* a, std::int64_t lda,
                                             cudaDataType /*compute*/, std::size_t* device_bytes,
                                             std::size_t* host_bytes) {
    return solver_status(library(handle, [&] {
        *device_bytes = device_workspace(n);
        *host_bytes = host_workspace;
        return is_matrix(static_cast<const double*>(a), n, n, lda);
    }));
}
cusolverStatus_t cusolverDnXpotrf(cusolverDnHandle_t handle, cusolverDnParams_t /*params*/,
                                  cublasFillMode_t fill, std::int64_t n, cudaDataType a_type, void* a,
                                  std::int64_t lda, cudaDataType compute, void* on_device,
                                  std::size_t device_bytes, void* on_host, std::size_t host_bytes,
                                  int* info) {
    return solver_status(library(handle, [&] {
        auto* matrix = static_cast<double*>(a);
        if (a_type != CUDA_R_64F || compute != CUDA_R_64F ||
            !enough(n, on_device, device_bytes, on_host, host_bytes))
            return against_the_rules("a Cholesky factorisation without what it needs");
        const cudaError_t code = first_of({is_matrix(matrix, n, n, lda), is_matrix(info, 1, 1, 1)});
        if (code != cudaSuccess) return code;
        return submit(handle->stream, [=] {
            use(on_device, device_bytes);
            use(on_host, host_bytes);
            *info = LAPACKE_dpotrf(LAPACK_COL_MAJOR, fill == CUBLAS_FILL_MODE_UPPER ? 'U' : 'L', extent(n),
                                   matrix, extent(lda));
        });
    }));
}
cusolverStatus_t cusolverDnXpotrs(cusolverDnHandle_t handle, cusolverDnParams_t /*params*/,
                                  cublasFillMode_t fill, std::int64_t n, std::int64_t columns,
                                  cudaDataType a_type, const void* a, std::int64_t lda, cudaDataType b_type,
                                  void* b, std::int64_t ldb, int* info) {
    return solver_status(library(handle, [&] {
        const auto* factor = static_cast<const double*>(a);
        auto* right = static_cast<double*>(b);
        if (a_type != CUDA_R_64F || b_type != CUDA_R_64F)
            return against_the_rules("a Cholesky solution in other numbers than float64");
        const cudaError_t code = first_of(
            {is_matrix(factor, n, n, lda), is_matrix(right, n, columns, ldb), is_matrix(info, 1, 1, 1)});
        if (code != cudaSuccess) return code;
        return submit(handle->stream, [=] {
            *info = LAPACKE_dpotrs(LAPACK_COL_MAJOR, fill == CUBLAS_FILL_MODE_UPPER ? 'U' : 'L', extent(n),
                                   extent(columns), factor, extent(lda), right, extent(ldb));
        });
    }));
}

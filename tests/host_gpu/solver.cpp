// cuSOLVER by LAPACKE, which counts by columns too if asked.
#include "cusolverDn.h"
#include "library.hpp"

#include <lapacke.h>

#include <cstring>

struct cusolverDnContext {
    cudaStream_t stream = nullptr;
    int device = 0;
};
struct cusolverDnParams {
    int device = 0;
};

namespace fntk::test::gpu {

namespace {

cusolverStatus_t solver_status(cudaError_t code) {
    if (code == cudaSuccess) return CUSOLVER_STATUS_SUCCESS;
    if (code == cudaErrorMemoryAllocation) return CUSOLVER_STATUS_ALLOC_FAILED;
    return code == cudaErrorInvalidValue ? CUSOLVER_STATUS_INVALID_VALUE : CUSOLVER_STATUS_EXECUTION_FAILED;
}

char part(cublasFillMode_t fill) { return fill == CUBLAS_FILL_MODE_UPPER ? 'U' : 'L'; }

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
    const cudaError_t code = begin(Can::fail);
    if (code == cudaSuccess) handle->stream = stream;
    return solver_status(code);
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
                                   part(fill), library_extent(n), matrix, library_extent(lda), values);
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
            *info = LAPACKE_dpotrf(LAPACK_COL_MAJOR, part(fill), library_extent(n), matrix,
                                   library_extent(lda));
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
            *info = LAPACKE_dpotrs(LAPACK_COL_MAJOR, part(fill), library_extent(n), library_extent(columns),
                                   factor, library_extent(lda), right, library_extent(ldb));
        });
    }));
}

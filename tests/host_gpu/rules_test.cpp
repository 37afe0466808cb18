// The GPUs of the tests keep to the documentation, and find who does not: every fault here is planted.
#include "cublas_v2.h"
#include "cusolverDn.h"
#include "host_gpu.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <memory>

namespace fntk::test::gpu {
namespace {

/// Adds one to each of 32 numbers; `outside` goes one beyond, `alone` leaves its warp behind.
struct AddOne {
    static constexpr int max_threads = 32;
    double* numbers = nullptr;
    bool alone = false;

    [[nodiscard]] kernels::Launch launch(const kernels::DeviceLimits& /*limits*/) const {
        return {1, 32, 0};
    }
    template <class Grid>
    void operator()(Grid& grid) const {
        numbers[grid.thread()] += 1;
        if (!alone || grid.thread() > 0) grid.sync();
    }
};

class HostGpuTest : public ::testing::Test {
  protected:
    void SetUp() override {
        cudaMemPoolProps properties{};
        properties.allocType = cudaMemAllocationTypePinned;
        properties.location.type = cudaMemLocationTypeDevice;
        ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
        ASSERT_EQ(cudaMemPoolCreate(&pool, &properties), cudaSuccess);
    }
    void TearDown() override {
        if (pool != nullptr) cudaMemPoolDestroy(pool);
        cudaStreamDestroy(stream);
        cudaGetLastError();
    }
    /// Without doing what was issued.
    void begin_anew() {
        cudaMemPoolDestroy(pool);
        (void)take_fault();
        restart();
        SetUp();
    }
    double* allocate(std::size_t count = 32) {
        void* memory = nullptr;
        EXPECT_EQ(cudaMallocFromPoolAsync(&memory, count * sizeof(double), pool, stream), cudaSuccess);
        return static_cast<double*>(memory);
    }
    cudaError_t launch(const AddOne& kernel, std::size_t shared_bytes = 0) {
        void* arguments[] = {const_cast<AddOne*>(&kernel)};
        return cudaLaunchKernel(reinterpret_cast<const void*>(&kernels::entry<AddOne>), dim3(1), dim3(32),
                                arguments, shared_bytes, stream);
    }
    cudaError_t fetch(double* to, const double* from) {
        return cudaMemcpyAsync(to, from, sizeof(double), cudaMemcpyDeviceToHost, stream);
    }
    static void expect_fault(const std::string& part) {
        const std::string fault = take_fault();
        EXPECT_NE(fault.find(part), std::string::npos) << fault;
    }

    cudaStream_t stream = nullptr;
    cudaMemPool_t pool = nullptr;
};

TEST_F(HostGpuTest, WorkIsDoneWhenTheHostWaitsAndNotBefore) {
    double* const numbers = allocate();
    double there = -1;
    EXPECT_EQ(cudaMemsetAsync(numbers, 0, 32 * sizeof(double), stream), cudaSuccess);
    for (int i = 0; i < 2; ++i) EXPECT_EQ(launch({numbers}), cudaSuccess);
    EXPECT_EQ(fetch(&there, numbers + 31), cudaSuccess);
    EXPECT_EQ(there, -1) << "nobody has waited";
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_EQ(there, 2);
    EXPECT_EQ(cudaFreeAsync(numbers, stream), cudaSuccess);
}

TEST_F(HostGpuTest, FreshMemoryIsNotANumber) {
    double* const numbers = allocate();
    double there = 0;
    EXPECT_EQ(fetch(&there, numbers + 7), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_TRUE(std::isnan(there));
    EXPECT_EQ(cudaFreeAsync(numbers, stream), cudaSuccess);
}

TEST_F(HostGpuTest, CopiesGoWhereTheySay) {
    double* const numbers = allocate();
    double here = 0;
    EXPECT_EQ(cudaMemcpyAsync(numbers, &here, 8, cudaMemcpyDeviceToDevice, stream), cudaErrorInvalidValue);
    expect_fault("what is copied is no memory of the device");
    EXPECT_EQ(cudaMemcpyAsync(&here, numbers, 8, cudaMemcpyHostToHost, stream), cudaErrorInvalidValue);
    expect_fault("what is copied is memory of the device");
    EXPECT_EQ(cudaMemcpyAsync(&here, &here, 8, cudaMemcpyHostToDevice, stream), cudaErrorInvalidValue);
    expect_fault("where a copy goes is no memory of the device");
    EXPECT_EQ(cudaMemsetAsync(numbers + 1, 0, 32 * sizeof(double), stream), cudaErrorInvalidValue);
    expect_fault("what is set is no memory of the device");
    EXPECT_EQ(cudaMemset2DAsync(numbers, 8, 0, 16, 2, stream), cudaErrorInvalidValue);
    expect_fault("rows that overlap");
    EXPECT_EQ(cudaFreeAsync(numbers, stream), cudaSuccess);
}

TEST_F(HostGpuTest, MemoryIsGivenBackOnce) {
    double* const numbers = allocate();
    EXPECT_EQ(cudaFreeAsync(numbers + 1, stream), cudaErrorInvalidValue);
    expect_fault("given back that is none");
    EXPECT_EQ(cudaFreeAsync(numbers, stream), cudaSuccess);
    EXPECT_EQ(cudaFreeAsync(numbers, stream), cudaErrorInvalidValue);
    expect_fault("second time");
    EXPECT_EQ(cudaMemsetAsync(numbers, 0, 8, stream), cudaErrorInvalidValue);
    expect_fault("no memory of the device");
    double* const kept = allocate();
    cudaMemPoolDestroy(std::exchange(pool, nullptr));
    expect_fault("a pool ends with 1 blocks");
    (void)kept;
    restart();
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream, 0), cudaSuccess);
}

TEST_F(HostGpuTest, MemoryEnds) {
    machine().memory = 1000;
    double* const first = allocate(100);
    void* second = nullptr;
    EXPECT_EQ(cudaMallocFromPoolAsync(&second, 201, pool, stream), cudaErrorMemoryAllocation);
    std::size_t free = 0, total = 0;
    EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
    EXPECT_EQ(free, 200U);
    EXPECT_EQ(total, 1000U);
    EXPECT_EQ(cudaFreeAsync(first, stream), cudaSuccess);
    EXPECT_EQ(cudaFreeAsync(allocate(100), stream), cudaSuccess) << "the same block";
    EXPECT_EQ(cudaMemPoolTrimTo(pool, 0), cudaSuccess);
    EXPECT_EQ(cudaMallocFromPoolAsync(&second, 1000, pool, stream), cudaErrorMemoryAllocation)
        << "the pool keeps it: nobody has waited until it was given back";
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_EQ(cudaMalloc(&second, 1000), cudaErrorMemoryAllocation);
    EXPECT_EQ(cudaMemPoolTrimTo(pool, 0), cudaSuccess);
    EXPECT_EQ(cudaMallocFromPoolAsync(&second, 1000, pool, stream), cudaSuccess);
    EXPECT_EQ(cudaFree(second), cudaErrorInvalidValue);
    expect_fault("is a pool's");
    EXPECT_EQ(cudaFreeAsync(second, stream), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_EQ(cudaMemPoolTrimTo(pool, 0), cudaSuccess);
    EXPECT_EQ(cudaMalloc(&second, 1000), cudaSuccess);
    EXPECT_EQ(cudaFree(second), cudaSuccess);
}

TEST_F(HostGpuTest, LaunchesKeepToWhatWasAskedFor) {
    double* const numbers = allocate();
    const AddOne kernel{numbers};
    const auto* entry = reinterpret_cast<const void*>(&kernels::entry<AddOne>);
    EXPECT_EQ(launch(kernel, 64 * 1024), cudaErrorInvalidValue);
    expect_fault("shared memory that was not asked for");
    EXPECT_EQ(cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 * 1024),
              cudaSuccess);
    EXPECT_EQ(launch(kernel, 64 * 1024), cudaSuccess);
    EXPECT_EQ(cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 * 1024),
              cudaErrorInvalidValue);
    expect_fault("so much shared memory");
    void* arguments[] = {const_cast<AddOne*>(&kernel)};
    EXPECT_EQ(cudaLaunchKernel(entry, dim3(1), dim3(64), arguments, 0, stream),
              cudaErrorLaunchOutOfResources);
    expect_fault("more threads");
    EXPECT_EQ(cudaLaunchKernel(entry, dim3(0), dim3(32), arguments, 0, stream),
              cudaErrorInvalidConfiguration);
    expect_fault("a launch of nothing");
    EXPECT_EQ(cudaSetDevice(1), cudaSuccess);
    EXPECT_EQ(launch(kernel), cudaErrorInvalidResourceHandle);
    expect_fault("another device");
    EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
    EXPECT_EQ(cudaFreeAsync(numbers, stream), cudaSuccess);
}

TEST_F(HostGpuTest, AKernelThatBreaksTheRulesOfItsGridEndsTheProcess) {
    double* const numbers = allocate();
    EXPECT_EQ(launch({numbers, true}), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorLaunchFailure);
    expect_fault("leaves the kernel while");
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorLaunchFailure) << "and everything after it";
    EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchFailure);
    cudaMemPoolDestroy(std::exchange(pool, nullptr));
    restart();
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream, 0), cudaSuccess);
}

TEST_F(HostGpuTest, AGraphDoesWhatWasRecordedWithMemoryOfItsOwn) {
    double* const sum = allocate();
    EXPECT_EQ(cudaMemsetAsync(sum, 0, 32 * sizeof(double), stream), cudaSuccess);
    EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    double* const own = allocate();
    EXPECT_EQ(launch({sum}), cudaSuccess);
    EXPECT_EQ(cudaFreeAsync(own, stream), cudaSuccess);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    EXPECT_EQ(cudaGraphInstantiateWithFlags(&exec, graph, 0), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
    double there = 0;
    EXPECT_EQ(fetch(&there, sum), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_EQ(there, 3);
    EXPECT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
    EXPECT_EQ(cudaFreeAsync(sum, stream), cudaSuccess);
}

TEST_F(HostGpuTest, WhatCannotBeRecordedEndsTheRecording) {
    cudaGraph_t graph = nullptr;
    cublasHandle_t blas = nullptr;
    EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    EXPECT_NE(cublasCreate(&blas), CUBLAS_STATUS_SUCCESS) << "takes memory";
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(graph, nullptr);
}

TEST_F(HostGpuTest, AGraphThatKeepsMemoryIsNotLaunchedTwice) {
    EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    (void)allocate();
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    EXPECT_EQ(cudaGraphInstantiateWithFlags(&exec, graph, 0), cudaSuccess);
    EXPECT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
    EXPECT_EQ(cudaGraphLaunch(exec, stream), cudaErrorInvalidValue);
    expect_fault("keeps memory");
    EXPECT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
}

TEST_F(HostGpuTest, LibrariesRefuseWhatTheyDoNotPromise) {
    double* const a = allocate();
    cublasHandle_t blas = nullptr;
    EXPECT_EQ(cublasCreate(&blas), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasSetStream(blas, stream), CUBLAS_STATUS_SUCCESS);
    const double one = 1, zero = 0;
    std::array<double, 4> here{};
    EXPECT_EQ(cublasSetWorkspace(blas, here.data(), 16), CUBLAS_STATUS_INVALID_VALUE);
    expect_fault("cuBLAS's workspace");
    EXPECT_EQ(cublasDgemm_64(blas, CUBLAS_OP_N, CUBLAS_OP_N, 4, 2, 2, &one, a, 3, a, 2, &zero, a + 16, 4),
              CUBLAS_STATUS_INVALID_VALUE);
    expect_fault("a leading dimension of 3 for 4 rows");
    EXPECT_EQ(cublasDgemm_64(blas, CUBLAS_OP_N, CUBLAS_OP_N, 2, 2, 2, &one, here.data(), 2, a, 2, &zero,
                             a + 16, 2),
              CUBLAS_STATUS_INVALID_VALUE);
    expect_fault("not on the device");
    const std::int32_t two = 2, none = 0;
    EXPECT_EQ(cublasGemmEx_64(blas, CUBLAS_OP_T, CUBLAS_OP_N, 4, 4, 4, &two, a, CUDA_R_8I, 4, a, CUDA_R_8I,
                              4, &none, a + 16, CUDA_R_32I, 4, CUBLAS_COMPUTE_32I, CUBLAS_GEMM_DEFAULT),
              CUBLAS_STATUS_INVALID_VALUE);
    expect_fault("an int8 product that cuBLAS does not promise");
    EXPECT_EQ(cublasDestroy(blas), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cudaFreeAsync(a, stream), cudaSuccess);
}

TEST_F(HostGpuTest, AnEventAndAStreamOfTwoDevicesDoNotGoTogether) {
    cudaEvent_t event = nullptr;
    EXPECT_EQ(cudaSetDevice(1), cudaSuccess);
    EXPECT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
    EXPECT_EQ(cudaEventRecord(event, stream), cudaErrorInvalidResourceHandle);
    EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
    EXPECT_EQ(cudaSetDevice(2), cudaErrorInvalidDevice);
}

#ifdef FNTK_ADDRESS_SANITIZER
using HostGpuDeathTest = HostGpuTest;

TEST_F(HostGpuDeathTest, TheHostDoesNotTouchMemoryOfTheDevice) {
    volatile double* const numbers = allocate();
    EXPECT_DEATH(numbers[0] = 1, "use-after-poison");
    EXPECT_EQ(cudaFreeAsync(const_cast<double*>(numbers), stream), cudaSuccess);
}

TEST_F(HostGpuDeathTest, MemoryIsNotTouchedBehindItsEndNorAfterIt) {
    double* const numbers = allocate(31);
    EXPECT_EQ(launch({numbers}), cudaSuccess);
    EXPECT_DEATH(cudaStreamSynchronize(stream), "heap-buffer-overflow");
    begin_anew();
    double* const gone = allocate();
    EXPECT_EQ(cudaFreeAsync(gone, stream), cudaSuccess);
    EXPECT_EQ(launch({gone}), cudaSuccess);
    EXPECT_DEATH(cudaStreamSynchronize(stream), "heap-use-after-free");
    begin_anew();
}

TEST_F(HostGpuDeathTest, AKernelDoesNotTouchMemoryLentToALibrary) {
    double* const numbers = allocate();
    cublasHandle_t blas = nullptr;
    EXPECT_EQ(cublasCreate(&blas), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasSetWorkspace(blas, numbers, 32 * sizeof(double)), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(launch({numbers}), cudaSuccess);
    EXPECT_DEATH(cudaStreamSynchronize(stream), "use-after-poison");
    EXPECT_EQ(cublasDestroy(blas), CUBLAS_STATUS_SUCCESS);
    begin_anew();
}

TEST_F(HostGpuDeathTest, HostMemoryOutlivesItsCopy) {
    double* const numbers = allocate();
    auto here = std::make_unique<double>();
    EXPECT_EQ(cudaMemcpyAsync(numbers, here.get(), sizeof(double), cudaMemcpyHostToDevice, stream),
              cudaSuccess);
    here.reset();
    EXPECT_DEATH(cudaStreamSynchronize(stream), "heap-use-after-free");
    begin_anew();
}
#endif

}  // namespace
}  // namespace fntk::test::gpu

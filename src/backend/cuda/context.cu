#include <backend/cuda/context.hpp>

#include <fntk/error.hpp>

#include <nvtx3/nvToolsExt.h>

#include <utility>

namespace fntk::backend::cuda {

namespace {

constexpr std::int64_t default_shared_bytes = 48 * 1024;  // more has to be asked for
constexpr std::int64_t max_blocks = 0x7FFFFFFF;
constexpr std::int64_t blas_workspace_bytes = 32 << 20;  // what cuBLAS recommends for Hopper, at most

std::string text(cudaError_t code) {
    return std::string(cudaGetErrorName(code)) + ": " + cudaGetErrorString(code);
}

/// After these the process cannot use the device any more (CUDA Runtime API, error codes).
bool is_final(cudaError_t code) {
    switch (code) {
        case cudaErrorIllegalAddress:
        case cudaErrorLaunchFailure:
        case cudaErrorLaunchTimeout:
        case cudaErrorMisalignedAddress:
        case cudaErrorIllegalInstruction:
        case cudaErrorInvalidAddressSpace:
        case cudaErrorInvalidPc:
        case cudaErrorHardwareStackError:
        case cudaErrorAssert:
        case cudaErrorECCUncorrectable:
        case cudaErrorNvlinkUncorrectable:
        case cudaErrorUnknown:
            return true;
        default:  // contained, a leak of tensor memory, an external device: names of later toolkits
            return code == 226 || code == 721 || code == 911;
    }
}

int attribute(int ordinal, cudaDeviceAttr which) {
    int value = 0;
    if (cudaDeviceGetAttribute(&value, which, ordinal) != cudaSuccess) cudaGetLastError();
    return value;
}

kernels::DeviceLimits limits_of(int ordinal) {
    kernels::DeviceLimits limits;
    limits.multiprocessors = attribute(ordinal, cudaDevAttrMultiProcessorCount);
    limits.shared_bytes_per_block = attribute(ordinal, cudaDevAttrMaxSharedMemoryPerBlockOptin);
    limits.compute_capability = 10 * attribute(ordinal, cudaDevAttrComputeCapabilityMajor) +
                                attribute(ordinal, cudaDevAttrComputeCapabilityMinor);
    return limits;
}

/// Sets the current device and puts it back.
class Current {
  public:
    explicit Current(int ordinal) {
        cudaGetDevice(&before_);
        cudaSetDevice(ordinal);
    }
    ~Current() { cudaSetDevice(before_); }
    Current(const Current&) = delete;
    Current& operator=(const Current&) = delete;

  private:
    int before_ = 0;
};

}  // namespace

Context::Context(int ordinal, cudaStream_t stream) : ordinal_(ordinal) {
    const Current current(ordinal);
    limits_ = limits_of(ordinal);
    try {
        if (stream == nullptr) {
            check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
            owns_stream_ = true;
        } else {
            if (stream == cudaStreamPerThread)
                throw DeviceError("the stream given for " + name() +
                                  " is cudaStreamPerThread, another one in every thread; make one, or give "
                                  "cudaStreamLegacy");
            // An event and a stream of different devices do not go together: that is how one tells.
            cudaEvent_t probe = nullptr;
            check(cudaEventCreateWithFlags(&probe, cudaEventDisableTiming), "making an event");
            const cudaError_t fits = cudaEventRecord(probe, stream);
            cudaEventDestroy(probe);
            if (fits != cudaSuccess) {
                cudaGetLastError();
                throw DeviceError("the stream given for " + name() + " cannot be used there (" +
                                  text(fits) +
                                  "); make it while that device is current, and keep it alive");
            }
            stream_ = stream;
        }
        if (attribute(ordinal, cudaDevAttrMemoryPoolsSupported) == 0) return;  // some virtual GPUs
        cudaMemPoolProps properties{};
        properties.allocType = cudaMemAllocationTypePinned;
        properties.location.type = cudaMemLocationTypeDevice;
        properties.location.id = ordinal;
        check(cudaMemPoolCreate(&pool_, &properties), "making a memory pool");
        std::uint64_t keep = ~std::uint64_t{0};  // until the handle ends
        check(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep),
              "setting up a memory pool");
    } catch (...) {
        if (pool_ != nullptr) cudaMemPoolDestroy(pool_);
        if (owns_stream_) cudaStreamDestroy(stream_);
        throw;
    }
}

Context::~Context() {
    const Current current(ordinal_);
    if (solver_parameters_ != nullptr) cusolverDnDestroyParams(solver_parameters_);
    if (solver_ != nullptr) cusolverDnDestroy(solver_);
    if (blas_ != nullptr) cublasDestroy(blas_);
    release(blas_workspace_);
    if (pool_ != nullptr) cudaMemPoolDestroy(pool_);
    if (owns_stream_) cudaStreamDestroy(stream_);
    cudaGetLastError();
}

std::string Context::name() const { return "device 'cuda:" + std::to_string(ordinal_) + "'"; }

void Context::require_usable() const {
    if (!broken_.empty())
        throw DeviceError(name() + " cannot be used any more in this process after " + broken_ +
                          "; start the process again");
}

void Context::check(cudaError_t code, const char* what) {
    if (code == cudaSuccess) return;
    cudaGetLastError();  // an error that can be recovered from is not reported twice
    if (code == cudaErrorMemoryAllocation)
        throw MemoryError(std::string(what) + " on " + name() + ": " + text(code) +
                          "; use fewer rows at a time");
    if (code == cudaErrorNoKernelImageForDevice || code == cudaErrorInvalidDeviceFunction)
        throw DeviceError(name() + " has compute capability " +
                          std::to_string(limits_.compute_capability / 10) + "." +
                          std::to_string(limits_.compute_capability % 10) +
                          ", for which this build has no code; configure with "
                          "-DCMAKE_CUDA_ARCHITECTURES=" +
                          std::to_string(limits_.compute_capability));
    if (is_final(code)) broken_ = std::string(what) + " failed (" + text(code) + ")";
    require_usable();
    throw DeviceError(std::string(what) + " failed on " + name() + ": " + text(code));
}

void Context::check(cublasStatus_t code, const char* what) {
    if (code == CUBLAS_STATUS_SUCCESS) return;
    if (code == CUBLAS_STATUS_ALLOC_FAILED) refuse_without_memory(what, "cuBLAS");
    check(of_device(), what);
    throw DeviceError(std::string(what) + " failed on " + name() + ": " + cublasGetStatusString(code));
}

void Context::check(cusolverStatus_t code, const char* what) {
    if (code == CUSOLVER_STATUS_SUCCESS) return;
    if (code == CUSOLVER_STATUS_ALLOC_FAILED) refuse_without_memory(what, "cuSOLVER");
    check(of_device(), what);
    throw DeviceError(std::string(what) + " failed on " + name() + ": cuSOLVER status " +
                      std::to_string(static_cast<int>(code)));
}

void Context::refuse_without_memory(const char* what, const char* library) {
    give_back_unused();
    throw MemoryError(std::string(what) + " on " + name() + ": " + library +
                      " found no memory; use fewer rows at a time");
}

// The libraries have a runtime of their own, whose errors this one learns of by asking the device.
cudaError_t Context::of_device() {
    const cudaError_t code = cudaStreamQuery(stream_);
    cudaGetLastError();
    return is_final(code) ? code : cudaSuccess;
}

namespace {
thread_local Place g_place;  // of the operation under way
}

void require_place(Place place) {
    if (place == Place::host)
        throw ValueError(
            "an argument of an operation on the GPU lies in host memory; copy it with "
            "Device::to_device");
    if (place != g_place)
        throw ValueError(
            "an argument of an operation on the GPU lies in the memory of another handle; bring it to the "
            "host with Device::to_host of that one");
}

void require_argument(Place place, DType have, DType want) {
    require_place(place);
    if (have != want)
        throw ValueError(std::string("an argument of an operation on the GPU holds ") + name(have) +
                         "; it takes " + name(want));
}

cublasHandle_t Context::blas() {
    if (blas_ != nullptr) return blas_;
    cublasHandle_t made = nullptr;
    cublasStatus_t code = cublasCreate(&made);  // never while the stream is recorded
    if (code != CUBLAS_STATUS_SUCCESS && give_back_unused()) code = cublasCreate(&made);
    check(code, "making a cuBLAS handle");
    try {
        check(cublasSetStream(made, stream_), "setting cuBLAS's stream");
        // Its own workspace would be memory of each graph, and another one than outside of graphs.
        if (blas_workspace_ == nullptr) blas_workspace_ = allocate(blas_workspace_bytes);
        check(cublasSetWorkspace(made, blas_workspace_, blas_workspace_bytes), "lending cuBLAS memory");
    } catch (...) {
        cublasDestroy(made);
        throw;
    }
    return blas_ = made;
}

cusolverDnHandle_t Context::solver() {
    if (solver_ != nullptr) return solver_;
    cusolverDnHandle_t made = nullptr;
    cusolverStatus_t code = cusolverDnCreate(&made);
    if (code != CUSOLVER_STATUS_SUCCESS && give_back_unused()) code = cusolverDnCreate(&made);
    check(code, "making a cuSOLVER handle");
    try {
        check(cusolverDnSetStream(made, stream_), "setting cuSOLVER's stream");
    } catch (...) {
        cusolverDnDestroy(made);
        throw;
    }
    return solver_ = made;
}

cusolverDnParams_t Context::solver_parameters() {
    if (solver_parameters_ == nullptr)
        check(cusolverDnCreateParams(&solver_parameters_), "making parameters of cuSOLVER");
    return solver_parameters_;
}

std::byte* Context::allocate(std::int64_t bytes) {
    require_usable();
    if (bytes == 0) return nullptr;
    void* memory = nullptr;
    const auto take = [&] {
        const auto size = static_cast<std::size_t>(bytes);
        return pool_ == nullptr ? cudaMalloc(&memory, size)
                                : cudaMallocFromPoolAsync(&memory, size, pool_, stream_);
    };
    const cudaError_t code = again_with_memory(take);
    if (code == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        std::size_t free = 0, total = 0;
        cudaMemGetInfo(&free, &total);
        throw MemoryError(std::to_string(bytes) + " bytes cannot be had on " + name() + " (" +
                          std::to_string(free) + " of " + std::to_string(total) +
                          " are free); use fewer rows at a time");
    }
    check(code, "taking memory");
    return static_cast<std::byte*>(memory);
}

// cudaFree waits for whatever uses the memory.
void Context::release(std::byte* memory) noexcept {
    if (memory == nullptr) return;
    if ((pool_ == nullptr ? cudaFree(memory) : cudaFreeAsync(memory, stream_)) != cudaSuccess)
        cudaGetLastError();
}

bool Context::give_back_unused() noexcept {
    cudaGetLastError();
    if (pool_ == nullptr || is_recorded()) return false;
    const bool done = cudaStreamSynchronize(stream_) == cudaSuccess &&
                      cudaMemPoolTrimTo(pool_, 0) == cudaSuccess &&
                      cudaDeviceGraphMemTrim(ordinal_) == cudaSuccess;
    cudaGetLastError();
    return done;
}

bool Context::is_recorded() const {
    cudaStreamCaptureStatus status{};
    const bool known = cudaStreamIsCapturing(stream_, &status) == cudaSuccess;
    if (!known) cudaGetLastError();
    return !known || status != cudaStreamCaptureStatusNone;
}

void Context::wait() { check(cudaStreamSynchronize(stream_), "waiting for the device"); }

void Context::copy_to_host(void* to, const void* from, std::int64_t bytes, const char* what) {
    check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToHost, stream_),
          what);
    wait();
}

void Context::prepare(const void* entry, const kernels::Launch& launch) {
    if (launch.shared_bytes > limits_.shared_bytes_per_block || launch.blocks > max_blocks)
        throw NotSupported("a kernel asks for " + std::to_string(launch.blocks) + " blocks with " +
                           std::to_string(launch.shared_bytes) + " bytes of shared memory; " + name() +
                           " has " + std::to_string(limits_.shared_bytes_per_block) +
                           " a block: use a smaller rank, or device cpu");
    if (launch.shared_bytes > default_shared_bytes)
        check(again_with_memory([&] {
                  return cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              static_cast<int>(limits_.shared_bytes_per_block));
              }),
              "asking for shared memory");
}

Scope::Scope(Context& context, const char* operation) {
    context.require_usable();
    cudaGetDevice(&before_);
    changed_ = before_ != context.ordinal();
    if (changed_) context.check(cudaSetDevice(context.ordinal()), "choosing the device");
    place_before_ = std::exchange(g_place, context.place());
    nvtxRangePushA(operation);
}

Scope::~Scope() {
    nvtxRangePop();
    g_place = place_before_;
    if (changed_) cudaSetDevice(before_);
}

}  // namespace fntk::backend::cuda

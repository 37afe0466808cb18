// Which GPUs there are, and handles on them.
#include <backend/cuda/cuda.hpp>

#include <fntk/error.hpp>

namespace fntk::backend {

namespace {

constexpr int least_capability = 80;  // mma.sync of int8, asynchronous pools

/// What stands in the way of any GPU, empty when nothing does.
std::string obstacle(int& count) {
    int driver = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
    const cudaError_t code = cudaGetDeviceCount(&count);
    cudaGetLastError();
    if (driver == 0) return "no NVIDIA driver is installed; use cpu, which gives the same integers";
    if (code == cudaErrorInsufficientDriver)
        return "the NVIDIA driver is for CUDA " + std::to_string(driver / 1000) + "." +
               std::to_string(driver % 1000 / 10) + ", this build needs " +
               std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10) +
               ": update the driver, or build with that toolkit";
    if (code != cudaSuccess || count == 0)
        return std::string("no GPU can be seen (") + cudaGetErrorString(code) + "); use cpu";
    return "";
}

}  // namespace

namespace {

/// Of the GPU `ordinal`, which is there; usable or not.
CudaStatus status_of(int ordinal, int count) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, ordinal) != cudaSuccess) {
        cudaGetLastError();
        return {false, "the GPU does not answer; see nvidia-smi"};
    }
    const std::string what = std::string(properties.name) + ", compute capability " +
                             std::to_string(properties.major) + "." + std::to_string(properties.minor);
    if (10 * properties.major + properties.minor < least_capability)
        return {false, what + ": 8.0 or later is needed; use cpu"};
    const bool verified = properties.major == 9 && properties.minor == 0;
    return {true, what + (count > 1 ? ", the first of " + std::to_string(count) : "") +
                      (verified ? " (verified, but for what docs/cuda.md names)"
                                : " (not verified on a GPU of this capability; see docs/cuda.md)")};
}

}  // namespace

CudaStatus cuda_status() {
    int count = 0;
    const std::string why_not = obstacle(count);
    return why_not.empty() ? status_of(0, count) : CudaStatus{false, why_not};
}

std::unique_ptr<Ops> make_cuda(int ordinal, CUstream_st* stream) {
    int count = 0;
    const std::string why_not = obstacle(count),
                      name = ordinal == 0 ? "cuda" : "cuda:" + std::to_string(ordinal);
    if (!why_not.empty()) throw DeviceError("device '" + name + "' is not available: " + why_not);
    if (ordinal < 0 || ordinal >= count)
        throw DeviceError("device '" + name +
                          "' does not exist; this machine has cuda:0 to cuda:" + std::to_string(count - 1));
    const CudaStatus status = status_of(ordinal, count);
    if (!status.available)
        throw DeviceError("device '" + name + "' is not available: " + status.description);
    return std::make_unique<cuda::Cuda>(std::make_shared<cuda::Context>(ordinal, stream));
}

}  // namespace fntk::backend

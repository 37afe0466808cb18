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

CudaStatus cuda_status() {
    int count = 0;
    const std::string why_not = obstacle(count);
    if (!why_not.empty()) return {false, why_not};
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) {
        cudaGetLastError();
        return {false, "the first GPU does not answer; see nvidia-smi"};
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

std::unique_ptr<Ops> make_cuda(int ordinal, CUstream_st* stream) {
    const CudaStatus status = cuda_status();
    if (!status.available) throw DeviceError("device 'cuda' is not available: " + status.description);
    int count = 0;
    cudaGetDeviceCount(&count);
    if (ordinal < 0 || ordinal >= count)
        throw DeviceError("device 'cuda:" + std::to_string(ordinal) +
                          "' does not exist; this machine has cuda:0 to cuda:" + std::to_string(count - 1));
    return std::make_unique<cuda::Cuda>(std::make_shared<cuda::Context>(ordinal, stream));
}

}  // namespace fntk::backend

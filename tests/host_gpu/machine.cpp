// The machine, its devices, and errors.
#include "state.hpp"

#include <cstdio>
#include <utility>

namespace fntk::test::gpu {

namespace {

bool is_final(cudaError_t code) {
    return (code >= cudaErrorIllegalAddress && code < cudaErrorStreamCaptureUnsupported &&
            code != cudaErrorLaunchOutOfResources) ||
           code == cudaErrorECCUncorrectable || code == cudaErrorNvlinkUncorrectable ||
           code == cudaErrorUnknown;
}

bool can_report(Can can, cudaError_t error) {
    if (error == cudaErrorMemoryAllocation) return can == Can::run_out_of_memory;
    return can != Can::nothing && (can != Can::find_the_end || is_final(error));
}

}  // namespace

State& state() {
    static State state;
    return state;
}
Machine& machine() { return state().machine; }
Alive alive() { return state().alive; }
Issued take_issued() { return std::exchange(state().issued, {}); }
std::string take_fault() { return std::exchange(state().fault, {}); }

void fail(std::int64_t call, cudaError_t error, std::int64_t times) {
    state().calls_left = call;
    state().times = times;
    state().error = error;
}
bool has_failed() { return state().error != cudaSuccess && state().calls_left < 0; }

void restart() {
    State& gpu = state();
    for (auto& stream : gpu.streams) stream->work.clear();
    gpu.last = gpu.final = gpu.error = cudaSuccess;
    gpu.calls_left = -1;
    gpu.kept.clear();
    gpu.device = 0;
    gpu.alive = {};
    gpu.issued = {};
    gpu.streams.clear();
    gpu.blocks.clear();
    gpu.shared_bytes.clear();
}

cudaError_t against_the_rules(const std::string& what, cudaError_t code) {
    if (state().fault.empty()) state().fault = what;
    return code;
}

cudaError_t begin(Can can) {
    State& gpu = state();
    if (gpu.final != cudaSuccess) return gpu.final;
    if (gpu.error == cudaSuccess || gpu.calls_left <= -gpu.times || !can_report(can, gpu.error) ||
        gpu.calls_left-- > 0)
        return cudaSuccess;
    if (is_final(gpu.error)) gpu.final = gpu.error;
    return gpu.error;
}

}  // namespace fntk::test::gpu

using namespace fntk::test::gpu;

cudaError_t cudaGetLastError() {
    const cudaError_t last = std::exchange(state().last, cudaSuccess);
    return state().final != cudaSuccess ? state().final : last;
}
cudaError_t cudaPeekAtLastError() { return state().final != cudaSuccess ? state().final : state().last; }
const char* cudaGetErrorName(cudaError_t code) {
    static thread_local char text[32];
    std::snprintf(text, sizeof(text), "cudaError %d", static_cast<int>(code));
    return text;
}
const char* cudaGetErrorString(cudaError_t code) {
    return code == cudaSuccess ? "no error" : "an error of the tests";
}

cudaError_t cudaDriverGetVersion(int* version) {
    *version = machine().driver;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
    *count = 0;
    if (machine().driver < CUDART_VERSION) return end(cudaErrorInsufficientDriver);
    if (machine().gpus == 0) return end(cudaErrorNoDevice);
    *count = machine().gpus;
    return cudaSuccess;
}
namespace {
int capability_of(int device) {
    return device == 1 && machine().of_second != 0 ? machine().of_second : machine().compute_capability;
}
}  // namespace

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
    return call(Can::nothing, [&] {
        if (device < 0 || device >= machine().gpus) return cudaErrorInvalidDevice;
        std::snprintf(properties->name, sizeof(properties->name), "a GPU of the tests");
        properties->major = capability_of(device) / 10;
        properties->minor = capability_of(device) % 10;
        return cudaSuccess;
    });
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    return call(Can::nothing, [&] {
        if (device < 0 || device >= machine().gpus) return cudaErrorInvalidDevice;
        const int capability = capability_of(device);
        switch (attribute) {
            case cudaDevAttrMultiProcessorCount:
                *value = machine().multiprocessors;
                break;
            case cudaDevAttrComputeCapabilityMajor:
                *value = capability / 10;
                break;
            case cudaDevAttrComputeCapabilityMinor:
                *value = capability % 10;
                break;
            case cudaDevAttrMaxSharedMemoryPerBlockOptin:
                // CUDA Programming Guide, technical specifications by compute capability
                *value = (capability == 90 || capability == 100 ? 227 : capability == 80 ? 163 : 99) * 1024;
                break;
            case cudaDevAttrMemoryPoolsSupported:
                *value = machine().has_pools ? 1 : 0;
                break;
        }
        return cudaSuccess;
    });
}
cudaError_t cudaGetDevice(int* device) {
    *device = state().device;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    return call(Can::nothing, [&] {
        if (device < 0 || device >= machine().gpus) return cudaErrorInvalidDevice;
        state().device = device;
        return cudaSuccess;
    });
}

// Streams, events, kernels and graphs.
#include "state.hpp"

#include <algorithm>
#include <exception>
#include <utility>

struct CUevent_st {
    int device = 0;
};
/// What was recorded. Its blocks live as long as it does, or what was made of it.
struct CUgraph_st {
    std::vector<fntk::test::Work> nodes;
    int users = 1;
};
struct CUgraphExec_st {
    CUgraph_st* graph;
    bool launched = false;
};

namespace fntk::test::gpu {

namespace {

constexpr std::size_t queue_length = 1000;  // of work that a stream takes before the host has to wait
constexpr std::int64_t default_shared_bytes = 48 * 1024;

void drop(CUgraph_st* graph) {
    if (--graph->users > 0) return;
    std::vector<std::byte*> theirs;
    for (auto& [address, block] : state().blocks)
        if (block.graph == graph) theirs.push_back(block.memory.get());
    for (std::byte* memory : theirs) {
        --state().alive.blocks;
        state().alive.bytes -= static_cast<std::int64_t>(state().blocks.at(memory).bytes);
        forget(memory);
    }
    delete graph;
}

/// Nodes that were recorded, in their order.
void run(const std::vector<Work>& nodes) {
    const OnDevice device;
    for (const Work& node : nodes) node();
}

}  // namespace

cudaError_t known(cudaStream_t stream) {
    const bool is = std::any_of(state().streams.begin(), state().streams.end(),
                                [&](const auto& one) { return one.get() == stream; });
    return is ? cudaSuccess : against_the_rules("a stream that is none", cudaErrorInvalidResourceHandle);
}

cudaError_t not_while_recording(CUstream_st& stream) {
    if (stream.capture == nullptr) return cudaSuccess;
    stream.capture_is_valid = false;
    return cudaErrorStreamCaptureUnsupported;
}

cudaError_t submit(cudaStream_t stream, Work work) {
    if (stream->capture != nullptr) {
        if (!stream->capture_is_valid) return cudaErrorStreamCaptureInvalidated;
        stream->capture->nodes.push_back(std::move(work));
        return cudaSuccess;
    }
    stream->work.push_back(std::move(work));
    return stream->work.size() < queue_length ? cudaSuccess : finish(*stream);
}

cudaError_t finish(CUstream_st& stream) {
    const std::vector<Work> work = std::exchange(stream.work, {});
    try {
        run(work);
    } catch (const std::exception& fault) {
        state().final = cudaErrorLaunchFailure;
        return against_the_rules(fault.what(), cudaErrorLaunchFailure);
    }
    return cudaSuccess;
}

}  // namespace fntk::test::gpu

using namespace fntk::test::gpu;
using fntk::test::DeviceCode;
using fntk::test::HostOptions;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
    return call(Can::run_out_of_memory, [&] {
        state().streams.push_back(std::make_unique<CUstream_st>());
        *stream = state().streams.back().get();
        (*stream)->device = state().device;
        (*stream)->flags = flags;
        ++state().alive.streams;
        return cudaSuccess;
    });
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    if (const cudaError_t code = known(stream); code != cudaSuccess) return end(code);
    if (state().final == cudaSuccess) finish(*stream);
    std::erase_if(state().streams, [&](const auto& one) { return one.get() == stream; });
    --state().alive.streams;
    return begin(Can::nothing);
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    return call(Can::find_the_end, [&] {
        if (const cudaError_t code = known(stream); code != cudaSuccess) return code;
        if (const cudaError_t code = not_while_recording(*stream); code != cudaSuccess) return code;
        ++state().issued.waits;
        return finish(*stream);
    });
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    return call(Can::find_the_end, [&] {
        if (const cudaError_t code = known(stream); code != cudaSuccess) return code;
        if (const cudaError_t code = not_while_recording(*stream); code != cudaSuccess) return code;
        return stream->work.empty() ? cudaSuccess : cudaErrorNotReady;
    });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
    return call(Can::fail, [&] {
        *event = new CUevent_st{state().device};
        ++state().alive.events;
        return cudaSuccess;
    });
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    return call(Can::fail, [&] {
        if (const cudaError_t code = known(stream); code != cudaSuccess) return code;
        return event->device == stream->device ? cudaSuccess : cudaErrorInvalidResourceHandle;
    });
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    --state().alive.events;
    return begin(Can::nothing);
}

cudaError_t cudaFuncSetAttribute(const void* entry, cudaFuncAttribute /*attribute*/, int value) {
    return call(Can::fail, [&] {
        int most = 0;
        cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, state().device);
        if (value < 0 || value > most)
            return against_the_rules("a kernel may not have so much shared memory");
        if (const auto before = state().shared_bytes.find(entry);
            before != state().shared_bytes.end() && value < before->second)
            return against_the_rules("another handle's launch may have asked for more");
        state().shared_bytes[entry] = value;
        return cudaSuccess;
    });
}

cudaError_t cudaLaunchKernel(const void* entry, dim3 blocks, dim3 threads, void** arguments,
                             std::size_t shared_bytes, cudaStream_t stream) {
    return call(Can::fail, [&] {
        if (const cudaError_t code = known(stream); code != cudaSuccess) return code;
        if (stream->device != state().device)
            return against_the_rules("a kernel for a stream of another device",
                                     cudaErrorInvalidResourceHandle);
        if (blocks.x == 0 || threads.x == 0)
            return against_the_rules("a launch of nothing", cudaErrorInvalidConfiguration);
        HostOptions options;
        options.limits.compute_capability = machine().compute_capability;
        options.limits.multiprocessors = machine().multiprocessors;
        const auto allowed = state().shared_bytes.find(entry);
        options.limits.shared_bytes_per_block = std::max<std::int64_t>(
            default_shared_bytes, allowed == state().shared_bytes.end() ? 0 : allowed->second);
        if (static_cast<std::int64_t>(shared_bytes) > options.limits.shared_bytes_per_block)
            return against_the_rules("shared memory that was not asked for");
        using Entry = DeviceCode (*)(void* const*, const fntk::kernels::Launch&, const HostOptions&);
        DeviceCode code = reinterpret_cast<Entry>(const_cast<void*>(entry))(
            arguments, {blocks.x, static_cast<int>(threads.x), static_cast<std::int64_t>(shared_bytes)},
            options);
        if (!machine().has_code ||
            (code.compute_capability != 0 && code.compute_capability != machine().compute_capability))
            return cudaErrorNoKernelImageForDevice;
        if (static_cast<int>(threads.x) > code.max_threads)
            return against_the_rules("more threads than the kernel has registers for",
                                     cudaErrorLaunchOutOfResources);
        ++state().issued.kernels;
        return submit(stream, std::move(code.work));
    });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode /*mode*/) {
    return call(Can::fail, [&] {
        if (const cudaError_t code = known(stream); code != cudaSuccess) return code;
        if (const cudaError_t code = not_while_recording(*stream); code != cudaSuccess) return code;
        stream->capture = new CUgraph_st;
        stream->capture_is_valid = true;
        ++state().alive.graphs;
        return cudaSuccess;
    });
}
cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned* flags) {
    return call(Can::nothing, [&] {
        if (const cudaError_t code = known(stream); code != cudaSuccess) return code;
        *flags = stream->flags;
        return cudaSuccess;
    });
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
    return call(Can::nothing, [&] {
        if (const cudaError_t code = known(stream); code != cudaSuccess) return code;
        *status = stream->capture == nullptr ? cudaStreamCaptureStatusNone
                  : stream->capture_is_valid ? cudaStreamCaptureStatusActive
                                             : cudaStreamCaptureStatusInvalidated;
        return cudaSuccess;
    });
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    *graph = nullptr;
    if (state().final != cudaSuccess && stream->capture != nullptr)
        cudaGraphDestroy(std::exchange(stream->capture, nullptr));
    return call(Can::nothing, [&] {
        if (const cudaError_t code = known(stream); code != cudaSuccess) return code;
        CUgraph_st* const recorded = std::exchange(stream->capture, nullptr);
        if (recorded == nullptr) return against_the_rules("the end of a capture that has not begun");
        if (!stream->capture_is_valid) {
            cudaGraphDestroy(recorded);
            return cudaErrorStreamCaptureInvalidated;
        }
        *graph = recorded;
        return cudaSuccess;
    });
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* exec, cudaGraph_t graph,
                                          unsigned long long /*flags*/) {
    return call(Can::run_out_of_memory, [&] {
        ++graph->users;
        *exec = new CUgraphExec_st{graph};
        ++state().alive.graphs;
        return cudaSuccess;
    });
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    return call(Can::run_out_of_memory, [&] {
        if (const cudaError_t code = known(stream); code != cudaSuccess) return code;
        for (const auto& [address, block] : state().blocks)
            if (block.graph == exec->graph && block.open && exec->launched)
                return against_the_rules("a graph that keeps memory is launched again");
        exec->launched = true;
        return submit(stream, [graph = exec->graph] { run(graph->nodes); });
    });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    drop(graph);
    --state().alive.graphs;
    return begin(Can::nothing);
}
/// After what was issued: a graph's memory outlives its launches.
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    for (auto& stream : state().streams)
        if (state().final == cudaSuccess) finish(*stream);
    drop(exec->graph);
    delete exec;
    --state().alive.graphs;
    return begin(Can::nothing);
}
cudaError_t cudaDeviceGraphMemTrim(int /*device*/) { return begin(Can::nothing); }

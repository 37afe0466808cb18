// What the functions of cuBLAS and cuSOLVER share here.
#pragma once

#include "state.hpp"

#include <algorithm>
#include <initializer_list>

namespace fntk::test::gpu {

/// A library's call: work on its handle's stream and device. Its failure is no failure of the runtime, but
/// for those that are final.
template <class Handle, class Body>
cudaError_t library(const Handle* handle, Body&& body) {
    const cudaError_t code = begin(Can::run_out_of_memory);
    if (code != cudaSuccess) return code;
    if (const cudaError_t stream = known(handle->stream); stream != cudaSuccess) return stream;
    if (handle->device != state().device) return against_the_rules("a handle of another device");
    ++state().issued.products;
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
inline cudaError_t first_of(std::initializer_list<cudaError_t> codes) {
    for (const cudaError_t code : codes)
        if (code != cudaSuccess) return code;
    return cudaSuccess;
}

inline int library_extent(std::int64_t n) { return static_cast<int>(n); }

}  // namespace fntk::test::gpu

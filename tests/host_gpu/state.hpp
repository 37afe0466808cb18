// What the functions of this folder share.
#pragma once

#include "host_gpu.hpp"

#include <map>
#include <memory>
#include <new>
#include <set>
#include <vector>

struct CUstream_st {
    int device = 0;
    unsigned flags = 0;
    std::vector<fntk::test::Work> work;  // issued and not begun
    CUgraph_st* capture = nullptr;
    bool capture_is_valid = true;
};

namespace fntk::test::gpu {

/// What a call can report beside wrong arguments: errors that are final, others, and that memory is short.
enum class Can { nothing, find_the_end, fail, run_out_of_memory };

/// A block of device memory.
struct Block {
    struct Delete {
        void operator()(std::byte* block) const { ::operator delete (block, std::align_val_t{256}); }
    };
    std::unique_ptr<std::byte, Delete> memory;
    std::size_t bytes = 0;
    CUmemPoolHandle_st* pool = nullptr;
    CUgraph_st* graph = nullptr;  // whose node it is
    bool lent = false;            // to a library, which alone touches it
    bool open = true;             // has not been given back by what was issued
    bool live = true;             // nor by what was done
};

/// Sizes of the blocks that a pool keeps: given back by what was done, or only by what was issued.
struct Kept {
    std::multiset<std::size_t> done, issued;
};

struct State {
    Machine machine;
    Alive alive;
    Issued issued;
    std::string fault;
    cudaError_t last = cudaSuccess, final = cudaSuccess;
    cudaError_t error = cudaSuccess;  // to be reported by a call
    std::int64_t calls_left = -1, times = 1;
    int device = 0;                                  // the current one
    std::map<const std::byte*, Block> blocks;        // by their addresses
    std::map<const CUmemPoolHandle_st*, Kept> kept;  // by the pools
    std::map<const void*, int> shared_bytes;         // that a kernel may have, by its entry
    std::vector<std::unique_ptr<CUstream_st>> streams;
};
State& state();

/// Notes what is against the rules.
cudaError_t against_the_rules(const std::string& what, cudaError_t code = cudaErrorInvalidValue);
/// Whether a call fails because it is its turn to, or because all do.
cudaError_t begin(Can can);
inline cudaError_t end(cudaError_t code) {
    if (code != cudaSuccess) state().last = code;
    return code;
}
template <class Body>
cudaError_t call(Can can, Body&& body) {
    const cudaError_t code = begin(can);
    return end(code == cudaSuccess ? body() : code);
}

/// Fails for a stream that is not one.
cudaError_t known(cudaStream_t stream);
/// Puts work behind that of the stream, or into the graph that is being recorded.
cudaError_t submit(cudaStream_t stream, Work work);
/// Does all that was issued to a stream.
cudaError_t finish(CUstream_st& stream);
/// What is against the rules while this stream is recorded.
cudaError_t not_while_recording(CUstream_st& stream);

/// The block that holds these bytes and has not been given back, or null.
Block* block_of(const void* memory, std::size_t bytes);
Block& make_block(std::size_t bytes);
/// What was done with a block is forgotten: it is NaN and is not to be touched by the host.
void make_fresh(Block& block);
void forget(std::byte* memory);

/// In its scope the device works: its memory may be touched.
class OnDevice {
  public:
    OnDevice();
    ~OnDevice();
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;
};

}  // namespace fntk::test::gpu

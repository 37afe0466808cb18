// Memory of the device: pools, blocks, copies.
#include "state.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>

#ifdef FNTK_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

struct CUmemPoolHandle_st {
    int device = 0;
    std::int64_t open_blocks = 0;
};

namespace fntk::test::gpu {

namespace {

#ifdef FNTK_ADDRESS_SANITIZER
void hide(const Block& block) { __asan_poison_memory_region(block.memory.get(), block.bytes); }
void show(const Block& block) { __asan_unpoison_memory_region(block.memory.get(), block.bytes); }
#else
void hide(const Block& /*block*/) {}
void show(const Block& /*block*/) {}
#endif

int depth = 0;  // of OnDevice

std::int64_t kept_bytes() {
    std::size_t bytes = 0;
    for (const auto& [pool, kept] : state().kept)
        for (const auto* sizes : {&kept.done, &kept.issued})
            bytes = std::accumulate(sizes->begin(), sizes->end(), bytes);
    return static_cast<std::int64_t>(bytes);
}
std::int64_t free_bytes() { return machine().memory - alive().bytes - kept_bytes(); }

/// Whether the pool has had a block of that size, which is the caller's now.
bool take_kept(cudaMemPool_t pool, std::size_t bytes) {
    Kept& kept = state().kept[pool];
    for (auto* sizes : {&kept.done, &kept.issued})
        if (const auto found = sizes->find(bytes); found != sizes->end()) {
            sizes->erase(found);
            return true;
        }
    return false;
}

/// Fails unless `height` rows of `width` bytes, `pitch` apart, lie where they should.
cudaError_t placed(const void* memory, std::size_t pitch, std::size_t width, std::size_t height,
                   bool on_device, const char* what) {
    if (width == 0 || height == 0) return cudaSuccess;
    if (height > 1 && pitch < width) return against_the_rules(std::string(what) + " has rows that overlap");
    const bool is_there = block_of(memory, pitch * (height - 1) + width) != nullptr;
    if (is_there == on_device) return cudaSuccess;
    return against_the_rules(std::string(what) +
                             (on_device ? " is no memory of the device" : " is memory of the device"));
}

}  // namespace

OnDevice::OnDevice() {
    if (depth++ == 0)
        for (const auto& [address, block] : state().blocks)
            if (block.live && !block.lent) show(block);
}
OnDevice::~OnDevice() {
    if (--depth == 0)
        for (const auto& [address, block] : state().blocks) hide(block);
}

Block* block_of(const void* memory, std::size_t bytes) {
    auto& blocks = state().blocks;
    const auto* first = static_cast<const std::byte*>(memory);
    auto next = blocks.upper_bound(first);
    if (next == blocks.begin()) return nullptr;
    Block& block = std::prev(next)->second;
    const auto offset = static_cast<std::size_t>(first - block.memory.get());
    return block.open && offset + bytes <= block.bytes ? &block : nullptr;
}

Block& make_block(std::size_t bytes) {
    Block block;
    block.memory.reset(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{256})));
    block.bytes = bytes;
    const std::byte* const address = block.memory.get();
    Block& made = state().blocks[address] = std::move(block);
    state().alive.blocks += 1;
    state().alive.bytes += static_cast<std::int64_t>(bytes);
    return made;
}

void make_fresh(Block& block) {
    constexpr std::size_t most = 1 << 16;  // at each end: what lies between takes too long
    show(block);
    for (std::size_t i = 0; i < block.bytes; i += sizeof(uninitialised)) {
        if (i == most && block.bytes > 2 * most) i = block.bytes / most * most - most;
        std::memcpy(block.memory.get() + i, &uninitialised,
                    std::min(sizeof(uninitialised), block.bytes - i));
    }
    if (depth == 0) hide(block);
}

void forget(std::byte* memory) {
    const auto found = state().blocks.find(memory);
    if (found == state().blocks.end()) return;  // of a process before
    show(found->second);
    state().blocks.erase(found);
}

}  // namespace fntk::test::gpu

using namespace fntk::test::gpu;

cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps* properties) {
    return call(Can::run_out_of_memory, [&] {
        if (properties->allocType != cudaMemAllocationTypePinned ||
            properties->location.type != cudaMemLocationTypeDevice || properties->location.id < 0 ||
            properties->location.id >= machine().gpus)
            return against_the_rules("a pool of no device");
        *pool = new CUmemPoolHandle_st{properties->location.id};
        ++state().alive.pools;
        return cudaSuccess;
    });
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t /*pool*/, cudaMemPoolAttr /*attribute*/,
                                    void* /*value*/) {
    return call(Can::fail, [] { return cudaSuccess; });
}
/// To no bytes.
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, std::size_t /*bytes*/) {
    return call(Can::nothing, [&] {
        state().kept[pool].done.clear();
        return cudaSuccess;
    });
}
cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
    if (pool->open_blocks != 0 && state().final == cudaSuccess)
        against_the_rules("a pool ends with " + std::to_string(pool->open_blocks) + " blocks");
    for (auto& [address, block] : state().blocks)
        if (block.pool == pool) block.pool = nullptr;
    state().kept.erase(pool);
    delete pool;
    --state().alive.pools;
    return begin(Can::nothing);
}

cudaError_t cudaMallocFromPoolAsync(void** memory, std::size_t bytes, cudaMemPool_t pool,
                                    cudaStream_t stream) {
    return call(Can::run_out_of_memory, [&] {
        if (const cudaError_t code = known(stream); code != cudaSuccess) return code;
        if (bytes == 0 || pool->device != stream->device)
            return against_the_rules("memory of no bytes, or of another device than the stream's");
        if (!take_kept(pool, bytes) && static_cast<std::int64_t>(bytes) > free_bytes())
            return cudaErrorMemoryAllocation;
        ++state().issued.taken;
        Block& block = make_block(bytes);
        block.graph = stream->capture;
        *memory = block.memory.get();
        make_fresh(block);
        if (block.graph == nullptr) {
            block.pool = pool;
            ++pool->open_blocks;
            return cudaSuccess;
        }
        block.live = false;
        return submit(stream, [&block] {  // every launch of the graph takes it anew
            block.live = true;
            make_fresh(block);
        });
    });
}

cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
    return call(Can::find_the_end, [&] {
        if (const cudaError_t code = known(stream); code != cudaSuccess) return code;
        Block* block = block_of(memory, 1);
        if (block == nullptr || block->memory.get() != memory)
            return against_the_rules("memory is given back that is none, or for the second time");
        if (block->graph != stream->capture)
            return against_the_rules(
                "memory of a graph is given back outside of it, or the other way round");
        ++state().issued.given_back;
        block->open = false;
        if (block->graph != nullptr) return submit(stream, [block] { block->live = false; });
        --block->pool->open_blocks;
        --state().alive.blocks;
        state().alive.bytes -= static_cast<std::int64_t>(block->bytes);
        state().kept[block->pool].issued.insert(block->bytes);
        return submit(stream, [memory, pool = block->pool, bytes = block->bytes] {
            forget(static_cast<std::byte*>(memory));
            const auto kept = state().kept.find(pool);
            if (kept == state().kept.end()) return;
            const auto found = kept->second.issued.find(bytes);
            if (found != kept->second.issued.end())
                kept->second.done.insert(kept->second.issued.extract(found));
        });
    });
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
    return call(Can::run_out_of_memory, [&] {
        for (auto& stream : state().streams)
            if (const cudaError_t code = not_while_recording(*stream); code != cudaSuccess) return code;
        if (static_cast<std::int64_t>(bytes) > free_bytes()) return cudaErrorMemoryAllocation;
        Block& block = make_block(bytes);
        *memory = block.memory.get();
        make_fresh(block);
        return cudaSuccess;
    });
}
/// Waits for what was issued to any stream.
cudaError_t cudaFree(void* memory) {
    return call(Can::find_the_end, [&] {
        for (auto& stream : state().streams) {
            if (const cudaError_t code = not_while_recording(*stream); code != cudaSuccess) return code;
            if (const cudaError_t code = finish(*stream); code != cudaSuccess) return code;
        }
        const Block* const block = block_of(memory, 1);
        if (block == nullptr || block->memory.get() != memory || block->pool != nullptr)
            return against_the_rules("memory is given back that is none, or is a pool's");
        --state().alive.blocks;
        state().alive.bytes -= static_cast<std::int64_t>(block->bytes);
        forget(static_cast<std::byte*>(memory));
        return cudaSuccess;
    });
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
    *total = static_cast<std::size_t>(machine().memory);
    *free = static_cast<std::size_t>(std::max<std::int64_t>(0, free_bytes()));
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
    return cudaMemset2DAsync(memory, bytes, value, bytes, 1, stream);
}
cudaError_t cudaMemset2DAsync(void* memory, std::size_t pitch, int value, std::size_t width,
                              std::size_t height, cudaStream_t stream) {
    return call(Can::fail, [&] {
        if (const cudaError_t code = known(stream); code != cudaSuccess) return code;
        const cudaError_t code = placed(memory, pitch, width, height, true, "what is set");
        if (code != cudaSuccess) return code;
        ++state().issued.sets;
        state().issued.bytes_set += static_cast<std::int64_t>(width * height);
        return submit(stream, [=] {
            for (std::size_t i = 0; i < height; ++i)
                std::memset(static_cast<std::byte*>(memory) + i * pitch, value, width);
        });
    });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
    return call(Can::fail, [&] {
        if (const cudaError_t code = known(stream); code != cudaSuccess) return code;
        const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
        const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
        for (const cudaError_t code :
             {placed(to, to_pitch, width, height, to_device, "where a copy goes"),
              placed(from, from_pitch, width, height, from_device, "what is copied")})
            if (code != cudaSuccess) return code;
        ++state().issued.copies;
        return submit(stream, [=] {
            for (std::size_t i = 0; i < height; ++i)
                std::memcpy(static_cast<std::byte*>(to) + i * to_pitch,
                            static_cast<const std::byte*>(from) + i * from_pitch, width);
        });
    });
}

// 64 × 256 products by two warpgroups of a block, one block a multiprocessor, with random tiles that lie in
// shared memory: 2·64·256·32 operations an instruction of int8, 2·64·256·256 of bits.
#include "ceilings.hpp"

#include <warpgroup.hpp>

namespace {

using namespace fntk::kernels;

constexpr int warpgroups = 2, rounds = 512;
constexpr int slices = 8;  // products of a round, along their sums, 32 bytes each
constexpr int row_bytes = 32, a_bytes = 64 * row_bytes, b_bytes = 256 * row_bytes;
constexpr int shared_bytes = slices * (warpgroups * a_bytes + b_bytes);

enum class Way { s8, s8_registers, b1 };

template <Way way>
__global__ void __launch_bounds__(warpgroups* warpgroup_size, 1) products(std::int32_t* out) {
    extern __shared__ __align__(1024) std::uint32_t tiles[];
    const WarpgroupGrid grid;
    for (int i = static_cast<int>(threadIdx.x); i < shared_bytes / 4; i += static_cast<int>(blockDim.x))
        tiles[i] = mixed(i + 1);
    grid.proxy_fence();
    __syncthreads();
    const std::uint32_t start = grid.shared_address(tiles);
    const auto slice = [](std::uint32_t at) { return tile_descriptor(at, 128, 256); };
    const int group = grid.shuffle(grid.thread() / warpgroup_size, 0);  // the warp's, in a uniform register
    const std::uint32_t own = start + slices * (b_bytes + group * a_bytes);
    std::uint32_t a[4];
    for (int i = 0; i < 4; ++i) a[i] = mixed(threadIdx.x * 4 + i);
    std::int32_t acc[128] = {};
#pragma unroll 1
    for (int round = 0; round < rounds; ++round) {
        grid.wgmma_fence(acc, a);
#pragma unroll
        for (int i = 0; i < slices; ++i) {
            const std::uint64_t left = slice(own + i * a_bytes), right = slice(start + i * b_bytes);
            if constexpr (way == Way::s8) grid.wgmma<true>(acc, left, right);
            if constexpr (way == Way::s8_registers) grid.wgmma<true>(acc, a, right);
            if constexpr (way == Way::b1) grid.wgmma_b1(acc, left, right);
        }
        grid.wgmma_commit();
        grid.wgmma_wait<0>(acc, a);
    }
    std::int32_t sum = 0;
    for (const std::int32_t x : acc) sum ^= x;
    atomicXor(out + blockIdx.x, sum);
}

template <Way way>
void start(int blocks, std::int32_t* out) {
    const cudaError_t allowed =
        cudaFuncSetAttribute(products<way>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
    if (allowed == cudaSuccess) products<way><<<blocks, warpgroups * warpgroup_size, shared_bytes>>>(out);
}

}  // namespace

std::vector<WgmmaCeiling> wgmma_ceilings() {
    constexpr double entries = 2.0 * warpgroups * rounds * slices * 64 * 256;
    return {{"wgmma_s8", entries * 32, start<Way::s8>},
            {"wgmma_s8_registers", entries * 32, start<Way::s8_registers>},
            {"wgmma_b1", entries * 256, start<Way::b1>}};
}

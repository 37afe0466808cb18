// What a kernel sees of the machine it runs on. A kernel is a struct: its members are the arguments,
//     static constexpr int max_threads                 threads of a block at most
//     Launch launch(const DeviceLimits&) const         how it is started: pure, on the host
//     template <class Grid>
//     FNTK_DEVICE void operator()(Grid& grid) const    what each thread does
// and it speaks to the machine through `grid` alone. CudaGrid, below, is the GPU. The tests have another
// Grid, on which every CUDA thread is a fiber of the host, so that the same kernels run under the
// sanitizers on any machine (tests/host_grid.hpp).
//
//     block(), blocks()       this block, their number
//     thread(), threads()     this thread of the block, their number
//     lane(), warp()          thread % 32, thread / 32
//     late_thread()           thread(), read anew: what follows from it is worked out here, and not kept in
//                             registers from before a long loop
//     shared<T>(count)        an array of the block, aligned to 16 bytes, uninitialised; every thread of
//                             the block makes the same calls in the same order, each call a new array
//     sync()                  all threads of the block reach it; what they wrote is seen by all of them
//     sync_warp()             the same for the 32 lanes of a warp
//     shuffle(v, from)        v of lane `from`; all 32 lanes take part, as in the next two
//     shuffle_xor(v, mask)    v of lane ^ mask
//     ballot(b)               bit l is b of lane l
//     atomic_add(p, v)        *p += v in global or shared memory, without order; int32, uint32, uint64,
//                             double
//     atomic_max(p, v)        *p = the larger of *p and v, likewise; uint32
//     copy_async(to, from, bytes)   begins to copy 4, 8 or 16 bytes, *from in global to *to in shared
//                             memory: `bytes` of them, 0 or more, and zeros for the rest. Both stay
//                             untouched until this thread waits, and others see *to after a sync() then
//     commit_copies()         makes a group of the copies that this thread began since the last one
//     wait_copies<n>()        until at most its n latest groups are under way
//     prefetch(p)             what lies at p in global memory may be wanted soon
//     mma_s8(acc, a, b)       16 × 8 × 32 of a warp: acc (int32) += A (16 × 32, int8, row-major) times B
//                             (32 × 8, int8, column-major); with group = lane / 4 and t = lane % 4,
//                             register i of a lane holds
//                                 a[i], bytes j = 0..3:   A[group + 8·(i % 2)][4t + j + 16·(i / 2)]
//                                 b[i], bytes j = 0..3:   B[4t + j + 16·i][group]
//                                 acc[i]:                 C[group + 8·(i / 2)][2t + i % 2]
//     mma_b1(acc, a, b)       16 × 8 × 256 bits, acc += number of l with A[i][l] = B[l][j] = 1; the same
//                             registers, with bits j = 0..31 and
//                                 a[i], bit j:            A[group + 8·(i % 2)][32t + j + 128·(i / 2)]
//                                 b[i], bit j:            B[32t + j + 128·i][group]
#pragma once

#include "host_device.hpp"

#include <cstdint>

namespace fntk::kernels {

inline constexpr int warp_size = 32;

/// A view of a row-major matrix in the kernels' words; element (i, j) is data[i·stride + j].
template <class T>
struct Rows {
    T* data = nullptr;
    std::int64_t rows = 0, cols = 0, stride = 0;

    FNTK_HD T* row(std::int64_t i) const { return data + i * stride; }
};

/// How a kernel is started, on a grid of one dimension.
struct Launch {
    std::int64_t blocks = 0;  // 0: there is nothing to do
    int threads = 0;
    std::int64_t shared_bytes = 0;
};

/// What the choice of a kernel and of its launch may depend on.
struct DeviceLimits {
    int multiprocessors = 1;
    std::int64_t shared_bytes_per_block = 48 * 1024;  // with opt-in
    int compute_capability = 80;                      // 10·major + minor
};

template <class T>
FNTK_HD constexpr T smaller(T a, T b) {
    return b < a ? b : a;
}
template <class T>
FNTK_HD constexpr T larger(T a, T b) {
    return a < b ? b : a;
}
FNTK_HD constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
FNTK_HD constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }
/// Bytes that shared<T>(count) takes.
template <class T>
FNTK_HD constexpr std::int64_t shared_size(std::int64_t count) {
    return round_up(count * static_cast<std::int64_t>(sizeof(T)), 16);
}

FNTK_DEVICE int popcount(std::uint64_t x) {
#ifdef __CUDA_ARCH__
    return __popcll(x);
#else
    return __builtin_popcountll(x);
#endif
}

#ifdef __CUDACC__

extern __shared__ __align__(16) unsigned char fntk_shared_memory[];

class CudaGrid {
  public:
    __device__ __forceinline__ std::int64_t block() const { return blockIdx.x; }
    __device__ __forceinline__ std::int64_t blocks() const { return gridDim.x; }
    __device__ __forceinline__ int thread() const { return static_cast<int>(threadIdx.x); }
    __device__ __forceinline__ int late_thread() const {
        int thread = 0;
        asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
        return thread;
    }
    __device__ __forceinline__ int threads() const { return static_cast<int>(blockDim.x); }
    __device__ __forceinline__ int lane() const { return static_cast<int>(threadIdx.x % 32U); }
    __device__ __forceinline__ int warp() const { return static_cast<int>(threadIdx.x / 32U); }

    template <class T>
    __device__ __forceinline__ T* shared(std::int64_t count) {
        unsigned char* memory = fntk_shared_memory + used_;
        used_ += shared_size<T>(count);
        return reinterpret_cast<T*>(memory);
    }
    __device__ __forceinline__ void sync() const { __syncthreads(); }
    __device__ __forceinline__ void sync_warp() const { __syncwarp(); }

    template <class T>
    __device__ __forceinline__ T shuffle(T v, int from) const {
        return __shfl_sync(0xFFFFFFFFU, v, from);
    }
    template <class T>
    __device__ __forceinline__ T shuffle_xor(T v, int mask) const {
        return __shfl_xor_sync(0xFFFFFFFFU, v, mask);
    }
    __device__ __forceinline__ std::uint32_t ballot(bool b) const { return __ballot_sync(0xFFFFFFFFU, b); }

    __device__ __forceinline__ void atomic_add(std::int32_t* p, std::int32_t v) const { atomicAdd(p, v); }
    __device__ __forceinline__ void atomic_add(std::uint32_t* p, std::uint32_t v) const { atomicAdd(p, v); }
    __device__ __forceinline__ void atomic_add(std::uint64_t* p, std::uint64_t v) const {
        atomicAdd(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(v));
    }
    __device__ __forceinline__ void atomic_add(double* p, double v) const { atomicAdd(p, v); }
    __device__ __forceinline__ void atomic_max(std::uint32_t* p, std::uint32_t v) const { atomicMax(p, v); }

    template <class T>
    __device__ __forceinline__ void copy_async(T* to, const T* from, int bytes) const {
        static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
        const auto place = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
        if constexpr (sizeof(T) == 16)  // past the first cache, which does not share with other blocks
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from), "r"(bytes)
                         : "memory");
        else
            asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(place), "l"(from),
                         "r"(bytes), "n"(sizeof(T))
                         : "memory");
    }
    __device__ __forceinline__ void prefetch(const void* p) const {
        asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
    }
    __device__ __forceinline__ void commit_copies() const {
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    template <int pending>
    __device__ __forceinline__ void wait_copies() const {
        asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
    }

    __device__ __forceinline__ void mma_s8(std::int32_t (&acc)[4], const std::uint32_t (&a)[4],
                                           const std::uint32_t (&b)[2]) const {
        asm volatile(
            "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
            "{%0,%1,%2,%3};"
            : "+r"(acc[0]), "+r"(acc[1]), "+r"(acc[2]), "+r"(acc[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
    /// One instruction for compute capability 8.0 to 9.0; from 10.0 on the compiler makes it of others.
    __device__ __forceinline__ void mma_b1(std::int32_t (&acc)[4], const std::uint32_t (&a)[4],
                                           const std::uint32_t (&b)[2]) const {
        asm volatile(
            "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
            "{%8,%9}, {%0,%1,%2,%3};"
            : "+r"(acc[0]), "+r"(acc[1]), "+r"(acc[2]), "+r"(acc[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }

  private:
    std::int64_t used_ = 0;
};

/// Blocks of a multiprocessor that a kernel's registers must leave room for: its min_blocks; 0, as the
/// compiler sees fit.
template <class Kernel>
constexpr int min_blocks() {
    if constexpr (requires { Kernel::min_blocks; })
        return Kernel::min_blocks;
    else
        return 0;
}

/// The entry of any kernel.
template <class Kernel>
__global__ void __launch_bounds__(Kernel::max_threads, min_blocks<Kernel>())
    entry(const __grid_constant__ Kernel kernel) {
    CudaGrid grid;
    kernel(grid);
}

#endif

}  // namespace fntk::kernels

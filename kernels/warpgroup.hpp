// What a kernel for compute capability 9.0 alone (sm_90a) sees beside the operations of grid.hpp.
// A warpgroup is 128 threads, from a multiple of 128 on; all of them come to each of its operations (wgmma,
// give_registers, take_registers), and whole warps to each barrier.
//
//     shared_address(p)       the address of shared memory that a descriptor takes, below 2^18
//     barrier_sync(id, n)     named barrier 1 to 15: waits until n threads have come, this one among them,
//                             and sees what they wrote
//     barrier_arrive(id, n)   comes to it and does not wait
//     proxy_fence()           after the next barrier wgmma sees what this thread stored in shared memory
//     give_registers<n>()     the warpgroup keeps n registers a thread, and
//     take_registers<n>()     has n of what others have given
//
//     wgmma<add>(acc, a, b)   D (64 × N, int32) = A (64 × 32) times B (32 × N), int8, plus D with `add`;
//                             acc has N/2 registers a thread, a is four registers or a descriptor, b is a
//                             descriptor. It only begins: registers and tiles stay untouched until a wait
//     wgmma_b1(acc, a, b)     D (64 × 256) += the common bits of A (64 × 256 bits) and B (256 × 256 bits),
//                             both descriptors
//     wgmma_fence(x...)       before the first wgmma since a wait, with all arrays of registers that are
//                             taken from here on: what was written to them is seen
//     wgmma_commit()          makes a group of the products begun since the last one
//     wgmma_wait<n>(x...)     until at most the n latest groups are under way, and those of x are not
//
// With warp w = 0..3 of the warpgroup, group = lane / 4 and t = lane % 4 a thread's registers hold
//     a[i], bytes j = 0..3:   A[16w + group + 8·(i % 2)][4t + j + 16·(i / 2)]
//     acc[i]:                 D[16w + group + 8·(i / 2 % 2)][8·(i / 4) + 2t + i % 2]
// and a descriptor, tile_descriptor(), says where in shared memory 64 rows of A or N columns of B are, each
// with 32 bytes along the products' sum. Core matrices of 8 rows (columns) × 16 bytes lie in one piece of
// 128 bytes; entry l of row (column) r is at
//     start + (r / 8)·stride + (l / 16)·leading + 16·(r % 8) + l % 16
// start, stride and leading are multiples of 16. There is no swizzle.
#pragma once

#include "grid.hpp"

namespace fntk::kernels {

inline constexpr int warpgroup_size = 128;

/// Fields of 16 bytes each: start at bit 0, leading at 16, stride at 32, 14 bits wide; the way of swizzling
/// at bit 62 is 0, none.
FNTK_HD constexpr std::uint64_t tile_descriptor(std::uint32_t start, std::uint32_t leading,
                                                std::uint32_t stride) {
    return static_cast<std::uint64_t>((start & 0x3FFFFU) >> 4) |
           static_cast<std::uint64_t>((leading & 0x3FFFFU) >> 4) << 16 |
           static_cast<std::uint64_t>((stride & 0x3FFFFU) >> 4) << 32;
}

/// The tile `bytes` after that of a descriptor, a multiple of 16, in the same array: one addition, and none
/// where the compiler knows it.
FNTK_HD constexpr std::uint64_t tile_after(std::uint64_t descriptor, int bytes) {
    return descriptor + static_cast<std::uint64_t>(bytes >> 4);
}

#ifdef __CUDACC__

// The operands %0 to %31, %63 or %127 of an asm, in its text and in its list.
#define FNTK_TEN(i) \
    "%" #i "0,%" #i "1,%" #i "2,%" #i "3,%" #i "4,%" #i "5,%" #i "6,%" #i "7,%" #i "8,%" #i "9,"
#define FNTK_TEXT_32 FNTK_TEN() FNTK_TEN(1) FNTK_TEN(2) "%30,%31"
#define FNTK_TEXT_64 \
    FNTK_TEN() FNTK_TEN(1) FNTK_TEN(2) FNTK_TEN(3) FNTK_TEN(4) FNTK_TEN(5) "%60,%61,%62,%63"
#define FNTK_TEXT_128 \
    FNTK_TEN() FNTK_TEN(1) FNTK_TEN(2) FNTK_TEN(3) FNTK_TEN(4) FNTK_TEN(5) FNTK_TEN(6)       \
    FNTK_TEN(7) FNTK_TEN(8) FNTK_TEN(9) FNTK_TEN(10) FNTK_TEN(11) "%120,%121,%122,%123,%124," \
                                                                  "%125,%126,%127"
#define FNTK_LIST_8(x, i)                                                                         \
    "+r"((x)[i]), "+r"((x)[(i) + 1]), "+r"((x)[(i) + 2]), "+r"((x)[(i) + 3]), "+r"((x)[(i) + 4]), \
        "+r"((x)[(i) + 5]), "+r"((x)[(i) + 6]), "+r"((x)[(i) + 7])
#define FNTK_LIST_32(x, i) \
    FNTK_LIST_8(x, i), FNTK_LIST_8(x, (i) + 8), FNTK_LIST_8(x, (i) + 16), FNTK_LIST_8(x, (i) + 24)
#define FNTK_LIST_64(x, i) FNTK_LIST_32(x, i), FNTK_LIST_32(x, (i) + 32)
#define FNTK_LIST_128(x, i) FNTK_LIST_64(x, i), FNTK_LIST_64(x, (i) + 64)
// n columns in r registers, of int8 too up to 256 (PTX ISA, table of wgmma's matrix shapes; the list beside
// the instruction ends at 224): %r and %r1 are the descriptors, %r2 is `add`; or %r to %r3 are A, %r4 is B.
#define FNTK_WGMMA_SHARED(n, types, r, r1, r2)                                                             \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #r2                                              \
                 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #n types " {" FNTK_TEXT_##r "}, %" #r ", %" #r1 \
                                                                                       ", add;\n}"         \
                 : FNTK_LIST_##r(acc, 0)                                                                   \
                 : "l"(a), "l"(b), "n"(static_cast<int>(add)))
#define FNTK_WGMMA_REGISTERS(n, r, r1, r2, r3, r4, r5)                                                     \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #r5 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #n \
                 "k32.s32.s8.s8 {" FNTK_TEXT_##r "}, {%" #r ",%" #r1 ",%" #r2 ",%" #r3 "}, %" #r4          \
                                                 ", add;\n}"                                               \
                 : FNTK_LIST_##r(acc, 0)                                                                   \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(static_cast<int>(add)))

/// What is `aligned` asks all lanes of a warp to be together, and a branch of some lanes may have parted
/// them.
class WarpgroupGrid : public CudaGrid {
  public:
    __device__ __forceinline__ std::uint32_t shared_address(const void* p) const {
        return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
    }
    __device__ __forceinline__ void barrier_sync(int id, int threads) const {
        sync_warp();
        asm volatile("barrier.cta.sync.aligned %0, %1;" ::"r"(id), "r"(threads) : "memory");
    }
    __device__ __forceinline__ void barrier_arrive(int id, int threads) const {
        sync_warp();
        asm volatile("barrier.cta.arrive.aligned %0, %1;" ::"r"(id), "r"(threads) : "memory");
    }
    __device__ __forceinline__ void proxy_fence() const {
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    }
    template <int registers>
    __device__ __forceinline__ void give_registers() const {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
    }
    template <int registers>
    __device__ __forceinline__ void take_registers() const {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
    }

    template <bool add, int count>
    __device__ __forceinline__ void wgmma(std::int32_t (&acc)[count], std::uint64_t a,
                                          std::uint64_t b) const {
        static_assert(count == 64 || count == 128);
        if constexpr (count == 64)
            FNTK_WGMMA_SHARED(128, "k32.s32.s8.s8", 64, 65, 66);
        else
            FNTK_WGMMA_SHARED(256, "k32.s32.s8.s8", 128, 129, 130);
    }
    template <bool add, int count>
    __device__ __forceinline__ void wgmma(std::int32_t (&acc)[count], const std::uint32_t (&a)[4],
                                          std::uint64_t b) const {
        static_assert(count == 32 || count == 64 || count == 128);
        if constexpr (count == 32)
            FNTK_WGMMA_REGISTERS(64, 32, 33, 34, 35, 36, 37);
        else if constexpr (count == 64)
            FNTK_WGMMA_REGISTERS(128, 64, 65, 66, 67, 68, 69);
        else
            FNTK_WGMMA_REGISTERS(256, 128, 129, 130, 131, 132, 133);
    }
    __device__ __forceinline__ void wgmma_b1(std::int32_t (&acc)[128], std::uint64_t a,
                                             std::uint64_t b) const {
        constexpr bool add = true;
        FNTK_WGMMA_SHARED(256, "k256.s32.b1.b1.and.popc", 128, 129, 130);
    }
    template <class... Arrays>
    __device__ __forceinline__ void wgmma_fence(Arrays&... registers) const {
        sync_warp();
        (pin(registers), ...);
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    }
    __device__ __forceinline__ void wgmma_commit() const {
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    }
    template <int pending, class... Arrays>
    __device__ __forceinline__ void wgmma_wait(Arrays&... registers) const {
        asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
        (pin(registers), ...);
    }

  private:
    /// The compiler moves no use of these registers past this place.
    template <class T, int count>
    static __device__ __forceinline__ void pin(T (&x)[count]) {
        FNTK_UNROLL
        for (int i = 0; i < count; ++i)
            if constexpr (sizeof(T) == 4)
                asm volatile("" : "+r"(x[i])::"memory");
            else
                pin(x[i]);
    }
};

#undef FNTK_WGMMA_REGISTERS
#undef FNTK_WGMMA_SHARED
#undef FNTK_LIST_128
#undef FNTK_LIST_64
#undef FNTK_LIST_32
#undef FNTK_LIST_8
#undef FNTK_TEXT_128
#undef FNTK_TEXT_64
#undef FNTK_TEXT_32
#undef FNTK_TEN

/// The entry of a kernel that has a multiprocessor to itself.
template <class Kernel>
__global__ void __launch_bounds__(Kernel::max_threads, 1)
    warpgroup_entry(const __grid_constant__ Kernel kernel) {
    WarpgroupGrid grid;
    kernel(grid);
}

#endif

}  // namespace fntk::kernels

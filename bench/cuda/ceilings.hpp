// What ceilings.cu and ceilings_wgmma.cu share: random bits, and the matrix instructions of compute
// capability 9.0 alone, which are compiled for sm_90a.
#pragma once

#include <cstdint>
#include <vector>

/// Random bits of position i.
inline __device__ std::uint32_t mixed(std::uint64_t i) {
    i = (i ^ (i >> 30)) * 0xBF58476D1CE4E5B9ULL;
    i = (i ^ (i >> 27)) * 0x94D049BB133111EBULL;
    return static_cast<std::uint32_t>(i >> 32);
}

struct WgmmaCeiling {
    const char* name;
    double operations;                  // of a block
    void (*start)(int, std::int32_t*);  // so many blocks, into as many numbers; see cudaGetLastError
};

/// wgmma_s8: A in shared memory; wgmma_s8_registers: A in registers; wgmma_b1: AND and popcount.
std::vector<WgmmaCeiling> wgmma_ceilings();

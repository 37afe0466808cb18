// The matrix instructions of compute capability 9.0 alone, for ceilings.cu: compiled for sm_90a.
#pragma once

#include <cstdint>
#include <vector>

struct WgmmaCeiling {
    const char* name;
    double operations;                  // of a block
    void (*start)(int, std::int32_t*);  // so many blocks, into as many numbers; see cudaGetLastError
};

/// wgmma_s8: A in shared memory; wgmma_s8_registers: A in registers; wgmma_b1: AND and popcount.
std::vector<WgmmaCeiling> wgmma_ceilings();

// The functions of this folder are compiled by the host compiler and by nvcc alike.
#pragma once

#ifdef __CUDACC__
#define FNTK_HD __host__ __device__
#define FNTK_DEVICE __device__ __forceinline__
#else
#define FNTK_HD
#define FNTK_DEVICE inline
#endif

// Before a loop of fixed length whose index picks registers: nvcc unrolls it in full.
#ifdef __CUDA_ARCH__
#define FNTK_UNROLL _Pragma("unroll")
#else
#define FNTK_UNROLL
#endif

// The functions of this folder are compiled by the host compiler and by nvcc alike.
#pragma once

#ifdef __CUDACC__
#define FNTK_HD __host__ __device__
#define FNTK_DEVICE __device__ __forceinline__
#else
#define FNTK_HD
#define FNTK_DEVICE inline
#endif

// Before a loop of fixed length, for nvcc. FNTK_UNROLL: in full, so that an index picks registers.
// FNTK_UNROLL_BY(n): n times, a constant expression; 1 keeps a loop a loop.
#ifdef __CUDA_ARCH__
#define FNTK_PRAGMA(text) _Pragma(#text)
#define FNTK_UNROLL FNTK_PRAGMA(unroll)
#define FNTK_UNROLL_BY(n) FNTK_PRAGMA(unroll(n))
#else
#define FNTK_UNROLL
#define FNTK_UNROLL_BY(n)
#endif

// The functions of this folder are compiled by the host compiler and by nvcc alike.
#pragma once

#ifdef __CUDACC__
#define FNTK_HD __host__ __device__
#define FNTK_DEVICE __device__ __forceinline__
#else
#define FNTK_HD
#define FNTK_DEVICE inline
#endif

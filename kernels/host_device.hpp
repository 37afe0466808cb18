// The scalar functions of this folder are compiled by the host compiler and by nvcc alike.
#pragma once

#ifdef __CUDACC__
#define FNTK_HD __host__ __device__
#else
#define FNTK_HD
#endif

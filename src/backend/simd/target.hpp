// Which instruction set the kernels of this folder run on. All of them give the same bits.
#pragma once

#include <string>
#include <vector>

namespace fntk::backend {

/// Highway's names of the instruction sets compiled in and supported here, best first: AVX3_DL (AVX-512 of
/// Ice Lake), AVX3, AVX2, SSE4, SSSE3, NEON, ...
std::vector<std::string> simd_targets();
/// The one in use.
std::string simd_target();
/// Uses one of simd_targets() from now on in this process, "" the best; for tests and measurements. Not
/// while an operation runs. Throws ValueError for any other name.
void use_simd_target(const std::string& name);

}  // namespace fntk::backend

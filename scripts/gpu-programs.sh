#!/usr/bin/env bash
# Builds what bench/gpu.sh runs, for a GPU that is elsewhere, with the CUDA toolkit of this machine, which is of the same
# version as that one's, and the libraries of bundle/ (scripts/bundle.sh). Packs both as build/gpu-programs.tar.gz, about
# 20 MiB: unpack it in a checkout there, and `bench/gpu.sh --built OUT` spends no time on compiling.
#     scripts/gpu-programs.sh [ARCHITECTURES]    as CMAKE_CUDA_ARCHITECTURES; 90 by default, with the kernels for 9.0
set -euo pipefail

[[ $# -le 1 && ${1:-} != -* ]] || { echo "usage: $0 [ARCHITECTURES]" >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ -d bundle/prefix/usr ]] || scripts/bundle.sh
export CMAKE_PREFIX_PATH=$PWD/bundle/prefix/usr${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
cmake --preset cuda -B build/gpu -DCMAKE_CUDA_ARCHITECTURES="${1:-90}"
cmake --build build/gpu --parallel "$(nproc)" --target fntk_program fntk_tests fntk_philox_curand_test \
    fntk_gpu_ceilings fntk_gpu_case fntk_peer_case fntk_bench
tar czf build/gpu-programs.tar.gz build/gpu/bin build/gpu/tests/fntk_tests build/gpu/tests/cuda/fntk_philox_curand_test \
    build/gpu/libfntk.so* bundle/prefix/usr/lib/*/lib*.so*
du -h build/gpu-programs.tar.gz

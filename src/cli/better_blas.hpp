// For programs that link the library.
#pragma once

#include <fntk/device.hpp>

#include <unistd.h>

#include <cstdlib>

namespace fntk::cli {

/// Starts the program over with the OpenBLAS kernels that fit the processor, where OpenBLAS missed them (it
/// reads its environment only while it is loaded). First statement of main.
inline void restart_with_better_blas(char** argv) {
    const std::string core = better_blas_core();
    if (core.empty() || std::getenv("OPENBLAS_CORETYPE") != nullptr) return;
    setenv("OPENBLAS_CORETYPE", core.c_str(), 1);
    execv("/proc/self/exe", argv);  // returns only if it fails: then the slow kernels do
}

}  // namespace fntk::cli

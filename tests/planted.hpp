// Small kernels for the tests of the grid itself, and what is found in them.
#pragma once

#include "host_grid.hpp"

#include <gtest/gtest.h>

#include <string>

namespace fntk::test {

/// A kernel from a lambda: `body(grid)` on blocks × threads.
template <class Body>
struct Planted {
    static constexpr int max_threads = 384;
    Body body;
    std::int64_t blocks = 1;
    int threads = 64;
    std::int64_t shared_bytes = 0;

    kernels::Launch launch(const kernels::DeviceLimits& /*limits*/) const {
        return {blocks, threads, shared_bytes};
    }
    template <class Grid>
    void operator()(Grid& grid) const {
        body(grid);
    }
};
template <class Body>
Planted(Body, std::int64_t = 1, int = 64, std::int64_t = 0) -> Planted<Body>;

/// The text of the fault, "" without one.
template <class Kernel>
std::string fault_of(const Kernel& kernel, const HostOptions& options = {}) {
    try {
        run_on_host(kernel, options);
    } catch (const KernelFault& fault) {
        return fault.what();
    }
    return "";
}

inline ::testing::AssertionResult has(const std::string& text, const std::string& part) {
    if (text.find(part) != std::string::npos) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << '"' << text << "\" lacks \"" << part << '"';
}

}  // namespace fntk::test

// Small kernels for the tests of the grid itself.
#pragma once

#include "host_grid.hpp"

namespace fntk::test {

/// A kernel from a lambda: `body(grid)` on blocks × threads.
template <class Body>
struct Planted {
    static constexpr int max_threads = 256;
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

}  // namespace fntk::test

// Stages of shared memory that the first warpgroup of a block fills in turn, and the two others read
// (warpgroup.hpp). Named barriers hand over a step's stage: `full`, one for each consumer, when it is
// written, so that one consumer multiplies while the other has no product under way; `empty` when both have
// read it. The producer comes to `empty` from the step on for which all stages are taken, the consumers as
// often. Steps are counted over all that a block does.
#pragma once

#include "warpgroup.hpp"

namespace fntk::kernels {

template <int count_>
struct WarpgroupStages {
    static constexpr int count = count_, threads = 3 * warpgroup_size;
    static_assert(count > 0 && (count & (count - 1)) == 0);
    static constexpr int full = 1, empty = full + 2 * count;  // barriers
    static constexpr int next_barrier = empty + count;        // that is free

    /// Where step `step` is.
    FNTK_DEVICE static int of(auto step) { return static_cast<int>(step & (count - 1)); }

    FNTK_DEVICE static void wait_for_free(auto& grid, auto step) {
        if (step >= count) grid.barrier_sync(empty + of(step), threads);
    }
    FNTK_DEVICE static void hand_over(auto& grid, auto step) {
        grid.proxy_fence();
        grid.barrier_arrive(full + 2 * of(step), 2 * warpgroup_size);
        grid.barrier_arrive(full + 2 * of(step) + 1, 2 * warpgroup_size);
    }

    /// Consumer i = 0, 1.
    FNTK_DEVICE static void wait_for_full(auto& grid, int i, auto step) {
        grid.barrier_sync(full + 2 * of(step) + i, 2 * warpgroup_size);
    }
    /// `last` is the step behind all of the block.
    FNTK_DEVICE static void release(auto& grid, auto step, auto last) {
        if (step + count < last) grid.barrier_arrive(empty + of(step), threads);
    }
};

}  // namespace fntk::kernels

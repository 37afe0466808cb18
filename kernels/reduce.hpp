// A reduction over all elements of a matrix, op_ij element(i, j), in a tree that depends on the shape
// alone: sums are the same bits for any number of blocks. Two kernels:
//     ReduceElements     slot s = op over the tiles s, s + slots, ... (elements.hpp); a block strides over
//                        slots
//     FinishReduction    out = op over the slots, by one block
// A block combines its threads by exchanges in each warp, then warp by warp through shared memory.
#pragma once

#include "elements.hpp"
#include "row_lanes.hpp"

namespace fntk::kernels {

inline constexpr int block_warps = element_threads / warp_size;
inline constexpr std::int64_t max_reduction_slots = 1024;

/// Slots that ReduceElements writes, at least 1.
FNTK_HD inline std::int64_t reduction_slots(std::int64_t rows, std::int64_t cols) {
    return larger<std::int64_t>(1, smaller(max_reduction_slots, ElementTiles(rows, cols).count()));
}

/// op over the threads of a block; every thread gets the result. `of_warp`: shared, one element per warp.
template <class Grid, class T, class Op>
FNTK_DEVICE T reduce_block(Grid& grid, T* of_warp, T v, Op op) {
    v = reduce_lanes(grid, v, warp_size, op);
    if (grid.lane() == 0) of_warp[grid.warp()] = v;
    grid.sync();  // the warps' results are there
    v = of_warp[0];
    for (int warp = 1; warp < grid.threads() / warp_size; ++warp) v = op(v, of_warp[warp]);
    grid.sync();  // and have been read: the next call may write them
    return v;
}

/// op over the slots; every thread of the block gets the result.
template <class Grid, class T, class Op>
FNTK_DEVICE T reduce_slots(Grid& grid, T* of_warp, const T* slots, std::int64_t count, T identity, Op op) {
    T v = identity;
    for (std::int64_t s = grid.thread(); s < count; s += grid.threads()) v = op(v, slots[s]);
    return reduce_block(grid, of_warp, v, op);
}

/// Source: the types Value and Op, identity(), and element(), a function (i, j) → Value.
template <class Source>
struct ReduceElements {
    using Value = typename Source::Value;
    using Op = typename Source::Op;
    static constexpr int max_threads = element_threads;

    Source source;
    std::int64_t rows = 0, cols = 0;
    Value* slots = nullptr;  // reduction_slots(rows, cols)

    Launch launch(const DeviceLimits& limits) const {
        return {smaller<std::int64_t>(reduction_slots(rows, cols), 8 * limits.multiprocessors),
                element_threads, shared_size<Value>(block_warps)};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        Value* of_warp = grid.template shared<Value>(block_warps);
        const auto element = source.element();
        const ElementTiles tiles(rows, cols);
        const std::int64_t count = reduction_slots(rows, cols);
        for (std::int64_t slot = grid.block(); slot < count; slot += grid.blocks()) {
            Value v = Source::identity();
            tiles.visit(slot, count, grid.thread(),
                        [&](std::int64_t i, std::int64_t j) { v = Op()(v, element(i, j)); });
            v = reduce_block(grid, of_warp, v, Op());
            if (grid.thread() == 0) slots[slot] = v;
        }
    }
};

template <class Source>
struct FinishReduction {
    using Value = typename Source::Value;
    static constexpr int max_threads = element_threads;

    const Value* slots = nullptr;
    std::int64_t count = 0;  // of slots
    Value* out = nullptr;    // one element

    Launch launch(const DeviceLimits&) const {
        return {1, element_threads, shared_size<Value>(block_warps)};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        Value* of_warp = grid.template shared<Value>(block_warps);
        const Value v =
            reduce_slots(grid, of_warp, slots, count, Source::identity(), typename Source::Op());
        if (grid.block() == 0 && grid.thread() == 0) *out = v;
    }
};

}  // namespace fntk::kernels

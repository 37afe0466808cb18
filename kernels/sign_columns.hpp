// The signs of V by column, or of a slice of `columns` of its columns, as bits in global memory for
// open_gradients_wgmma.hpp, which makes its tiles of them.
//     step s of 32 units, lane n      the words that SignTiles::draw_columns gives lane n, `together` of
//                                     which lie side by side, the next ones behind those of all lanes
// They take m·columns/8 bytes and serve all outputs; words of columns beyond the rank mean nothing.
#pragma once

#include "sign_tiles.hpp"

namespace fntk::kernels {

template <int columns>
struct SignColumns {
    using Tiles = SignTiles<columns, 32>;
    using Words = typename Tiles::Words;
    static constexpr int groups = Tiles::groups, step_words = groups * warp_size;  // Words of a step

    Words* data = nullptr;

    FNTK_HD Words* at(std::int64_t step, int lane, int group) const {
        return data + step * step_words + group * warp_size + lane;
    }
};

/// A warp makes a step at a time.
template <int columns>
struct PackColumns {
    static constexpr int max_threads = 256;
    using To = SignColumns<columns>;

    std::uint64_t up_seed = 0;
    std::int64_t p = 0, first_column = 0;  // of the slice, a multiple of 32
    bool srht = false;                     // V, else rademacher; p ≤ columns then
    std::int64_t first_step = 0, count = 0;
    To to;

    Launch launch(const DeviceLimits& limits) const {
        const std::int64_t blocks = ceil_div(count, max_threads / warp_size);
        return {smaller<std::int64_t>(blocks, 32 * limits.multiprocessors), max_threads, 0};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const typename To::Tiles tiles{up_seed, p, true, static_cast<int>(first_column / 32), srht};
        const std::int64_t warps = grid.blocks() * (max_threads / warp_size);
        for (std::int64_t step = grid.block() * (max_threads / warp_size) + grid.warp(); step < count;
             step += warps) {
            typename To::Words words[To::groups];
            tiles.draw_columns(grid, first_step + step, words);
            FNTK_UNROLL
            for (int i = 0; i < To::groups; ++i) *to.at(step, grid.lane(), i) = words[i];
        }
    }
};

}  // namespace fntk::kernels

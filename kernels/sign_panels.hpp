// A rademacher V of a rank beyond shared memory, as bytes −V in global memory for gates_wgmma.hpp.
//     panel (t, w)    256 units from 256t on by columns 32w to 32w + 31: two tiles of 128 units, each the
//                     by_unit of sign_tiles.hpp for these columns alone, 4096 bytes
// Panels of the same units follow each other, `words` of them; those beyond the rank mean nothing.
#pragma once

#include "sign_tiles.hpp"

namespace fntk::kernels {

struct SignPanels {
    using Tiles = SignTiles<32, 128>;
    static constexpr int units = 256, quads = 2 * Tiles::quads;  // of a panel

    Quad* data = nullptr;
    std::int64_t words = 0;

    FNTK_HD Quad* panel(std::int64_t t, std::int64_t w) const { return data + (t * words + w) * quads; }
};

/// A warp makes 32 units of one panel at a time.
struct PackSigns {
    static constexpr int max_threads = 256;

    std::uint64_t up_seed = 0;
    std::int64_t p = 0, first_unit = 0,
                 count = 0;  // count panels of units from first_unit, a multiple of 256, on
    SignPanels to;

    Launch launch(const DeviceLimits& limits) const {
        const std::int64_t blocks = ceil_div(items(), max_threads / warp_size);
        return {smaller<std::int64_t>(blocks, 32 * limits.multiprocessors), max_threads, 0};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const std::int64_t warps = grid.blocks() * (max_threads / warp_size), words = sign_words(p);
        for (std::int64_t item = grid.block() * (max_threads / warp_size) + grid.warp(); item < items();
             item += warps) {
            const int part = static_cast<int>(item % 8);
            const std::int64_t w = item / 8 % words, t = item / 8 / words;
            const SignPanels::Tiles tiles{up_seed, p, false, static_cast<int>(w)};
            tiles.write(grid, (first_unit + SignPanels::units * t) / 32 + part, part % 4, 0,
                        to.panel(t, w) + part / 4 * SignPanels::Tiles::quads, nullptr);
        }
    }

  private:
    FNTK_HD std::int64_t items() const { return count * sign_words(p) * 8; }
};

}  // namespace fntk::kernels

// The outputs of open_gradients.hpp, the same members and integers, on the matrix units of compute
// capability 9.0 (wgmma_sums.hpp).
//     Ĝ^c += (gate ∘ a^cᵀ) V      outputs c = first, first + 1, ..., outputs − 1; Ĝ: n × (outputs·p), in
//     place
// A thread reads the words of its two rows, a tile ahead of their product.
#pragma once

#include "wgmma_sums.hpp"

namespace fntk::kernels {

template <int columns_>
struct OpenGradientsWgmma : WgmmaSums<columns_, false> {
    using Sums = WgmmaSums<columns_, false>;
    using Sums::columns, Sums::gradients, Sums::m, Sums::max_threads, Sums::rows, Sums::units;

    std::int64_t first = 0, outputs = 0;
    Rows<const std::uint64_t> gates;  // n × ⌈m/64⌉ words, zero beyond m

    Launch launch(const DeviceLimits& limits) const {
        if (gates.rows == 0 || m == 0 || first >= outputs) return {};
        return this->launch_items(gates.rows, outputs - first, Sums::shared_bytes_of_stages, limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const Stages tiles = Sums::stages(grid);
        const Work work = this->item(grid, gates.rows, first, outputs - first);
        this->share(grid, work, tiles,
                    [&](int consumer, int row) { consume(grid, work, consumer, row, tiles); });
    }

  private:
    using Sums::empty, Sums::steps;
    using Stages = typename Sums::Stages;
    using Tiles = typename Sums::Tiles;
    using Work = typename Sums::Work;
    static constexpr int words = units / 64;  // of a row and a tile

    template <class Grid>
    FNTK_DEVICE void consume(Grid& grid, const Work& work, int consumer, int row,
                             const Stages& tiles) const {
        std::int32_t sums[columns / 2] = {};
        std::uint32_t open[steps][4] = {};
        std::uint64_t of_rows[2][words];
        const std::uint32_t av_tile = grid.shared_address(tiles.by_column);
        load_gates(grid, row, work.first, of_rows);
        for (int tile = work.first; tile < work.end; ++tile) {
            const int stage = (tile - work.first) & 1;
            FNTK_UNROLL
            for (int i = 0; i < 4 * steps; ++i) {  // register 2h + e of step s
                const int s = i / 4, half = i % 4 / 2, e = i % 2;
                const std::uint64_t bits = of_rows[e][s / 2] >> (32 * (s % 2) + 4 * half + grid.lane() % 4);
                open[s][i % 4] = mask_bytes(static_cast<std::uint32_t>(bits));
            }
            if (tile + 1 < work.end) load_gates(grid, row, tile + 1, of_rows);
            Sums::wait_for_tile(grid, consumer, stage);
            Sums::add_gradients(grid, open, av_tile + 16 * stage * Tiles::quads, sums);
            if (tile + 2 < work.end) grid.barrier_arrive(empty + stage, max_threads);
        }
        this->add_to_rows(grid, work, row, sums);
    }

    template <class Grid>
    FNTK_DEVICE void load_gates(Grid& grid, int row, int tile, std::uint64_t (&of_rows)[2][words]) const {
        FNTK_UNROLL
        for (int i = 0; i < 2 * words; ++i) {
            const int r = row + grid.warp() % 4 * 16 + grid.lane() / 4 + 8 * (i / words);
            const std::int64_t word = std::int64_t{words} * tile + i % words;
            of_rows[i / words][i % words] =
                r < gates.rows && word < ceil_div(m, 64) ? gates.row(r)[word] : 0;
        }
    }
};

}  // namespace fntk::kernels

// What the passes over a seeded V of ±1 on wgmma share (warpgroup.hpp): the warpgroup that makes tiles of
// V, and the product with them.
//     Ĝ^c += (gate ∘ a^cᵀ) V      Ĝ: n × (k·p), in place, or a slice of its columns; columns = 64, 128, 256
// A block is three warpgroups. It takes one item: 128 rows, an output c, a range of m in whole tiles of
// `units` units. The first warpgroup makes tiles (sign_tiles.hpp), two in turn; the other two have 64 rows
// each:
//     A operand     in registers, open[step][2h + e] of lane 4g + t: row g + 8e of the warp, byte j is unit
//                   8j + 4h + t of 32, −1 where the gate is open
//     B operand     −a∘V
//     accumulators  64 × columns int32 in registers over the whole range
// Named barriers hand over stage s = 0, 1: `full`, one for each consumer, when the producer has written it,
// so that one consumer multiplies while the other has no product under way; `empty` when both consumers
// have read it. The producer comes to `empty` from the third tile on, the consumers as often.
#pragma once

#include "ranges.hpp"
#include "sign_tiles.hpp"
#include "warpgroup.hpp"

namespace fntk::kernels {

/// with_units: the tiles −V are made too.
template <int columns_, bool with_units>
struct WgmmaSums {
    static constexpr int columns = columns_;
    static constexpr int units = columns == 64 ? 256 : 128;  // of a tile
    static constexpr int rows = 128, max_threads = 384;      // of a block

    std::uint64_t up_seed = 0, readout_seed = 0;
    std::int64_t m = 0, p = 0;
    bool srht = false;              // V, else rademacher; p ≤ columns then
    std::int64_t first_column = 0;  // of the slice of V and of each Ĝ^c, a multiple of 32
    Rows<std::int32_t> gradients;   // n × (k·p), added to; no data: not wanted

  protected:
    using Tiles = SignTiles<columns, units, with_units>;
    static constexpr int steps = units / 32;                    // of a tile
    static constexpr int full = 1, empty = 5, of_consumer = 7;  // barriers: four, two and two
    static constexpr int producer_registers = 56, consumer_registers = 224;

    struct Work {
        int row, c;      // the first row of the block
        int first, end;  // tiles
    };
    struct Stages {  // two tiles of each; by_unit: without with_units exchange_quads of four warps
        Quad *by_unit, *by_column;
    };
    static constexpr int unit_quads = with_units ? 2 * Tiles::quads : 4 * Tiles::exchange_quads;
    static constexpr int column_quads = 2 * Tiles::quads;
    static constexpr std::int64_t shared_bytes_of_stages =
        shared_size<Quad>(unit_quads) + shared_size<Quad>(column_quads);
    template <class Grid>
    FNTK_DEVICE static Stages stages(Grid& grid) {
        Quad* by_unit = grid.template shared<Quad>(unit_quads);
        return {by_unit, grid.template shared<Quad>(column_quads)};
    }

    Launch launch_items(std::int64_t n, std::int64_t outputs, std::int64_t shared_bytes,
                        const DeviceLimits& limits) const {
        const std::int64_t whole = ceil_div(n, rows) * outputs, tiles = ceil_div(m, units);
        return {whole * ranges_for(whole, tiles, limits), max_threads, shared_bytes};
    }
    /// Of a block of launch_items().
    template <class Grid>
    FNTK_DEVICE Work item(Grid& grid, std::int64_t n, std::int64_t first_output,
                          std::int64_t outputs) const {
        const std::int64_t whole = ceil_div(n, rows) * outputs, ranges = grid.blocks() / whole;
        const std::int64_t range = grid.block() / whole, at = grid.block() % whole,
                           all = ceil_div(m, units);
        return {static_cast<int>(at / outputs * rows), static_cast<int>(first_output + at % outputs),
                static_cast<int>(range * all / ranges), static_cast<int>((range + 1) * all / ranges)};
    }

    /// The first warpgroup makes the tiles, and consume(i, row), i = 0, 1, is what each other does with 64
    /// rows from `row` on.
    template <class Grid, class Consume>
    FNTK_DEVICE void share(Grid& grid, const Work& work, const Stages& tiles,
                           const Consume& consume) const {
        if (grid.warp() < 4) {
            grid.template give_registers<producer_registers>();
            produce(grid, work, tiles);
        } else {
            grid.template take_registers<consumer_registers>();
            const int consumer = grid.shuffle(grid.warp() / 4 - 1, 0);
            consume(consumer, work.row + 64 * consumer);
        }
    }

    /// All that the first warpgroup does.
    template <class Grid>
    FNTK_DEVICE void produce(Grid& grid, const Work& work, const Stages& tiles) const {
        constexpr int parts = units / 128;  // a warp has 32 units of each
        const int first_part = work.first * parts;
        const Tiles writer{up_seed, p, gradients.data != nullptr, static_cast<int>(first_column / 32),
                           srht};
        std::uint32_t a_words = 0;  // of a^c, of parts 32j + lane, j = 0, 1, ...
        for (int tile = work.first; tile < work.end; ++tile) {
            const int stage = (tile - work.first) & 1;
            if (tile - work.first >= 2) grid.barrier_sync(empty + stage, max_threads);
            FNTK_UNROLL_BY(1)
            for (int i = 0; i < parts; ++i) {
                const int part = tile * parts + i, lane = (part - first_part) & 31;
                if (lane == 0)
                    a_words = word_of(random_block(readout_seed, Stream::readout,
                                                   readout_word(work.c) / 4 +
                                                       static_cast<std::uint64_t>(part + grid.lane())),
                                      static_cast<std::uint64_t>(grid.warp()));
                writer.write(grid, std::int64_t{4} * part + grid.warp(), 4 * i + grid.warp(),
                             grid.shuffle(a_words, lane),
                             with_units ? tiles.by_unit + stage * Tiles::quads
                                        : tiles.by_unit + grid.warp() * Tiles::exchange_quads,
                             tiles.by_column + stage * Tiles::quads);
            }
            grid.proxy_fence();
            FNTK_UNROLL
            for (int i = 0; i < 2; ++i) grid.barrier_arrive(full + 2 * i + stage, 2 * warpgroup_size);
        }
    }

    /// Consumer i waits for a tile.
    template <class Grid>
    FNTK_DEVICE static void wait_for_tile(Grid& grid, int i, int stage) {
        grid.barrier_sync(full + 2 * i + stage, 2 * warpgroup_size);
    }
    /// sums += the product of `open` with the tile −a∘V at the shared address `tile`, which is done with
    /// then.
    template <class Grid>
    FNTK_DEVICE static void add_gradients(Grid& grid, std::uint32_t (&open)[steps][4], std::uint32_t tile,
                                          std::int32_t (&sums)[columns / 2]) {
        const std::uint64_t first = tile_descriptor(tile, 128, Tiles::column_stride);
        grid.wgmma_fence(sums, open);
        FNTK_UNROLL
        for (int i = 0; i < steps; ++i)
            grid.template wgmma<true>(sums, open[i], tile_after(first, 16 * 16 * i));
        grid.wgmma_commit();
        grid.template wgmma_wait<0>(sums, open);
    }

    template <class Grid>
    FNTK_DEVICE void add_to_rows(Grid& grid, const Work& work, int row,
                                 const std::int32_t (&sums)[columns / 2]) const {
        FNTK_UNROLL
        for (int i = 0; i < columns / 2; ++i) {
            const int r = row + grid.warp() % 4 * 16 + grid.lane() / 4 + 8 * (i / 2 % 2);
            const int q = i / 16 * 32 + i / 4 % 2 * 16 + i % 2 * 8 + i / 8 % 2 * 4 + grid.lane() % 4;
            if (r < gradients.rows && q < p - first_column)
                grid.atomic_add(gradients.row(r) + work.c * p + first_column + q, sums[i]);
        }
    }
};

}  // namespace fntk::kernels

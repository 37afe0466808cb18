// What the passes over a seeded V of ±1 on wgmma share (warpgroup.hpp): who has what, and the product with
// tiles of V.
//     Ĝ^c += (gate ∘ a^cᵀ) V      Ĝ: n × (k·p), in place, or a slice of its columns; columns = 64, 128, 256
// A block is three warpgroups. It takes one item: 128 rows, an output c, a range of units in whole tiles of
// `units`. The first warpgroup makes tiles −a∘V (sign_tiles.hpp), the other two have 64 rows each:
//     A operand     in registers, open[step][2h + e] of lane 4g + t: row g + 8e of the warp, byte j is unit
//                   8j + 4h + t of 32, −1 where the gate is open
//     B operand     −a∘V
//     accumulators  64 × columns int32 in registers over the whole range
// Tiles are handed over by warpgroup_stages.hpp.
#pragma once

#include "ranges.hpp"
#include "sign_tiles.hpp"
#include "warpgroup_stages.hpp"

namespace fntk::kernels {

template <int columns_>
struct WgmmaSums {
    static constexpr int columns = columns_;
    static constexpr int units = columns == 64 ? 256 : 128;  // of a tile
    static constexpr int rows = 128, max_threads = 384;      // of a block

    std::uint64_t readout_seed = 0;
    std::int64_t m = 0, p = 0;
    std::int64_t first_column = 0;  // of the slice of V and of each Ĝ^c, a multiple of 32
    Rows<std::int32_t> gradients;   // n × (k·p), added to; no data: not wanted

  protected:
    using Tiles = SignTiles<columns, units>;
    static constexpr int steps = units / 32;   // of a tile
    static constexpr int parts = units / 128;  // of a tile: a warp of the producer has 32 units of each
    static constexpr int producer_registers = 56, consumer_registers = 224;

    struct Work {
        int row, c;      // the first row of the block
        int first, end;  // tiles
    };
    static Launch launch_items(std::int64_t n, std::int64_t outputs, std::int64_t tiles,
                               std::int64_t shared_bytes, const DeviceLimits& limits) {
        const std::int64_t whole = ceil_div(n, rows) * outputs;
        return {whole * ranges_for(whole, tiles, limits), max_threads, shared_bytes};
    }
    /// Of a block of launch_items().
    template <class Grid>
    FNTK_DEVICE static Work item(Grid& grid, std::int64_t n, std::int64_t first_output,
                                 std::int64_t outputs, std::int64_t tiles) {
        const std::int64_t whole = ceil_div(n, rows) * outputs, ranges = grid.blocks() / whole;
        const std::int64_t range = grid.block() / whole, at = grid.block() % whole;
        return {static_cast<int>(at / outputs * rows), static_cast<int>(first_output + at % outputs),
                static_cast<int>(range * tiles / ranges), static_cast<int>((range + 1) * tiles / ranges)};
    }

    /// produce() is what the first warpgroup does, and consume(i, row), i = 0, 1, what each other does with
    /// 64 rows from `row` on.
    template <class Grid, class Produce, class Consume>
    FNTK_DEVICE static void share(Grid& grid, const Work& work, const Produce& produce,
                                  const Consume& consume) {
        if (grid.warp() < 4) {
            grid.template give_registers<producer_registers>();
            produce();
        } else {
            grid.template take_registers<consumer_registers>();
            const int consumer = grid.shuffle(grid.warp() / 4 - 1, 0);
            consume(consumer, work.row + 64 * consumer);
        }
    }

    /// The bits of a^c of 32 units to each warp w of the producer: of units 128·part + 32w on. Parts come
    /// in turn from `first` on; `drawn` are the words of parts first + 32j + lane, j = 0, 1, ...
    template <class Grid>
    FNTK_DEVICE std::uint32_t readout_of_part(Grid& grid, int c, int part, int first,
                                              std::uint32_t& drawn) const {
        const int lane = (part - first) & 31;
        if (lane == 0)
            drawn =
                word_of(random_block(readout_seed, Stream::readout,
                                     readout_word(c) / 4 + static_cast<std::uint64_t>(part + grid.lane())),
                        static_cast<std::uint64_t>(grid.warp()));
        return grid.shuffle(drawn, lane);
    }

    /// Begins sums += the product of `open` with the tile −a∘V at the shared address `tile`.
    template <class Grid>
    FNTK_DEVICE static void begin_product(Grid& grid, std::uint32_t (&open)[steps][4], std::uint32_t tile,
                                          std::int32_t (&sums)[columns / 2]) {
        const std::uint64_t first = tile_descriptor(tile, 128, Tiles::column_stride);
        grid.wgmma_fence(sums, open);
        FNTK_UNROLL
        for (int i = 0; i < steps; ++i)
            grid.template wgmma<true>(sums, open[i], tile_after(first, 16 * 16 * i));
        grid.wgmma_commit();
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

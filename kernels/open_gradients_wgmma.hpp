// The outputs of open_gradients.hpp, the same integers, on the matrix units of compute capability 9.0
// (wgmma_sums.hpp), from signs of V in memory (sign_columns.hpp).
//     Ĝ^c += (gate ∘ a^cᵀ) V      outputs c = first, first + 1, ..., outputs − 1; Ĝ: n × (outputs·p), in
//     place
// The producer reads the bits of `ahead` tiles before it makes the first of them, with a^c, into one of
// `stages` stages of shared memory. A consumer makes the masks of a tile while the product with the one
// before is under way, and reads the words of its two rows two tiles ahead: of even and odd tiles it has
// registers of their own.
#pragma once

#include "sign_columns.hpp"
#include "wgmma_sums.hpp"

namespace fntk::kernels {

template <int columns_>
struct OpenGradientsWgmma : WgmmaSums<columns_> {
    using Sums = WgmmaSums<columns_>;
    using Sums::columns, Sums::gradients, Sums::m, Sums::rows, Sums::units;

    std::int64_t first = 0, outputs = 0;
    Rows<const std::uint64_t> gates;  // n × ⌈m/64⌉ words, zero beyond m
    std::int64_t first_unit = 0;      // a multiple of `units`
    std::int64_t count = 0;           // of tiles of units from there on
    SignColumns<columns_> signs;      // of these units and the slice

    Launch launch(const DeviceLimits& limits) const {
        if (gates.rows == 0 || count == 0 || first >= outputs) return {};
        return Sums::launch_items(gates.rows, outputs - first, count,
                                  shared_size<Quad>(stages * Tiles::quads), limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        Quad* tiles = grid.template shared<Quad>(stages * Tiles::quads);
        const Work work = Sums::item(grid, gates.rows, first, outputs - first, count);
        Sums::share(
            grid, work, [&] { produce(grid, work, tiles); },
            [&](int consumer, int row) { consume(grid, work, consumer, row, tiles); });
    }

  private:
    using Sums::parts, Sums::steps;
    using Tiles = typename Sums::Tiles;
    using Work = typename Sums::Work;
    using Words = typename Tiles::Words;
    using Stages = WarpgroupStages<4>;
    static constexpr int stages = Stages::count, ahead = columns == 256 ? 2 : 4;
    static constexpr int words = units / 64;  // of a row's gates and a tile

    /// All that the first warpgroup does.
    template <class Grid>
    FNTK_DEVICE void produce(Grid& grid, const Work& work, Quad* tiles) const {
        const int first_part = static_cast<int>(first_unit / 128) + work.first * parts;
        Words bits[ahead][parts][Tiles::groups];
        std::uint32_t drawn = 0;
        FNTK_UNROLL
        for (int i = 0; i < ahead; ++i)
            if (work.first + i < work.end) load_signs(grid, work.first + i, bits[i]);
        FNTK_UNROLL_BY(1)
        for (int begin = 0; begin < work.end - work.first; begin += ahead) {
            FNTK_UNROLL
            for (int i = 0; i < ahead; ++i) {
                const int tile = begin + i;
                if (tile >= work.end - work.first) break;
                Stages::wait_for_free(grid, tile);
                FNTK_UNROLL
                for (int j = 0; j < parts; ++j) {
                    const std::uint32_t a = this->readout_of_part(
                        grid, work.c, first_part + tile * parts + j, first_part, drawn);
                    Tiles::write_columns(grid, bits[i][j], 4 * j + grid.warp(), a,
                                         tiles + Stages::of(tile) * Tiles::quads);
                }
                if (work.first + tile + ahead < work.end)
                    load_signs(grid, work.first + tile + ahead, bits[i]);
                Stages::hand_over(grid, tile);
            }
        }
    }
    template <class Grid>
    FNTK_DEVICE void load_signs(Grid& grid, int tile, Words (&bits)[parts][Tiles::groups]) const {
        FNTK_UNROLL
        for (int i = 0; i < parts * Tiles::groups; ++i) {
            const int j = i / Tiles::groups, group = i % Tiles::groups;
            bits[j][group] =
                *signs.at(std::int64_t{4} * (tile * parts + j) + grid.warp(), grid.lane(), group);
        }
    }

    /// A tile's gates as masks, and as they are read two tiles later: words of rows g and g + 8 of the
    /// warp.
    struct Gates {
        std::uint32_t open[steps][4] = {};
        std::uint64_t of_rows[2][words];
    };

    template <class Grid>
    FNTK_DEVICE void consume(Grid& grid, const Work& work, int consumer, int row, const Quad* tiles) const {
        std::int32_t sums[columns / 2] = {};
        Gates even, odd;
        const std::uint32_t av_tile = grid.shared_address(tiles);
        load_gates(grid, row, work.first, even);
        load_gates(grid, row, work.first + 1, odd);
        make_masks(grid, even);
        load_gates(grid, row, work.first + 2, even);
        const auto multiply = [&](int tile, Gates& own, Gates& next) {
            const int step = tile - work.first;
            Stages::wait_for_full(grid, consumer, step);
            Sums::begin_product(grid, own.open, av_tile + 16 * Stages::of(step) * Tiles::quads, sums);
            grid.template wgmma_wait<1>(next.open);
            if (step > 0) Stages::release(grid, step - 1, work.end - work.first);
            make_masks(grid, next);
            load_gates(grid, row, tile + 3, next);
        };
        FNTK_UNROLL_BY(1)
        for (int tile = work.first; tile < work.end; tile += 2) {
            multiply(tile, even, odd);
            if (tile + 1 < work.end) multiply(tile + 1, odd, even);
        }
        grid.template wgmma_wait<0>(sums, even.open, odd.open);
        this->add_to_rows(grid, work, row, sums);
    }

    template <class Grid>
    FNTK_DEVICE static void make_masks(Grid& grid, Gates& of) {
        FNTK_UNROLL
        for (int i = 0; i < 4 * steps; ++i) {  // register 2h + e of step s
            const int s = i / 4, half = i % 4 / 2, e = i % 2;
            const std::uint64_t bits = of.of_rows[e][s / 2] >> (32 * (s % 2) + 4 * half + grid.lane() % 4);
            of.open[s][i % 4] = mask_bytes(static_cast<std::uint32_t>(bits));
        }
    }
    template <class Grid>
    FNTK_DEVICE void load_gates(Grid& grid, int row, int tile, Gates& to) const {
        FNTK_UNROLL
        for (int i = 0; i < 2 * words; ++i) {
            const int r = row + grid.warp() % 4 * 16 + grid.lane() / 4 + 8 * (i / words);
            const std::int64_t word = first_unit / 64 + std::int64_t{words} * tile + i % words;
            to.of_rows[i / words][i % words] =
                r < gates.rows && word < ceil_div(m, 64) ? gates.row(r)[word] : 0;
        }
    }
};

}  // namespace fntk::kernels

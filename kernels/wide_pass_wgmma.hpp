// The wide pass of wide_pass_rademacher.hpp, the same members and integers, on the matrix units of compute
// capability 9.0 (warpgroup.hpp). p ≤ columns = 64, 128 or 256; above them gates_wgmma.hpp has the gates,
// and open_gradients_wgmma.hpp takes Ĝ from them.
//     ẑ = ĥ Vᵀ,  gate = ẑ > 0,  Ĝ^0 += (gate ∘ a^0ᵀ) V
//
// Blocks and the second product are those of wgmma_sums.hpp, the first product and its digits those of
// wgmma_signs.hpp. The producer draws V and makes both of its tiles (sign_tiles.hpp), two of each in turn;
// the digits lie beside them. The order of units in the tiles makes a thread's sums of ẑ its A operand of
// the second product.
#pragma once

#include "wgmma_signs.hpp"
#include "wgmma_sums.hpp"

namespace fntk::kernels {

template <int columns_, int digits_ = 3>
struct WidePassWgmma : WgmmaSums<columns_> {
    using Sums = WgmmaSums<columns_>;
    using Sums::columns, Sums::gradients, Sums::m, Sums::p, Sums::rows, Sums::units;

    static constexpr int digit_count = digits_;

    std::uint64_t up_seed = 0;
    bool srht = false;           // V, else rademacher
    Rows<const std::int32_t> h;  // n × p
    Rows<std::uint64_t> gates;   // n × ⌈m/64⌉ words, written in full; no data: not wanted

    Launch launch(const DeviceLimits& limits) const {
        if (h.rows == 0 || m == 0 || (gradients.data == nullptr && gates.data == nullptr)) return {};
        return Sums::launch_items(h.rows, 1, ceil_div(m, units),
                                  2 * shared_size<Quad>(2 * Tiles::quads) + shared_size<Quad>(all_digits),
                                  limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        Quad* by_unit = grid.template shared<Quad>(2 * Tiles::quads);
        const Made tiles{by_unit, grid.template shared<Quad>(2 * Tiles::quads)};
        Quad* digits = grid.template shared<Quad>(all_digits);
        const Work work = Sums::item(grid, h.rows, 0, 1, ceil_div(m, units));
        Sums::share(
            grid, work, [&] { produce(grid, work, tiles); },
            [&](int consumer, int row) {
                consume(grid, work, consumer, row, digits + consumer * Signs::quads, tiles);
            });
    }

  private:
    using Sums::parts, Sums::steps;
    using Tiles = typename Sums::Tiles;
    using Work = typename Sums::Work;
    using Signs = WgmmaSigns<columns, units, digit_count>;
    static constexpr int all_digits = 2 * Signs::quads;
    using Stages = WarpgroupStages<2>;
    static constexpr int of_consumer = Stages::next_barrier;  // two barriers

    struct Made {  // two tiles of each
        Quad *by_unit, *by_column;
    };

    /// All that the first warpgroup does.
    template <class Grid>
    FNTK_DEVICE void produce(Grid& grid, const Work& work, const Made& tiles) const {
        const Tiles writer{up_seed, p, gradients.data != nullptr, 0, srht};
        std::uint32_t drawn = 0;
        for (int tile = work.first; tile < work.end; ++tile) {
            const int step = tile - work.first, stage = Stages::of(step);
            Stages::wait_for_free(grid, step);
            FNTK_UNROLL_BY(1)
            for (int i = 0; i < parts; ++i) {
                const int part = tile * parts + i;
                const std::uint32_t a =
                    this->readout_of_part(grid, work.c, part, work.first * parts, drawn);
                writer.write(grid, std::int64_t{4} * part + grid.warp(), 4 * i + grid.warp(), a,
                             tiles.by_unit + stage * Tiles::quads, tiles.by_column + stage * Tiles::quads);
            }
            Stages::hand_over(grid, step);
        }
    }

    /// Consumer i with its 64 rows from `row` on.
    template <class Grid>
    FNTK_DEVICE void consume(Grid& grid, const Work& work, int i, int row, Quad* digits,
                             const Made& tiles) const {
        const Signs signs{h, gates, m, p};
        signs.load_digits(grid, row, digits);
        grid.proxy_fence();
        grid.barrier_sync(of_consumer + i, warpgroup_size);

        std::int32_t sums[columns / 2] = {}, z[units / 2] = {};
        std::uint32_t open[steps][4] = {};
        const std::uint32_t h_tile = grid.shared_address(digits),
                            v_tile = grid.shared_address(tiles.by_unit),
                            av_tile = grid.shared_address(tiles.by_column);
        for (int tile = work.first; tile < work.end; ++tile) {
            const int step = tile - work.first, stage = Stages::of(step);
            const std::uint32_t v = v_tile + 16 * stage * Tiles::quads;
            Stages::wait_for_full(grid, i, step);
            signs.open_gates(grid, h_tile, v, units * tile, z, open);
            if (gates.data != nullptr) signs.keep_gates(grid, row, tile, open);
            if (gradients.data != nullptr) {
                Sums::begin_product(grid, open, av_tile + 16 * stage * Tiles::quads, sums);
                grid.template wgmma_wait<0>(sums, open);
            }
            Stages::release(grid, step, work.end - work.first);
        }
        if (gradients.data != nullptr) this->add_to_rows(grid, work, row, sums);
    }
};

}  // namespace fntk::kernels

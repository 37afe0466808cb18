// The wide pass of wide_pass_rademacher.hpp, the same members and integers, on the matrix units of compute
// capability 9.0 (warpgroup.hpp). p ≤ columns = 64, 128 or 256; above them gates_wgmma.hpp has the gates,
// and open_gradients_wgmma.hpp takes Ĝ from them.
//     ẑ = ĥ Vᵀ,  gate = ẑ > 0,  Ĝ^0 += (gate ∘ a^0ᵀ) V
//
// Blocks, tiles of V and the second product are those of wgmma_sums.hpp, the first product and its digits
// those of wgmma_signs.hpp. The digits lie beside the tiles. The order of units in the tiles makes a
// thread's sums of ẑ its A operand of the second product.
#pragma once

#include "wgmma_signs.hpp"
#include "wgmma_sums.hpp"

namespace fntk::kernels {

template <int columns_, int digits_ = 3>
struct WidePassWgmma : WgmmaSums<columns_, true> {
    using Sums = WgmmaSums<columns_, true>;
    using Sums::columns, Sums::gradients, Sums::m, Sums::max_threads, Sums::p, Sums::rows, Sums::units;

    static constexpr int digit_count = digits_;

    Rows<const std::int32_t> h;  // n × p
    Rows<std::uint64_t> gates;   // n × ⌈m/64⌉ words, written in full; no data: not wanted

    Launch launch(const DeviceLimits& limits) const {
        if (h.rows == 0 || m == 0 || (gradients.data == nullptr && gates.data == nullptr)) return {};
        return this->launch_items(h.rows, 1, Sums::shared_bytes_of_stages + shared_size<Quad>(all_digits),
                                  limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const Stages tiles = Sums::stages(grid);
        Quad* digits = grid.template shared<Quad>(all_digits);
        const Work work = this->item(grid, h.rows, 0, 1);
        this->share(grid, work, tiles, [&](int consumer, int row) {
            consume(grid, work, consumer, row, digits + consumer * Signs::quads, tiles);
        });
    }

  private:
    using Sums::empty, Sums::of_consumer, Sums::steps;
    using Stages = typename Sums::Stages;
    using Tiles = typename Sums::Tiles;
    using Work = typename Sums::Work;
    using Signs = WgmmaSigns<columns, units, digit_count>;
    static constexpr int all_digits = 2 * Signs::quads;

    /// Consumer i with its 64 rows from `row` on.
    template <class Grid>
    FNTK_DEVICE void consume(Grid& grid, const Work& work, int i, int row, Quad* digits,
                             const Stages& tiles) const {
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
            const int stage = (tile - work.first) & 1;
            const std::uint32_t v = v_tile + 16 * stage * Tiles::quads;
            Sums::wait_for_tile(grid, i, stage);
            signs.open_gates(grid, h_tile, v, units * tile, z, open);
            if (gates.data != nullptr) signs.keep_gates(grid, row, tile, open);
            if (gradients.data != nullptr)
                Sums::add_gradients(grid, open, av_tile + 16 * stage * Tiles::quads, sums);
            if (tile + 2 < work.end) grid.barrier_arrive(empty + stage, max_threads);
        }
        if (gradients.data != nullptr) this->add_to_rows(grid, work, row, sums);
    }
};

}  // namespace fntk::kernels

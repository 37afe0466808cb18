// The second product of the wide pass over a rademacher V, from gates that are there (rademacher_sums.hpp):
//     Ĝ^c += (gate ∘ a^cᵀ) V      outputs c = first, first + 1, ..., outputs − 1; Ĝ: n × (outputs·p), in
//     place
// An output takes one int8 product, where computing its gates again would take three more. p ≤ columns.
//
// While a block multiplies with a round it has the words of gates of the next one under way.
#pragma once

#include "rademacher_sums.hpp"

namespace fntk::kernels {

template <int columns_>
struct OpenGradients : RademacherSums<columns_> {
    using Sums = RademacherSums<columns_>;
    using Sums::columns, Sums::gradients, Sums::m, Sums::max_threads;

    static constexpr int min_blocks = columns == 64 ? 2 : 0;  // for four ptxas spills on sm_100

    std::int64_t first = 0, outputs = 0;
    Rows<const std::uint64_t> gates;  // n × ⌈m/64⌉ words, zero beyond m

    Launch launch(const DeviceLimits& limits) const {
        if (gates.rows == 0 || m == 0 || first >= outputs) return {};
        std::int64_t warps = smaller<std::int64_t>(max_threads / warp_size, ceil_div(gates.rows, 16));
        const std::int64_t bytes =
            shared_size<std::uint32_t>(2 * round_words) + shared_size<TwoPairs>(2 * round_quads);
        return Sums::launch_items(gates.rows, m, outputs - first, warps, bytes, limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        std::uint32_t* words = grid.template shared<std::uint32_t>(2 * round_words);
        TwoPairs* by_column = grid.template shared<TwoPairs>(2 * round_quads);
        const Work work = this->item(grid, gates.rows, first, outputs - first);
        std::int32_t sums[columns / 8][4] = {};
        std::uint32_t open_units[together][2] = {}, next_units[together][2] = {};
        for (int round = work.first_round - 2; round < work.rounds; ++round) {
            const int now = round & 1, next = 1 - now;
            const bool begins = round + 1 >= work.first_round && round + 1 < work.rounds;
            if (begins) load_gates(grid, work, round + 1, next_units);
            if (round + 2 < work.rounds) this->draw(grid, round + 2, work.c, words + now * round_words);
            if (begins)
                this->spread_columns(grid, words + next * round_words, by_column + next * round_quads);
            if (round >= work.first_round) {
                FNTK_UNROLL
                for (int s = 0; s < together; ++s) {  // beyond the width no gate is open
                    std::uint32_t open[4];
                    FNTK_UNROLL
                    for (int i = 0; i < 4; ++i)
                        open[i] =
                            mask_of_bits(open_units[s][i % 2] >> (8 * (grid.lane() % 4) + 4 * (i / 2)));
                    this->add_gradients(grid, open, by_column + now * round_quads + s * tile_quads, sums);
                }
            }
            FNTK_UNROLL
            for (int i = 0; i < 2 * together; ++i) open_units[i / 2][i % 2] = next_units[i / 2][i % 2];
            grid.sync();
        }
        this->add_to_rows(grid, work, sums);
    }

  private:
    using Sums::round_quads, Sums::round_words, Sums::tile_quads, Sums::together;
    using Work = typename Sums::Work;

    /// The 32 gates of each step, of rows lane/4 and lane/4 + 8 of the warp's.
    template <class Grid>
    FNTK_DEVICE void load_gates(Grid& grid, const Work& work, int round,
                                std::uint32_t (&units)[together][2]) const {
        FNTK_UNROLL
        for (int i = 0; i < 2 * together; ++i) {
            const std::int64_t row = work.row + grid.lane() / 4 + 8 * (i % 2);
            const int step = round * together + i / 2;
            units[i / 2][i % 2] =
                row < gates.rows && step < work.steps
                    ? static_cast<std::uint32_t>(gates.row(row)[step / 2] >> (step % 2 * 32))
                    : 0;
        }
    }
};

}  // namespace fntk::kernels

// The second product of the wide pass over a rademacher V, from gates that are there (rademacher_sums.hpp):
//     Ĝ^c += (gate ∘ a^cᵀ) V      outputs c = first, first + 1, ..., outputs − 1; Ĝ: n × (outputs·p), in
//     place
// An output takes one int8 product, where computing its gates again would take three more. p ≤ columns.
//
// The 64 gates of a row and two steps are one word, which the four lanes that need it read at once. While a
// block multiplies with a step it has the words of the next one under way.
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
            shared_size<std::uint32_t>(2 * word_count) + shared_size<TwoPairs>(2 * tile_quads);
        return Sums::launch_items(gates.rows, m, outputs - first, warps, bytes, limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        std::uint32_t* words = grid.template shared<std::uint32_t>(2 * word_count);
        TwoPairs* by_column = grid.template shared<TwoPairs>(2 * tile_quads);
        const Work work = this->item(grid, gates.rows, first, outputs - first);
        std::int32_t sums[columns / 8][4] = {};
        std::uint64_t of_rows[2] = {}, next_of_rows[2] = {};
        for (int step = work.first_step - 2; step < work.steps; ++step) {
            const int now = step & 1, next = 1 - now;
            if (next == 0 && step + 1 >= work.first_step && step + 1 < work.steps)
                load_gates(grid, work, step + 1, next_of_rows);
            if (step + 2 < work.steps) this->draw(grid, step + 2, work.c, words + now * word_count);
            if (step + 1 >= work.first_step && step + 1 < work.steps)
                this->spread_columns(grid, words + next * word_count, by_column + next * tile_quads);
            if (step >= work.first_step) {
                std::uint32_t open[4];
                FNTK_UNROLL
                for (int i = 0; i < 4; ++i) {
                    const std::uint64_t bits =
                        of_rows[i % 2] >> (32 * now + 8 * (grid.lane() % 4) + 4 * (i / 2));
                    open[i] = mask_of_bits(static_cast<std::uint32_t>(bits));
                }
                this->add_gradients(grid, open, by_column + now * tile_quads, sums);
            }
            if (next == 0) {
                of_rows[0] = next_of_rows[0];
                of_rows[1] = next_of_rows[1];
            }
            grid.sync();
        }
        this->add_to_rows(grid, work, sums);
    }

  private:
    using Sums::tile_quads, Sums::word_count;
    using Work = typename Sums::Work;

    template <class Grid>
    FNTK_DEVICE void load_gates(Grid& grid, const Work& work, int step, std::uint64_t (&of_rows)[2]) const {
        FNTK_UNROLL
        for (int i = 0; i < 2; ++i) {
            const std::int64_t row = work.row + grid.lane() / 4 + 8 * i;
            of_rows[i] = row < gates.rows ? gates.row(row)[step / 2] : 0;
        }
    }
};

}  // namespace fntk::kernels

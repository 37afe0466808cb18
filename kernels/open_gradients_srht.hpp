// The second product of the wide pass over an srht V of rank p ≤ 1024, from gates that are there
// (srht_sums.hpp):
//     Ĝ^c += Σ_b s_b ∘ H_P (a^c_b ∘ gate_b)      outputs c = first, ..., outputs − 1; Ĝ: n × (outputs·p),
//     in place
#pragma once

#include "srht_sums.hpp"

namespace fntk::kernels {

template <int padded_>
struct OpenGradientsSrht : SrhtSums<padded_> {
    using Sums = SrhtSums<padded_>;
    using Sums::gradients, Sums::m, Sums::p, Sums::step_groups;

    std::int64_t first = 0, outputs = 0;
    Rows<const std::uint64_t> gates;  // n × ⌈m/64⌉ words, zero beyond m

    Launch launch(const DeviceLimits& limits) const {
        if (gates.rows == 0 || m == 0 || first >= outputs) return {};
        const std::int64_t warps = Sums::warps_for(gates.rows, limits, Sums::Staged::bytes);
        return this->launch_items(gates.rows, outputs - first, warps, Sums::Staged::bytes(warps), limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const typename Sums::Staged staged(grid);
        const typename Sums::Work work = this->item(grid, gates.rows, first, outputs - first);
        const std::int64_t row = Sums::first_row(work, grid.thread()) + grid.lane() / 4;
        const auto find = [&](int step, int group, int tile, std::uint32_t(*closed)[batch]) {
            const std::int64_t word = std::int64_t{step} * (step_groups / 2) + group / 2;
            const int shift = 8 * tile + 2 * (grid.lane() % 4);
            FNTK_UNROLL
            for (int g = 0; g < batch; g += 2) {
                const std::uint64_t low = word_at(row, word + g / 2), high = word_at(row + 8, word + g / 2);
                FNTK_UNROLL
                for (int i = 0; i < 2 * tiles; ++i) {
                    const int at = shift + 8 * (i / 2) + 32 * (i % 2);
                    const auto bits = static_cast<std::uint32_t>((low >> at & 3U) | (high >> at & 3U) << 2);
                    closed[i / 2][g + i % 2] = ~mask_of_bits(bits);
                }
            }
        };
        this->run(grid, work, typename Sums::Hadamard32(grid.lane(), p), staged, find, [](int) {});
    }

  private:
    using Sums::batch, Sums::tiles;

    /// No gate is open beyond the rows and the words.
    FNTK_DEVICE std::uint64_t word_at(std::int64_t row, std::int64_t word) const {
        return row < gates.rows && word < ceil_div(m, 64) ? gates.row(row)[word] : 0;
    }
};

}  // namespace fntk::kernels

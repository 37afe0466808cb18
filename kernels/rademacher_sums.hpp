// What the passes over a rademacher V on mma.sync share: V, drawn by the block for all its warps, and the
// product with it.
//     Ĝ^c += (gate ∘ a^cᵀ) V      Ĝ: n × (k·p), in place
// `columns` is p rounded up to 64, 128 or 256 (with_rank_columns). A step is 32 units, a round the 1, 2 or
// 4 steps that fill a block of eight warps with work on V: barriers are between rounds.
//     A operand     a byte per unit, −1 where the gate is open. Lane 4g + t has those of units 8t to 8t + 7
//     of rows
//                   g and g + 8: open[i] is row g + 8·(i % 2), units 8t + 4·(i / 2) and three more
//     B operand     −a∘V, the same units in the same places
//     accumulators  16 × columns int32 of a warp, in registers over a whole range of m
// Shared memory, twice, for rounds in turn, and of each step of a round:
//     words       the bits of 32 rows of V in the order of the stream, and the word of a^c
//     by_column   −a∘V: 8 bytes [column][t] are units 8t to 8t + 7
// Units ≥ m of the last step have signs too; their gates are closed.
// Lanes that are served together read neighbouring 8 or 16 bytes: no bank conflicts.
#pragma once

#include "fixed_point.hpp"
#include "sample_items.hpp"
#include "sign_words.hpp"

#include <type_traits>

namespace fntk::kernels {

template <int columns_>
struct RademacherSums {
    static constexpr int columns = columns_;
    static constexpr int together = 256 / columns;  // steps of a round
    static constexpr int max_threads = 256;

    std::uint64_t up_seed = 0, readout_seed = 0;
    std::int64_t m = 0, p = 0;
    Rows<std::int32_t> gradients;  // n × (k·p), added to; no data: not wanted

  protected:
    static constexpr int word_count = columns + 4;  // of V at most, and behind them the word of a
    static constexpr int tile_quads = 2 * columns;
    static constexpr int round_words = together * word_count, round_quads = together * tile_quads;
    static constexpr int piece = together < 2 ? 2 : together;  // steps of whole rounds and words of gates

    struct Work {
        std::int64_t row;  // the first of the warp
        int c;
        int first_round, rounds;  // rounds first_round to rounds − 1, from an even step on
        int steps;                // of the whole width, the last of which ends the last round; m < 2^31
    };

    /// An item is 16 rows per warp, an output of `outputs`, and a range of m in whole rounds and words of
    /// gates.
    static Launch launch_items(std::int64_t n, std::int64_t m, std::int64_t outputs, std::int64_t warps,
                               std::int64_t shared_bytes, const DeviceLimits& limits) {
        // Sums cost about what 256 units do.
        const std::int64_t whole = ceil_div(n, 16 * warps) * outputs;
        return {whole * item_ranges(whole, m, 256, 1024, limits), static_cast<int>(warps) * warp_size,
                shared_bytes};
    }
    /// Of a block of launch_items(): one item each.
    template <class Grid>
    FNTK_DEVICE Work item(Grid& grid, std::int64_t n, std::int64_t first_output,
                          std::int64_t outputs) const {
        const SampleItem item(grid, n, grid.threads() / warp_size * 16, first_output, outputs,
                              ceil_div(m, piece * 32));
        constexpr std::int64_t rounds = piece / together;  // of a piece
        return {item.row + 16 * grid.warp(), item.c, static_cast<int>(item.first * rounds),
                static_cast<int>(smaller(item.last * rounds, ceil_div(m, 32 * together))),
                static_cast<int>(ceil_div(m, 32))};
    }

    /// The bits of a round: of V four words per thread, of a^c a word by each of the last threads.
    template <class Grid>
    FNTK_DEVICE void draw(Grid& grid, int round, int c, std::uint32_t* words) const {
        const int count = 8 * static_cast<int>(sign_words(p));
        for (int i = grid.thread(); i < together * count; i += grid.threads()) {
            const Philox4 block =
                random_block(up_seed, Stream::up,
                             static_cast<std::uint64_t>(std::int64_t{round} * together * count + i));
            std::uint32_t* to = words + (together == 1 ? 4 * i : i / count * word_count + i % count * 4);
            for (int l = 0; l < 4; ++l) to[l] = block.word[l];
        }
        if (const int s = grid.threads() - 1 - grid.thread(); s < together)
            words[s * word_count + columns] =
                readout_bits(readout_seed, std::int64_t{round} * together + s, c);
    }

    /// −a∘V of a round from its words.
    template <class Grid>
    FNTK_DEVICE void spread_columns(Grid& grid, const std::uint32_t* words, TwoPairs* by_column) const {
        const int row_words = static_cast<int>(sign_words(p));
        for (int i = grid.warp(); i < together * columns / 32; i += grid.threads() / warp_size) {
            const int s = i / (columns / 32), word = i % (columns / 32);
            const std::uint32_t* of_step = words + s * word_count;
            const std::uint32_t of_unit = word < row_words ? of_step[grid.lane() * row_words + word] : 0;
            const std::uint32_t bits = transpose_bits(grid, of_unit) ^ of_step[columns];
            TwoPairs* column = by_column + s * tile_quads + (32 * word + grid.lane()) * 2;
            FNTK_UNROLL
            for (int half = 0; half < 2; ++half) {
                TwoPairs bytes{};
                FNTK_UNROLL
                for (int l = 0; l < 4; ++l)
                    bytes.pair[l / 2].word[l % 2] = sign_bytes(bits >> (16 * half + 4 * l));
                column[half] = bytes;
            }
        }
    }

    template <class Grid>
    FNTK_DEVICE void add_gradients(Grid& grid, const std::uint32_t (&open)[4], const TwoPairs* by_column,
                                   std::int32_t (&sums)[columns / 8][4]) const {
        const Pair* pairs = reinterpret_cast<const Pair*>(by_column) + grid.lane();
        FNTK_UNROLL
        for (int j = 0; j < columns / 8; ++j) grid.mma_s8(sums[j], open, pairs[32 * j].word);
    }

    template <class Grid>
    FNTK_DEVICE void add_to_rows(Grid& grid, const Work& work,
                                 const std::int32_t (&sums)[columns / 8][4]) const {
        FNTK_UNROLL
        for (int entry = 0; entry < columns / 2; ++entry) {
            const int j = entry / 4, i = entry % 4;
            const std::int64_t row = work.row + grid.lane() / 4 + 8 * (i / 2);
            const int q = 8 * j + 2 * (grid.lane() % 4) + i % 2;
            if (row < gradients.rows && q < p)
                grid.atomic_add(gradients.row(row) + work.c * p + q, sums[j][i]);
        }
    }
};

/// f(columns), an integral_constant, with the columns of a rank p. False, and no call, when p is too large.
template <class F>
bool with_rank_columns(std::int64_t p, F&& f) {
    if (p <= 64)
        f(std::integral_constant<int, 64>{});
    else if (p <= 128)
        f(std::integral_constant<int, 128>{});
    else if (p <= 256)
        f(std::integral_constant<int, 256>{});
    return p <= 256;
}

}  // namespace fntk::kernels

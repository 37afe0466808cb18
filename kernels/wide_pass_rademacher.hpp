// The wide pass over a rademacher V on int8 matrix units, V never in memory. ĥ: int32, n × p, of two or
// three digits −128..127 to the base 256 (byte_digits(), fixed_point.hpp).
//     ẑ = ĥ Vᵀ,  gate = ẑ > 0,  Ĝ^0 += (gate ∘ a^0ᵀ) V      gates: n × m bits; Ĝ^0: the first p columns of
//     Ĝ
// Further outputs come from the gates (open_gradients.hpp). Exact, whatever the device.
//
// Both products are made of tiles 16 × 8 × 32 of one warp, with its 16 rows and range of m:
//     ẑ   ĥ = h₀ + 256 h₁ (+ 256² h₂): an int8 product a digit, added at their weights. Their A
//         operand, the digits, is read once and kept: in registers, or in shared memory for 256 columns.
//     Ĝ   rademacher_sums.hpp. The gate is the sign of −ẑ, so the first product takes −V.
//
// Where a unit stands in a tile is free, since V is drawn and not loaded: unit
// 8·(g / 2) + 2j + g % 2 is column g of the j-th 16 × 8 tile of ẑ. Then lane 4g + t accumulates units 8t to
// 8t + 7 of rows g and g + 8, whose gates are the bytes that its A operand of the second product needs: no
// lane asks another. They are one byte of the 32 gate bits of a row.
//
// Shared memory beside that of rademacher_sums.hpp, as often:
//     by_unit     −V: 16 bytes [block of 64 columns][unit][t] are columns 16t to 16t + 15 of the block
// and, once, digits[warp][fragment][lane], which no other lane reads.
//
// Between two barriers the block draws the words of round r + 2, spreads those of round r + 1 into both
// tiles of each step, and multiplies with the tiles of round r. The barrier shows words and tiles to all
// warps, and keeps those of round r until the slowest warp has read them.
//
// A block takes one item. The grid must be launch()'s: a loop over items would need registers that 256
// columns do not leave.
#pragma once

#include "rademacher_sums.hpp"

namespace fntk::kernels {

template <int columns_, int digits_ = 3>
struct WidePassRademacher : RademacherSums<columns_> {
    using Sums = RademacherSums<columns_>;
    using Sums::columns, Sums::gradients, Sums::m, Sums::max_threads, Sums::p, Sums::up_seed;

    static constexpr int digit_count = digits_;

    Rows<const std::int32_t> h;  // n × p
    Rows<std::uint64_t> gates;   // n × ⌈m/64⌉ words, written in full; no data: not wanted

    Launch launch(const DeviceLimits& limits) const {
        if (h.rows == 0 || m == 0 || (gradients.data == nullptr && gates.data == nullptr)) return {};
        std::int64_t warps = smaller<std::int64_t>(max_threads / warp_size, ceil_div(h.rows, 16));
        while (warps > 1 && shared_bytes(warps) > limits.shared_bytes_per_block) --warps;
        return Sums::launch_items(h.rows, m, 1, warps, shared_bytes(warps), limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const Tiles tiles{grid.template shared<std::uint32_t>(2 * round_words),
                          grid.template shared<Quad>(2 * round_quads),
                          grid.template shared<TwoPairs>(2 * round_quads)};
        Digits digits(grid);
        const Work work = this->item(grid, h.rows, 0, 1);
        load_digits(grid, work.row, digits);
        pass(grid, work, digits, tiles);
    }

  private:
    using Sums::round_quads, Sums::round_words, Sums::tile_quads, Sums::together, Sums::word_count;
    using Work = typename Sums::Work;
    static constexpr int blocks = columns / 64;  // of 64 columns
    static constexpr bool digits_in_registers = columns <= 128;
    static constexpr int digit_quads = blocks * 2 * digit_count;  // of a lane: both halves of a block
    struct Tiles {                                                // two of each
        std::uint32_t* words;
        Quad* by_unit;
        TwoPairs* by_column;
    };
    /// The A operands of the first product.
    struct Digits {
        Quad own[digits_in_registers ? digit_quads : 1];
        Quad* shared = nullptr;

        template <class Grid>
        FNTK_DEVICE explicit Digits(Grid& grid) {
            if (!digits_in_registers)
                shared = grid.template shared<Quad>(std::int64_t{digit_quads} * grid.threads()) +
                         grid.warp() * digit_quads * warp_size + grid.lane();
        }
        FNTK_DEVICE Quad& at(int block, int half, int digit) {
            const int fragment = (block * 2 + half) * digit_count + digit;
            if constexpr (digits_in_registers)
                return own[fragment];
            else
                return shared[fragment * warp_size];
        }
    };

    static constexpr std::int64_t shared_bytes(std::int64_t warps) {
        return shared_size<std::uint32_t>(2 * round_words) + 2 * shared_size<Quad>(2 * round_quads) +
               (digits_in_registers ? 0 : shared_size<Quad>(digit_quads * warps * warp_size));
    }

    /// Register i of a fragment: row group + 8·(i % 2), columns 64·block + 16t + 8·half + 4·(i / 2) and
    /// three more.
    template <class Grid>
    FNTK_DEVICE void load_digits(Grid& grid, std::int64_t row, Digits& digits) const {
        FNTK_UNROLL
        for (int part = 0; part < 2 * blocks; ++part) {
            const int block = part / 2, half = part % 2;
            Quad quads[digit_count] = {};
            FNTK_UNROLL
            for (int i = 0; i < 4; ++i) {
                const std::int64_t r = row + grid.lane() / 4 + 8 * (i % 2);
                const int q = 64 * block + 16 * (grid.lane() % 4) + 8 * half + 4 * (i / 2);
                FNTK_UNROLL
                for (int j = 0; j < 4; ++j) {
                    std::int32_t rest = r < h.rows && q + j < p ? h.row(r)[q + j] : 0;
                    FNTK_UNROLL
                    for (Quad& quad : quads)
                        quad.word[i] |= (static_cast<std::uint32_t>(take_low_digit(rest)) & 255U)
                                        << (8 * j);
                }
            }
            FNTK_UNROLL
            for (int digit = 0; digit < digit_count; ++digit) digits.at(block, half, digit) = quads[digit];
        }
    }

    template <class Grid>
    FNTK_DEVICE void pass(Grid& grid, const Work& work, Digits& digits, const Tiles& tiles) const {
        std::int32_t sums[columns / 8][4] = {};
        std::uint32_t even[2] = {};  // the gates of the step before, in steps of odd number
        for (int round = work.first_round - 2; round < work.rounds; ++round) {
            const int now = round & 1, next = 1 - now;
            if (round + 2 < work.rounds)
                this->draw(grid, round + 2, work.c, tiles.words + now * round_words);
            if (round + 1 >= work.first_round && round + 1 < work.rounds)
                spread(grid, tiles.words + next * round_words, tiles.by_unit + next * round_quads,
                       tiles.by_column + next * round_quads);
            FNTK_UNROLL_BY(1)
            for (int s = 0; s < together && round >= work.first_round; ++s) {
                const int step = round * together + s;
                if (together > 1 && step >= work.steps) break;
                const int tile = now * round_quads + s * tile_quads;
                std::uint32_t open[4];
                gate_bytes(grid, digits, tiles.by_unit + tile, open);
                if (m - std::int64_t{32} * step < 32) close_beyond(grid, step, open);
                if (gates.data != nullptr) keep_gates(grid, work, step, open, even);
                if (gradients.data != nullptr)
                    this->add_gradients(grid, open, tiles.by_column + tile, sums);
            }
            grid.sync();
        }
        if (gradients.data != nullptr) this->add_to_rows(grid, work, sums);
    }

    template <class Grid>
    FNTK_DEVICE void spread(Grid& grid, const std::uint32_t* words, Quad* by_unit,
                            TwoPairs* by_column) const {
        const int row_words = static_cast<int>(sign_words(p));
        for (int i = grid.thread(); i < round_quads; i += grid.threads()) {
            const int s = i / tile_quads, unit = i / 4 % 32, word = i % tile_quads / 128 * 2 + i % 4 / 2;
            const std::uint32_t bits =
                word < row_words ? ~words[s * word_count + unit * row_words + word] >> (16 * (i % 2)) : 0;
            by_unit[i] = {
                {sign_bytes(bits), sign_bytes(bits >> 4), sign_bytes(bits >> 8), sign_bytes(bits >> 12)}};
        }
        if (this->gradients.data != nullptr) this->spread_columns(grid, words, by_column);
    }

    /// open[i]: bytes of row group + 8·(i % 2), units 8t + 4·(i / 2) and three more, −1 where ẑ > 0.
    template <class Grid>
    FNTK_DEVICE void gate_bytes(Grid& grid, Digits& digits, const Quad* by_unit,
                                std::uint32_t (&open)[4]) const {
        const int group = grid.lane() / 4, t = grid.lane() % 4;
        std::int32_t z[digit_count][4][4] = {};
        FNTK_UNROLL_BY(digits_in_registers ? blocks : 1)
        for (int block = 0; block < blocks; ++block) {
            Quad v[4];
            FNTK_UNROLL
            for (int j = 0; j < 4; ++j)
                v[j] = by_unit[(32 * block + 8 * (group / 2) + 2 * j + group % 2) * 4 + t];
            FNTK_UNROLL
            for (int fragment = 0; fragment < 2 * digit_count; ++fragment) {
                const int half = fragment / digit_count, digit = fragment % digit_count;
                const Quad h_digits = digits.at(block, half, digit);
                FNTK_UNROLL
                for (int j = 0; j < 4; ++j)
                    grid.mma_s8(z[digit][j], h_digits.word, {v[j].word[2 * half], v[j].word[2 * half + 1]});
            }
        }
        const auto sum = [&](int tile, int entry) {
            std::uint32_t result = 0;
            FNTK_UNROLL
            for (int digit = digit_count - 1; digit >= 0; --digit)
                result = 256U * result + static_cast<std::uint32_t>(z[digit][tile][entry]);
            return static_cast<std::int32_t>(result);
        };
        FNTK_UNROLL
        for (int i = 0; i < 4; ++i) {
            const int tile = 2 * (i / 2), entry = 2 * (i % 2);
            open[i] = sign_masks(sum(tile, entry), sum(tile, entry + 1), sum(tile + 1, entry),
                                 sum(tile + 1, entry + 1));
        }
    }

    /// Units ≥ m of the last step.
    template <class Grid>
    FNTK_DEVICE void close_beyond(Grid& grid, int step, std::uint32_t (&open)[4]) const {
        const std::uint32_t units = low_bits(m - std::int64_t{32} * step);
        FNTK_UNROLL
        for (int i = 0; i < 4; ++i) open[i] &= mask_of_bits(units >> (8 * (grid.lane() % 4) + 4 * (i / 2)));
    }

    /// The four lanes of a group put their bytes together; lanes 0 and 1 write the words of rows group,
    /// group + 8.
    template <class Grid>
    FNTK_DEVICE void keep_gates(Grid& grid, const Work& work, int step, const std::uint32_t (&open)[4],
                                std::uint32_t (&even)[2]) const {
        const int t = grid.lane() % 4;
        FNTK_UNROLL
        for (int i = 0; i < 2; ++i) {
            std::uint32_t word = (bits_of_mask(open[i]) | bits_of_mask(open[i + 2]) << 4) << (8 * t);
            word |= grid.shuffle_xor(word, 1);
            word |= grid.shuffle_xor(word, 2);
            const std::int64_t row = work.row + grid.lane() / 4 + 8 * i;
            const bool odd = step % 2 != 0;
            if (t == i && row < h.rows && (odd || step + 1 == work.steps))
                gates.row(row)[step / 2] = odd ? std::uint64_t{word} << 32 | even[i] : word;
            even[i] = word;
        }
    }
};

}  // namespace fntk::kernels

// The signs of an srht V on int8 matrix units, P = next_power_of_two(p) ≤ 1024: H_32 and s as operands of
// tile products, and a^c, drawn by a block for all its warps.
//
// A group is 32 rows of V, and 32 of its columns. Rows and columns of a group lie in tiles of the matrix
// units, 16 × 8 × 32, the same way for every product:
//     place n of tile T is index 8T + n, T < 4; as inner index, byte j of register h of lanes t
//     (lane = 4n + t) is index 8(2h + j/2) + 2t + j % 2
// so that the entries that a lane accumulates of its four tiles are those it owes the next product, and the
// sign of H_32 is base(lane) times one that T, h and j alone decide.
// P < 32: a group is 32/P srht blocks, and H_32 is block-diagonal.
//
// Shared memory, of a step of step_groups groups:
//     words       twice: the bits of s, one word a group, and those of a
//     by_input    `buffers` times: masks of s [group][t], both registers h, a column's inner index
//     by_column   `buffers` times: masks of s [group][n], byte T is that of column 8T + n
//     by_unit     `buffers` times: a + 1 [group][t][T], of units 8T + 2t and 8T + 2t + 1, twice
// Units ≥ m have 1 there, whose a is 0. A mask is 0 for +1 and 0xFE for −1: what a byte ±1 is changed by to
// be −1 times itself.
#pragma once

#include "quad.hpp"
#include "sign_words.hpp"

#include <type_traits>

namespace fntk::kernels {

/// padded_: P, or 16 for all P ≤ 16.
template <int padded_>
struct SrhtSigns {
    static constexpr bool whole = padded_ >= 32;
    static constexpr int groups = whole ? padded_ / 32 : 1;  // of an srht block
    static constexpr bool alone = groups <= 8;               // a warp has its samples for itself
    static constexpr int step_groups = alone ? 16 : 2 * groups;
    static constexpr std::int64_t step_rows = 32 * step_groups;

    std::uint64_t up_seed = 0, readout_seed = 0;
    std::int64_t m = 0, p = 0;

  protected:
    static constexpr std::uint32_t each_byte = 0x01010101U;
    static constexpr int buffers = alone ? 2 : 3;

    struct Signs {
        std::uint32_t* words;
        Pair* by_input;
        std::uint32_t *by_column, *by_unit;

        template <class Grid>
        FNTK_DEVICE explicit Signs(Grid& grid)
            : words(grid.template shared<std::uint32_t>(2 * 2 * step_groups)),
              by_input(grid.template shared<Pair>(buffers * 4 * step_groups)),
              by_column(grid.template shared<std::uint32_t>(buffers * 8 * step_groups)),
              by_unit(grid.template shared<std::uint32_t>(buffers * 16 * step_groups)) {}
        static constexpr std::int64_t bytes() {
            return shared_size<std::uint32_t>(2 * 2 * step_groups) +
                   shared_size<Pair>(buffers * 4 * step_groups) +
                   shared_size<std::uint32_t>(buffers * 8 * step_groups) +
                   shared_size<std::uint32_t>(buffers * 16 * step_groups);
        }
    };

    /// H_32 as an operand: byte j of register h of tile T. P ≥ 32: its sign is base(lane) and one of T, h,
    /// j.
    struct Hadamard {
        std::uint32_t base;

        FNTK_DEVICE Hadamard(int lane, std::int64_t /*p*/)
            : base(each_byte ^ (lane / 4 % 2 != 0 ? 0xFE00FE00U : 0) ^
                   (hadamard_negative(lane % 4, lane / 8) ? 0xFEFEFEFEU : 0)) {}
        /// Register h of tile T, times the signs of a mask.
        FNTK_DEVICE std::uint32_t operand(std::uint32_t mask, int tile, int h) const {
            const std::uint32_t pattern =
                (tile % 2 != 0 ? 0xFEFE0000U : 0) ^ (tile / 2 != 0 && h != 0 ? 0xFEFEFEFEU : 0);
            return mask ^ pattern ^ base;
        }
    };
    /// P < 32: diagonal blocks of H_P, and zeros beside them.
    struct DiagonalHadamard {
        std::uint32_t signs[4][2] = {}, within[4][2] = {};

        FNTK_DEVICE DiagonalHadamard(int lane, std::int64_t p) {
            const auto padded = static_cast<int>(next_power_of_two(p));
            FNTK_UNROLL
            for (int entry = 0; entry < 32; ++entry) {
                const int tile = entry / 8, h = entry / 4 % 2, j = entry % 4;
                const int row = 8 * tile + lane / 4, column = 8 * (2 * h + j / 2) + 2 * (lane % 4) + j % 2;
                if ((row ^ column) >= padded) continue;
                within[tile][h] |= 0xFFU << (8 * j);
                signs[tile][h] |= (hadamard_negative(row & (padded - 1), column) ? 0xFFU : 0x01U)
                                  << (8 * j);
            }
        }
        FNTK_DEVICE std::uint32_t operand(std::uint32_t mask, int tile, int h) const {
            return (mask & within[tile][h]) ^ signs[tile][h];
        }
    };
    using Hadamard32 = std::conditional_t<whole, Hadamard, DiagonalHadamard>;

    /// The bits of a step: of s and of a^c, four words a thread. P < 32: a thread has those of a group.
    template <class Grid>
    FNTK_DEVICE void draw(Grid& grid, int step, int c, std::uint32_t* words) const {
        constexpr int calls = step_groups / 4;
        const auto first = static_cast<std::uint64_t>(step) * step_groups;
        for (int i = grid.thread(); i < 2 * calls; i += grid.threads()) {
            if (!whole && i < calls) continue;
            const Philox4 block =
                i < calls
                    ? random_block(up_seed, Stream::up_signs, first / 4 + static_cast<std::uint64_t>(i))
                    : random_block(readout_seed, Stream::readout,
                                   (readout_word(c) + first) / 4 + static_cast<std::uint64_t>(i - calls));
            FNTK_UNROLL
            for (int l = 0; l < 4; ++l) words[4 * i + l] = block.word[l];
        }
        if constexpr (!whole)
            for (int i = grid.thread(); i < step_groups; i += grid.threads())
                words[i] = narrow_signs(first + static_cast<std::uint64_t>(i));
    }
    /// The signs of the 32/P srht blocks of a group, the lowest bits of as many words.
    FNTK_DEVICE std::uint32_t narrow_signs(std::uint64_t group) const {
        const auto padded = static_cast<int>(next_power_of_two(p));
        const std::uint64_t count = 32U / static_cast<unsigned>(padded), begin = group * count;
        std::uint32_t signs = 0;
        Philox4 block{};
        for (std::uint64_t v = 0; v < count; ++v) {
            if (v == 0 || (begin + v) % 4 == 0)
                block = random_block(up_seed, Stream::up_signs, (begin + v) / 4);
            signs |= (word_of(block, begin + v) & low_bits(padded)) << static_cast<int>(v) * padded;
        }
        return signs;
    }

    /// Masks and readouts of a step from its words.
    template <class Grid>
    FNTK_DEVICE void spread(Grid& grid, int step, const std::uint32_t* words, const Signs& to) const {
        const int buffer = step % buffers;
        for (int i = grid.thread(); i < 16 * step_groups; i += grid.threads()) {
            const int group = i / 16, shift = 8 * (i % 4) + 2 * (i / 4 % 4);
            const std::uint32_t units =
                low_bits(static_cast<int>(m) - step * static_cast<int>(step_rows) - 32 * group) >> shift &
                3U;
            const std::uint32_t plus = words[step_groups + group] >> shift & units;
            const std::uint32_t two = 2 * spread_bits(plus) + spread_bits(~units & 3U);
            to.by_unit[buffer * 16 * step_groups + i] = two * 0x00010001U;
        }
        for (int i = grid.thread(); i < 8 * step_groups; i += grid.threads())
            to.by_column[buffer * 8 * step_groups + i] = (~words[i / 8] >> (i % 8) & each_byte) * 0xFEU;
        for (int i = grid.thread(); i < 4 * step_groups; i += grid.threads()) {
            Pair masks;
            FNTK_UNROLL
            for (int h = 0; h < 2; ++h) {
                const std::uint32_t minus = ~words[i / 4] >> (16 * h + 2 * (i % 4));
                masks.word[h] = spread_bits((minus & 3U) | (minus >> 6 & 12U)) * 0xFEU;
            }
            to.by_input[buffer * 4 * step_groups + i] = masks;
        }
    }
};

}  // namespace fntk::kernels

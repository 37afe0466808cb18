// What the passes over an srht V on int8 matrix units share: its signs, and the product with the gates.
//     Ĝ^c += Σ_b s_b ∘ H_P (a^c_b ∘ gate_b)      Ĝ: n × (k·p), in place; P = next_power_of_two(p) ≤ 1024
// H_P is the Kronecker product of H_G and H_32, G = P/32: five bits of an index are a product with a 32 ×
// 32 matrix of ±1 on the matrix units, the others are butterflies between registers of a lane, which hold
// neighbours in the upper bits. So a row of V costs a sample log2 G additions and P/32 of one tile product,
// and no lane asks another.
//
// A group is 32 rows of V; group a of an srht block and column group g meet in the entry (a, g) of H_G.
// Rows and columns of a group lie in tiles of the matrix units, 16 × 8 × 32, the same way for both
// products:
//     place n of tile T is index 8T + n, T < 4; as inner index, byte j of register h of lanes t
//     (lane = 4n + t) is index 8(2h + j/2) + 2t + j % 2
// so that the entries that a lane accumulates of its four tiles are those it owes the next product, and the
// sign of H_32 is base(lane) times one that T, h and j alone decide.
//
// Bytes: four of a word are rows (of 16 samples) lane/4 and lane/4 + 8, two units each: a tile word. An
// open gate is a + 1, a closed one and a unit ≥ m is 1; a stage of butterflies doubles what is added, so
// that no byte ever borrows from the next. H_G (a ∘ gate) is at most 32.
//
// P ≤ 256: every warp has 16 samples of its own. Above, the sums of 16 samples do not fit one warp: eight
// warps share them. Of two srht blocks at a time a warp finds the gates of one tile, and has the sums of
// G/8 column groups; tile words go through shared memory.
// P < 32: a group is 32/P srht blocks, H_32 is block-diagonal, and Ĝ has 32/P sums of a column, added to it
// in the end.
//
// Shared memory, of a step of step_groups groups:
//     words       twice: the bits of s, one word a group, and those of a
//     by_input    `buffers` times: masks of s [group][t], both registers h, a column's inner index
//     by_column   `buffers` times: masks of s [group][n], byte T is that of column 8T + n
//     by_unit     `buffers` times: a + 1 [group][t][T], of units 8T + 2t and 8T + 2t + 1, twice
//     tile_words, parked   see Staged
// A mask is 0 for +1 and 0xFE for −1: what a byte ±1 is changed by to be −1 times itself.
#pragma once

#include "fixed_point.hpp"
#include "hadamard.hpp"
#include "sign_words.hpp"

#include <type_traits>

namespace fntk::kernels {

/// padded_: P, or 16 for all P ≤ 16.
template <int padded_>
struct SrhtSums {
    static constexpr int max_threads = 256;
    static constexpr int min_blocks = 1;
    static constexpr bool whole = padded_ >= 32;
    static constexpr int groups = whole ? padded_ / 32 : 1;
    static constexpr bool alone = groups <= 8;  // a warp has its samples for itself
    static constexpr int step_groups = alone ? 16 : 2 * groups;
    static constexpr std::int64_t step_rows = 32 * step_groups;

    std::uint64_t up_seed = 0, readout_seed = 0;
    std::int64_t m = 0, p = 0;
    Rows<std::int32_t> gradients;  // n × (k·p), added to; no data: not wanted

  protected:
    static constexpr std::uint32_t each_byte = 0x01010101U;
    static constexpr int buffers = alone ? 2 : 3;
    static constexpr int tiles = alone ? 2 : 1;                     // of units that a warp works on at once
    static constexpr int batch = alone ? 8 : groups;                // groups, too
    static constexpr int own_groups = alone ? groups : groups / 8;  // columns whose sums a warp has
    static constexpr bool parks =
        alone && groups == 8;  // registers hold the words of two tiles beside the sums

    struct Work {
        std::int64_t row;       // the first of the block
        int c;                  // the output
        int first_step, steps;  // steps first_step to steps − 1
    };
    /// What a lane adds to Ĝ: 16 × 8 tiles of column groups.
    using OwnSums = std::int32_t[own_groups][4][4];

    struct Staged {
        std::uint32_t* words;
        Pair* by_input;
        std::uint32_t *by_column, *by_unit;
        std::uint32_t* tile_words;  // of 2 steps [group][T][lane], where warps share samples
        Pair* parked;               // of two tiles and a batch [warp][group][lane], if it `parks`

        template <class Grid>
        FNTK_DEVICE explicit Staged(Grid& grid)
            : words(grid.template shared<std::uint32_t>(2 * 2 * step_groups)),
              by_input(grid.template shared<Pair>(buffers * 4 * step_groups)),
              by_column(grid.template shared<std::uint32_t>(buffers * 8 * step_groups)),
              by_unit(grid.template shared<std::uint32_t>(buffers * 16 * step_groups)),
              tile_words(alone ? nullptr
                               : grid.template shared<std::uint32_t>(2 * step_groups * 4 * warp_size)),
              parked(parks ? grid.template shared<Pair>(std::int64_t{batch} * grid.threads()) +
                                 grid.warp() * batch * warp_size + grid.lane()
                           : nullptr) {}
        static constexpr std::int64_t bytes(std::int64_t warps) {
            return shared_size<std::uint32_t>(2 * 2 * step_groups) +
                   shared_size<Pair>(buffers * 4 * step_groups) +
                   shared_size<std::uint32_t>(buffers * 8 * step_groups) +
                   shared_size<std::uint32_t>(buffers * 16 * step_groups) +
                   (alone ? 0 : shared_size<std::uint32_t>(2 * step_groups * 4 * warp_size)) +
                   (parks ? shared_size<Pair>(batch * warp_size * warps) : 0);
        }
    };

    /// Warps of a block for n samples, as many as have the shared memory that bytes(warps) says. Where none
    /// has, the fewest, which no device starts.
    template <class Bytes>
    static std::int64_t warps_for(std::int64_t n, const DeviceLimits& limits, const Bytes& bytes) {
        constexpr std::int64_t most = max_threads / warp_size;
        std::int64_t warps = alone ? smaller(most, ceil_div(n, 16)) : most;
        while (alone && warps > 1 && bytes(warps) > limits.shared_bytes_per_block) --warps;
        return warps;
    }
    FNTK_HD static constexpr std::int64_t rows_of_block(std::int64_t warps) {
        return alone ? 16 * warps : 16;
    }

    /// An item, one to a block, is the samples of a block, one of `outputs`, and a range of steps: several
    /// items per multiprocessor, of four steps or more, since sums cost about what a step does.
    Launch launch_items(std::int64_t n, std::int64_t outputs, std::int64_t warps, std::int64_t bytes,
                        const DeviceLimits& limits) const {
        const std::int64_t whole_width = ceil_div(n, rows_of_block(warps)) * outputs,
                           room = limits.multiprocessors, all = ceil_div(m, step_rows);
        const std::int64_t least = whole_width * ceil_div(all, 4) < 2 * room ? 1 : 4;
        const std::int64_t ranges = smaller(ceil_div(all, least), ceil_div(8 * room, whole_width));
        return {whole_width * ranges, static_cast<int>(warps) * warp_size, bytes};
    }
    template <class Grid>
    FNTK_DEVICE Work item(Grid& grid, std::int64_t n, std::int64_t first_output,
                          std::int64_t outputs) const {
        const std::int64_t rows = rows_of_block(grid.threads() / warp_size), all = ceil_div(m, step_rows);
        const std::int64_t whole_width = ceil_div(n, rows) * outputs, ranges = grid.blocks() / whole_width;
        const std::int64_t range = grid.block() / whole_width, at = grid.block() % whole_width;
        return {at / outputs * rows, static_cast<int>(first_output + at % outputs),
                static_cast<int>(range * all / ranges), static_cast<int>((range + 1) * all / ranges)};
    }

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
    FNTK_DEVICE void spread(Grid& grid, int step, const std::uint32_t* words, const Staged& to) const {
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

    /// The stage of one bit of the group, of bytes to each of which `half` has been added.
    template <int half, int count>
    FNTK_DEVICE static void byte_butterflies(std::uint32_t (&x)[count]) {
        FNTK_UNROLL
        for (int g = 0; g < count; ++g)
            if ((g & half) == 0) {
                const std::uint32_t a = x[g], b = x[g + half];
                x[g] = a + b;
                x[g + half] = a - b + 2 * half * each_byte;
            }
    }
    /// f(half) for every stage of H_G, half an integral_constant.
    template <class F>
    FNTK_DEVICE static void for_each_stage(const F& f) {
        if constexpr (groups > 1) f(std::integral_constant<int, 1>());
        if constexpr (groups > 2) f(std::integral_constant<int, 2>());
        if constexpr (groups > 4) f(std::integral_constant<int, 4>());
        if constexpr (groups > 8) f(std::integral_constant<int, 8>());
        if constexpr (groups > 16) f(std::integral_constant<int, 16>());
    }

    /// H_G (a ∘ gate) of a tile from the masks, −1 where a gate is closed, of a batch of groups. by_unit:
    /// of the first group, t and T.
    FNTK_DEVICE static void transform_gates(std::uint32_t (&word)[batch], const std::uint32_t* by_unit) {
        FNTK_UNROLL
        for (int g = 0; g < batch; ++g) word[g] = (word[g] & each_byte) | (~word[g] & by_unit[16 * g]);
        for_each_stage([&](auto half) { byte_butterflies<decltype(half)::value>(word); });
        FNTK_UNROLL
        for (std::uint32_t& x : word) x = (x + (128 - groups) * each_byte) ^ (128 * each_byte);
    }

    /// Ĝ of a column group: the tile words of its group, and its mask by column.
    template <class Grid>
    FNTK_DEVICE static void add_group(Grid& grid, const Hadamard32& hadamard,
                                      const std::uint32_t (&word)[4], std::uint32_t mask,
                                      std::int32_t (&sums)[4][4]) {
        const std::uint32_t a[4] = {
            pick_bytes(word[0], word[1], 0x5410), pick_bytes(word[0], word[1], 0x7632),
            pick_bytes(word[2], word[3], 0x5410), pick_bytes(word[2], word[3], 0x7632)};
        FNTK_UNROLL
        for (int tile = 0; tile < 4; ++tile) {
            const std::uint32_t of_column = pick_bytes(mask, mask, 0x1111U * tile);
            grid.mma_s8(sums[tile], a,
                        {hadamard.operand(of_column, tile, 0), hadamard.operand(of_column, tile, 1)});
        }
    }

    /// All steps of an item. find(step, group, T, word): the masks of closed gates of `batch` groups from
    /// `group` of the step on, of tiles T to T + tiles − 1; done(step): a step's gates have been found.
    template <class Grid, class Find, class Done>
    FNTK_DEVICE void run(Grid& grid, const Work& work, const Hadamard32& hadamard, const Staged& staged,
                         const Find& find, const Done& done) const {
        const int n = grid.lane() / 4, t = grid.lane() % 4;
        OwnSums sums = {};
        for (int step = work.first_step - 2; step < work.steps; ++step) {
            std::uint32_t* const now = staged.words + (step & 1) * 2 * step_groups;
            std::uint32_t* const next = staged.words + (~step & 1) * 2 * step_groups;
            const bool active = step >= work.first_step;
            const int buffer = active ? step % buffers : 0;
            const std::uint32_t* by_column = staged.by_column + buffer * 8 * step_groups + n;
            const std::uint32_t* by_unit = staged.by_unit + buffer * 16 * step_groups + 4 * t;
            if (step + 2 < work.steps) draw(grid, step + 2, work.c, now);
            if (step + 1 >= work.first_step && step + 1 < work.steps) spread(grid, step + 1, next, staged);
            if constexpr (alone) {
                FNTK_UNROLL_BY(1)
                for (int group = 0; active && group < step_groups; group += batch) {
                    std::uint32_t word[4][batch];
                    FNTK_UNROLL
                    for (int tile = 0; tile < 4; tile += tiles) {
                        find(step, group, tile, word + tile);
                        if (gradients.data == nullptr) continue;
                        FNTK_UNROLL
                        for (int i = tile; i < tile + tiles; ++i)
                            transform_gates(word[i], by_unit + 16 * group + i);
                        if constexpr (parks) {
                            if (tile > 0) continue;
                            FNTK_UNROLL
                            for (int g = 0; g < batch; ++g)
                                staged.parked[g * warp_size] = {{word[0][g], word[1][g]}};
                            grid.sync_warp();  // or the compiler keeps what it has stored
                        }
                    }
                    if (gradients.data == nullptr) continue;
                    FNTK_UNROLL
                    for (int g = 0; g < batch; ++g) {
                        Pair low{{word[0][g], word[1][g]}};
                        if constexpr (parks) low = staged.parked[g * warp_size];
                        add_group(grid, hadamard, {low.word[0], low.word[1], word[2][g], word[3][g]},
                                  by_column[8 * (group + g)], sums[g % groups]);
                    }
                }
                if (active) done(step);
                grid.sync();
            } else {
                std::uint32_t* const words = staged.tile_words + (step & 1) * step_groups * 4 * warp_size;
                const int group = grid.warp() / 4 * groups, tile = grid.warp() % 4;
                if (active) {
                    std::uint32_t word[1][batch];
                    find(step, group, tile, word);
                    if (gradients.data != nullptr) {
                        transform_gates(word[0], by_unit + 16 * group + tile);
                        FNTK_UNROLL
                        for (int g = 0; g < batch; ++g)
                            words[((group + g) * 4 + tile) * warp_size + grid.lane()] = word[0][g];
                    }
                }
                grid.sync();
                if (active) done(step);
                if (!active || gradients.data == nullptr) continue;
                FNTK_UNROLL
                for (int i = 0; i < 2 * own_groups; ++i) {
                    const int of = i / own_groups * groups + grid.warp() * own_groups + i % own_groups;
                    const std::uint32_t* from = words + of * 4 * warp_size + grid.lane();
                    add_group(grid, hadamard,
                              {from[0], from[warp_size], from[2 * warp_size], from[3 * warp_size]},
                              by_column[8 * of], sums[i % own_groups]);
                }
            }
        }
        if (gradients.data != nullptr) add_to_rows(grid, work, sums);
    }

    /// The first sample of the warp of a thread.
    FNTK_DEVICE static std::int64_t first_row(const Work& work, int thread) {
        return work.row + (alone ? thread / warp_size * 16 : 0);
    }

  private:
    template <class Grid>
    FNTK_DEVICE void add_to_rows(Grid& grid, const Work& work, const OwnSums& sums) const {
        const int first = alone ? 0 : grid.warp() * own_groups;
        FNTK_UNROLL
        for (int entry = 0; entry < own_groups * 16; ++entry) {
            const int group = entry / 16, tile = entry / 4 % 4, i = entry % 4;
            const std::int64_t row = first_row(work, grid.thread()) + grid.lane() / 4 + 8 * (i / 2);
            std::int64_t q = 32 * (first + group) + 8 * tile + 2 * (grid.lane() % 4) + i % 2;
            if (!whole) q &= next_power_of_two(p) - 1;
            if (row < gradients.rows && q < p)
                grid.atomic_add(gradients.row(row) + work.c * p + q, sums[group][tile][i]);
        }
    }
};

/// f(padded), an integral_constant, with the SrhtSums of a rank p. False, and no call, for p > 1024.
template <class F>
bool with_srht_rank(std::int64_t p, F&& f) {
    switch (next_power_of_two(p)) {
        case 32:
            f(std::integral_constant<int, 32>{});
            break;
        case 64:
            f(std::integral_constant<int, 64>{});
            break;
        case 128:
            f(std::integral_constant<int, 128>{});
            break;
        case 256:
            f(std::integral_constant<int, 256>{});
            break;
        case 512:
            f(std::integral_constant<int, 512>{});
            break;
        case 1024:
            f(std::integral_constant<int, 1024>{});
            break;
        default:
            if (p <= 16) f(std::integral_constant<int, 16>{});
    }
    return p <= 1024;
}

}  // namespace fntk::kernels

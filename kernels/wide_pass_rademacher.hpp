// The wide pass over a rademacher V on int8 matrix units, V never in memory. ĥ: int32, n × p, |ĥ| < 2^23.
//     ẑ = ĥ Vᵀ,  gate = ẑ > 0,  Ĝ^c += (gate ∘ a^cᵀ) V      gates: n × m bits, Ĝ: n × (k·p), in place
// `columns` is p rounded up to 64, 128 or 256 (with_rank_columns). Exact, whatever the device.
//
// Both products are made of tiles 16 × 8 × 32 of one warp, with its 16 rows, output c and range of m:
//     ẑ   ĥ = h₀ + 256 h₁ + 256² h₂, digits −128..127: three int8 products, added at their weights. Their A
//         operand, the digits, is read once and kept: in registers, or in shared memory for 256 columns.
//     Ĝ   A operand: a byte per unit, −1 where the gate is open. It is the sign of −ẑ, so the first product
//         takes −V and the second −a∘V. Accumulators: 16 × columns int32 in registers over the whole range.
// Each output computes ẑ again: k outputs take (3 + 1)k int8 products.
//
// A step is 32 units. Where a unit stands in a tile is free, since V is drawn and not loaded: unit
// 8·(g / 2) + 2j + g % 2 is column g of the j-th 16 × 8 tile of ẑ. Then lane 4g + t accumulates units 8t to
// 8t + 7 of rows g and g + 8, whose gates are the bytes that its A operand of the second product needs: no
// lane asks another. They are one byte of the 32 gate bits of a row.
//
// Shared memory, each piece twice (step s in piece s % 2):
//     words       the bits of 32 rows of V in the order of the stream, and the word of a^c
//     by_unit     −V: 16 bytes [block of 64 columns][unit][t] are columns 16t to 16t + 15 of the block
//     by_column   −a∘V: 8 bytes [column][t] are units 8t to 8t + 7, zero for units ≥ m
// and, once, digits[warp][fragment][lane], which no other lane reads. Lanes that are served together read
// neighbouring 8 or 16 bytes: no bank conflicts.
//
// Between two barriers the block draws the words of step s + 2, spreads those of step s + 1 into both
// tiles, and multiplies with the tiles of step s. The barrier shows words and tiles to all warps, and keeps
// those of step s until the slowest warp has read them.
//
// A block takes one item: 16 rows per warp, an output c, a range of m in whole words of gates. The grid
// must be launch()'s: a loop over items would need registers that 256 columns do not leave.
#pragma once

#include "sign_words.hpp"

#include <type_traits>

namespace fntk::kernels {

template <int columns_>
struct WidePassRademacher {
    static constexpr int columns = columns_;
    static constexpr int max_threads = 256;

    std::uint64_t up_seed = 0, readout_seed = 0;
    std::int64_t m = 0, p = 0, k = 0;
    Rows<const std::int32_t> h;    // n × p
    Rows<std::uint64_t> gates;     // n × ⌈m/64⌉ words, written in full; no data: not wanted
    Rows<std::int32_t> gradients;  // n × (k·p), added to; no data: not wanted

    Launch launch(const DeviceLimits& limits) const {
        if (h.rows == 0 || m == 0 || outputs() == 0) return {};
        std::int64_t warps = smaller<std::int64_t>(max_threads / warp_size, ceil_div(h.rows, 16));
        while (warps > 1 &&
               shared_bytes(static_cast<int>(warps) * warp_size) > limits.shared_bytes_per_block)
            --warps;
        // Several items per multiprocessor even the load out; a range below 1024 does not pay for its sums.
        const std::int64_t whole = ceil_div(h.rows, 16 * warps) * outputs();
        const std::int64_t ranges =
            smaller(ceil_div(m, 1024), ceil_div(std::int64_t{8} * limits.multiprocessors, whole));
        const int threads = static_cast<int>(warps) * warp_size;
        return {whole * ranges, threads, shared_bytes(threads)};  // 2^31 blocks need 2^39 bytes of Ĝ or ĥ
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const Tiles tiles{grid.template shared<std::uint32_t>(2 * word_count),
                          grid.template shared<Quad>(2 * tile_quads),
                          grid.template shared<TwoPairs>(2 * tile_quads)};
        Digits digits(grid);

        const std::int64_t rows = grid.threads() / warp_size * 16, words = ceil_div(m, 64);
        const std::int64_t whole = ceil_div(h.rows, rows) * outputs(), ranges = grid.blocks() / whole;
        const std::int64_t range = grid.block() / whole, item = grid.block() % whole;
        const Work work{item / outputs() * rows + 16 * grid.warp(), static_cast<int>(item % outputs()),
                        static_cast<int>(2 * (range * words / ranges)),
                        static_cast<int>(smaller(2 * ((range + 1) * words / ranges), ceil_div(m, 32)))};
        load_digits(grid, work.row, digits);
        pass(grid, work, digits, tiles);
    }

  private:
    static constexpr int blocks = columns / 64;  // of 64 columns
    static constexpr bool digits_in_registers = columns <= 128;
    static constexpr int digit_quads = blocks * 6;  // of a lane: two halves of a block, three digits
    static constexpr int word_count = columns + 4;  // of V at most, and behind them the word of a
    static constexpr int tile_quads = 2 * columns;

    struct Work {
        std::int64_t row;  // the first of the warp
        int c;
        int first_step, steps;  // steps first_step to steps − 1; m < 2^31
    };
    struct Tiles {  // two of each
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
            const int fragment = (block * 2 + half) * 3 + digit;
            if constexpr (digits_in_registers)
                return own[fragment];
            else
                return shared[fragment * warp_size];
        }
    };

    FNTK_HD std::int64_t outputs() const {
        return gradients.data == nullptr ? (gates.data == nullptr ? 0 : 1) : k;
    }

    static constexpr std::int64_t shared_bytes(int threads) {
        return shared_size<std::uint32_t>(2 * word_count) + 2 * shared_size<Quad>(2 * tile_quads) +
               (digits_in_registers ? 0 : shared_size<Quad>(std::int64_t{digit_quads} * threads));
    }

    /// Register i of a fragment: row group + 8·(i % 2), columns 64·block + 16t + 8·half + 4·(i / 2) and
    /// three more.
    template <class Grid>
    FNTK_DEVICE void load_digits(Grid& grid, std::int64_t row, Digits& digits) const {
        FNTK_UNROLL
        for (int part = 0; part < 2 * blocks; ++part) {
            const int block = part / 2, half = part % 2;
            Quad quads[3] = {};
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
            for (int digit = 0; digit < 3; ++digit) digits.at(block, half, digit) = quads[digit];
        }
    }

    template <class Grid>
    FNTK_DEVICE void pass(Grid& grid, const Work& work, Digits& digits, const Tiles& tiles) const {
        std::int32_t sums[columns / 8][4] = {};
        std::uint32_t even[2] = {};  // the gates of the step before, in steps of odd number
        for (int step = work.first_step - 2; step < work.steps; ++step) {
            const int now = step & 1, next = 1 - now;
            if (step + 2 < work.steps) draw(grid, step + 2, work.c, tiles.words + now * word_count);
            if (step + 1 >= work.first_step && step + 1 < work.steps)
                spread(grid, step + 1, tiles.words + next * word_count, tiles.by_unit + next * tile_quads,
                       tiles.by_column + next * tile_quads);
            if (step >= work.first_step) {
                std::uint32_t open[4];
                gate_bytes(grid, digits, tiles.by_unit + now * tile_quads, open);
                if (gates.data != nullptr && work.c == 0) keep_gates(grid, work, step, open, even);
                if (gradients.data != nullptr)
                    add_gradients(grid, open, tiles.by_column + now * tile_quads, sums);
            }
            grid.sync();
        }
        if (gradients.data != nullptr) add_to_rows(grid, work, sums);
    }

    /// The bits of units 32·step on: of V four words per thread, of a^c by the last thread.
    template <class Grid>
    FNTK_DEVICE void draw(Grid& grid, int step, int c, std::uint32_t* words) const {
        const int count = 8 * static_cast<int>(sign_words(p));
        for (int i = grid.thread(); i < count; i += grid.threads()) {
            const Philox4 block = random_block(up_seed, Stream::up,
                                               static_cast<std::uint64_t>(std::int64_t{step} * count + i));
            for (int l = 0; l < 4; ++l) words[4 * i + l] = block.word[l];
        }
        if (grid.thread() == grid.threads() - 1) words[columns] = readout_bits(readout_seed, step, c);
    }

    template <class Grid>
    FNTK_DEVICE void spread(Grid& grid, int step, const std::uint32_t* words, Quad* by_unit,
                            TwoPairs* by_column) const {
        const int row_words = static_cast<int>(sign_words(p));
        for (int i = grid.thread(); i < tile_quads; i += grid.threads()) {
            const int unit = i / 4 % 32, word = i / 128 * 2 + i % 4 / 2;
            const std::uint32_t bits =
                word < row_words ? ~words[unit * row_words + word] >> (16 * (i % 2)) : 0;
            by_unit[i] = {
                {sign_bytes(bits), sign_bytes(bits >> 4), sign_bytes(bits >> 8), sign_bytes(bits >> 12)}};
        }
        if (gradients.data == nullptr) return;
        const std::uint32_t units = low_bits(m - std::int64_t{32} * step), a = words[columns];
        for (int word = grid.warp(); word < columns / 32; word += grid.threads() / warp_size) {
            const std::uint32_t of_unit = word < row_words ? words[grid.lane() * row_words + word] : 0;
            const std::uint32_t bits = transpose_bits(grid, of_unit) ^ a;
            TwoPairs* column = by_column + (32 * word + grid.lane()) * 2;
            FNTK_UNROLL
            for (int i = 0; i < 2; ++i) {
                TwoPairs bytes{};
                FNTK_UNROLL
                for (int l = 0; l < 4; ++l) {
                    const int shift = 16 * i + 4 * l;
                    bytes.pair[l / 2].word[l % 2] =
                        sign_bytes(bits >> shift) & (spread_bits(units >> shift) * 255U);
                }
                column[i] = bytes;
            }
        }
    }

    /// open[i]: bytes of row group + 8·(i % 2), units 8t + 4·(i / 2) and three more, −1 where ẑ > 0.
    template <class Grid>
    FNTK_DEVICE void gate_bytes(Grid& grid, Digits& digits, const Quad* by_unit,
                                std::uint32_t (&open)[4]) const {
        const int group = grid.lane() / 4, t = grid.lane() % 4;
        std::int32_t z[3][4][4] = {};
        FNTK_UNROLL_BY(digits_in_registers ? blocks : 1)
        for (int block = 0; block < blocks; ++block) {
            Quad v[4];
            FNTK_UNROLL
            for (int j = 0; j < 4; ++j)
                v[j] = by_unit[(32 * block + 8 * (group / 2) + 2 * j + group % 2) * 4 + t];
            FNTK_UNROLL
            for (int fragment = 0; fragment < 6; ++fragment) {
                const int half = fragment / 3, digit = fragment % 3;
                const Quad h_digits = digits.at(block, half, digit);
                FNTK_UNROLL
                for (int j = 0; j < 4; ++j)
                    grid.mma_s8(z[digit][j], h_digits.word, {v[j].word[2 * half], v[j].word[2 * half + 1]});
            }
        }
        FNTK_UNROLL
        for (int i = 0; i < 4; ++i) {
            open[i] = 0;
            FNTK_UNROLL
            for (int j = 0; j < 4; ++j) {
                const int tile = 2 * (i / 2) + j / 2, entry = 2 * (i % 2) + j % 2;
                const std::uint32_t sum = static_cast<std::uint32_t>(z[0][tile][entry]) +
                                          256U * (static_cast<std::uint32_t>(z[1][tile][entry]) +
                                                  256U * static_cast<std::uint32_t>(z[2][tile][entry]));
                open[i] |= sum >> 31 != 0 ? 255U << (8 * j) : 0U;
            }
        }
    }

    /// Four bytes 0 or −1 as four bits.
    static FNTK_DEVICE std::uint32_t bits_of(std::uint32_t bytes) {
        return ((bytes & 0x08040201U) * 0x01010101U) >> 24;
    }

    /// The four lanes of a group put their bytes together; lanes 0 and 1 write the words of rows group,
    /// group + 8.
    template <class Grid>
    FNTK_DEVICE void keep_gates(Grid& grid, const Work& work, int step, const std::uint32_t (&open)[4],
                                std::uint32_t (&even)[2]) const {
        const int t = grid.lane() % 4;
        FNTK_UNROLL
        for (int i = 0; i < 2; ++i) {
            std::uint32_t word = (bits_of(open[i]) | bits_of(open[i + 2]) << 4) << (8 * t);
            word |= grid.shuffle_xor(word, 1);
            word |= grid.shuffle_xor(word, 2);
            word &= low_bits(m - std::int64_t{32} * step);
            const std::int64_t row = work.row + grid.lane() / 4 + 8 * i;
            const bool odd = step % 2 != 0;
            if (t == i && row < h.rows && (odd || step + 1 == work.steps))
                gates.row(row)[step / 2] = odd ? std::uint64_t{word} << 32 | even[i] : word;
            even[i] = word;
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
            if (row < h.rows && q < p) grid.atomic_add(gradients.row(row) + work.c * p + q, sums[j][i]);
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

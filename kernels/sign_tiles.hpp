// The tiles that wide_pass_wgmma.hpp multiplies with: −V and −a∘V as bytes in core matrices
// (warpgroup.hpp), made 32 units at a time, each warp its own.
//     by_unit     −V: a row is a unit, `columns` bytes along it
//     by_column   −a∘V: a row is a column, `units` bytes along it
// The core matrices of 8 rows lie one after the other, and those of the next 8 rows behind them: leading is
// 128, stride row_stride or column_stride. In both
//     row n of 32 is unit (column) place(n) of 32,
//     byte l of 32 along a row is column (unit) 8·(l % 4) + l / 4 of 32: every eighth bit of a word of
//     signs is a word of bytes.
// For rows 8b + 2t + e, as a lane t of an accumulator has them, place is 16·(b % 2) + 8e + 4·(b / 2) + t:
// that is what bytes 2·(b % 2) + e of lane t's register b / 2 of 16 bytes are along the other tile. So the
// accumulators of a product with by_unit are, register by register, an A operand of a product with
// by_column.
//
// Eight lanes that are served together store one core matrix: no bank conflicts. Bytes of columns from
// 32·⌈p/32⌉ on mean nothing. A row of V may be longer than the tiles, which then have a slice of
// it.
#pragma once

#include "sign_words.hpp"

namespace fntk::kernels {

/// Bytes −1 where the bits 0, 8, 16, 24 of x are set, else +1; and the other way round.
FNTK_HD constexpr std::uint32_t minus_where_set(std::uint32_t x) {
    return (x & 0x01010101U) * 0xFEU + 0x01010101U;
}
FNTK_HD constexpr std::uint32_t plus_where_set(std::uint32_t x) {
    return 0xFFFFFFFFU - (x & 0x01010101U) * 0xFEU;
}

/// Bytes −1 where the bits 0, 8, 16, 24 of x are set, else 0.
FNTK_HD constexpr std::uint32_t mask_bytes(std::uint32_t x) { return (x & 0x01010101U) * 255U; }

/// Words that move as one.
template <int count>
struct alignas(4 * count) WordsTogether {
    std::uint32_t word[count];
};

template <int columns, int units>
struct SignTiles {
    static constexpr int quads = units * columns / 16;                         // of either tile
    static constexpr int row_stride = 8 * columns, column_stride = 8 * units;  // bytes of 8 rows
    static constexpr int most_words = columns / 32;                            // of a row of V
    /// Words of a row that go the same way side by side, so that none waits for its own shuffles.
    static constexpr int together = most_words < 4 ? most_words : 4;
    static constexpr int groups = most_words / together;
    using Words = WordsTogether<together>;

    std::uint64_t up_seed;
    std::int64_t p;
    bool with_columns;   // whether by_column is wanted
    int first_word = 0;  // of a row of V, where the slice begins
    bool srht = false;   // V, else rademacher; then p ≤ columns

    static FNTK_HD constexpr int place(int n) {
        return (n & 8) << 1 | (n & 1) << 3 | (n & 16) >> 2 | (n & 6) >> 1;
    }

    /// Units 32·step on, which are units 32·part on of the tiles; a: their bits of a^c.
    template <class Grid>
    FNTK_DEVICE void write(Grid& grid, std::int64_t step, int part, std::uint32_t a, Quad* by_unit,
                           Quad* by_column) const {
        const int slice_words = static_cast<int>(sign_words(p)) - first_word, lane = grid.lane();
        std::uint32_t words[most_words];
        by_unit += part * 4 * (row_stride / 16);
        draw(grid, step, by_unit, words);
        by_unit += lane / 8 * (row_stride / 16) + lane % 8;
        if (with_columns) by_column += place_of_columns(grid, part);
        FNTK_UNROLL
        for (int first = 0; first < most_words; first += together) {
            if (first >= slice_words) break;
            Words some;
            FNTK_UNROLL
            for (int w = 0; w < together; ++w) some.word[w] = words[first + w];
            FNTK_UNROLL
            for (int i = 0; i < 2 * together; ++i) {
                const std::uint32_t x = some.word[i / 2] >> (4 * (i % 2));
                by_unit[8 * (2 * first + i)] = {{minus_where_set(x), minus_where_set(x >> 1),
                                                 minus_where_set(x >> 2), minus_where_set(x >> 3)}};
            }
            if (!with_columns) continue;
            turn(grid, some);
            put_columns(some, first, a, by_column);
        }
    }

    /// Lane n: of the units 32·step on the signs in columns 32w + place(n), bit l of unit l; w = together·i
    /// + j is word j of words[i].
    template <class Grid>
    FNTK_DEVICE void draw_columns(Grid& grid, std::int64_t step, Words (&words)[groups]) const {
        std::uint32_t of_unit[most_words];
        if (srht)
            draw_srht(step, place(grid.lane()), of_unit);
        else
            draw_own(step, place(grid.lane()), of_unit);
        FNTK_UNROLL
        for (int i = 0; i < groups; ++i) {
            FNTK_UNROLL
            for (int w = 0; w < together; ++w) words[i].word[w] = of_unit[together * i + w];
            turn(grid, words[i]);
        }
    }
    /// by_column of what draw_columns has made, which are units 32·part on of the tile.
    template <class Grid>
    static FNTK_DEVICE void write_columns(Grid& grid, const Words (&words)[groups], int part,
                                          std::uint32_t a, Quad* by_column) {
        by_column += place_of_columns(grid, part);
        FNTK_UNROLL
        for (int i = 0; i < groups; ++i) put_columns(words[i], together * i, a, by_column);
    }

  private:
    template <class Grid>
    static FNTK_DEVICE int place_of_columns(Grid& grid, int part) {
        return grid.lane() / 8 * (column_stride / 16) + grid.lane() % 8 + 16 * part;
    }
    /// Words `first` on.
    static FNTK_DEVICE void put_columns(const Words& words, int first, std::uint32_t a, Quad* by_column) {
        FNTK_UNROLL
        for (int i = 0; i < 2 * together; ++i) {
            const std::uint32_t x = (words.word[i / 2] ^ a) >> (4 * (i % 2));
            by_column[4 * (first + i / 2) * (column_stride / 16) + 8 * (i % 2)] = {
                {plus_where_set(x), plus_where_set(x >> 1), plus_where_set(x >> 2),
                 plus_where_set(x >> 3)}};
        }
    }

    /// Lane n: the words of V of unit 32·step + place(n). A call of the generator makes four words: one
    /// lane's, where a row has whole calls; else they change hands in the place that the warp is to fill.
    /// Of a slice a lane makes its own.
    template <class Grid>
    FNTK_DEVICE void draw(Grid& grid, std::int64_t step, Quad* exchange,
                          std::uint32_t (&words)[most_words]) const {
        if (srht) return draw_srht(step, place(grid.lane()), words);
        const int row_words = static_cast<int>(sign_words(p)), unit = place(grid.lane());
        if (row_words > most_words || has_whole_calls()) return draw_own(step, unit, words);
        const std::uint64_t first = static_cast<std::uint64_t>(8 * step * row_words);
        FNTK_UNROLL_BY(1)
        for (int i = grid.lane(); i < 8 * row_words; i += warp_size) {
            const Philox4 block = random_block(up_seed, Stream::up, first + static_cast<std::uint64_t>(i));
            exchange[i] = {{block.word[0], block.word[1], block.word[2], block.word[3]}};
        }
        grid.sync_warp();
        const std::uint32_t* own = reinterpret_cast<const std::uint32_t*>(exchange) + unit * row_words;
        FNTK_UNROLL
        for (int w = 0; w < most_words; ++w) words[w] = w < row_words ? own[w] : 0;
        grid.sync_warp();
    }

    FNTK_DEVICE bool has_whole_calls() const { return most_words >= 4 && sign_words(p) == most_words; }
    /// From one call of the generator more than the words would fill, but for a row of whole calls.
    FNTK_DEVICE void draw_own(std::int64_t step, int unit, std::uint32_t (&words)[most_words]) const {
        const int row_words = static_cast<int>(sign_words(p));
        const std::uint64_t first = static_cast<std::uint64_t>(8 * step * row_words);
        if (has_whole_calls()) {
            FNTK_UNROLL
            for (int i = 0; i < most_words / 4; ++i) {
                const Philox4 block = random_block(
                    up_seed, Stream::up, first + static_cast<std::uint64_t>(unit * (most_words / 4) + i));
                FNTK_UNROLL
                for (int l = 0; l < 4; ++l) words[4 * i + l] = block.word[l];
            }
            return;
        }
        const std::uint64_t word = 4 * first + static_cast<std::uint64_t>(unit * row_words + first_word);
        constexpr int calls = (most_words + 6) / 4;
        std::uint32_t made[4 * calls];
        FNTK_UNROLL
        for (int i = 0; i < calls; ++i) {
            const Philox4 block =
                random_block(up_seed, Stream::up, word / 4 + static_cast<std::uint64_t>(i));
            FNTK_UNROLL
            for (int l = 0; l < 4; ++l) made[4 * i + l] = block.word[l];
        }
        FNTK_UNROLL
        for (int w = 0; w < most_words; ++w) {
            const std::uint32_t even = word & 1 ? made[w + 1] : made[w],
                                odd = word & 1 ? made[w + 3] : made[w + 2];
            words[w] = word & 2 ? odd : even;
        }
    }

    /// Words of a row are a power of two in number: four at most come from one call of the generator.
    FNTK_DEVICE void draw_srht(std::int64_t step, int unit, std::uint32_t (&words)[most_words]) const {
        const std::int64_t padded = next_power_of_two(p), r = 32 * step + unit;
        const std::uint64_t first = srht_word(r / padded, padded);
        FNTK_UNROLL
        for (int i = 0; i < most_words; i += 4) {
            const Philox4 block =
                random_block(up_seed, Stream::up_signs, (first + static_cast<std::uint64_t>(i)) / 4);
            FNTK_UNROLL
            for (int w = i; w < most_words && w < i + 4; ++w)
                words[w] =
                    word_of(block, first + static_cast<std::uint64_t>(w)) ^ hadamard_bits(r % padded, w);
        }
    }

    /// Of each word lane n has the bits of unit place(n), then those of column place(n), bit l of unit l. A
    /// step exchanges a bit of the lane's number with the bit of the place in a word that place() makes of
    /// it.
    template <class Grid>
    static FNTK_DEVICE void turn(Grid& grid, Words& words) {
        FNTK_UNROLL
        for (int lanes = 16; lanes != 0; lanes /= 2) {
            const int places = place(lanes);
            const std::uint32_t low = places == 16  ? 0x0000FFFFU  // places with that bit clear
                                      : places == 8 ? 0x00FF00FFU
                                      : places == 4 ? 0x0F0F0F0FU
                                      : places == 2 ? 0x33333333U
                                                    : 0x55555555U;
            const bool upper = (grid.lane() & lanes) != 0;
            const std::uint32_t kept = upper ? ~low : low;
            const int right = upper ? places : 32 - places;
            std::uint32_t others[together];
            FNTK_UNROLL
            for (int w = 0; w < together; ++w) others[w] = grid.shuffle_xor(words.word[w], lanes);
            FNTK_UNROLL
            for (int w = 0; w < together; ++w)
                words.word[w] =
                    (words.word[w] & kept) | ((others[w] >> right | others[w] << (32 - right)) & ~kept);
        }
    }
};

}  // namespace fntk::kernels

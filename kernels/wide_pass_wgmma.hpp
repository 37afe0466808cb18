// The wide pass of wide_pass_rademacher.hpp, the same members and integers, on the matrix units of compute
// capability 9.0 (warpgroup.hpp). ĥ: int32, n × p, |ĥ| < 2^23, p ≤ columns = 64, 128 or 256.
//     ẑ = ĥ Vᵀ,  gate = ẑ > 0,  Ĝ^c += (gate ∘ a^cᵀ) V
//
// A block is three warpgroups. It takes one item: 128 rows, an output c, a range of m in whole tiles of
// `units` units. The first warpgroup makes the tiles of V, two in turn; the other two have 64 rows each:
//     ẑ   ĥ = h₀ + 256 h₁ + 256² h₂, digits −128..127: acc = h₂(−Vᵀ), acc = 256 acc + h₁(−Vᵀ), acc = 256
//     acc +
//         h₀(−Vᵀ). The digits are A operands in shared memory, written once.
//     Ĝ   A operand in registers: a byte per unit, −1 where the gate is open, the sign of −ẑ. The B operand
//         is −a∘V. Accumulators: 64 × columns int32 in registers over the whole range. This product is
//         under way while the next tile's first one begins.
//
// In both tiles row n of 32 is unit (column) place(n) of 32. A thread's sums of ẑ are then of the units
// whose gates its A operand takes, and the four entries of a row that it has of 32 columns of Ĝ are
// neighbours.
//
// Shared memory, in core matrices of 8 rows × 16 bytes, those of a row of them one after the other:
//     by_unit     −V, twice: row = unit, columns in order along the row
//     by_column   −a∘V, twice: row = column, units in order along the row; zero for units ≥ m
//     digits      of each consumer: h₀, h₁, h₂, row = row of ĥ, columns in order
// Eight lanes that are served together store one core matrix: no bank conflicts. Columns from ⌈p/32⌉·32 on
// are left as they are: digits there are zero, and sums there are no results.
//
// Named barriers hand over stage s = 0, 1: `full` when the producer has written it, `empty` when both
// consumers have read it. The producer comes to `empty` from the third tile on, the consumers as often.
#pragma once

#include "sign_words.hpp"
#include "warpgroup.hpp"

namespace fntk::kernels {

/// The gates' bytes of four sums −ẑ: −1 where negative, else 0.
FNTK_DEVICE std::uint32_t sign_masks(std::int32_t x0, std::int32_t x1, std::int32_t x2, std::int32_t x3) {
#ifdef __CUDA_ARCH__
    std::uint32_t low = 0, high = 0, all = 0;  // selectors 8 to 15: the sign of byte 0 to 7, eight times
    asm("prmt.b32 %0, %1, %2, 0x00FB;" : "=r"(low) : "r"(x0), "r"(x1));
    asm("prmt.b32 %0, %1, %2, 0x00FB;" : "=r"(high) : "r"(x2), "r"(x3));
    asm("prmt.b32 %0, %1, %2, 0x5410;" : "=r"(all) : "r"(low), "r"(high));
    return all;
#else
    return (x0 < 0 ? 0xFFU : 0U) | (x1 < 0 ? 0xFF00U : 0U) | (x2 < 0 ? 0xFF0000U : 0U) |
           (x3 < 0 ? 0xFF000000U : 0U);
#endif
}

template <int columns_>
struct WidePassWgmma {
    static constexpr int columns = columns_;
    static constexpr int units = columns == 64 ? 256 : 128;  // of a tile
    static constexpr int rows = 128;                         // of a block
    static constexpr int max_threads = 384;

    std::uint64_t up_seed = 0, readout_seed = 0;
    std::int64_t m = 0, p = 0, k = 0;
    Rows<const std::int32_t> h;    // n × p
    Rows<std::uint64_t> gates;     // n × ⌈m/64⌉ words, written in full; no data: not wanted
    Rows<std::int32_t> gradients;  // n × (k·p), added to; no data: not wanted

    Launch launch(const DeviceLimits& limits) const {
        if (h.rows == 0 || m == 0 || outputs() == 0) return {};
        const std::int64_t whole = ceil_div(h.rows, rows) * outputs(), tiles = ceil_div(m, units);
        // A multiprocessor has one block at a time. Its digits and its sums cost about what two tiles do.
        const std::int64_t most = smaller(ceil_div(m, 1024), ceil_div(16 * limits.multiprocessors, whole));
        std::int64_t ranges = 1, least = std::int64_t{1} << 62;
        for (std::int64_t r = 1; r <= most; ++r) {
            const std::int64_t cost =
                ceil_div(whole * r, limits.multiprocessors) * (ceil_div(tiles, r) + 2);
            if (cost < least) {
                least = cost;
                ranges = r;
            }
        }
        return {whole * ranges, max_threads, shared_bytes};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const Tiles tiles{grid.template shared<Quad>(2 * tile_quads),
                          grid.template shared<Quad>(2 * tile_quads)};
        Quad* digits = grid.template shared<Quad>(2 * digit_quads);

        const std::int64_t whole = ceil_div(h.rows, rows) * outputs(), ranges = grid.blocks() / whole;
        const std::int64_t range = grid.block() / whole, item = grid.block() % whole;
        const std::int64_t all = ceil_div(m, units);
        const Work work{static_cast<int>(item / outputs() * rows), static_cast<int>(item % outputs()),
                        static_cast<int>(range * all / ranges),
                        static_cast<int>((range + 1) * all / ranges)};
        if (grid.warp() < 4) {
            grid.template give_registers<40>();
            produce(grid, work, tiles);
        } else {
            grid.template take_registers<232>();
            const int consumer = grid.shuffle(grid.warp() / 4 - 1, 0);
            consume(grid, work, work.row + 64 * consumer, digits + consumer * digit_quads, tiles);
        }
    }

  private:
    static constexpr int steps = units / 32;  // of a tile
    static constexpr int row_words_most = columns / 32;
    static constexpr int core_row = 8 * columns / 16;   // quads of 8 rows of by_unit and digits
    static constexpr int core_column = 8 * units / 16;  // of 8 rows of by_column
    static constexpr int tile_quads = units * columns / 16;
    static constexpr int one_digit = 64 * columns / 16, digit_quads = 3 * one_digit;
    static constexpr std::int64_t shared_bytes =
        2 * shared_size<Quad>(2 * tile_quads) + shared_size<Quad>(2 * digit_quads);
    static constexpr int full = 1, empty = 3, digits_written = 5;  // barriers, each of two

    struct Work {
        int row;  // the first of the block
        int c;
        int first, end;  // tiles
    };
    struct Tiles {  // two of each
        Quad *by_unit, *by_column;
    };

    FNTK_HD std::int64_t outputs() const {
        return gradients.data == nullptr ? (gates.data == nullptr ? 0 : 1) : k;
    }
    /// What row n of a tile stands for: bits 3, 2, 1 of n become bits 1, 3, 2.
    static FNTK_HD constexpr int place(int n) { return (n & ~14) | (n & 8) >> 2 | (n & 6) << 1; }

    // --- the producer

    template <class Grid>
    FNTK_DEVICE void produce(Grid& grid, const Work& work, const Tiles& tiles) const {
        constexpr int parts = units / 128;  // a warp has 32 units of each
        const int first_part = work.first * parts;
        std::uint32_t a_words = 0;  // of a^c, of parts 32j + lane, j = 0, 1, ...
        for (int tile = work.first; tile < work.end; ++tile) {
            const int stage = (tile - work.first) & 1;
            if (tile - work.first >= 2) grid.barrier_sync(empty + stage, max_threads);
            FNTK_UNROLL_BY(1)
            for (int i = 0; i < parts; ++i) {
                const int part = tile * parts + i, lane = (part - first_part) & 31;
                if (lane == 0)
                    a_words = word_of(random_block(readout_seed, Stream::readout,
                                                   readout_word(work.c) / 4 +
                                                       static_cast<std::uint64_t>(part + grid.lane())),
                                      static_cast<std::uint64_t>(grid.warp()));
                const int step = 4 * i + grid.warp();
                write(grid, std::int64_t{4} * part + grid.warp(), grid.shuffle(a_words, lane),
                      tiles.by_unit + stage * tile_quads + 4 * step * core_row,
                      tiles.by_column + stage * tile_quads + 16 * step);
            }
            grid.proxy_fence();
            grid.barrier_arrive(full + stage, max_threads);
        }
    }

    /// The part of both tiles of units 32·step to 32·step + 31; a: their bits of a^c.
    template <class Grid>
    FNTK_DEVICE void write(Grid& grid, std::int64_t step, std::uint32_t a, Quad* by_unit,
                           Quad* by_column) const {
        std::uint32_t words[row_words_most];
        draw(grid, step, by_unit, words);
        const int row_words = static_cast<int>(sign_words(p)), lane = grid.lane();
        const std::uint32_t inside = low_bits(m - 32 * step);
        by_unit += lane / 8 * core_row + lane % 8;
        by_column += lane / 8 * core_column + lane % 8;
        FNTK_UNROLL
        for (int w = 0; w < row_words_most; ++w) {
            if (w >= row_words) break;
            FNTK_UNROLL
            for (int i = 0; i < 2; ++i) {
                const std::uint32_t bits = ~words[w] >> (16 * i);
                by_unit[8 * (2 * w + i)] = {{sign_bytes(bits), sign_bytes(bits >> 4), sign_bytes(bits >> 8),
                                             sign_bytes(bits >> 12)}};
            }
            if (gradients.data == nullptr) continue;
            const std::uint32_t turned = turn(grid, words[w]) ^ a;
            FNTK_UNROLL
            for (int i = 0; i < 2; ++i) {
                Quad bytes{};
                FNTK_UNROLL
                for (int l = 0; l < 4; ++l) {
                    const int shift = 16 * i + 4 * l;
                    bytes.word[l] = sign_bytes(turned >> shift) & (spread_bits(inside >> shift) * 255U);
                }
                by_column[4 * w * core_column + 8 * i] = bytes;
            }
        }
    }

    /// Lane n: the words of V of unit 32·step + place(n). A call of the generator makes four words, which
    /// are one lane's where a row has whole calls; else they change hands in the warp's part of the tile to
    /// come.
    template <class Grid>
    FNTK_DEVICE void draw(Grid& grid, std::int64_t step, Quad* exchange,
                          std::uint32_t (&words)[row_words_most]) const {
        const int row_words = static_cast<int>(sign_words(p)), unit = place(grid.lane());
        const std::uint64_t first = static_cast<std::uint64_t>(8 * step * row_words);
        if (columns >= 128 && row_words == row_words_most) {
            FNTK_UNROLL
            for (int i = 0; i < row_words_most / 4; ++i) {
                const Philox4 block =
                    random_block(up_seed, Stream::up,
                                 first + static_cast<std::uint64_t>(unit * (row_words_most / 4) + i));
                FNTK_UNROLL
                for (int l = 0; l < 4; ++l) words[4 * i + l] = block.word[l];
            }
            return;
        }
        FNTK_UNROLL_BY(1)
        for (int i = grid.lane(); i < 8 * row_words; i += warp_size) {
            const Philox4 block = random_block(up_seed, Stream::up, first + static_cast<std::uint64_t>(i));
            exchange[i] = {{block.word[0], block.word[1], block.word[2], block.word[3]}};
        }
        grid.sync_warp();
        const std::uint32_t* own = reinterpret_cast<const std::uint32_t*>(exchange) + unit * row_words;
        FNTK_UNROLL
        for (int w = 0; w < row_words_most; ++w) words[w] = w < row_words ? own[w] : 0;
        grid.sync_warp();
    }

    /// Lane n has bits of unit place(n); then lane n has bits of column place(n), bit l that of unit l. A
    /// step exchanges a bit of the lane's number with a bit of the place in the word.
    template <class Grid>
    static FNTK_DEVICE std::uint32_t turn(Grid& grid, std::uint32_t x) {
        FNTK_UNROLL
        for (int i = 0; i < 5; ++i) {
            const int lanes = 16 >> i, places = i == 1 ? 2 : i == 2 ? 8 : i == 3 ? 4 : lanes;
            const std::uint32_t low = i == 0   ? 0x0000FFFFU  // places with that bit clear
                                      : i == 1 ? 0x33333333U
                                      : i == 2 ? 0x00FF00FFU
                                      : i == 3 ? 0x0F0F0F0FU
                                               : 0x55555555U;
            const std::uint32_t other = grid.shuffle_xor(x, lanes);
            x = grid.lane() & lanes ? (x & ~low) | ((other >> places) & low)
                                    : (x & low) | ((other << places) & ~low);
        }
        return x;
    }

    static FNTK_DEVICE std::uint64_t row_tile(std::uint32_t a) {
        return tile_descriptor(a, 128, 16 * core_row);
    }
    // --- a consumer, its 64 rows from `row` on

    template <class Grid>
    FNTK_DEVICE void consume(Grid& grid, const Work& work, int row, Quad* digits,
                             const Tiles& tiles) const {
        load_digits(grid, row, digits);
        grid.proxy_fence();
        grid.barrier_sync(digits_written + grid.warp() / 4 - 1, warpgroup_size);

        std::int32_t sums[columns / 2] = {}, z[units / 2] = {};
        std::uint32_t open[steps][4] = {};
        const std::uint32_t h_tile = grid.shared_address(digits),
                            v_tile = grid.shared_address(tiles.by_unit),
                            av_tile = grid.shared_address(tiles.by_column);
        for (int tile = work.first; tile < work.end; ++tile) {
            const int stage = (tile - work.first) & 1;
            grid.barrier_sync(full + stage, max_threads);
            FNTK_UNROLL
            for (int digit = 2; digit >= 0; --digit) {
                grid.wgmma_fence(z);
                FNTK_UNROLL
                for (int i = 0; i < columns / 32; ++i) {
                    const std::uint64_t a = row_tile(h_tile + 16 * (digit * one_digit + 16 * i)),
                                        b = row_tile(v_tile + 16 * (stage * tile_quads + 16 * i));
                    if (digit == 2 && i == 0)
                        grid.template wgmma<false>(z, a, b);
                    else
                        grid.template wgmma<true>(z, a, b);
                }
                grid.wgmma_commit();
                grid.template wgmma_wait<0>(z);
                if (digit == 0) break;
                FNTK_UNROLL
                for (std::int32_t& sum : z)
                    sum = static_cast<std::int32_t>(static_cast<std::uint32_t>(sum) << 8);
            }
            FNTK_UNROLL
            for (int i = 0; i < 4 * steps; ++i) {
                const std::int32_t* sum = z + i / 4 * 16 + i % 4 / 2 * 8 + i % 2 * 2;
                open[i / 4][i % 4] = sign_masks(sum[0], sum[1], sum[4], sum[5]);
            }
            if (gates.data != nullptr && work.c == 0) keep_gates(grid, row, tile, open);
            if (gradients.data != nullptr) {
                grid.wgmma_fence(sums, open);
                FNTK_UNROLL
                for (int i = 0; i < steps; ++i)
                    grid.template wgmma<true>(sums, open[i],
                                              tile_descriptor(av_tile + 16 * (stage * tile_quads + 16 * i),
                                                              128, 16 * core_column));
                grid.wgmma_commit();
                grid.template wgmma_wait<0>(sums, open);
            }
            if (tile + 2 < work.end) grid.barrier_arrive(empty + stage, max_threads);
        }
        if (gradients.data != nullptr) add_to_rows(grid, work, row, sums);
    }

    /// Quad i of a digit: row i % 8 + 8·(i / core_row), columns 16·(i / 8 % (columns/16)) and 15 more.
    template <class Grid>
    FNTK_DEVICE void load_digits(Grid& grid, int row, Quad* digits) const {
        FNTK_UNROLL_BY(1)
        for (int i = grid.thread() % warpgroup_size; i < one_digit; i += warpgroup_size) {
            const int r = row + i % 8 + i / core_row * 8;
            const int q = i / 8 % (columns / 16) * 16;
            Quad quads[3] = {};
            FNTK_UNROLL
            for (int j = 0; j < 16; ++j) {
                std::int32_t rest = r < h.rows && q + j < p ? h.row(r)[q + j] : 0;
                FNTK_UNROLL
                for (Quad& quad : quads)
                    quad.word[j / 4] |= (static_cast<std::uint32_t>(take_low_digit(rest)) & 255U)
                                        << (8 * (j % 4));
            }
            FNTK_UNROLL
            for (int digit = 0; digit < 3; ++digit) digits[digit * one_digit + i] = quads[digit];
        }
    }

    /// Rows row + 16w + group and 8 more: a lane has units 4t to 4t + 3 and 16 + 4t to 16 + 4t + 3 of each
    /// step. The four lanes of a group put their bits together, and write the tile's words in turn.
    template <class Grid>
    FNTK_DEVICE void keep_gates(Grid& grid, int row, int tile,
                                const std::uint32_t (&open)[steps][4]) const {
        const int t = grid.lane() % 4;
        FNTK_UNROLL
        for (int i = 0; i < steps; ++i) {  // word i / 2 of row i % 2
            const int r = row + grid.warp() % 4 * 16 + grid.lane() / 4 + 8 * (i % 2);
            const int word = steps / 2 * tile + i / 2;
            std::uint32_t half[2];
            FNTK_UNROLL
            for (int j = 0; j < 2; ++j) {
                const std::uint32_t(&bytes)[4] = open[i / 2 * 2 + j];
                half[j] = (bits_of_masks(bytes[i % 2]) | bits_of_masks(bytes[i % 2 + 2]) << 16) << (4 * t);
                half[j] |= grid.shuffle_xor(half[j], 1);
                half[j] |= grid.shuffle_xor(half[j], 2);
                half[j] &= low_bits(static_cast<int>(m) - 64 * word - 32 * j);
            }
            if (t == i % 4 && r < h.rows && 64 * word < static_cast<int>(m))
                gates.row(r)[word] = std::uint64_t{half[1]} << 32 | half[0];
        }
    }

    template <class Grid>
    FNTK_DEVICE void add_to_rows(Grid& grid, const Work& work, int row,
                                 const std::int32_t (&sums)[columns / 2]) const {
        FNTK_UNROLL
        for (int i = 0; i < columns / 2; ++i) {
            const int r = row + grid.warp() % 4 * 16 + grid.lane() / 4 + 8 * (i / 2 % 2);
            const int q = i / 16 * 32 + i / 8 % 2 * 16 + grid.lane() % 4 * 4 + i / 4 % 2 * 2 + i % 2;
            if (r < h.rows && q < p) grid.atomic_add(gradients.row(r) + work.c * p + q, sums[i]);
        }
    }
};

}  // namespace fntk::kernels

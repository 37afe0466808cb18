// The wide pass of wide_pass_rademacher.hpp, the same members and integers, on the matrix units of compute
// capability 9.0 (warpgroup.hpp). ĥ: int32, n × p, |ĥ| < 2^23, p ≤ columns = 64, 128 or 256.
//     ẑ = ĥ Vᵀ,  gate = ẑ > 0,  Ĝ^0 += (gate ∘ a^0ᵀ) V
//
// A block is three warpgroups and takes one item: 128 rows, an output c, a range of m in whole tiles. A
// tile is `units` units: what one warpgroup, the producer, makes of V while the two others, the consumers,
// multiply with the tile before. A consumer has 64 rows.
//     ẑ   ĥ = h₀ + 256 h₁ + 256² h₂, digits −128..127. One accumulator takes −h₂Vᵀ, is shifted by 8
//         bits, takes −h₁Vᵀ, is shifted, takes −h₀Vᵀ. The digits are A operands in shared memory,
//         written once.
//     Ĝ   A operand in registers: a byte per unit, −1 where the gate is open, the sign of −ẑ. The B operand
//         is −a∘V. Accumulators: 64 × columns int32 in registers over the whole range.
// While one consumer shifts and takes signs, the products of the other keep the matrix units busy. The
// registers of 256 columns leave no room to begin the next ẑ while Ĝ is under way. n, m < 2^31.
//
// Shared memory, in core matrices:
//     tiles       −V by unit and −a∘V by column (sign_tiles.hpp), two of each; their order of units makes a
//                 thread's sums of ẑ its A operand of Ĝ
//     digits      of each consumer h₀, h₁, h₂: a row is a row of ĥ, its columns in the order of −V
//
// Named barriers hand over stage s = 0, 1: `full` when the producer has written it, `empty` when both
// consumers have read it. The producer comes to `empty` from the third tile on, the consumers as often.
#pragma once

#include "sign_tiles.hpp"
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

/// Bytes −1 where the bits 0, 8, 16, 24 of x are set, else 0.
FNTK_HD constexpr std::uint32_t mask_bytes(std::uint32_t x) { return (x & 0x01010101U) * 255U; }

template <int columns_>
struct WidePassWgmma {
    static constexpr int columns = columns_;
    static constexpr int units = columns == 64 ? 256 : 128;  // of a tile
    static constexpr int rows = 128;                         // of a block
    static constexpr int max_threads = 384;

    std::uint64_t up_seed = 0, readout_seed = 0;
    std::int64_t m = 0, p = 0;
    Rows<const std::int32_t> h;    // n × p
    Rows<std::uint64_t> gates;     // n × ⌈m/64⌉ words, written in full; no data: not wanted
    Rows<std::int32_t> gradients;  // n × (k·p), p columns added to; no data: not wanted

    Launch launch(const DeviceLimits& limits) const {
        if (h.rows == 0 || m == 0 || (gradients.data == nullptr && gates.data == nullptr)) return {};
        const std::int64_t whole = ceil_div(h.rows, rows), tiles = ceil_div(m, units);
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
        const Stages tiles{grid.template shared<Quad>(2 * Tiles::quads),
                           grid.template shared<Quad>(2 * Tiles::quads)};
        Quad* digits = grid.template shared<Quad>(2 * digit_quads);

        const std::int64_t whole = ceil_div(h.rows, rows), ranges = grid.blocks() / whole;
        const std::int64_t range = grid.block() / whole, item = grid.block() % whole;
        const std::int64_t all = ceil_div(m, units);
        const Work work{static_cast<int>(item * rows), static_cast<int>(range * all / ranges),
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
    static constexpr int one_digit = 64 * columns / 16, digit_quads = 3 * one_digit;
    using Tiles = SignTiles<columns, units>;
    static constexpr std::int64_t shared_bytes =
        2 * shared_size<Quad>(2 * Tiles::quads) + shared_size<Quad>(2 * digit_quads);
    static constexpr int full = 1, empty = 3, digits_written = 5;  // barriers, each of two

    struct Work {
        int row;         // the first of the block
        int first, end;  // tiles
    };
    struct Stages {  // two tiles of each
        Quad *by_unit, *by_column;
    };

    // --- the producer

    template <class Grid>
    FNTK_DEVICE void produce(Grid& grid, const Work& work, const Stages& tiles) const {
        constexpr int parts = units / 128;  // a warp has 32 units of each
        const int first_part = work.first * parts;
        const Tiles writer{up_seed, p, gradients.data != nullptr};
        std::uint32_t a_words = 0;  // of a^c, of parts 32j + lane, j = 0, 1, ...
        for (int tile = work.first; tile < work.end; ++tile) {
            const int stage = (tile - work.first) & 1;
            if (tile - work.first >= 2) grid.barrier_sync(empty + stage, max_threads);
            FNTK_UNROLL_BY(1)
            for (int i = 0; i < parts; ++i) {
                const int part = tile * parts + i, lane = (part - first_part) & 31;
                if (lane == 0)
                    a_words = word_of(
                        random_block(readout_seed, Stream::readout,
                                     readout_word(0) / 4 + static_cast<std::uint64_t>(part + grid.lane())),
                        static_cast<std::uint64_t>(grid.warp()));
                writer.write(grid, std::int64_t{4} * part + grid.warp(), 4 * i + grid.warp(),
                             grid.shuffle(a_words, lane), tiles.by_unit + stage * Tiles::quads,
                             tiles.by_column + stage * Tiles::quads);
            }
            grid.proxy_fence();
            grid.barrier_arrive(full + stage, max_threads);
        }
    }

    // --- a consumer, its 64 rows from `row` on

    template <class Grid>
    FNTK_DEVICE void consume(Grid& grid, const Work& work, int row, Quad* digits,
                             const Stages& tiles) const {
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
                    const std::uint64_t a = tile_descriptor(h_tile + 16 * (digit * one_digit + 16 * i), 128,
                                                            Tiles::row_stride),
                                        b = tile_descriptor(v_tile + 16 * (stage * Tiles::quads + 16 * i),
                                                            128, Tiles::row_stride);
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
            const int left = static_cast<int>(m) - units * tile;
            if (left < units) {
                FNTK_UNROLL
                for (int i = 0; i < 4 * steps; ++i)
                    open[i / 4][i % 4] &=
                        mask_bytes(low_bits(left - i / 4 * 32) >> (i % 4 / 2 * 4 + grid.lane() % 4));
            }
            if (gates.data != nullptr) keep_gates(grid, row, tile, open);
            if (gradients.data != nullptr) {
                grid.wgmma_fence(sums, open);
                FNTK_UNROLL
                for (int i = 0; i < steps; ++i)
                    grid.template wgmma<true>(
                        sums, open[i],
                        tile_descriptor(av_tile + 16 * (stage * Tiles::quads + 16 * i), 128,
                                        Tiles::column_stride));
                grid.wgmma_commit();
                grid.template wgmma_wait<0>(sums, open);
            }
            if (tile + 2 < work.end) grid.barrier_arrive(empty + stage, max_threads);
        }
        if (gradients.data != nullptr) add_to_rows(grid, row, sums);
    }

    /// Quad i of a digit: byte j is column 8·(j % 4) + j / 4 of the 32 or 4 columns on.
    template <class Grid>
    FNTK_DEVICE void load_digits(Grid& grid, int row, Quad* digits) const {
        FNTK_UNROLL_BY(1)
        for (int i = grid.thread() % warpgroup_size; i < one_digit; i += warpgroup_size) {
            const std::int64_t r = row + i % 8 + i / (columns / 2) * 8;
            const int first = i / 8 % (columns / 16) / 2 * 32 + i / 8 % 2 * 4;
            Quad quads[3] = {};
            FNTK_UNROLL
            for (int j = 0; j < 16; ++j) {
                const int q = first + 8 * (j % 4) + j / 4;
                std::int32_t rest = r < h.rows && q < p ? h.row(r)[q] : 0;
                FNTK_UNROLL
                for (Quad& quad : quads)
                    quad.word[j / 4] |= (static_cast<std::uint32_t>(take_low_digit(rest)) & 255U)
                                        << (8 * (j % 4));
            }
            FNTK_UNROLL
            for (int digit = 0; digit < 3; ++digit) digits[digit * one_digit + i] = quads[digit];
        }
    }

    /// Rows row + 16w + group and 8 more: byte j of register 2h + (0, 1) of a lane is unit 8j + 4h + t of a
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
                half[j] = ((bytes[i % 2] & 0x01010101U) | (bytes[i % 2 + 2] & 0x10101010U)) << t;
                half[j] |= grid.shuffle_xor(half[j], 1);
                half[j] |= grid.shuffle_xor(half[j], 2);
            }
            if (t == i % 4 && r < h.rows && word < static_cast<int>(ceil_div(m, 64)))
                gates.row(r)[word] = std::uint64_t{half[1]} << 32 | half[0];
        }
    }

    template <class Grid>
    FNTK_DEVICE void add_to_rows(Grid& grid, int row, const std::int32_t (&sums)[columns / 2]) const {
        FNTK_UNROLL
        for (int i = 0; i < columns / 2; ++i) {
            const int r = row + grid.warp() % 4 * 16 + grid.lane() / 4 + 8 * (i / 2 % 2);
            const int q = i / 16 * 32 + i / 4 % 2 * 16 + i % 2 * 8 + i / 8 % 2 * 4 + grid.lane() % 4;
            if (r < h.rows && q < p) grid.atomic_add(gradients.row(r) + q, sums[i]);
        }
    }
};

}  // namespace fntk::kernels

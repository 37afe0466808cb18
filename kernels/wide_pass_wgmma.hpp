// The wide pass of wide_pass_rademacher.hpp, the same members and integers, on the matrix units of compute
// capability 9.0 (warpgroup.hpp). p ≤ columns = 64, 128 or 256.
//     ẑ = ĥ Vᵀ,  gate = ẑ > 0,  Ĝ^0 += (gate ∘ a^0ᵀ) V
//
// Blocks, tiles of V and the second product are those of wgmma_sums.hpp. The first product has an
// accumulator of its own:
//     ẑ   ĥ = h₀ + 256 h₁ (+ 256² h₂): acc = h₂(−Vᵀ), acc = 256 acc + h₁(−Vᵀ), acc = 256 acc + h₀(−Vᵀ);
//         two digits begin with h₁. The digits are A operands in shared memory, written once.
//     Ĝ   gates are the signs of −ẑ. The order of units in the tiles makes a thread's sums of ẑ its A
//     operand.
//
// Shared memory beside the tiles, in core matrices:
//     digits      of each consumer h₀, h₁ and h₂: a row is a row of ĥ, its columns in the order of −V
#pragma once

#include "wgmma_sums.hpp"

namespace fntk::kernels {

template <int columns_, int digits_ = 3>
struct WidePassWgmma : WgmmaSums<columns_, true> {
    using Sums = WgmmaSums<columns_, true>;
    using Sums::columns, Sums::gradients, Sums::m, Sums::max_threads, Sums::p, Sums::rows, Sums::units;

    static constexpr int digit_count = digits_;

    Rows<const std::int32_t> h;  // n × p
    Rows<std::uint64_t> gates;   // n × ⌈m/64⌉ words, written in full; no data: not wanted

    Launch launch(const DeviceLimits& limits) const {
        if (h.rows == 0 || m == 0 || (gradients.data == nullptr && gates.data == nullptr)) return {};
        return this->launch_items(
            h.rows, 1, Sums::shared_bytes_of_stages + shared_size<Quad>(2 * digit_quads), limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const Stages tiles{grid.template shared<Quad>(Sums::unit_quads),
                           grid.template shared<Quad>(2 * Tiles::quads)};
        Quad* digits = grid.template shared<Quad>(2 * digit_quads);
        const Work work = this->item(grid, h.rows, 0, 1);
        this->share(grid, work, tiles, [&](int consumer, int row) {
            consume(grid, work, row, digits + consumer * digit_quads, tiles);
        });
    }

  private:
    using Sums::empty, Sums::full, Sums::of_consumer, Sums::steps;
    using Stages = typename Sums::Stages;
    using Tiles = typename Sums::Tiles;
    using Work = typename Sums::Work;
    static constexpr int one_digit = 64 * columns / 16, digit_quads = digit_count * one_digit;

    // --- a consumer, its 64 rows from `row` on

    template <class Grid>
    FNTK_DEVICE void consume(Grid& grid, const Work& work, int row, Quad* digits,
                             const Stages& tiles) const {
        load_digits(grid, row, digits);
        grid.proxy_fence();
        grid.barrier_sync(of_consumer + grid.warp() / 4 - 1, warpgroup_size);

        std::int32_t sums[columns / 2] = {}, z[units / 2] = {};
        std::uint32_t open[steps][4] = {};
        const std::uint32_t h_tile = grid.shared_address(digits),
                            v_tile = grid.shared_address(tiles.by_unit),
                            av_tile = grid.shared_address(tiles.by_column);
        for (int tile = work.first; tile < work.end; ++tile) {
            const int stage = (tile - work.first) & 1;
            grid.barrier_sync(full + stage, max_threads);
            FNTK_UNROLL
            for (int digit = digit_count - 1; digit >= 0; --digit) {
                grid.wgmma_fence(z);
                FNTK_UNROLL
                for (int i = 0; i < columns / 32; ++i) {
                    const std::uint64_t a = tile_descriptor(h_tile + 16 * (digit * one_digit + 16 * i), 128,
                                                            Tiles::row_stride),
                                        b = tile_descriptor(v_tile + 16 * (stage * Tiles::quads + 16 * i),
                                                            128, Tiles::row_stride);
                    if (digit == digit_count - 1 && i == 0)
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
            if (gradients.data != nullptr)
                Sums::add_gradients(grid, open, av_tile + 16 * stage * Tiles::quads, sums);
            if (tile + 2 < work.end) grid.barrier_arrive(empty + stage, max_threads);
        }
        if (gradients.data != nullptr) this->add_to_rows(grid, work, row, sums);
    }

    /// Quad i of a digit: byte j is column 8·(j % 4) + j / 4 of the 32 or 4 columns on.
    template <class Grid>
    FNTK_DEVICE void load_digits(Grid& grid, int row, Quad* digits) const {
        FNTK_UNROLL_BY(1)
        for (int i = grid.thread() % warpgroup_size; i < one_digit; i += warpgroup_size) {
            const std::int64_t r = row + i % 8 + i / (columns / 2) * 8;
            const int first = i / 8 % (columns / 16) / 2 * 32 + i / 8 % 2 * 4;
            Quad quads[digit_count] = {};
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
            for (int digit = 0; digit < digit_count; ++digit) digits[digit * one_digit + i] = quads[digit];
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
};

}  // namespace fntk::kernels

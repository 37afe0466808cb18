// The gates of a warpgroup's 64 rows of ĥ and of a tile of `units` units on wgmma (warpgroup.hpp):
//     ẑ = ĥ Vᵀ,  gate = ẑ > 0
//     ĥ = h₀ + 256 h₁ (+ 256² h₂): acc = h₂(−Vᵀ), acc = 256 acc + h₁(−Vᵀ), acc = 256 acc + h₀(−Vᵀ); two
//     digits begin with h₁. The digits are A operands in shared memory, written once; gates are the signs
//     of −ẑ
// digits      h₀, h₁ and h₂ in core matrices: a row is a row of ĥ, its columns in the order of −V
// the tile    −V, by_unit of sign_tiles.hpp
// open        the gates as an A operand of the product with by_column: byte j of register 2h + e of lane
//             4g + t is unit 8j + 4h + t of a step of 32, row g + 8e of the warp, −1 where the gate is open
#pragma once

#include "fixed_point.hpp"
#include "sign_tiles.hpp"
#include "warpgroup.hpp"

namespace fntk::kernels {

template <int columns, int units, int digit_count>
struct WgmmaSigns {
    static constexpr int steps = units / 32;                                  // of a tile
    static constexpr int one_digit = 64 * columns / 16;                       // quads
    static constexpr int quads = digit_count * one_digit;                     // of all digits
    static constexpr int row_stride = SignTiles<columns, units>::row_stride;  // of both operands

    Rows<const std::int32_t> h;  // n × p
    Rows<std::uint64_t> gates;   // n × ⌈m/64⌉ words
    std::int64_t m, p;

    /// The digits of rows `row` on. Quad i of one: byte j is column 8·(j % 4) + j / 4 of the 32 or 4
    /// columns on.
    template <class Grid>
    FNTK_DEVICE void load_digits(Grid& grid, int row, Quad* digits) const {
        FNTK_UNROLL_BY(1)
        for (int i = grid.thread() % warpgroup_size; i < one_digit; i += warpgroup_size) {
            const std::int64_t r = row + i % 8 + i / (columns / 2) * 8;
            const int first = i / 8 % (columns / 16) / 2 * 32 + i / 8 % 2 * 4;
            put_digits(r, first, digits + i, one_digit);
        }
    }
    /// 16 columns of row r from `first` on in the order of load_digits: a quad of each digit, a pitch
    /// apart.
    FNTK_DEVICE void put_digits(std::int64_t r, int first, Quad* to, int pitch) const {
        Quad of_digits[digit_count] = {};
        FNTK_UNROLL
        for (int j = 0; j < 16; ++j) {
            const int q = first + 8 * (j % 4) + j / 4;
            std::int32_t rest = r < h.rows && q < p ? h.row(r)[q] : 0;
            FNTK_UNROLL
            for (Quad& quad : of_digits)
                quad.word[j / 4] |= (static_cast<std::uint32_t>(take_low_digit(rest)) & 255U)
                                    << (8 * (j % 4));
        }
        FNTK_UNROLL
        for (int digit = 0; digit < digit_count; ++digit) to[digit * pitch] = of_digits[digit];
    }

    /// open of the tile at the shared address `tile`, digits at `digits`; z is overwritten. Units ≥ m are
    /// closed.
    template <class Grid>
    FNTK_DEVICE void open_gates(Grid& grid, std::uint32_t digits, std::uint32_t tile, int first_unit,
                                std::int32_t (&z)[units / 2], std::uint32_t (&open)[steps][4]) const {
        const std::uint64_t a = tile_descriptor(digits, 128, row_stride),
                            b = tile_descriptor(tile, 128, row_stride);
        FNTK_UNROLL
        for (int digit = digit_count - 1; digit >= 0; --digit) {
            grid.wgmma_fence(z);
            FNTK_UNROLL
            for (int i = 0; i < columns / 32; ++i) {
                const std::uint64_t of_digit = tile_after(a, 16 * (digit * one_digit + 16 * i)),
                                    of_tile = tile_after(b, 16 * 16 * i);
                if (digit == digit_count - 1 && i == 0)
                    grid.template wgmma<false>(z, of_digit, of_tile);
                else
                    grid.template wgmma<true>(z, of_digit, of_tile);
            }
            grid.wgmma_commit();
            grid.template wgmma_wait<0>(z);
            if (digit == 0) break;
            FNTK_UNROLL
            for (std::int32_t& sum : z)
                sum = static_cast<std::int32_t>(static_cast<std::uint32_t>(sum) << 8);
        }
        find_open(grid, z, first_unit, open);
    }

    /// The gates of sums −ẑ in the registers of wgmma.
    template <class Grid>
    FNTK_DEVICE void find_open(Grid& grid, const std::int32_t (&z)[units / 2], int first_unit,
                               std::uint32_t (&open)[steps][4]) const {
        FNTK_UNROLL
        for (int i = 0; i < 4 * steps; ++i) {
            const std::int32_t* sum = z + i / 4 * 16 + i % 4 / 2 * 8 + i % 2 * 2;
            open[i / 4][i % 4] = sign_masks(sum[0], sum[1], sum[4], sum[5]);
        }
        const int left = static_cast<int>(m) - first_unit;
        if (left < units) {
            FNTK_UNROLL
            for (int i = 0; i < 4 * steps; ++i)
                open[i / 4][i % 4] &=
                    mask_bytes(low_bits(left - i / 4 * 32) >> (i % 4 / 2 * 4 + grid.lane() % 4));
        }
    }

    /// Rows row + 16w + group and 8 more. The four lanes of a group put their bits together, and write the
    /// tile's words in turn.
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

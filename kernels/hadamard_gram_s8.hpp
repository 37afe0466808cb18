// The fused Gram (hadamard_tiles.hpp) in float32, by products of int8.
// The operands are whole numbers of three digits, v = 65536 v₂ + 256 v₁ + v₀ times a unit of their row
// (digit_tiles.hpp). Of <v, w> six of nine products are kept, exact in int32:
//     65536·[ 65536 <v₂, w₂> + 256 (<v₂, w₁> + <v₁, w₂>) + <v₂, w₀> + <v₁, w₁> + <v₀, w₂> ]
// What is left out is below 2^−22 of d·|v|_max |w|_max, as are the roundings of v and w: a float32 Gram,
// whose errors are relative to the largest entries of the two rows.
//
// A block of 8 warps has a tile of 128 × 128 elements of K, a warp 64 × 32 of it, three sums an element in
// registers. Slices of 32 columns of the operands go through shared memory, four of them, of which three
// are on their way while one is multiplied; one barrier a slice. A lane takes 8 bytes at a time, and the 96
// bytes of a row put 16 lanes, which are served together, into different banks. Every `carry_steps` slices
// what exceeds a byte moves on to the next sum, so that sums stay within int32.
//
// A finished tile goes through shared memory, so that whole sectors of K are written, also of its mirror
// image. The first product waits in its place in K for the second.
#pragma once

#include "digit_tiles.hpp"
#include "hadamard_tiles.hpp"

namespace fntk::kernels {

struct HadamardGramS8 : HadamardTiles<float, DigitTiles::rows> {
    static constexpr int max_threads = 256;

    DigitTiles rows[2], cols[2];  // X and G, X' and G'

    Launch launch(const DeviceLimits& limits) const {
        return launch_tiles(max_threads, shared_size<Quad>(2 * stages * quads), limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        Quad* slices = grid.template shared<Quad>(2 * stages * quads);
        auto* tile = reinterpret_cast<std::uint32_t*>(slices);  // floats: bits
        for_each_tile(grid, [&](std::int64_t row0, std::int64_t col0) {
            // A row takes 96 bytes of digits at least: no GPU has room for 2^31 of them.
            const int i0 = static_cast<int>(row0), j0 = static_cast<int>(col0);
            FNTK_UNROLL_BY(1)
            for (int f = 0; f < 2; ++f) {
                multiply(grid, slices, rows[f], cols[f], i0, j0);
                for_each_element(grid, i0, j0, [&](int i, int j, int place) {
                    float value = in_units(tile[place], rows[f].units[i], cols[f].units[j]);
                    if (f == 1) value *= alpha * k.row(i)[j];
                    k.row(i)[j] = value;
                    tile[place] = bits_of(value);
                });
                grid.sync();  // all of the tile has its values
                if (f == 1 && symmetric) mirror(grid, tile, i0, j0);
                grid.sync();  // slices may come
            }
        });
    }

  private:
    static constexpr int stages = 4, quads = DigitTiles::quads;
    static constexpr int pitch = tile_size + 8;        // words from row to row of a finished tile
    static constexpr std::int64_t carry_steps = 1024;  // 2^15 columns: 2^30 and less in the last sum

    /// at[s][i][j]: sum s of the warp's rows from 16i and columns from 8j on, in the registers of mma_s8;
    /// the most significant first.
    struct Sums {
        std::int32_t at[3][4][4][4];
    };

    /// The products of rows of the tile at (i0, j0), in units of those, take the place of the slices.
    template <class Grid>
    FNTK_DEVICE void multiply(Grid& grid, Quad* slices, const DigitTiles& left, const DigitTiles& right,
                              int i0, int j0) const {
        Quad *a = slices, *b = slices + stages * quads;
        const Quad *from_a = left.tile(i0, 0) + grid.thread(), *from_b = right.tile(j0, 0) + grid.thread();
        const int steps = static_cast<int>(left.steps);  // of 32 columns
        const auto begin = [&](int s) {
            const int place = s % stages * quads + grid.thread();
            if (s < steps) {
                FNTK_UNROLL
                for (int e = 0; e < quads; e += max_threads) {
                    grid.copy_async(a + place + e, from_a + e, 16);
                    grid.copy_async(b + place + e, from_b + e, 16);
                }
                from_a += quads;
                from_b += quads;
            }
            grid.commit_copies();
        };
        Sums sums{};
        FNTK_UNROLL_BY(1)
        for (int s = 0; s < stages - 1; ++s) begin(s);
        FNTK_UNROLL_BY(1)
        for (int s = 0; s < steps; ++s) {
            grid.template wait_copies<stages - 2>();
            grid.sync();  // slice s is there, and the slice before it is read: its place is free
            begin(s + stages - 1);
            const int place = s % stages * quads;
            accumulate(grid, a + place, b + place, sums);
            if (s % carry_steps == carry_steps - 1) carry(sums);
        }
        grid.sync();  // the last slice is read
        constexpr int pairs = pitch / 2;
        const int thread = grid.late_thread(), warp = thread / warp_size, lane = thread % warp_size;
        Pair* own =
            reinterpret_cast<Pair*>(slices) + (warp / 4 * 64 + lane / 4) * pairs + warp % 4 * 16 + lane % 4;
        FNTK_UNROLL
        for (int e = 0; e < 64; e += 2)
            own[(e / 16 * 16 + e % 4 / 2 * 8) * pairs + e / 4 % 4 * 4] = {
                {bits_of(whole_sum(sums, e)), bits_of(whole_sum(sums, e + 1))}};
        grid.sync();
    }
    FNTK_DEVICE static float whole_sum(const Sums& sums, int e) {
        const auto part = [&](int s) { return static_cast<float>(sums.at[s][e / 16][e / 4 % 4][e % 4]); };
        return part(0) * 65536.0F + (part(1) * 256.0F + part(2));
    }

    template <class Grid>
    FNTK_DEVICE static void accumulate(Grid& grid, const Quad* a, const Quad* b, Sums& sums) {
        constexpr int row_pairs = DigitTiles::row_bytes / 8, digit_pairs = DigitTiles::cols / 8;
        const int group = grid.lane() / 4, t = grid.lane() % 4;
        const Pair* of_rows =
            reinterpret_cast<const Pair*>(a) + (grid.warp() / 4 * 64 + group) * row_pairs + t;
        const Pair* of_cols =
            reinterpret_cast<const Pair*>(b) + (grid.warp() % 4 * 32 + group) * row_pairs + t;
        Pair right[3][4];
        FNTK_UNROLL
        for (int l = 0; l < 12; ++l)
            right[l / 4][l % 4] = of_cols[8 * (l % 4) * row_pairs + l / 4 * digit_pairs];
        FNTK_UNROLL
        for (int i = 0; i < 4; ++i) {
            FNTK_UNROLL
            for (int v = 0; v < 3; ++v) {  // the digit of the rows, the most significant first
                const Pair upper = of_rows[16 * i * row_pairs + v * digit_pairs],
                           lower = of_rows[(16 * i + 8) * row_pairs + v * digit_pairs];
                FNTK_UNROLL
                for (int w = 0; w < 3 - v; ++w) FNTK_UNROLL
                for (int j = 0; j < 4; ++j)
                    grid.mma_s8(sums.at[v + w][i][j],
                                {upper.word[0], lower.word[0], upper.word[1], lower.word[1]},
                                {right[w][j].word[0], right[w][j].word[1]});
            }
        }
    }

    FNTK_DEVICE static void carry(Sums& sums) {
        FNTK_UNROLL
        for (int s = 2; s > 0; --s) FNTK_UNROLL
        for (int e = 0; e < 64; ++e) {
            std::int32_t& low = sums.at[s][e / 16][e / 4 % 4][e % 4];
            const std::int32_t high = low >> 8;
            low -= high * 256;
            sums.at[s - 1][e / 16][e / 4 % 4][e % 4] += high;
        }
    }

    /// f(i, j, place in the tile) for the elements that are this block's to write, a row after the other.
    template <class Grid, class F>
    FNTK_DEVICE void for_each_element(Grid& grid, int i0, int j0, const F& f) const {
        const int thread = grid.late_thread(), col = thread % tile_size;
        FNTK_UNROLL_BY(4)
        for (int row = thread / tile_size; row < tile_size; row += max_threads / tile_size)
            if (is_own(i0 + row, j0 + col)) f(i0 + row, j0 + col, row * pitch + col);
    }
    /// A warp takes 8 rows and 4 columns at a time, which are 4 sectors of the mirror image.
    template <class Grid>
    FNTK_DEVICE void mirror(Grid& grid, const std::uint32_t* tile, int i0, int j0) const {
        const int thread = grid.late_thread(), lane = thread % warp_size;
        FNTK_UNROLL_BY(4)
        for (int part = thread / warp_size; part < tile_size * tile_size / warp_size;
             part += max_threads / warp_size) {
            const int row = part % (tile_size / 8) * 8 + lane % 8,
                      col = part / (tile_size / 8) * 4 + lane / 8;
            const int i = i0 + row, j = j0 + col;
            if (is_own(i, j) && i != j) k.row(j)[i] = float_of(tile[row * pitch + col]);
        }
    }

    /// sum·2^(16 + u + u'); NaN where a row is not finite.
    FNTK_DEVICE static float in_units(std::uint32_t sum, std::int32_t u, std::int32_t other) {
        if (u == DigitTiles::not_finite || other == DigitTiles::not_finite) return float_of(0x7FFFFFFFU);
        const int exponent = 16 + u + other;
        return float_of(sum) * power_of_two(exponent / 2) * power_of_two(exponent - exponent / 2);
    }
    /// 2^e, and 2^−126 below that: where it is both factors, the product is 0 anyhow.
    FNTK_DEVICE static float power_of_two(int e) {
        return float_of(static_cast<std::uint32_t>(larger(e, -126) + 127) << 23);
    }
    FNTK_DEVICE static float float_of(std::uint32_t bits) {
#ifdef __CUDA_ARCH__
        return __uint_as_float(bits);
#else
        return __builtin_bit_cast(float, bits);
#endif
    }
    FNTK_DEVICE static std::uint32_t bits_of(float v) {
#ifdef __CUDA_ARCH__
        return __float_as_uint(v);
#else
        return __builtin_bit_cast(std::uint32_t, v);
#endif
    }
};

}  // namespace fntk::kernels

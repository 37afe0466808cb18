// The fused Gram of hadamard_digits.hpp on `mma.sync`.
// A block of 8 warps has a tile of 128 × 128 elements of K, a warp 64 × 32 of it, three sums an element in
// registers. Slices of 32 columns of the operands go through shared memory, four of them, of which three
// are on their way while one is multiplied; one barrier a slice. The lanes of a warp read the 128 bytes of
// a core matrix, a word each, which is a register of `mma_s8` as it stands.
//
// A finished tile goes through shared memory, so that whole sectors of K are written, also of its mirror
// image. The first product waits in its place in K for the second.
#pragma once

#include "hadamard_digits.hpp"

namespace fntk::kernels {

struct HadamardGramS8 : HadamardDigits {
    static constexpr int max_threads = 256;

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
                    float value = in_units(float_of(tile[place]), rows[f].units[i], cols[f].units[j]);
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
    static constexpr int pitch = tile_size + 8;  // words from row to row of a finished tile

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
            if (s % carry_steps == carry_steps - 1) carry_all(sums);
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
        const auto part = [&](int s) { return sums.at[s][e / 16][e / 4 % 4][e % 4]; };
        return digit_sum(part(0), part(1), part(2));
    }

    template <class Grid>
    FNTK_DEVICE static void accumulate(Grid& grid, const Quad* a, const Quad* b, Sums& sums) {
        constexpr int core = DigitTiles::leading / 4, cores = DigitTiles::stride / 4,
                      digit = DigitTiles::digit_bytes / 4;  // words
        const std::uint32_t* of_rows =
            reinterpret_cast<const std::uint32_t*>(a) + grid.warp() / 4 * (8 * cores) + grid.lane();
        const std::uint32_t* of_cols =
            reinterpret_cast<const std::uint32_t*>(b) + grid.warp() % 4 * (4 * cores) + grid.lane();
        std::uint32_t right[3][4][2];
        FNTK_UNROLL
        for (int l = 0; l < 24; ++l)
            right[l / 8][l / 2 % 4][l % 2] = of_cols[l / 8 * digit + l / 2 % 4 * cores + l % 2 * core];
        FNTK_UNROLL
        for (int i = 0; i < 4; ++i) {
            FNTK_UNROLL
            for (int v = 0; v < 3; ++v) {  // the digit of the rows, the most significant first
                const std::uint32_t* from = of_rows + v * digit + 2 * i * cores;
                const std::uint32_t left[4] = {from[0], from[cores], from[core], from[cores + core]};
                FNTK_UNROLL
                for (int w = 0; w < 3 - v; ++w) FNTK_UNROLL
                for (int j = 0; j < 4; ++j) grid.mma_s8(sums.at[v + w][i][j], left, right[w][j]);
            }
        }
    }

    FNTK_DEVICE static void carry_all(Sums& sums) {
        FNTK_UNROLL
        for (int s = 2; s > 0; --s) FNTK_UNROLL
        for (int e = 0; e < 64; ++e)
            carry_digit(sums.at[s - 1][e / 16][e / 4 % 4][e % 4], sums.at[s][e / 16][e / 4 % 4][e % 4]);
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
};

}  // namespace fntk::kernels

// The fused Gram (hadamard_tiles.hpp) in float32, by tf32 products.
// A float is v = hi + lo + rest, hi its nearest tf32 (11 bits) and lo that of v − hi without the bits
// beyond: |rest| ≤ 2^−21 |v|. Three products lo·hi', hi·lo', hi·hi' are those of floats to 2^−20 + 2^−22 of
// each. Matrix units cut their sums instead of rounding them, so that a slice of 32 columns is summed from
// zero (12 cuts a sum) and added to the whole by a rounded float addition: errors are those of float sums.
// NaN stays NaN by lo; infinity becomes NaN, and so does what rounds to it: from (2 − 2^−11)·2^127 on.
//
// A block of 8 warps has a tile of 128 × 64 elements of K, a warp 32 × 32 of it, as 2 × 4 products 16 × 8
// × 8. Slices of 32 columns of the operands go through shared memory, row by row, two buffers, the next
// slice on its way in registers while the last is multiplied, one barrier a slice. Which columns a product
// takes is free, as long as both operands take the same: lane 4g + t has columns 4t to 4t + 3 of 16, read
// as one quad, and hands two of them to each of two products. In odd rows the halves of a slice change
// places: 8 lanes, which are served together, read 2 rows without a bank conflict.
#pragma once

#include "hadamard_tiles.hpp"

namespace fntk::kernels {

struct alignas(16) FloatQuad {
    float at[4];
};

FNTK_DEVICE std::uint32_t bits_of_float(float v) {
#ifdef __CUDA_ARCH__
    return __float_as_uint(v);
#else
    return __builtin_bit_cast(std::uint32_t, v);
#endif
}
FNTK_DEVICE float float_of_bits(std::uint32_t bits) {
#ifdef __CUDA_ARCH__
    return __uint_as_float(bits);
#else
    return __builtin_bit_cast(float, bits);
#endif
}
/// The nearest tf32, halves away from zero, of a finite float; and v without the bits beyond a tf32.
FNTK_DEVICE std::uint32_t nearest_tf32(float v) { return (bits_of_float(v) + 0x1000U) & 0xFFFFE000U; }
FNTK_DEVICE std::uint32_t cut_tf32(float v) { return bits_of_float(v) & 0xFFFFE000U; }

struct HadamardGramTf32 : HadamardTiles<float, 128, 64> {
    static constexpr int max_threads = 256;
    static constexpr int tile_rows = 128, tile_cols = 64, slice = 32;

    Launch launch(const DeviceLimits& limits) const {
        return launch_tiles(
            max_threads, shared_size<FloatQuad>(2 * quads_a) + shared_size<FloatQuad>(2 * quads_b), limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        FloatQuad* a = grid.template shared<FloatQuad>(2 * quads_a);
        FloatQuad* b = grid.template shared<FloatQuad>(2 * quads_b);
        for_each_tile(grid, [&](std::int64_t i0, std::int64_t j0) {
            float xx[2][4][4] = {}, gg[2][4][4] = {};
            multiply(grid, a, b, x, x_cols, i0, j0, xx);
            multiply(grid, a, b, g, g_cols, i0, j0, gg);
            write_tile(grid, i0, j0, xx, gg);
        });
    }

  private:
    static constexpr int quads_a = tile_rows * slice / 4, quads_b = tile_cols * slice / 4;

    /// Four numbers as hi and lo.
    struct Split {
        std::uint32_t hi[4], lo[4];
    };
    FNTK_DEVICE static Split split(const FloatQuad& v) {
        Split s;
        FNTK_UNROLL
        for (int l = 0; l < 4; ++l) {
            s.hi[l] = nearest_tf32(v.at[l]);
            s.lo[l] = cut_tf32(v.at[l] - float_of_bits(s.hi[l]));
        }
        return s;
    }

    /// Quad `quad` of row `row` of a slice.
    FNTK_DEVICE static int place(int row, int quad) {
        return row * (slice / 4) + (quad ^ ((row & 1) << 2));
    }

    /// Where a thread's quads of a slice come from: rows of `from` that stand 32 apart, the first `valid`
    /// of them inside it, four columns on from `col`.
    struct Source {
        const float* first;
        std::int64_t apart, cols;
        int col, valid;
        bool aligned;  // quads stand on multiples of 16 bytes

        FNTK_DEVICE Source(const Rows<const float>& from, std::int64_t row0, int thread)
            : apart(max_threads / 8 * from.stride),
              cols(from.cols),
              col(thread % 8 * 4),
              aligned((reinterpret_cast<std::uintptr_t>(from.data) & 15U) == 0 && (from.stride & 3) == 0) {
            const std::int64_t row = row0 + thread / 8, left = from.rows - row;
            valid =
                left <= 0 ? 0 : static_cast<int>(smaller<std::int64_t>(8, ceil_div(left, max_threads / 8)));
            first = from.row(valid > 0 ? row : 0) + col;
        }

        /// Those of the columns q to q + 31; zero outside. One read each, but for the last columns and rows
        /// that are not aligned.
        template <int count>
        FNTK_DEVICE void fetch(std::int64_t q, FloatQuad (&held)[count]) const {
            if (aligned && q + slice <= cols) {
                FNTK_UNROLL
                for (int e = 0; e < count; ++e) {
                    held[e] = {};
                    if (e < valid) held[e] = *reinterpret_cast<const FloatQuad*>(first + e * apart + q);
                }
                return;
            }
            FNTK_UNROLL
            for (int e = 0; e < count; ++e) FNTK_UNROLL
            for (int l = 0; l < 4; ++l)
                held[e].at[l] = e < valid && q + col + l < cols ? first[e * apart + q + l] : 0;
        }
    };
    template <int count>
    FNTK_DEVICE static void put(FloatQuad* to, int thread, const FloatQuad (&held)[count]) {
        FNTK_UNROLL
        for (int e = 0; e < count; ++e) to[place(thread / 8 + e * (max_threads / 8), thread % 8)] = held[e];
    }

    /// sum += this warp's part of the tile at (i0, j0) of `left` `right`ᵀ.
    template <class Grid>
    FNTK_DEVICE void multiply(Grid& grid, FloatQuad* a, FloatQuad* b, const Rows<const float>& left,
                              const Rows<const float>& right, std::int64_t i0, std::int64_t j0,
                              float (&sum)[2][4][4]) const {
        const int thread = grid.thread();
        FloatQuad held_a[quads_a / max_threads], held_b[quads_b / max_threads];
        const Source from_a(left, i0, thread), from_b(right, j0, thread);
        from_a.fetch(0, held_a);
        from_b.fetch(0, held_b);
        int buffer = 0;
        for (std::int64_t q = 0; q < left.cols; q += slice, buffer ^= 1) {
            FloatQuad* slice_a = a + buffer * quads_a;
            FloatQuad* slice_b = b + buffer * quads_b;
            put(slice_a, thread, held_a);
            put(slice_b, thread, held_b);
            grid.sync();  // the slice is there, and the slice before it is read: its buffer is free
            if (q + slice < left.cols) {
                from_a.fetch(q + slice, held_a);
                from_b.fetch(q + slice, held_b);
            }
            accumulate(grid, slice_a, slice_b, sum);
        }
        grid.sync();  // the last slice is read: the next product starts with the first buffer
    }

    template <class Grid>
    FNTK_DEVICE static void accumulate(Grid& grid, const FloatQuad* a, const FloatQuad* b,
                                       float (&sum)[2][4][4]) {
        const int group = grid.lane() / 4, t = grid.lane() % 4;
        const int row = grid.warp() / 2 * 32 + group, col = grid.warp() % 2 * 32 + group;
        float part[2][4][4] = {};
        FNTK_UNROLL_BY(1)
        for (int half = 0; half < 2; ++half) {
            Split left[2][2], right[4];
            FNTK_UNROLL
            for (int i = 0; i < 4; ++i)
                left[i / 2][i % 2] = split(a[place(row + 16 * (i / 2) + 8 * (i % 2), 4 * half + t)]);
            FNTK_UNROLL
            for (int j = 0; j < 4; ++j) right[j] = split(b[place(col + 8 * j, 4 * half + t)]);
            FNTK_UNROLL
            for (int step = 0; step < 6; ++step) {  // two columns of the quads by three products
                const int at = step / 3 * 2, product = step % 3;
                FNTK_UNROLL
                for (int tile = 0; tile < 8; ++tile) {
                    const Split &upper = left[tile / 4][0], &lower = left[tile / 4][1],
                                &other = right[tile % 4];
                    const std::uint32_t(&above)[4] = product == 0 ? upper.lo : upper.hi;
                    const std::uint32_t(&below)[4] = product == 0 ? lower.lo : lower.hi;
                    const std::uint32_t(&beside)[4] = product == 1 ? other.lo : other.hi;
                    grid.mma_tf32(part[tile / 4][tile % 4],
                                  {above[at], below[at], above[at + 1], below[at + 1]},
                                  {beside[at], beside[at + 1]});
                }
            }
        }
        FNTK_UNROLL
        for (int e = 0; e < 32; ++e) sum[e / 16][e / 4 % 4][e % 4] += part[e / 16][e / 4 % 4][e % 4];
    }

    template <class Grid>
    FNTK_DEVICE void write_tile(Grid& grid, std::int64_t i0, std::int64_t j0, const float (&xx)[2][4][4],
                                const float (&gg)[2][4][4]) const {
        i0 += grid.warp() / 2 * 32 + grid.lane() / 4;
        j0 += grid.warp() % 2 * 32 + grid.lane() % 4 * 2;
        FNTK_UNROLL
        for (int e = 0; e < 32; ++e)
            write(i0 + e / 16 * 16 + e % 4 / 2 * 8, j0 + e / 4 % 4 * 8 + e % 2,
                  xx[e / 16][e / 4 % 4][e % 4], gg[e / 16][e / 4 % 4][e % 4]);
    }
};

}  // namespace fntk::kernels

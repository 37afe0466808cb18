// The fused Gram of hadamard_digits.hpp, the same bits, on the matrix units of compute capability 9.0
// (warpgroup.hpp).
// A block has a multiprocessor to itself and takes tiles of 128 × 128 elements of K in turn
// (digit_product.hpp). Operands of the next tile come while this one is finished.
//
// A thread keeps its elements of the first product in shared memory until the second is there, then those
// of K, which it writes while the first products of the next tile are under way: the matrix units wait for
// neither K's memory nor its addresses. Lanes of four write eight neighbours of a row of K, lanes of eight
// as many of its mirror image: whole sectors.
//
// Shared memory:
//     slices     stages × (128 rows, then 128 columns, by 32) of three digits
//     kept       64 × 256 elements: number e of each consuming thread
//     scales     of a consumer, two tiles in turn, of X and G: 2^u of 128 columns and 2^(u + 16) of its 64
//                rows; 0 where |u| > 60, for whose elements the units are read
#pragma once

#include "digit_product.hpp"
#include "hadamard_digits.hpp"

namespace fntk::kernels {

struct HadamardGramWgmma : HadamardDigits {
    static constexpr int max_threads = DigitProduct::max_threads;

    Launch launch(const DeviceLimits& limits) const {
        return {smaller<std::int64_t>(tiles, limits.multiprocessors), max_threads,
                shared_size<Quad>(stages * stage_quads) + shared_size<float>(elements * consumers) +
                    shared_size<float>(4 * tile_scales)};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        Quad* slices = grid.template shared<Quad>(stages * stage_quads);
        float* kept = grid.template shared<float>(elements * consumers);
        float* scales = grid.template shared<float>(4 * tile_scales);
        if (grid.warp() < 4) {
            grid.template give_registers<40>();
            produce(grid, slices);
        } else {
            grid.template take_registers<232>();
            const int consumer = grid.shuffle(grid.warp() / 4 - 1, 0);
            consume(grid, consumer, slices, kept, scales + 2 * consumer * tile_scales);
        }
    }

  private:
    using Product = DigitProduct;
    using Stages = Product::Stages;
    using Sums = Product::Sums;
    static constexpr int stages = Product::stages, ahead = 1, quads = Product::quads,
                         stage_quads = Product::stage_quads, elements = Product::elements;
    static constexpr int consumers = 2 * warpgroup_size;  // threads
    static constexpr int product_scales = 192, tile_scales = 2 * product_scales;

    /// All that the first warpgroup does. A step is handed over when `ahead` more have begun.
    template <class Grid>
    FNTK_DEVICE void produce(Grid& grid, Quad* slices) const {
        std::int64_t step = 0;
        for_each_tile(grid, [&](std::int64_t i0, std::int64_t j0) {
            FNTK_UNROLL_BY(1)
            for (int f = 0; f < 2; ++f) {
                const Quad *a = rows[f].tile(i0, 0) + grid.thread(),
                           *b = cols[f].tile(j0, 0) + grid.thread();
                FNTK_UNROLL_BY(1)
                for (std::int64_t s = 0; s < rows[f].steps; ++s, ++step, a += quads, b += quads) {
                    Stages::wait_for_free(grid, step);
                    Quad* to = slices + Stages::of(step) * stage_quads + grid.thread();
                    FNTK_UNROLL
                    for (int e = 0; e < quads; e += warpgroup_size) {
                        grid.copy_async(to + e, a + e, 16);
                        grid.copy_async(to + quads + e, b + e, 16);
                    }
                    grid.commit_copies();
                    grid.template wait_copies<ahead>();
                    if (step >= ahead) Stages::hand_over(grid, step - ahead);
                }
            }
        });
        grid.template wait_copies<0>();
        for (std::int64_t s = larger<std::int64_t>(step - ahead, 0); s < step; ++s)
            Stages::hand_over(grid, s);
    }

    /// Consumer i = 0, 1 with rows 64i to 64i + 63 of each tile.
    template <class Grid>
    FNTK_DEVICE void consume(Grid& grid, int i, const Quad* slices, float* kept, float* scales) const {
        const std::uint32_t address = grid.shared_address(slices);
        float* own = kept + warpgroup_size * i + grid.thread() % warpgroup_size;
        const std::int64_t of_block = (tiles - grid.block() - 1) / grid.blocks() + 1,
                           last = of_block * (rows[0].steps + rows[1].steps);
        // So many of the last tile's pieces a step that its first product has time for all.
        const int pieces =
            static_cast<int>(ceil_div(elements / piece, larger<std::int64_t>(rows[0].steps, 1)));
        std::int64_t step = 0;
        bool odd = false;
        Finished tile{nullptr, nullptr, elements};
        for_each_tile(grid, [&](std::int64_t i0, std::int64_t j0) {
            const Part part{i0 + 64 * i, j0, i, scales + (odd ? tile_scales : 0)};
            odd = !odd;
            load_scales(grid, part);
            Sums sums{};
            Product::multiply(grid, i, address, rows[0].steps, last, step, sums,
                              [&] { write(own, tile, pieces); });
            write(own, tile, elements / piece);
            finish<0>(grid, part, sums, own);
            sums = {};
            Product::multiply(grid, i, address, rows[1].steps, last, step, sums);
            finish<1>(grid, part, sums, own);
            tile = finished(grid, part, own);
        });
        write(own, tile, elements / piece);
    }

    /// What a consumer has of a tile.
    struct Part {
        std::int64_t row0, j0;
        int consumer;
        float* scales;
    };
    /// Seen by the consumer's threads, which have all read those of the tile before.
    template <class Grid>
    FNTK_DEVICE void load_scales(Grid& grid, const Part& part) const {
        const auto scale = [](std::int32_t u, int more) {
            return !is_plain_unit(u) ? 0.0F : float_of(static_cast<std::uint32_t>(u + more + 127) << 23);
        };
        const int thread = grid.thread() % warpgroup_size;
        FNTK_UNROLL
        for (int f = 0; f < 2; ++f) {
            float* to = part.scales + f * product_scales + thread;
            to[0] = scale(cols[f].units[part.j0 + thread], 0);
            if (thread < 64) to[128] = scale(rows[f].units[part.row0 + thread], 16);
        }
        grid.barrier_sync(Product::of_consumer + part.consumer, warpgroup_size);
    }

    /// The elements of product f = 0, X, are kept, times alpha; with those of G they are elements of K.
    template <int f, class Grid>
    FNTK_DEVICE void finish(Grid& grid, const Part& part, const Sums& sums, float* own) const {
        const float *of_cols = part.scales + f * product_scales, *of_rows = of_cols + 128;
        const auto keep = [&](int e, float value) {
            float& at = own[consumers * e];
            at = f == 0 ? alpha * value : value * at;
        };
        // The scales that this warp's elements have, each looked at by one lane.
        bool plain = of_rows[grid.warp() % 4 * 16 + grid.lane() % 16] != 0;
        FNTK_UNROLL
        for (int c = 0; c < 128; c += warp_size) plain = plain && of_cols[c + grid.lane()] != 0;
        if (grid.ballot(plain) == ~std::uint32_t{0}) {
            const float of_row[2] = {of_rows[Product::row_of(grid, 0)], of_rows[Product::row_of(grid, 2)]};
            FNTK_UNROLL
            for (int e = 0; e < elements; ++e)
                keep(e, sums.whole(e) * of_row[e / 2 % 2] * of_cols[Product::col_of(grid, e)]);
        } else {
            FNTK_UNROLL
            for (int e = 0; e < elements; ++e)
                keep(e, in_units(sums.whole(e), rows[f].units[part.row0 + Product::row_of(grid, e)],
                                 cols[f].units[part.j0 + Product::col_of(grid, e)]));
        }
    }

    /// Where the thread's elements of a tile go from number `next` on: `to` and `mirrored`, none if K has
    /// no mirror image.
    struct Finished {
        float *to, *mirrored;
        int next;
    };
    static constexpr int piece = 4;  // elements, two neighbours in each of two rows

    /// A tile that is all the block's own, with K's rows aligned to pairs, needs no care. Any other is
    /// written at once.
    template <class Grid>
    FNTK_DEVICE Finished finished(Grid& grid, const Part& part, const float* own) const {
        const std::int64_t row = part.row0 + Product::row_of(grid, 0),
                           col = part.j0 + Product::col_of(grid, 0);
        const bool pairs = k.stride % 2 == 0 && reinterpret_cast<std::uintptr_t>(k.data) % 8 == 0,
                   inside = part.row0 + 64 <= k.rows && part.j0 + 128 <= k.cols &&
                            !(symmetric && part.j0 + 128 > part.row0);
        if (pairs && inside) return {k.row(row) + col, symmetric ? k.row(col) + row : nullptr, 0};
        FNTK_UNROLL_BY(1)
        for (int e = 0; e < elements; ++e) {
            const std::int64_t i = part.row0 + Product::row_of(grid, e),
                               j = part.j0 + Product::col_of(grid, e);
            if (!is_own(i, j)) continue;
            const float value = own[consumers * e];
            k.row(i)[j] = value;
            if (symmetric && i != j) k.row(j)[i] = value;
        }
        return {nullptr, nullptr, elements};
    }
    /// The next pieces, at most `pieces` of them.
    FNTK_DEVICE void write(const float* own, Finished& tile, int pieces) const {
        FNTK_UNROLL_BY(1)
        for (; pieces > 0 && tile.next < elements; --pieces, tile.next += piece) {
            FNTK_UNROLL
            for (int half = 0; half < 2; ++half) {
                const float first = own[consumers * (tile.next + 2 * half)],
                            second = own[consumers * (tile.next + 2 * half + 1)];
                *reinterpret_cast<Pair*>(tile.to +
                                         8 * half * k.stride) = {{bits_of(first), bits_of(second)}};
                if (!symmetric) continue;
                tile.mirrored[8 * half] = first;
                tile.mirrored[k.stride + 8 * half] = second;
            }
            tile.to += 8;
            if (symmetric) tile.mirrored += 8 * k.stride;
        }
    }
};

}  // namespace fntk::kernels

// The fused Gram of hadamard_digits.hpp, the same bits, on the matrix units of compute capability 9.0
// (warpgroup.hpp).
// A block has a multiprocessor to itself and takes tiles of 128 × 128 elements of K in turn
// (digit_product.hpp). A consuming thread keeps its elements of the first product in shared memory until
// the second is there, and leaves those of K in their place: the producing warpgroup writes them
// (gram_tile_writer.hpp) between the steps that it brings of the next tile's first product, while the
// consumers multiply.
//
// Named barriers beside those of the steps: `whole`, when all elements of K are in `kept`; `free`, one for
// each consumer, when they have been read, to which the producer comes once a tile, of its own accord at
// the first. A consumer waits for `free` between the first product and its end; its threads' scales are
// seen by all of them from there on.
//
// Shared memory:
//     slices     stages × (128 rows, then 128 columns, by 32) of three digits
//     kept       128 × 128 elements, row-major
//     scales     of a consumer, two tiles in turn, of X and G: 2^u of 128 columns and 2^(u + 16) of its 64
//                rows; 0 where |u| > 60, for whose elements the units are read
#pragma once

#include "digit_product.hpp"
#include "gram_tile_writer.hpp"

namespace fntk::kernels {

struct HadamardGramWgmma : HadamardDigits {
    static constexpr int max_threads = DigitProduct::max_threads;

    Launch launch(const DeviceLimits& limits) const {
        return {smaller<std::int64_t>(tiles, limits.multiprocessors), max_threads,
                shared_size<Quad>(stages * stage_quads) + shared_size<float>(Writer::floats) +
                    shared_size<float>(4 * tile_scales)};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        Quad* slices = grid.template shared<Quad>(stages * stage_quads);
        float* kept = grid.template shared<float>(Writer::floats);
        float* scales = grid.template shared<float>(4 * tile_scales);
        if (grid.warp() < 4) {
            grid.template give_registers<40>();
            produce(grid, slices, kept);
        } else {
            grid.template take_registers<232>();
            const int consumer = grid.shuffle(grid.warp() / 4 - 1, 0);
            consume(grid, consumer, slices, kept, scales + 2 * consumer * tile_scales);
        }
    }

  private:
    using Product = DigitProduct;
    using Sums = Product::Sums;
    using Writer = GramTileWriter;
    static constexpr int stages = Product::stages, ahead = 1, quads = Product::quads,
                         stage_quads = Product::stage_quads, elements = Product::elements;
    static constexpr int free = Product::of_consumer, whole = Product::of_producer;  // barriers
    static constexpr int product_scales = 192, tile_scales = 2 * product_scales;

    /// All that the first warpgroup does. A step is handed over when `ahead` more have begun. The tile
    /// before is written from step `begin` of a tile on: to bring it the producer has waited, for a stage
    /// that the consumers leave in this tile, or `stages` steps ago in the one before. It is all written
    /// before a step for whose stage the consumers would have to begin the second product.
    template <class Grid>
    FNTK_DEVICE void produce(Grid& grid, Quad* slices, const float* kept) const {
        const int begin = rows[0].steps > 0 ? stages : stages - 1;
        const auto share =
            static_cast<int>(ceil_div(Writer::shares, larger<std::int64_t>(rows[0].steps - stages, 1)));
        Writer writer{*this, kept};
        std::int64_t step = 0;
        for_each_tile(grid, [&](std::int64_t i0, std::int64_t j0) {
            if (writer.done()) tell_free(grid);
            int to_begin = begin;
            FNTK_UNROLL_BY(1)
            for (int f = 0; f < 2; ++f) {
                const Quad *a = rows[f].tile(i0, 0) + grid.thread(),
                           *b = cols[f].tile(j0, 0) + grid.thread();
                FNTK_UNROLL_BY(1)
                for (std::int64_t s = 0; s < rows[f].steps; ++s, ++step, a += quads, b += quads) {
                    Product::wait_for_free(grid, step);
                    Quad* to = slices + step % stages * stage_quads + grid.thread();
                    FNTK_UNROLL
                    for (int e = 0; e < quads; e += warpgroup_size) {
                        grid.copy_async(to + e, a + e, 16);
                        grid.copy_async(to + quads + e, b + e, 16);
                    }
                    grid.commit_copies();
                    grid.template wait_copies<ahead>();
                    if (step >= ahead) Product::hand_over(grid, step - ahead);
                    if (!writer.done() && --to_begin < 0 && write_share(grid, writer, share))
                        tell_free(grid);
                }
            }
            if (!writer.done()) {
                write_share(grid, writer, Writer::shares);
                tell_free(grid);
            }
            writer.take(i0, j0);
        });
        grid.template wait_copies<0>();
        for (std::int64_t s = larger<std::int64_t>(step - ahead, 0); s < step; ++s)
            Product::hand_over(grid, s);
        if (!writer.done()) write_share(grid, writer, Writer::shares);
    }
    /// Whether that was the last of the tile, whose steps have all been handed over.
    template <class Grid>
    FNTK_DEVICE static bool write_share(Grid& grid, Writer& writer, int share) {
        if (writer.written == 0) grid.barrier_sync(whole, max_threads);
        writer.write(grid, share);
        return writer.done();
    }
    FNTK_DEVICE static void tell_free(auto& grid) {
        grid.barrier_arrive(free, 2 * warpgroup_size);
        grid.barrier_arrive(free + 1, 2 * warpgroup_size);
    }

    /// Consumer i = 0, 1 with rows 64i to 64i + 63 of each tile.
    template <class Grid>
    FNTK_DEVICE void consume(Grid& grid, int i, const Quad* slices, float* kept, float* scales) const {
        const std::uint32_t address = grid.shared_address(slices);
        float* own = kept + (64 * i + Product::row_of(grid, 0)) * Writer::pitch + Product::col_of(grid, 0);
        const std::int64_t of_block = (tiles - grid.block() - 1) / grid.blocks() + 1,
                           last = of_block * (rows[0].steps + rows[1].steps);
        std::int64_t step = 0;
        bool odd = false;
        for_each_tile(grid, [&](std::int64_t i0, std::int64_t j0) {
            const Part part{i0 + 64 * i, j0, scales + (odd ? tile_scales : 0)};
            odd = !odd;
            load_scales(grid, part);
            Sums sums{};
            Product::multiply(grid, i, address, rows[0].steps, last, step, sums);
            grid.barrier_sync(free + i, 2 * warpgroup_size);
            finish<0>(grid, part, sums, own);
            sums = {};
            Product::multiply(grid, i, address, rows[1].steps, last, step, sums);
            finish<1>(grid, part, sums, own);
            grid.barrier_arrive(whole, max_threads);
        });
    }

    /// What a consumer has of a tile.
    struct Part {
        std::int64_t row0, j0;
        float* scales;
    };
    /// The consumer's threads have all read those of the tile before the last.
    template <class Grid>
    FNTK_DEVICE void load_scales(Grid& grid, const Part& part) const {
        const auto scale = [](std::int32_t u, int more) {
            return u < -60 || u > 60 ? 0.0F : float_of(static_cast<std::uint32_t>(u + more + 127) << 23);
        };
        const int thread = grid.thread() % warpgroup_size;
        FNTK_UNROLL
        for (int f = 0; f < 2; ++f) {
            float* to = part.scales + f * product_scales + thread;
            to[0] = scale(cols[f].units[part.j0 + thread], 0);
            if (thread < 64) to[128] = scale(rows[f].units[part.row0 + thread], 16);
        }
    }

    /// The elements of product f = 0, X, are kept, times alpha; with those of G they are elements of K.
    template <int f, class Grid>
    FNTK_DEVICE void finish(Grid& grid, const Part& part, const Sums& sums, float* own) const {
        const float *of_cols = part.scales + f * product_scales, *of_rows = of_cols + 128;
        // Elements e and e + 1, neighbours of a row, times their scales.
        const auto keep = [&](int e, float first, float second) {
            auto& at = *reinterpret_cast<TwoFloats*>(own + e / 2 % 2 * 8 * Writer::pitch + e / 4 * 8);
            if (f == 0) {
                at = {{alpha * first, alpha * second}};
            } else {
                const TwoFloats xx = at;
                at = {{first * xx.value[0], second * xx.value[1]}};
            }
        };
        // The scales that this warp's elements have, each looked at by one lane.
        bool plain = of_rows[grid.warp() % 4 * 16 + grid.lane() % 16] != 0;
        FNTK_UNROLL
        for (int c = 0; c < 128; c += warp_size) plain = plain && of_cols[c + grid.lane()] != 0;
        if (grid.ballot(plain) == ~std::uint32_t{0}) {
            const float of_row[2] = {of_rows[Product::row_of(grid, 0)], of_rows[Product::row_of(grid, 2)]};
            const float* of_col = of_cols + Product::col_of(grid, 0);
            FNTK_UNROLL
            for (int e = 0; e < elements; e += 4) {
                const TwoFloats col = *reinterpret_cast<const TwoFloats*>(of_col + 2 * e);
                FNTK_UNROLL
                for (int half = 0; half < 2; ++half) {
                    const int at = e + 2 * half;
                    keep(at, sums.whole(at) * of_row[half] * col.value[0],
                         sums.whole(at + 1) * of_row[half] * col.value[1]);
                }
            }
        } else {
            const auto value = [&](int e) {
                return in_units(sums.whole(e), rows[f].units[part.row0 + Product::row_of(grid, e)],
                                cols[f].units[part.j0 + Product::col_of(grid, e)]);
            };
            FNTK_UNROLL
            for (int e = 0; e < elements; e += 2) keep(e, value(e), value(e + 1));
        }
    }
};

}  // namespace fntk::kernels

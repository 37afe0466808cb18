// The fused Gram of hadamard_digits.hpp, the same bits, on the matrix units of compute capability 9.0
// (warpgroup.hpp).
// A block has a multiprocessor to itself and takes tiles of 128 × 128 elements of K in turn. Its first
// warpgroup brings the operands, 128 rows and 128 columns by 32 of the sum, into four stages of shared
// memory, those of the next tile too while this one is finished. The other two have 64 rows each, three
// sums an element in registers, and begin the products of a stage before they wait for those of the last.
// Named barriers hand over stage s: `full`, one for each consumer, when its copies have come; `empty` when
// the products of both consumers have read it. The producer comes to `empty` from the fifth stage on, the
// consumers as often.
//
// A thread keeps its elements of the first product in shared memory until the second is there. Lanes of
// four write eight neighbours of a row of K, lanes of eight as many of its mirror image: whole sectors.
//
// Shared memory:
//     slices     stages × (128 rows, then 128 columns, by 32) of three digits
//     kept       64 × 256 elements: number e of each consuming thread
//     units      of a consumer, two tiles in turn, of X and G: those of 128 columns, then of its 64 rows
#pragma once

#include "hadamard_digits.hpp"
#include "warpgroup.hpp"

namespace fntk::kernels {

struct HadamardGramWgmma : HadamardDigits {
    static constexpr int max_threads = 384;

    Launch launch(const DeviceLimits& limits) const {
        return {smaller<std::int64_t>(tiles, limits.multiprocessors), max_threads,
                shared_size<Quad>(stages * stage_quads) + shared_size<float>(elements * consumers) +
                    shared_size<std::int32_t>(4 * tile_units)};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        Quad* slices = grid.template shared<Quad>(stages * stage_quads);
        float* kept = grid.template shared<float>(elements * consumers);
        std::int32_t* units = grid.template shared<std::int32_t>(4 * tile_units);
        if (grid.warp() < 4) {
            grid.template give_registers<40>();
            produce(grid, slices);
        } else {
            grid.template take_registers<232>();
            const int consumer = grid.shuffle(grid.warp() / 4 - 1, 0);
            consume(grid, consumer, slices, kept, units + 2 * consumer * tile_units);
        }
    }

  private:
    static constexpr int stages = 4, ahead = 2, quads = DigitTiles::quads, stage_quads = 2 * quads;
    static constexpr int consumers = 2 * warpgroup_size, elements = 64;  // threads; of each, of a tile
    static constexpr int product_units = 192, tile_units = 2 * product_units;
    static constexpr int full = 1, empty = full + 2 * stages, of_consumer = empty + stages;  // barriers
    static constexpr int digit = DigitTiles::digit_bytes;

    /// The most significant first, each in the registers of wgmma.
    struct Sums {
        std::int32_t part[3][elements];
    };

    FNTK_DEVICE static void wait_for_free(auto& grid, std::int64_t step) {
        if (step >= stages) grid.barrier_sync(empty + static_cast<int>(step % stages), max_threads);
    }
    FNTK_DEVICE static void hand_over(auto& grid, std::int64_t step) {
        const int barrier = full + 2 * static_cast<int>(step % stages);
        grid.proxy_fence();
        grid.barrier_arrive(barrier, 2 * warpgroup_size);
        grid.barrier_arrive(barrier + 1, 2 * warpgroup_size);
    }

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
                    wait_for_free(grid, step);
                    Quad* to = slices + step % stages * stage_quads + grid.thread();
                    FNTK_UNROLL
                    for (int e = 0; e < quads; e += warpgroup_size) {
                        grid.copy_async(to + e, a + e, 16);
                        grid.copy_async(to + quads + e, b + e, 16);
                    }
                    grid.commit_copies();
                    grid.template wait_copies<ahead>();
                    if (step >= ahead) hand_over(grid, step - ahead);
                }
            }
        });
        grid.template wait_copies<0>();
        for (std::int64_t s = larger<std::int64_t>(step - ahead, 0); s < step; ++s) hand_over(grid, s);
    }

    /// Consumer i = 0, 1 with rows 64i to 64i + 63 of each tile.
    template <class Grid>
    FNTK_DEVICE void consume(Grid& grid, int i, const Quad* slices, float* kept,
                             std::int32_t* units) const {
        const std::uint32_t address = grid.shared_address(slices);
        float* own = kept + warpgroup_size * i + grid.thread() % warpgroup_size;
        const std::int64_t of_block = (tiles - grid.block() - 1) / grid.blocks() + 1,
                           last = of_block * (rows[0].steps + rows[1].steps);
        std::int64_t step = 0;
        bool odd = false;
        for_each_tile(grid, [&](std::int64_t i0, std::int64_t j0) {
            const std::int64_t row0 = i0 + 64 * i;
            std::int32_t* of_tile = units + (odd ? tile_units : 0);
            odd = !odd;
            load_units(grid, row0, j0, of_tile);
            FNTK_UNROLL_BY(1)
            for (int f = 0; f < 2; ++f) {
                Sums sums{};
                multiply(grid, i, address, rows[f].steps, last, step, sums);
                const std::int32_t* unit = of_tile + f * product_units;
                FNTK_UNROLL
                for (int e = 0; e < elements; ++e) {
                    const float value =
                        in_units(whole_sum(sums.part[0][e], sums.part[1][e], sums.part[2][e]),
                                 unit[128 + row_of(grid, e)], unit[col_of(grid, e)]);
                    float& at = own[consumers * e];
                    at = f == 0 ? value : value * (alpha * at);
                }
            }
            write_tile(grid, row0, j0, own);
        });
    }

    FNTK_DEVICE static int row_of(auto& grid, int e) {
        return grid.warp() % 4 * 16 + grid.lane() / 4 + e / 2 % 2 * 8;
    }
    FNTK_DEVICE static int col_of(auto& grid, int e) { return e / 4 * 8 + grid.lane() % 4 * 2 + e % 2; }

    /// Units of a tile, seen by the consumer's threads, which have all read those of the tile before.
    template <class Grid>
    FNTK_DEVICE void load_units(Grid& grid, std::int64_t row0, std::int64_t j0, std::int32_t* to) const {
        const int thread = grid.thread() % warpgroup_size;
        FNTK_UNROLL
        for (int f = 0; f < 2; ++f) {
            to[f * product_units + thread] = cols[f].units[j0 + thread];
            if (thread < 64) to[f * product_units + 128 + thread] = rows[f].units[row0 + thread];
        }
        grid.barrier_sync(of_consumer + static_cast<int>(row0 / 64 % 2), warpgroup_size);
    }

    /// The products of `steps` stages from `step` on; `last` is the step behind all of the block.
    template <class Grid>
    FNTK_DEVICE static void multiply(Grid& grid, int i, std::uint32_t slices, std::int64_t steps,
                                     std::int64_t last, std::int64_t& step, Sums& sums) {
        const auto release = [&](std::int64_t s) {
            if (s + stages < last) grid.barrier_arrive(empty + static_cast<int>(s % stages), max_threads);
        };
        FNTK_UNROLL_BY(1)
        for (std::int64_t first = 0; first < steps; first += carry_steps) {
            const std::int64_t count = smaller(steps - first, carry_steps);
            FNTK_UNROLL_BY(1)
            for (std::int64_t s = 0; s < count; ++s, ++step) {
                const int stage = static_cast<int>(step % stages);
                grid.barrier_sync(full + 2 * stage + i, 2 * warpgroup_size);
                begin_products(grid, slices + stage * (16 * stage_quads), i, sums);
                grid.template wgmma_wait<1>();
                if (s > 0) release(step - 1);
            }
            grid.template wgmma_wait<0>(sums.part);
            release(step - 1);
            if (count < carry_steps) continue;
            FNTK_UNROLL
            for (int p = 2; p > 0; --p) FNTK_UNROLL
            for (int e = 0; e < elements; ++e) carry(sums.part[p - 1][e], sums.part[p][e]);
        }
    }
    template <class Grid>
    FNTK_DEVICE static void begin_products(Grid& grid, std::uint32_t slice, int i, Sums& sums) {
        const std::uint64_t a = tile_descriptor(slice + 8 * DigitTiles::stride * i, DigitTiles::leading,
                                                DigitTiles::stride),
                            b = tile_descriptor(slice + 16 * quads, DigitTiles::leading,
                                                DigitTiles::stride);
        grid.wgmma_fence(sums.part);
        FNTK_UNROLL
        for (int v = 0; v < 3; ++v) FNTK_UNROLL
        for (int w = 0; w < 3 - v; ++w)
            grid.template wgmma<true>(sums.part[v + w], tile_after(a, v * digit), tile_after(b, w * digit));
        grid.wgmma_commit();
    }

    template <class Grid>
    FNTK_DEVICE void write_tile(Grid& grid, std::int64_t row0, std::int64_t j0, const float* own) const {
        const bool pairs = k.stride % 2 == 0 && reinterpret_cast<std::uintptr_t>(k.data) % 8 == 0;
        FNTK_UNROLL_BY(4)
        for (int e = 0; e < elements; e += 2) {
            const std::int64_t row = row0 + row_of(grid, e), col = j0 + col_of(grid, e);
            const float value[2] = {own[consumers * e], own[consumers * (e + 1)]};
            if (pairs && is_own(row, col + 1)) {
                *reinterpret_cast<Pair*>(k.row(row) + col) = {{bits_of(value[0]), bits_of(value[1])}};
            } else {
                FNTK_UNROLL
                for (int l = 0; l < 2; ++l)
                    if (is_own(row, col + l)) k.row(row)[col + l] = value[l];
            }
            if (!symmetric) continue;
            FNTK_UNROLL
            for (int l = 0; l < 2; ++l)
                if (is_own(row, col + l) && row != col + l) k.row(col + l)[row] = value[l];
        }
    }
};

}  // namespace fntk::kernels

// Products of digits (digit_sums.hpp) on the matrix units of compute capability 9.0 (warpgroup.hpp): what
// the kernels share that multiply 128 rows with 128 columns, 32 of their sum at a time. The first warpgroup
// of a block brings the operands, or makes them, into four stages of shared memory (warpgroup_stages.hpp),
// tiles of DigitTiles: 128 rows, then 128 columns. The other two have 64 rows each, three sums an element
// in registers, and begin the products of a stage before they wait for those of the last.
#pragma once

#include "digit_sums.hpp"
#include "warpgroup_stages.hpp"

namespace fntk::kernels {

struct DigitProduct {
    using Stages = WarpgroupStages<4>;
    static constexpr int max_threads = Stages::threads, stages = Stages::count;
    static constexpr int elements = 64;  // of a thread
    static constexpr int quads = DigitTiles::quads, stage_quads = 2 * quads;
    static constexpr int of_consumer = Stages::next_barrier, of_producer = of_consumer + 2;  // barriers

    /// The most significant first, each in the registers of wgmma.
    struct Sums {
        std::int32_t part[3][elements];
        FNTK_DEVICE float whole(int e) const { return digit_sum(part[0][e], part[1][e], part[2][e]); }
    };

    /// Of the consumer's 64 rows and 128 columns, where element e of this thread is.
    FNTK_DEVICE static int row_of(auto& grid, int e) {
        return grid.warp() % 4 * 16 + grid.lane() / 4 + e / 2 % 2 * 8;
    }
    FNTK_DEVICE static int col_of(auto& grid, int e) { return e / 4 * 8 + grid.lane() % 4 * 2 + e % 2; }

    /// For consumer i = 0, 1, with rows 64i to 64i + 63: adds the products of `steps` stages from `step`
    /// on; `last` is the step behind all of the block. The stages begin at the shared address `slices`.
    /// `meanwhile` is called once a step, when its products are under way, and leaves the sums alone.
    template <class Grid, class Meanwhile>
    FNTK_DEVICE static void multiply(Grid& grid, int i, std::uint32_t slices, std::int64_t steps,
                                     std::int64_t last, std::int64_t& step, Sums& sums,
                                     const Meanwhile& meanwhile) {
        FNTK_UNROLL_BY(1)
        for (std::int64_t first = 0; first < steps; first += carry_steps) {
            const std::int64_t count = smaller(steps - first, carry_steps);
            FNTK_UNROLL_BY(1)
            for (std::int64_t s = 0; s < count; ++s, ++step) {
                Stages::wait_for_full(grid, i, step);
                begin_products(grid, slices + Stages::of(step) * (16 * stage_quads), i, sums);
                meanwhile();
                grid.template wgmma_wait<1>();
                if (s > 0) Stages::release(grid, step - 1, last);
            }
            grid.template wgmma_wait<0>(sums.part);
            Stages::release(grid, step - 1, last);
            if (count < carry_steps) continue;
            FNTK_UNROLL
            for (int p = 2; p > 0; --p) {
                FNTK_UNROLL
                for (int e = 0; e < elements; ++e) carry_digit(sums.part[p - 1][e], sums.part[p][e]);
            }
        }
    }

    template <class Grid>
    FNTK_DEVICE static void multiply(Grid& grid, int i, std::uint32_t slices, std::int64_t steps,
                                     std::int64_t last, std::int64_t& step, Sums& sums) {
        multiply(grid, i, slices, steps, last, step, sums, [] {});
    }

  private:
    template <class Grid>
    FNTK_DEVICE static void begin_products(Grid& grid, std::uint32_t slice, int i, Sums& sums) {
        constexpr int digit = DigitTiles::digit_bytes;
        const std::uint64_t a = tile_descriptor(slice + 8 * DigitTiles::stride * i, DigitTiles::leading,
                                                DigitTiles::stride),
                            b = tile_descriptor(slice + 16 * quads, DigitTiles::leading,
                                                DigitTiles::stride);
        grid.wgmma_fence(sums.part);
        FNTK_UNROLL
        for (int v = 0; v < 3; ++v) {
            FNTK_UNROLL
            for (int w = 0; w < 3 - v; ++w)
                grid.template wgmma<true>(sums.part[v + w], tile_after(a, v * digit),
                                          tile_after(b, w * digit));
        }
        grid.wgmma_commit();
    }
};

}  // namespace fntk::kernels

// counts (int32, n × n') = Σ_r w_r B_ir B'_jr over rows of bits, on matrix units (bits, AND, popcount):
//     without weights   Σ popcount(b & b')
//     w = ±1            2·Σ popcount(b & w & b') − Σ popcount(b & b'), bit set: +1
// Bits behind the width are zero in every row, as BitView promises; those of w may be anything.
//
// A block of four warps takes tiles of 64 × 64 counts in turn, a warp 32 × 32 of them in registers. When
// both operands are one view only tiles on and below the diagonal are computed, and each count is written
// to both of its places: exactly symmetric. Where there are fewer tiles than the device has room for, a
// tile's width is split into slices, whose counts are added atomically to zeros: whole numbers, the same in
// any order.
//
// Shared memory: stage_words words of 64 rows of each side, and the weights' words. 20 words from row to
// row put the eight rows and four words that a warp reads at a time into different banks. Rows and words
// past the end are zero. One barrier makes a stage visible, a second keeps it until every warp has read it;
// the blocks of a multiprocessor load while others multiply.
#pragma once

#include "grid.hpp"
#include "triangle.hpp"

namespace fntk::kernels {

struct GateGram {
    static constexpr int max_threads = 128;

    std::int64_t width = 0;            // bits of a row
    Rows<const std::uint64_t> a, b;    // n and n' rows of ⌈width/64⌉ words
    const std::uint64_t* w = nullptr;  // ⌈width/64⌉ words; null: all weights 1
    Rows<std::int32_t> counts;         // n × n', written in full; all 0 before where slices > 1
    std::int64_t slices = 1;           // of the width

    /// Slices that fill the device, each of eight stages at least.
    std::int64_t slices_for(const DeviceLimits& limits) const {
        const std::int64_t room = std::int64_t{4} * limits.multiprocessors, stages = all_stages();
        if (tiles() == 0 || tiles() >= room) return 1;
        return larger<std::int64_t>(1, smaller(room / tiles(), stages / 8));
    }

    Launch launch(const DeviceLimits& limits) const {
        const std::int64_t shared =
            2 * shared_size<std::uint64_t>(tile * pitch) + shared_size<std::uint64_t>(stage_words);
        return {smaller(tiles() * slices, std::int64_t{16} * limits.multiprocessors), max_threads, shared};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const Stage stage{grid.template shared<std::uint64_t>(tile * pitch),
                          grid.template shared<std::uint64_t>(tile * pitch),
                          grid.template shared<std::uint64_t>(stage_words)};
        for (std::int64_t task = grid.block(); task < tiles() * slices; task += grid.blocks()) {
            const Corner corner = corner_of(task / slices);
            const std::int64_t slice = task % slices, first = slice * all_stages() / slices,
                               last = (slice + 1) * all_stages() / slices;
            if (w == nullptr)
                count<false>(grid, corner, first, last, stage);
            else
                count<true>(grid, corner, first, last, stage);
        }
    }

  private:
    static constexpr int tile = 64, stage_words = 16, pitch = stage_words + 4;
    struct Stage {
        std::uint64_t *a, *b, *w;
    };
    struct Corner {
        std::int64_t i, j;
    };
    FNTK_HD bool symmetric() const { return a.data == b.data && a.rows == b.rows && a.stride == b.stride; }
    FNTK_HD std::int64_t tiles() const {
        const std::int64_t down = ceil_div(a.rows, tile);
        return symmetric() ? triangle_size(down) : down * ceil_div(b.rows, tile);
    }
    FNTK_HD std::int64_t all_stages() const { return ceil_div(ceil_div(width, 64), stage_words); }
    FNTK_DEVICE Corner corner_of(std::int64_t index) const {
        const std::int64_t across = ceil_div(b.rows, tile);
        const TilePlace at = symmetric() ? lower_tile(index, 1) : TilePlace{index / across, index % across};
        return {at.row * tile, at.col * tile};
    }

    /// Neighbouring threads load neighbouring words of a row.
    template <class Grid>
    FNTK_DEVICE void load(Grid& grid, const Corner& corner, std::int64_t first, const Stage& stage) const {
        const std::int64_t words = ceil_div(width, 64);
        for (int l = grid.thread(); l < tile * stage_words; l += max_threads) {
            const int row = l / stage_words, word = l % stage_words;
            const bool inside = first + word < words;
            stage.a[row * pitch + word] =
                inside && corner.i + row < a.rows ? a.row(corner.i + row)[first + word] : 0;
            stage.b[row * pitch + word] =
                inside && corner.j + row < b.rows ? b.row(corner.j + row)[first + word] : 0;
            if (row == 0) stage.w[word] = inside && w != nullptr ? w[first + word] : 0;
        }
    }

    /// all[4f + j]: the warp's rows from 16f and columns from 8j on, in the registers of mma_b1.
    template <bool weighted>
    struct Sums {
        std::int32_t all[8][4], positive[weighted ? 8 : 1][4];
    };

    /// Four words a step; lane t of four has word t of its rows, low half first, on both sides.
    template <bool weighted, class Grid>
    FNTK_DEVICE void multiply(Grid& grid, const Stage& stage, Sums<weighted>& sums) const {
        const int group = grid.lane() / 4, t = grid.lane() % 4;
        const std::uint64_t* rows = stage.a + (grid.warp() / 2 * 32 + group) * pitch + t;
        const std::uint64_t* cols = stage.b + (grid.warp() % 2 * 32 + group) * pitch + t;
        for (int step = 0; step < stage_words; step += 4) {
            std::uint32_t left[2][4], right[4][2];
            FNTK_UNROLL
            for (int l = 0; l < 4; ++l) {
                const std::uint64_t row = rows[8 * l * pitch + step], col = cols[8 * l * pitch + step];
                left[l / 2][l % 2] = static_cast<std::uint32_t>(row);
                left[l / 2][l % 2 + 2] = static_cast<std::uint32_t>(row >> 32);
                right[l][0] = static_cast<std::uint32_t>(col);
                right[l][1] = static_cast<std::uint32_t>(col >> 32);
            }
            FNTK_UNROLL
            for (int l = 0; l < 8; ++l) grid.mma_b1(sums.all[l], left[l / 4], right[l % 4]);
            if constexpr (weighted) {
                const std::uint64_t word = stage.w[step + t];
                FNTK_UNROLL
                for (int l = 0; l < 8; ++l)
                    left[l / 4][l % 4] &= static_cast<std::uint32_t>(l % 4 < 2 ? word : word >> 32);
                FNTK_UNROLL
                for (int l = 0; l < 8; ++l) grid.mma_b1(sums.positive[l], left[l / 4], right[l % 4]);
            }
        }
    }

    template <bool weighted, class Grid>
    FNTK_DEVICE void count(Grid& grid, const Corner& corner, std::int64_t first, std::int64_t last,
                           const Stage& stage) const {
        Sums<weighted> sums{};
        for (std::int64_t s = first; s < last; ++s) {
            load(grid, corner, s * stage_words, stage);
            grid.sync();
            multiply<weighted>(grid, stage, sums);
            grid.sync();
        }
        FNTK_UNROLL
        for (int l = 0; l < 32; ++l) {
            const int row = grid.warp() / 2 * 32 + l / 16 * 16 + grid.lane() / 4 + l % 4 / 2 * 8,
                      col = grid.warp() % 2 * 32 + l / 4 % 4 * 8 + grid.lane() % 4 * 2 + l % 2;
            std::int32_t sum = sums.all[l / 4][l % 4];
            if constexpr (weighted) sum = 2 * sums.positive[l / 4][l % 4] - sum;
            write(grid, corner.i + row, corner.j + col, sum);
        }
    }

    template <class Grid>
    FNTK_DEVICE void write(Grid& grid, std::int64_t i, std::int64_t j, std::int32_t sum) const {
        if (i >= a.rows || j >= b.rows) return;
        if (symmetric() && j > i) return;  // the other half of a tile on the diagonal writes it
        const auto put_at = [&](std::int32_t* place) {
            if (slices > 1)
                grid.atomic_add(place, sum);
            else
                *place = sum;
        };
        put_at(counts.row(i) + j);
        if (symmetric() && j < i) put_at(counts.row(j) + i);
    }
};

}  // namespace fntk::kernels

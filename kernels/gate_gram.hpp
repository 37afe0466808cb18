// counts (int32, n × n') = Σ_r w_r B_ir B'_jr over rows of bits, on matrix units (bits, AND, popcount):
//     unweighted   Σ popcount(b & b')
//     w = ±1       2·Σ popcount(b & w & b') − Σ popcount(b & b'), bit set: +1
// Bits behind the width are zero in every row, as BitView promises; those of w may be anything.
//
// A block of eight warps takes tiles of 128 × 128 counts in turn, a warp 64 × 32 of them in registers. When
// both operands are one view only tiles on and below the diagonal are computed, and each count is written
// to both of its places: exactly symmetric. Where there are fewer tiles than the device has room for, a
// tile's width is split into slices, whose counts are added atomically to zeros: whole numbers, the same in
// any order.
//
// Shared memory: four stages of 8 words of 128 rows of each side and of the weights; three are on their way
// while one is multiplied. Rows and words past the end are zero. A product takes four words of a row; 16
// lanes, which are served together, read four rows, and every second pair of rows has the halves of a
// stage's words the other way round: no bank conflicts.
#pragma once

#include "bit_rows.hpp"
#include "triangle.hpp"

namespace fntk::kernels {

template <bool weighted>
struct GateGram {
    static constexpr int max_threads = 256;
    static constexpr int min_blocks = weighted ? 1 : 2;  // of a multiprocessor: 128 or 64 sums a thread

    std::int64_t width = 0;            // bits of a row
    Rows<const std::uint64_t> a, b;    // n and n' rows of ⌈width/64⌉ words
    const std::uint64_t* w = nullptr;  // weighted: ⌈width/64⌉ words
    Rows<std::int32_t> counts;         // n × n', written in full; all 0 before where slices > 1
    std::int64_t slices = 1;           // of the width

    /// Slices that fill the device, each of 16 stages at least.
    std::int64_t slices_for(const DeviceLimits& limits) const {
        const std::int64_t room = std::int64_t{min_blocks} * limits.multiprocessors;
        if (tiles() == 0 || tiles() >= room) return 1;
        return larger<std::int64_t>(1, smaller(room / tiles(), all_stages() / 16));
    }

    Launch launch(const DeviceLimits& limits) const {
        const std::int64_t shared =
            2 * shared_size<Quad>(stages * side_quads) + shared_size<Quad>(stages * row_quads);
        return {smaller(tiles() * slices, std::int64_t{16} * limits.multiprocessors), max_threads, shared};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        Quad* of_a = grid.template shared<Quad>(stages * side_quads);
        Quad* of_b = grid.template shared<Quad>(stages * side_quads);
        Quad* of_w = grid.template shared<Quad>(stages * row_quads);
        for (std::int64_t task = grid.block(); task < tiles() * slices; task += grid.blocks()) {
            const std::int64_t tile = task / slices, slice = task - tile * slices;
            const Corner corner = corner_of(tile);
            const Source from(*this, corner, grid.thread());
            count(
                grid, corner, slice * all_stages() / slices, (slice + 1) * all_stages() / slices,
                [&](std::int64_t s) {
                    const std::int64_t at = s % stages;
                    return Stage{of_a + at * side_quads, of_b + at * side_quads, of_w + at * row_quads};
                },
                from);
        }
    }

  private:
    static constexpr int tile_size = 128, stages = 4;
    static constexpr int stage_words = 8, row_quads = stage_words / 2, side_quads = tile_size * row_quads;
    struct Stage {
        Quad *a, *b, *w;
    };
    struct Corner {
        std::int64_t i, j;
    };
    FNTK_HD bool symmetric() const { return a.data == b.data && a.rows == b.rows && a.stride == b.stride; }
    FNTK_HD std::int64_t tiles() const {
        const std::int64_t down = ceil_div(a.rows, tile_size);
        return symmetric() ? triangle_size(down) : down * ceil_div(b.rows, tile_size);
    }
    FNTK_HD std::int64_t words() const { return ceil_div(width, 64); }
    FNTK_HD std::int64_t all_stages() const { return ceil_div(words(), stage_words); }
    FNTK_DEVICE Corner corner_of(std::int64_t tile) const {
        const std::int64_t down = ceil_div(a.rows, tile_size);
        const TilePlace at =
            symmetric() ? lower_tile(tile, down) : tile_place(tile, down, ceil_div(b.rows, tile_size));
        return {at.row * tile_size, at.col * tile_size};
    }

    /// Quad `quad` of row `row` of a stage: where bit 1 of the row is set, the halves of the row change
    /// places.
    FNTK_DEVICE static int place(int row, int quad) { return row * row_quads + (quad ^ (row & 2)); }

    /// Where a thread's part of each stage comes from: two words of two rows of either side, 64 rows apart.
    struct Source {
        static constexpr int apart = max_threads / row_quads, count = tile_size / apart;
        const GateGram& gram;
        const std::uint64_t *a, *b;  // this thread's first words
        int rows_a, rows_b;          // of the `count`, that are there
        int first;                   // word of 8
        bool aligned;                // quads stand on multiples of 16 bytes

        FNTK_DEVICE Source(const GateGram& of, const Corner& corner, int thread)
            : gram(of),
              rows_a(rows_inside(of.a, corner.i + thread / row_quads, count, apart)),
              rows_b(rows_inside(of.b, corner.j + thread / row_quads, count, apart)),
              first(thread % row_quads * 2),
              aligned(has_aligned_pairs(of.a) && has_aligned_pairs(of.b) &&
                      reinterpret_cast<std::uintptr_t>(of.w) % 16 == 0) {
            a = of.a.row(rows_a > 0 ? corner.i + thread / row_quads : 0) + first;
            b = of.b.row(rows_b > 0 ? corner.j + thread / row_quads : 0) + first;
        }

        /// Begins to copy the words from 8·stage on.
        template <class Grid>
        FNTK_DEVICE void fetch(Grid& grid, std::int64_t stage, const Stage& to) const {
            const std::int64_t word = stage * stage_words, left = gram.words() - word - first;
            const int valid = left <= 0 ? 0 : static_cast<int>(smaller<std::int64_t>(2, left));
            FNTK_UNROLL
            for (int e = 0; e < count; ++e) {
                const int to_quad = place(grid.thread() / row_quads + e * apart, first / 2);
                begin_words(grid, to.a + to_quad, a + e * apart * gram.a.stride + word,
                            e < rows_a ? valid : 0, aligned);
                begin_words(grid, to.b + to_quad, b + e * apart * gram.b.stride + word,
                            e < rows_b ? valid : 0, aligned);
            }
            if (weighted && grid.thread() < row_quads)
                begin_words(grid, to.w + grid.thread(), gram.w + first + word, valid, aligned);
        }
    };

    /// all[i][j]: the warp's rows from 16i and columns from 8j on, in the registers of mma_b1.
    struct Sums {
        std::int32_t all[4][4][4], positive[weighted ? 4 : 1][4][4];
    };

    template <class Grid>
    FNTK_DEVICE void multiply(Grid& grid, const Stage& stage, Sums& sums) const {
        const int group = grid.lane() / 4, t = grid.lane() % 4;
        FNTK_UNROLL
        for (int step = 0; step < stage_words / 4; ++step) {
            // Rows 8 apart have the same order of words.
            const int word = 2 * place(group, 2 * step + t / 2) + t % 2;
            const Pair* rows =
                reinterpret_cast<const Pair*>(stage.a + grid.warp() / 4 * 64 * row_quads) + word;
            const Pair* cols =
                reinterpret_cast<const Pair*>(stage.b + grid.warp() % 4 * 32 * row_quads) + word;
            Pair right[4], w_words{};
            FNTK_UNROLL
            for (int j = 0; j < 4; ++j) right[j] = cols[8 * j * stage_words];
            if constexpr (weighted) w_words = reinterpret_cast<const Pair*>(stage.w)[4 * step + t];
            FNTK_UNROLL
            for (int i = 0; i < 4; ++i) {
                Pair upper = rows[16 * i * stage_words], lower = rows[(16 * i + 8) * stage_words];
                add_products(grid, upper, lower, right, sums.all[i]);
                if constexpr (weighted) {
                    FNTK_UNROLL
                    for (int l = 0; l < 2; ++l) {
                        upper.word[l] &= w_words.word[l];
                        lower.word[l] &= w_words.word[l];
                    }
                    add_products(grid, upper, lower, right, sums.positive[i]);
                }
            }
        }
    }
    template <class Grid>
    FNTK_DEVICE static void add_products(Grid& grid, const Pair& upper, const Pair& lower,
                                         const Pair (&right)[4], std::int32_t (&sums)[4][4]) {
        FNTK_UNROLL
        for (int j = 0; j < 4; ++j)
            grid.mma_b1(sums[j], {upper.word[0], lower.word[0], upper.word[1], lower.word[1]},
                        {right[j].word[0], right[j].word[1]});
    }

    /// The tile at `corner`, over the stages first to last − 1; at(s): where stage s lies.
    template <class Grid, class At>
    FNTK_DEVICE void count(Grid& grid, const Corner& corner, std::int64_t first, std::int64_t last,
                           const At& at, const Source& from) const {
        Sums sums{};
        const auto begin = [&](std::int64_t s) {
            if (s < last) from.fetch(grid, s, at(s));
            grid.commit_copies();
        };
        FNTK_UNROLL_BY(1)
        for (std::int64_t s = first; s < first + stages - 1; ++s) begin(s);
        FNTK_UNROLL_BY(1)
        for (std::int64_t s = first; s < last; ++s) {
            grid.template wait_copies<stages - 2>();
            grid.sync();  // stage s is there, and the stage before it is read: its place is free
            begin(s + stages - 1);
            multiply(grid, at(s), sums);
        }
        grid.sync();  // the last stage is read: the next tile's may come
        FNTK_UNROLL
        for (int l = 0; l < 64; ++l) {
            const int row = grid.warp() / 4 * 64 + l / 16 * 16 + grid.lane() / 4 + l % 4 / 2 * 8,
                      col = grid.warp() % 4 * 32 + l / 4 % 4 * 8 + grid.lane() % 4 * 2 + l % 2;
            std::int32_t sum = sums.all[l / 16][l / 4 % 4][l % 4];
            if constexpr (weighted) sum = 2 * sums.positive[l / 16][l / 4 % 4][l % 4] - sum;
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

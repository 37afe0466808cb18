// The unweighted counts of gate_gram.hpp on the matrix units of compute capability 9.0 (warpgroup.hpp):
//     counts (int32, n × n') = Σ popcount(b_i & b'_j) over rows of bits
// Bits behind the width are zero in every row, as BitView promises.
//
// A block has a multiprocessor to itself and takes tiles of 128 × 256 counts in turn; when both operands
// are one view only those with counts on or below the diagonal, each count of which is written to both of
// its places. Where there are fewer tiles than multiprocessors a tile's width is split into slices, whose
// counts are added atomically to zeros: whole numbers, the same in any order. The first warpgroup copies
// rows of bits to stages of shared memory (warpgroup_stages.hpp), the two others count for 64 rows each.
//
// Shared memory: stages of 16 words of 128 rows of the left side, then of 256 of the right, in columns of
// two words: a column's rows follow one another, 16 bytes each, so that eight of them are a core matrix.
// Columns are one row longer than they need: eight lanes that copy a line of a row meet no bank twice.
#pragma once

#include "bit_rows.hpp"
#include "triangle.hpp"
#include "warpgroup_stages.hpp"

namespace fntk::kernels {

struct GateGramWgmma {
    using Stages = WarpgroupStages<4>;
    static constexpr int max_threads = Stages::threads;

    std::int64_t width = 0;          // bits of a row
    Rows<const std::uint64_t> a, b;  // n and n' rows of ⌈width/64⌉ words
    Rows<std::int32_t> counts;       // n × n', written in full; all 0 before where slices > 1
    std::int64_t slices = 1;         // of the width

    /// Slices that fill the device, each of 8 stages at least.
    std::int64_t slices_for(const DeviceLimits& limits) const {
        const std::int64_t room = limits.multiprocessors;
        if (tiles() == 0 || tiles() >= room) return 1;
        return larger<std::int64_t>(1, smaller(room / tiles(), all_stages() / 8));
    }

    Launch launch(const DeviceLimits& limits) const {
        return {smaller<std::int64_t>(tiles() * slices, limits.multiprocessors), max_threads,
                shared_size<Quad>(Stages::count * stage_quads)};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        Quad* stages = grid.template shared<Quad>(Stages::count * stage_quads);
        if (grid.warp() < 4) {
            grid.template give_registers<88>();
            produce(grid, stages);
        } else {
            grid.template take_registers<208>();
            consume(grid, grid.shuffle(grid.warp() / 4 - 1, 0), grid.shared_address(stages));
        }
    }

  private:
    static constexpr int tile_rows = 128, tile_cols = 256, all_rows = tile_rows + tile_cols;
    static constexpr int stage_words = 16, columns = stage_words / 2, products = stage_words / 4;
    static constexpr int column_quads = all_rows + 1, stage_quads = columns * column_quads;
    static constexpr int elements = 128;  // of a thread

    struct Task {
        std::int64_t i, j, first, last;  // corner of the tile, stages first to last − 1
    };

    FNTK_HD bool symmetric() const { return a.data == b.data && a.rows == b.rows && a.stride == b.stride; }
    FNTK_HD std::int64_t words() const { return ceil_div(width, 64); }
    FNTK_HD std::int64_t all_stages() const { return ceil_div(words(), stage_words); }
    /// Of one view, two in each square of 256 × 256 on and below the diagonal: the last may have no rows.
    FNTK_HD std::int64_t tiles() const {
        const std::int64_t across = ceil_div(b.rows, tile_cols);
        return symmetric() ? 2 * triangle_size(across) : ceil_div(a.rows, tile_rows) * across;
    }
    FNTK_HD TilePlace place_of(std::int64_t tile) const {
        const std::int64_t across = ceil_div(b.rows, tile_cols);
        if (!symmetric()) return tile_place(tile, ceil_div(a.rows, tile_rows), across);
        const TilePlace square = lower_tile(tile / 2, across);
        return {2 * square.row + tile % 2, square.col};
    }

    /// f(task) for each of this block's, of tiles that have rows.
    template <class Grid, class F>
    FNTK_DEVICE void for_each_task(Grid& grid, const F& f) const {
        for (std::int64_t task = grid.block(); task < tiles() * slices; task += grid.blocks()) {
            const std::int64_t tile = task / slices, slice = task - tile * slices;
            const TilePlace at = place_of(tile);
            if (at.row * tile_rows < a.rows)
                f(Task{at.row * tile_rows, at.col * tile_cols, slice * all_stages() / slices,
                       (slice + 1) * all_stages() / slices});
        }
    }

    /// One side of a stage: a thread copies two words of every 16th row.
    template <int rows>
    struct Side {
        static constexpr int apart = warpgroup_size / columns, count = rows / apart;
        const std::uint64_t* from;  // this thread's first words
        std::int64_t stride;
        int inside;    // of the `count` rows, that are there
        bool aligned;  // quads stand on multiples of 16 bytes

        FNTK_DEVICE Side(const Rows<const std::uint64_t>& of, std::int64_t first_row, int thread)
            : stride(of.stride), aligned(has_aligned_pairs(of)) {
            const std::int64_t row = first_row + thread / columns;
            inside = rows_inside(of, row, count, apart);
            from = of.row(inside > 0 ? row : 0) + thread % columns * 2;
        }
        /// Begins to copy from word `word` of the stage's first on, of which `valid` of two are there.
        template <class Grid>
        FNTK_DEVICE void begin(Grid& grid, std::int64_t word, int valid, Quad* to) const {
            const std::uint64_t* words = from + word;
            FNTK_UNROLL_BY(4)
            for (int e = 0; e < count; ++e, to += apart, words += apart * stride)
                begin_words(grid, to, words, e < inside ? valid : 0, aligned);
        }
    };

    /// All that the first warpgroup does. A step is handed over when the next has begun.
    template <class Grid>
    FNTK_DEVICE void produce(Grid& grid, Quad* stages) const {
        const int thread = grid.thread(), column = thread % columns, row = thread / columns;
        std::int64_t step = 0;
        for_each_task(grid, [&](const Task& task) {
            const Side<tile_rows> left(a, task.i, thread);
            const Side<tile_cols> right(b, task.j, thread);
            FNTK_UNROLL_BY(1)
            for (std::int64_t s = task.first; s < task.last; ++s, ++step) {
                Stages::wait_for_free(grid, step);
                Quad* to = stages + Stages::of(step) * stage_quads + column * column_quads + row;
                const std::int64_t word = s * stage_words, rest = words() - word - 2 * column;
                const int valid = rest <= 0 ? 0 : static_cast<int>(smaller<std::int64_t>(2, rest));
                left.begin(grid, word, valid, to);
                right.begin(grid, word, valid, to + tile_rows);
                grid.commit_copies();
                grid.template wait_copies<1>();
                if (step > 0) Stages::hand_over(grid, step - 1);
            }
        });
        grid.template wait_copies<0>();
        if (step > 0) Stages::hand_over(grid, step - 1);
    }

    /// Consumer i = 0, 1 with rows 64i to 64i + 63 of each tile.
    template <class Grid>
    FNTK_DEVICE void consume(Grid& grid, int i, std::uint32_t stages) const {
        std::int64_t last = 0, step = 0;
        for_each_task(grid, [&](const Task& task) { last += task.last - task.first; });
        for_each_task(grid, [&](const Task& task) {
            std::int32_t sums[elements] = {};
            FNTK_UNROLL_BY(1)
            for (std::int64_t s = task.first; s < task.last; ++s, ++step) {
                Stages::wait_for_full(grid, i, step);
                begin_products(grid, stages + Stages::of(step) * (16 * stage_quads), i, sums);
                grid.template wgmma_wait<1>();
                if (s > task.first) Stages::release(grid, step - 1, last);
            }
            grid.template wgmma_wait<0>(sums);
            if (task.last > task.first) Stages::release(grid, step - 1, last);
            if (slices > 1)
                write<true>(grid, task.i + 64 * i, task.j, sums);
            else
                write<false>(grid, task.i + 64 * i, task.j, sums);
        });
    }
    template <class Grid>
    FNTK_DEVICE static void begin_products(Grid& grid, std::uint32_t stage, int i,
                                           std::int32_t (&sums)[elements]) {
        constexpr int core = 128, column = 16 * column_quads;  // bytes
        const std::uint64_t rows = tile_descriptor(stage + 16 * 64 * i, column, core),
                            cols = tile_descriptor(stage + 16 * tile_rows, column, core);
        grid.wgmma_fence(sums);
        FNTK_UNROLL
        for (int p = 0; p < products; ++p)
            grid.wgmma_b1(sums, tile_after(rows, 2 * p * column), tile_after(cols, 2 * p * column));
        grid.wgmma_commit();
    }

    /// The counts of 64 rows from i0 on and 256 columns from j0 on: of a view with itself those on and
    /// below the diagonal, and their mirror images. `add`: to what is there.
    template <bool add, class Grid>
    FNTK_DEVICE void write(Grid& grid, std::int64_t i0, std::int64_t j0,
                           const std::int32_t (&sums)[elements]) const {
        const std::int64_t row = i0 + grid.warp() % 4 * 16 + grid.lane() / 4,
                           col = j0 + grid.lane() % 4 * 2;
        const bool mirror = symmetric(),
                   inside =
                       i0 + 64 <= a.rows && j0 + tile_cols <= b.rows && !(mirror && j0 + tile_cols > i0),
                   pairs = counts.stride % 2 == 0 && reinterpret_cast<std::uintptr_t>(counts.data) % 8 == 0;
        FNTK_UNROLL
        for (int low = 0; low < 4; low += 2) {  // rows `row`, then row + 8
            const std::int64_t i = row + 4 * low;
            std::int32_t *to = counts.row(i) + col, *mirrored = counts.row(col) + i;
            if (!add && inside && pairs) {  // a tile that is all the block's own needs no care
                FNTK_UNROLL
                for (int e = low; e < elements; e += 4, to += 8, mirrored += 8 * counts.stride) {
                    *reinterpret_cast<Pair*>(to) = {
                        {static_cast<std::uint32_t>(sums[e]), static_cast<std::uint32_t>(sums[e + 1])}};
                    if (!mirror) continue;
                    mirrored[0] = sums[e];
                    mirrored[counts.stride] = sums[e + 1];
                }
                continue;
            }
            const std::int64_t most = mirror ? smaller(i + 1, b.rows) : b.rows;
            // Columns from `col` on below `most`; none of a row beyond the last.
            const int left =
                          i < a.rows ? static_cast<int>(smaller<std::int64_t>(most - col, tile_cols)) : 0,
                      diagonal =
                          mirror ? static_cast<int>(smaller<std::int64_t>(i - col, tile_cols)) : tile_cols;
            FNTK_UNROLL
            for (int e = low; e < elements; e += 4, to += 8, mirrored += 8 * counts.stride) {
                FNTK_UNROLL
                for (int l = 0; l < 2; ++l) {
                    const int j = 2 * (e - low) + l;
                    if (j >= left) continue;
                    put<add>(grid, to + l, sums[e + l]);
                    if (mirror && j != diagonal) put<add>(grid, mirrored + l * counts.stride, sums[e + l]);
                }
            }
        }
    }
    template <bool add, class Grid>
    FNTK_DEVICE static void put(Grid& grid, std::int32_t* place, std::int32_t sum) {
        if constexpr (add)
            grid.atomic_add(place, sum);
        else
            *place = sum;
    }
};

}  // namespace fntk::kernels

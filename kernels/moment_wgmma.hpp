// The moment of float32 rows on the matrix units of compute capability 9.0 (digit_product.hpp):
//     M (p × d) = alpha·Σ_i W_i x_iᵀ (+ M)
//     W: n × p, as digits of its columns (PackColumnDigits)    X: n × d
// A block has 128 rows and 128 columns of M and a range of samples, 32 a step, and writes their sums, in
// units, to a matrix of their own; FinishMoment adds those up. The producer copies tiles of W, and floats
// of X two steps ahead; a thread makes the digits of a column of them.
//
// Shared memory:
//     slices     stages × (128 rows of Wᵀ, then 128 columns of X, by 32 samples) of three digits
//     raw        3 × 32 samples × 128 columns of X
#pragma once

#include "digit_product.hpp"
#include "digit_scales.hpp"
#include "elements.hpp"
#include "float_tiles.hpp"

namespace fntk::kernels {

/// How the sum over samples is shared out: whole sums stay within int32, three rounds of blocks and `most`
/// ranges at most (if sums allow it), and of what is possible the least time, with an end of a block as
/// long as eight steps.
struct MomentRanges {
    static constexpr std::int64_t most_steps = 2048, end_steps = 8;

    std::int64_t count = 1;

    MomentRanges(std::int64_t n, std::int64_t p, std::int64_t d, const DeviceLimits& limits,
                 std::int64_t most = std::int64_t{1} << 62) {
        const std::int64_t tiles = tiles_of(p, d), steps = DigitTiles::steps_of(n),
                           least = larger<std::int64_t>(ceil_div(steps, most_steps), 1),
                           rounds = 3 * limits.multiprocessors / larger<std::int64_t>(tiles, 1);
        const auto time = [&](std::int64_t ranges) {
            return ceil_div(tiles * ranges, limits.multiprocessors) * (ceil_div(steps, ranges) + end_steps);
        };
        count = least;
        for (std::int64_t ranges = least + 1; ranges <= smaller(smaller(rounds, steps), most); ++ranges)
            if (time(ranges) < time(count)) count = ranges;
        count = larger<std::int64_t>(ceil_div(steps, ceil_div(steps, count)), 1);  // none is empty
    }
    static std::int64_t tiles_of(std::int64_t p, std::int64_t d) {
        return ceil_div(p, DigitTiles::rows) * ceil_div(d, DigitTiles::rows);
    }
};

struct MomentWgmma {
    static constexpr int max_threads = DigitProduct::max_threads;

    DigitTiles w;                               // of p rows
    Rows<const float> x;                        // n × d
    const std::uint32_t* magnitudes = nullptr;  // of X's columns
    Rows<float> sums;                           // (ranges·p) × d
    std::int64_t ranges = 1;                    // MomentRanges

    Launch launch(const DeviceLimits&) const {
        return {MomentRanges::tiles_of(w.n, x.cols) * ranges, max_threads,
                shared_size<Quad>(stages * stage_quads) + shared_size<float>(raw_stages * raw_floats)};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        Quad* slices = grid.template shared<Quad>(stages * stage_quads);
        float* raw = grid.template shared<float>(raw_stages * raw_floats);
        const std::int64_t across = ceil_div(x.cols, DigitTiles::rows),
                           tiles = ceil_div(w.n, DigitTiles::rows) * across,
                           of_each = ceil_div(w.steps, ranges);
        const std::int64_t range = grid.block() / tiles, tile = grid.block() % tiles;
        const std::int64_t first = range * of_each;
        const Work work{tile / across * DigitTiles::rows, tile % across * DigitTiles::rows, range,
                        static_cast<int>(first),
                        static_cast<int>(smaller(first + of_each, w.steps) - first)};
        if (grid.warp() < 4) {
            grid.template give_registers<56>();
            produce(grid, work, slices, raw);
        } else {
            grid.template take_registers<224>();
            consume(grid, work, grid.shuffle(grid.warp() / 4 - 1, 0), grid.shared_address(slices));
        }
    }

  private:
    using Product = DigitProduct;
    static constexpr int stages = Product::stages, quads = Product::quads,
                         stage_quads = Product::stage_quads;
    static constexpr int samples = DigitTiles::cols;  // of a step
    using Floats = FloatTile<warpgroup_size, DigitTiles::rows, DigitTiles::rows>;
    static constexpr int raw_stages = 3, raw_floats = Floats::floats;

    struct Work {
        std::int64_t row0, col0, range;
        int first, steps;
    };

    /// Samples beyond X have digits 0 of W, and columns beyond it are nobody's: what their floats are does
    /// not matter.
    template <class Grid>
    FNTK_DEVICE void produce(Grid& grid, const Work& work, Quad* slices, float* raw) const {
        const int thread = grid.thread();
        const std::int64_t j = work.col0 + thread;
        const DigitRounding rounding(j < x.cols ? magnitudes[j] : 0);
        const Floats floats(x, thread);
        int begun = 0, slot = 0;  // steps, and where the next goes
        const auto begin_floats = [&] {
            if (begun < work.steps)
                floats.begin(grid, (work.first + begun) * samples, static_cast<int>(work.col0),
                             raw + slot * raw_floats);
            grid.commit_copies();
            ++begun;
            slot = slot == raw_stages - 1 ? 0 : slot + 1;
        };
        const Quad* tile = w.tile(work.row0, work.first) + thread;
        Quad* place = slices + quads + thread / 8 * (DigitTiles::stride / 16) + thread % 8;
        begin_floats();
        grid.commit_copies();  // in place of a tile
        begin_floats();
        FNTK_UNROLL_BY(1)
        for (int step = 0; step < work.steps; ++step, tile += quads) {
            const int stage = step % stages * stage_quads;
            Product::wait_for_free(grid, step);
            FNTK_UNROLL
            for (int e = 0; e < quads; e += warpgroup_size)
                grid.copy_async(slices + stage + thread + e, tile + e, 16);
            grid.commit_copies();
            grid.template wait_copies<3>();  // behind the floats of this step: two tiles, the next floats
            grid.barrier_sync(Product::of_producer,
                              warpgroup_size);  // all are there, and those before are read
            begin_floats();
            const float* from =
                raw + slot * raw_floats + thread;  // of this step, before the next copies of its place
            FNTK_UNROLL
            for (int half = 0; half < 2; ++half, from += raw_floats / 2) {
                float found[16];
                FNTK_UNROLL
                for (int l = 0; l < 16; ++l) found[l] = from[l * DigitTiles::rows];
                const DigitQuads made(rounding, found);
                FNTK_UNROLL
                for (int digit = 0; digit < 3; ++digit)
                    place[stage + half * (DigitTiles::leading / 16) +
                          digit * (DigitTiles::digit_bytes / 16)] = made.digit[digit];
            }
            grid.template wait_copies<3>();  // behind the tile before: one tile, two steps' floats
            if (step > 0) Product::hand_over(grid, step - 1);
        }
        grid.template wait_copies<0>();
        Product::hand_over(grid, work.steps - 1);
    }

    template <class Grid>
    FNTK_DEVICE void consume(Grid& grid, const Work& work, int i, std::uint32_t slices) const {
        std::int64_t step = 0;
        Product::Sums found{};
        Product::multiply(grid, i, slices, work.steps, work.steps, step, found);
        const std::int64_t row = work.row0 + 64 * i + Product::row_of(grid, 0),
                           col = work.col0 + Product::col_of(grid, 0);
        FNTK_UNROLL
        for (int r = 0; r < 2; ++r) {
            const int count =
                row + 8 * r < w.n ? static_cast<int>(smaller<std::int64_t>(x.cols - col, 128)) : 0;
            float* to = sums.row(work.range * w.n + row + 8 * r) + col;
            FNTK_UNROLL
            for (int e = 2 * r; e < Product::elements; e += 4) {
                FNTK_UNROLL
                for (int b = 0; b < 2; ++b)
                    if (2 * e - 4 * r + b < count) to[2 * e - 4 * r + b] = found.whole(e + b);
            }
        }
    }
};

struct FinishMoment {
    static constexpr int max_threads = element_threads;

    Rows<const float> sums;            // of MomentWgmma
    const std::uint32_t *of_w, *of_x;  // magnitudes of columns: p and d
    float alpha = 1;
    bool add = false;
    Rows<float> m;

    Launch launch(const DeviceLimits& limits) const { return element_launch(m.rows, m.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_element(grid, m.rows, m.cols, [&](std::int64_t q, std::int64_t j) {
            double sum = 0;
            FNTK_UNROLL_BY(4)
            for (std::int64_t r = q; r < sums.rows; r += m.rows) sum += static_cast<double>(sums.row(r)[j]);
            const float value =
                alpha * in_units(static_cast<float>(sum), digit_unit(of_w[q]), digit_unit(of_x[j]));
            float& at = m.row(q)[j];
            at = add ? at + value : value;
        });
    }
};

}  // namespace fntk::kernels

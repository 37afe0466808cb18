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
#include "ranges.hpp"

namespace fntk::kernels {

/// Of one range: whole sums stay within int32.
inline constexpr std::int64_t most_moment_steps = 2048;

FNTK_HD constexpr std::int64_t moment_tiles(std::int64_t p, std::int64_t d) {
    return ceil_div(p, DigitTiles::rows) * ceil_div(d, DigitTiles::rows);
}
/// Into how many ranges the sum over n ≥ 1 samples is cut, none of them empty: three rounds of blocks and
/// `most` at most, where sums allow it.
FNTK_HD constexpr std::int64_t moment_ranges(std::int64_t n, std::int64_t p, std::int64_t d,
                                             const DeviceLimits& limits,
                                             std::int64_t most = std::int64_t{1} << 62) {
    const std::int64_t tiles = moment_tiles(p, d), steps = DigitTiles::steps_of(n);
    const std::int64_t ranges = ranges_for(
        tiles, steps, limits,
        {ceil_div(steps, most_moment_steps), smaller(3 * limits.multiprocessors / tiles, most), 8});
    return ceil_div(steps, ceil_div(steps, ranges));
}

struct MomentWgmma {
    static constexpr int max_threads = DigitProduct::max_threads;

    DigitTiles w;                               // of p rows
    Rows<const float> x;                        // n × d
    const std::uint32_t* magnitudes = nullptr;  // of X's columns
    Rows<float> sums;                           // (ranges·p) × d
    std::int64_t ranges = 1;                    // moment_ranges

    Launch launch(const DeviceLimits&) const {
        return {moment_tiles(w.n, x.cols) * ranges, max_threads,
                shared_size<Quad>(stages * stage_quads) + shared_size<float>(raw_stages * raw_floats)};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        Quad* slices = grid.template shared<Quad>(stages * stage_quads);
        float* raw = grid.template shared<float>(raw_stages * raw_floats);
        const std::int64_t across = ceil_div(x.cols, DigitTiles::rows), tiles = moment_tiles(w.n, x.cols),
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
    using Stages = Product::Stages;
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
        Quad* place = slices + quads + DigitTiles::row_quad(thread);
        begin_floats();
        grid.commit_copies();  // in place of a tile
        begin_floats();
        FNTK_UNROLL_BY(1)
        for (int step = 0; step < work.steps; ++step, tile += quads) {
            const int stage = Stages::of(step) * stage_quads;
            Stages::wait_for_free(grid, step);
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
            write_digit_row(
                rounding, [&](int l) { return from[l * DigitTiles::rows]; }, place + stage);
            grid.template wait_copies<3>();  // behind the tile before: one tile, two steps' floats
            if (step > 0) Stages::hand_over(grid, step - 1);
        }
        grid.template wait_copies<0>();
        Stages::hand_over(grid, work.steps - 1);
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

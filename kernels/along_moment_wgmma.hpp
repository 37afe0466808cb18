// Products along a moment of float32 rows on the matrix units of compute capability 9.0
// (digit_product.hpp):
//     out_ic = <A_i block c, M x_i>     A: n × (k·p)    X: n × d    M: p × d, as digits (PackDigits)
//     out: n × k
// A block takes 128 rows of X at a time, with 128 rows of M after the other. The producer copies tiles of M
// and makes those of X: a warp has 32 rows, whose floats it copies two steps ahead to a place in shared
// memory that it alone reads. The four lanes that have elements of a row of X Mᵀ in a consumer find their
// parts of <A_i, M x_i>, and the first of them adds all four to out.
//
// Shared memory:
//     slices     stages × (128 rows of X, then 128 rows of M, by 32 columns) of three digits
//     raw        3 × 128 rows of X by 32 columns, a pitch apart that is free of conflicts
#pragma once

#include "digit_product.hpp"
#include "digit_scales.hpp"
#include "float_tiles.hpp"
#include "row_lanes.hpp"

namespace fntk::kernels {

struct AlongMomentWgmma {
    static constexpr int max_threads = DigitProduct::max_threads;

    DigitTiles m;                               // of p rows
    Rows<const float> x, a;                     // n × d, n × (k·p)
    const std::uint32_t* magnitudes = nullptr;  // of X's rows
    Rows<float> out;                            // n × k

    Launch launch(const DeviceLimits& limits) const {
        return {smaller<std::int64_t>(ceil_div(x.rows, DigitTiles::rows), limits.multiprocessors),
                max_threads,
                shared_size<Quad>(stages * stage_quads) + shared_size<float>(raw_stages * raw_floats)};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        Quad* slices = grid.template shared<Quad>(stages * stage_quads);
        float* raw = grid.template shared<float>(raw_stages * raw_floats);
        if (grid.warp() < 4) {
            grid.template give_registers<56>();
            produce(grid, slices, raw);
        } else {
            grid.template take_registers<224>();
            consume(grid, grid.shuffle(grid.warp() / 4 - 1, 0), grid.shared_address(slices));
        }
    }

  private:
    using Product = DigitProduct;
    using Stages = Product::Stages;
    static constexpr int stages = Product::stages, quads = Product::quads,
                         stage_quads = Product::stage_quads;
    static constexpr int raw_stages = 3, pitch = DigitTiles::cols + 4,
                         raw_floats = DigitTiles::rows * pitch;
    using Floats = FloatTile<warp_size, DigitTiles::cols, pitch>;
    static constexpr int items = 4, together = 8;  // rows of a producing thread, columns of each

    /// f(i0, q0): the first row of X and of M of each product of this block. A row takes 128 bytes of
    /// floats at least: no GPU has room for 2^31 of them.
    template <class Grid, class F>
    FNTK_DEVICE void for_each_product(Grid& grid, const F& f) const {
        const int n = static_cast<int>(x.rows), p = static_cast<int>(m.n);
        for (int i0 = static_cast<int>(grid.block()) * DigitTiles::rows; i0 < n;
             i0 += static_cast<int>(grid.blocks()) * DigitTiles::rows)
            for (int q0 = 0; q0 < p; q0 += DigitTiles::rows) f(i0, q0);
    }

    /// Columns beyond X have digits 0 of M, and rows beyond it are nobody's: what their floats are does not
    /// matter. Item e of a lane: row 32·warp + 8e + lane % 8, columns 8·(lane / 8) on.
    template <class Grid>
    FNTK_DEVICE void produce(Grid& grid, Quad* slices, float* raw) const {
        const int lane = grid.lane(), row = warp_size * grid.warp();
        float* own = raw + row * pitch;
        Pair* place =
            reinterpret_cast<Pair*>(slices) + row * 4 + lane / 16 * 16 + lane % 8 * 2 + lane / 8 % 2;
        int step = 0;
        const Floats floats(x, lane);
        for_each_product(grid, [&](int i0, int q0) {
            const int steps = static_cast<int>(m.steps);
            int begun = 0, slot = 0;  // steps, and where the next goes
            const auto begin_floats = [&] {
                grid.sync_warp();  // the floats that were there are read
                if (begun < steps)
                    floats.begin(grid, i0 + row, begun * DigitTiles::cols, own + slot * raw_floats);
                grid.commit_copies();
                ++begun;
                slot = slot == raw_stages - 1 ? 0 : slot + 1;
            };
            DigitRounding roundings[items];
            FNTK_UNROLL
            for (int e = 0; e < items; ++e) {
                const std::int64_t i = i0 + row + 8 * e + lane % 8;
                roundings[e] = DigitRounding(i < x.rows ? magnitudes[i] : 0);
            }
            const Quad* tile = m.tile(q0, 0) + grid.thread();
            FNTK_UNROLL_BY(1)
            for (int s = 0; s < raw_stages - 1; ++s) {
                begin_floats();
                grid.commit_copies();  // in place of a tile
            }
            FNTK_UNROLL_BY(1)
            for (int s = 0; s < steps; ++s, ++step, tile += quads) {
                const int stage = Stages::of(step);
                Stages::wait_for_free(grid, step);
                Quad* to = slices + stage * stage_quads + quads + grid.thread();
                FNTK_UNROLL
                for (int e = 0; e < quads; e += warpgroup_size) grid.copy_async(to + e, tile + e, 16);
                grid.commit_copies();
                begin_floats();
                grid.template wait_copies<4>();  // behind this step's floats: two tiles, two of floats
                grid.sync_warp();
                const float* from = own + slot * raw_floats + lane % 8 * pitch + lane / 8 * together;
                FNTK_UNROLL
                for (int e = 0; e < items; ++e) {
                    const Quad* at = reinterpret_cast<const Quad*>(from + 8 * e * pitch);
                    write(roundings[e], at[0], at[1], place + stage * (2 * stage_quads) + 32 * e);
                }
                grid.template wait_copies<3>();
                if (step > 0) Stages::hand_over(grid, step - 1);
            }
        });
        grid.template wait_copies<0>();
        if (step > 0) Stages::hand_over(grid, step - 1);
    }
    FNTK_DEVICE static void write(const DigitRounding& rounding, const Quad& first, const Quad& second,
                                  Pair* to) {
        const auto word = [&](const Quad& four) {
            const auto bytes = [&](int l) { return rounding(float_of(four.word[l])); };
            return DigitWord(bytes(0), bytes(1), bytes(2), bytes(3));
        };
        const DigitWord low = word(first), high = word(second);
        FNTK_UNROLL
        for (int digit = 0; digit < 3; ++digit)
            to[digit * (DigitTiles::digit_bytes / 8)] = {{low.of[digit], high.of[digit]}};
    }

    template <class Grid>
    FNTK_DEVICE void consume(Grid& grid, int consumer, std::uint32_t slices) const {
        const std::int64_t of_block =
                               (ceil_div(x.rows, DigitTiles::rows) - grid.block() - 1) / grid.blocks() + 1,
                           last = of_block * ceil_div(m.n, DigitTiles::rows) * m.steps;
        std::int64_t step = 0;
        for_each_product(grid, [&](int i0, int q0) {
            prefetch_rows(grid, i0 + 64 * consumer + Product::row_of(grid, 0), q0);
            Product::Sums sums{};
            Product::multiply(grid, consumer, slices, m.steps, last, step, sums);
            add_to_out(grid, i0 + 64 * consumer + Product::row_of(grid, 0), q0, sums);
        });
    }
    /// What add_to_out() reads of A for the first output: 128 columns of rows i and i + 8, which four lanes
    /// share.
    template <class Grid>
    FNTK_DEVICE void prefetch_rows(Grid& grid, int i, int q0) const {
        const int col = q0 + grid.lane() % 4 * 32;
        FNTK_UNROLL
        for (int r = 0; r < 2; ++r)
            if (i + 8 * r < static_cast<int>(x.rows) && col < static_cast<int>(m.n))
                grid.prefetch(a.row(i + 8 * r) + col);
    }
    /// Of rows i and i + 8.
    template <class Grid>
    FNTK_DEVICE void add_to_out(Grid& grid, int i, int q0, const Product::Sums& sums) const {
        const int n = static_cast<int>(x.rows), col = Product::col_of(grid, 0);
        const std::int32_t units[2] = {digit_unit(i < n ? magnitudes[i] : 0),
                                       digit_unit(i + 8 < n ? magnitudes[i + 8] : 0)},
                           *of_cols = m.units + q0;
        // Scales that are one factor each; those of columns are looked at by one lane each.
        bool plain = is_plain_unit(units[0]) && is_plain_unit(units[1]);
        FNTK_UNROLL
        for (int c = 0; c < DigitTiles::rows; c += warp_size)
            plain = plain && is_plain_unit(of_cols[c + grid.lane()]);
        float moved[Product::elements];
        if (grid.ballot(plain) == ~std::uint32_t{0}) {
            const float of_rows[2] = {power_of_two(units[0] + 16), power_of_two(units[1] + 16)};
            FNTK_UNROLL
            for (int e = 0; e < Product::elements; ++e)
                moved[e] =
                    sums.whole(e) * of_rows[e / 2 % 2] * power_of_two(of_cols[col + e / 4 * 8 + e % 2]);
        } else {
            FNTK_UNROLL
            for (int e = 0; e < Product::elements; ++e)
                moved[e] = in_units(sums.whole(e), units[e / 2 % 2], of_cols[col + e / 4 * 8 + e % 2]);
        }
        const bool pairwise = q0 + DigitTiles::rows <= static_cast<int>(m.n) && m.n % 2 == 0 &&
                              a.stride % 2 == 0 && reinterpret_cast<std::uintptr_t>(a.data) % 8 == 0;
        FNTK_UNROLL_BY(1)
        for (int c = 0; c < static_cast<int>(out.cols); ++c) {
            FNTK_UNROLL
            for (int r = 0; r < 2; ++r) {
                const bool inside = i + 8 * r < n;
                const float* of_sample = a.row(inside ? i + 8 * r : 0) + c * m.n + q0 + col;
                const double sum = reduce_lanes(
                    grid, static_cast<double>(dot(of_sample, moved + 2 * r, pairwise, m.n - q0 - col)), 4,
                    Sum());
                if (grid.lane() % 4 != 0 || !inside) continue;
                float& at = out.row(i + 8 * r)[c];
                at = q0 == 0 ? static_cast<float>(sum) : static_cast<float>(static_cast<double>(at) + sum);
            }
        }
    }
    /// Of a row's columns 8b and 8b + 1, b = 0..15, that are below `count`, with elements 4b and 4b + 1.
    FNTK_DEVICE static float dot(const float* of_sample, const float* moved, bool pairwise,
                                 std::int64_t count) {
        float sum[2] = {};
        if (pairwise) {
            FNTK_UNROLL
            for (int b = 0; b < 16; ++b) {
                const Pair two = *reinterpret_cast<const Pair*>(of_sample + 8 * b);
                FNTK_UNROLL
                for (int l = 0; l < 2; ++l) sum[l] += float_of(two.word[l]) * moved[4 * b + l];
            }
        } else {
            FNTK_UNROLL
            for (int b = 0; b < 16; ++b) {
                FNTK_UNROLL
                for (int l = 0; l < 2; ++l)
                    if (8 * b + l < count) sum[l] += of_sample[8 * b + l] * moved[4 * b + l];
            }
        }
        return sum[0] + sum[1];
    }
};

}  // namespace fntk::kernels

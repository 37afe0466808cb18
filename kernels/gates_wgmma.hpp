// The gates of a rademacher V of a rank up to 1024 on the matrix units of compute capability 9.0
// (warpgroup.hpp), for ranks whose sums of Ĝ do not fit registers beside those of ẑ.
//     ẑ = ĥ Vᵀ,  gate = ẑ > 0
// A block has 64 rows of ĥ and a range of units. All digits of the rows stay in shared memory; panels of V
// (sign_panels.hpp) come through stages of it, words_at_once words of columns at a time, brought by the
// first warpgroup. The other two have 128 units of a panel each: three sums an element in registers, one a
// digit, over the whole rank:
//     ĥ = h₀ + 256 h₁ + 256² h₂:   −ẑ = S₀ + 256 S₁ + 256² S₂,   S_i = h_i(−Vᵀ)
// Stages are handed over by warpgroup_stages.hpp.
//
// Shared memory:
//     digits     of each, the least significant first, of each word of columns: 64 rows × 32 bytes in core
//                matrices, in the order of columns of sign_tiles.hpp; zeros beyond the rank
//     slices     stages × words_at_once panels
#pragma once

#include "ranges.hpp"
#include "sign_panels.hpp"
#include "warpgroup_stages.hpp"
#include "wgmma_signs.hpp"

namespace fntk::kernels {

template <int digits_, int words_at_once_>
struct GatesWgmma {
    static constexpr int digit_count = digits_, words_at_once = words_at_once_;
    static constexpr int max_threads = 384, rows = 64;

    Rows<const std::int32_t> h;  // n × p
    Rows<std::uint64_t> gates;   // n × ⌈m/64⌉ words; those of the panels' units are written in full
    std::int64_t m = 0, p = 0;
    std::int64_t first_unit = 0, count = 0;  // of the panels, as in PackSigns
    SignPanels panels;

    /// Words of a row of panels: whole stages.
    FNTK_HD static constexpr std::int64_t words_for(std::int64_t p) {
        return round_up(sign_words(p), words_at_once);
    }
    static constexpr bool fits(std::int64_t p, const DeviceLimits& limits) {
        return shared_bytes(p) <= limits.shared_bytes_per_block;
    }
    Launch launch(const DeviceLimits& limits) const {
        if (h.rows == 0 || count == 0 || gates.data == nullptr) return {};
        const std::int64_t whole = ceil_div(h.rows, rows);
        return {whole * ranges_for(whole, count, limits), max_threads, shared_bytes(p)};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        Quad* digits = grid.template shared<Quad>(digit_quads(p));
        Quad* slices = grid.template shared<Quad>(stages * stage_quads);
        const std::int64_t whole = ceil_div(h.rows, rows), ranges = grid.blocks() / whole,
                           range = grid.block() / whole;
        const Work work{static_cast<int>(grid.block() % whole * rows),
                        static_cast<int>(range * count / ranges),
                        static_cast<int>((range + 1) * count / ranges)};
        if (grid.warp() < 4) {
            grid.template give_registers<40>();
            produce(grid, work, slices);
        } else {
            grid.template take_registers<232>();
            consume(grid, work, grid.shuffle(grid.warp() / 4 - 1, 0), digits, slices);
        }
    }

  private:
    using Stages = WarpgroupStages<4>;
    static constexpr int units = 128, stages = Stages::count, ahead = 1;
    static constexpr int stage_quads = words_at_once * SignPanels::quads,
                         tile_quads = SignPanels::Tiles::quads;
    static constexpr int one_word = rows * 32 / 16;   // quads of a digit's word of columns
    static constexpr int core = 128, core_row = 256;  // leading and stride of both operands
    static constexpr int of_consumers = Stages::next_barrier;

    using Signs = WgmmaSigns<32, units, digit_count>;

    struct Work {
        int row, first, end;  // the first row; panels of units
    };
    /// The least significant digit first, each in the registers of wgmma.
    struct Sums {
        std::int32_t part[digit_count][units / 2];
    };

    FNTK_HD static constexpr std::int64_t digit_quads(std::int64_t p) {
        return digit_count * words_for(p) * one_word;
    }
    FNTK_HD static constexpr std::int64_t shared_bytes(std::int64_t p) {
        return shared_size<Quad>(digit_quads(p)) + shared_size<Quad>(stages * stage_quads);
    }

    /// All that the first warpgroup does. A step is handed over when `ahead` more have begun.
    template <class Grid>
    FNTK_DEVICE void produce(Grid& grid, const Work& work, Quad* slices) const {
        const int steps = (work.end - work.first) * static_cast<int>(panels.words / words_at_once);
        const Quad* from = panels.panel(work.first, 0) + grid.thread();
        FNTK_UNROLL_BY(1)
        for (int step = 0; step < steps; ++step, from += stage_quads) {
            Stages::wait_for_free(grid, step);
            Quad* to = slices + Stages::of(step) * stage_quads + grid.thread();
            FNTK_UNROLL
            for (int e = 0; e < stage_quads; e += warpgroup_size) grid.copy_async(to + e, from + e, 16);
            grid.commit_copies();
            grid.template wait_copies<ahead>();
            if (step >= ahead) Stages::hand_over(grid, step - ahead);
        }
        grid.template wait_copies<0>();
        for (int step = larger(steps - ahead, 0); step < steps; ++step) Stages::hand_over(grid, step);
    }

    /// Consumer i = 0, 1 with units 128i on of each panel.
    template <class Grid>
    FNTK_DEVICE void consume(Grid& grid, const Work& work, int i, Quad* digits, const Quad* slices) const {
        const Signs signs{h, gates, m, p};
        load_digits(grid, signs, work.row, i, digits);
        grid.proxy_fence();
        grid.barrier_sync(of_consumers, 2 * warpgroup_size);

        const int words = static_cast<int>(panels.words), steps = words / words_at_once,
                  last = (work.end - work.first) * steps;
        const std::uint64_t a = tile_descriptor(grid.shared_address(digits), core, core_row);
        const std::uint32_t b = grid.shared_address(slices) + 16 * tile_quads * i;
        int step = 0;
        for (int t = work.first; t < work.end; ++t) {
            Sums sums{};
            FNTK_UNROLL_BY(1)
            for (int s = 0; s < steps; ++s, ++step) {
                Stages::wait_for_full(grid, i, step);
                begin_products(grid, tile_after(a, 16 * one_word * words_at_once * s), words,
                               tile_descriptor(b + 16 * stage_quads * Stages::of(step), core, core_row),
                               sums);
                grid.template wgmma_wait<1>();
                if (s > 0) Stages::release(grid, step - 1, last);
            }
            grid.template wgmma_wait<0>(sums.part);
            Stages::release(grid, step - 1, last);
            std::uint32_t open[Signs::steps][4];
            std::int32_t z[units / 2];
            FNTK_UNROLL
            for (int e = 0; e < units / 2; ++e) {
                auto sum = static_cast<std::uint32_t>(sums.part[digit_count - 1][e]);
                FNTK_UNROLL
                for (int digit = digit_count - 2; digit >= 0; --digit)
                    sum = 256U * sum + static_cast<std::uint32_t>(sums.part[digit][e]);
                z[e] = static_cast<std::int32_t>(sum);
            }
            const int first = static_cast<int>(first_unit) + SignPanels::units * t + units * i;
            signs.find_open(grid, z, first, open);
            signs.keep_gates(grid, work.row, first / units, open);
        }
    }
    template <class Grid>
    FNTK_DEVICE static void begin_products(Grid& grid, std::uint64_t a, int words, std::uint64_t b,
                                           Sums& sums) {
        grid.wgmma_fence(sums.part);
        FNTK_UNROLL
        for (int w = 0; w < words_at_once; ++w) {
            FNTK_UNROLL
            for (int digit = 0; digit < digit_count; ++digit)
                grid.template wgmma<true>(sums.part[digit],
                                          tile_after(a, 16 * one_word * (words * digit + w)),
                                          tile_after(b, 16 * SignPanels::quads * w));
        }
        grid.wgmma_commit();
    }

    /// Of rows `row` on, by the threads of both consumers. Quad q of a word: row q % 8 + q / 16·8, byte j
    /// is column 8·(j % 4) + j / 4 of the 32, or 4 columns on.
    template <class Grid>
    FNTK_DEVICE void load_digits(Grid& grid, const Signs& signs, int row, int consumer,
                                 Quad* digits) const {
        const int words = static_cast<int>(panels.words), q = grid.thread() % warpgroup_size;
        const std::int64_t r = row + q % 8 + q / 16 * 8;
        FNTK_UNROLL_BY(1)
        for (int w = consumer; w < words; w += 2)
            signs.put_digits(r, 32 * w + q / 8 % 2 * 4, digits + w * one_word + q, words * one_word);
    }
};

}  // namespace fntk::kernels

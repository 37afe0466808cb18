// The wide pass in int64, by plain additions, for both ±1 families and every rank: ĥ (int64, or int32 for
// ranks that no faster kernel takes), n × p,
//     ẑ = V ĥ (int64),  gate = ẑ > 0,  Ĝ^c = Σ_r a_rc gate_r V_r
//         gates: n × m bits          Ĝ: n × (k·p), added to: zeroed by the caller
// in 2·p additions per row of V and four samples' worth of drawing. All sums are exact, whatever the
// launch.
//
// A block takes tasks (four samples, 2048 rows of V) in turn.
//     ẑ    a warp takes 32 rows at a time, one per lane; a word of 32 signs of V serves four samples, and
//     all
//          lanes read the same ĥ. The gates of a sample are the ballot of its signs.
//     Ĝ    a warp takes 32 columns at a time, one per lane: it draws the words of 32 rows as before and
//          transposes them over the lanes. Then agree = ~(a ^ V) over 32 rows, and
//          Σ_r a_rc gate_r V_rq = 2·popcount(gate & agree) − popcount(gate).
//
// Shared memory: open, 4 × 64 words: the gates of the task, 32 rows to a word.
// Barriers: one before they are read in words and columns, one before the next task overwrites them.
#pragma once

#include "sign_words.hpp"

namespace fntk::kernels {

template <class Hidden>
struct WidePassExact64 {
    static constexpr int max_threads = 256;
    static constexpr int samples_at_once = 4;
    static constexpr int task_words = 64;  // of 32 rows

    bool srht = false;  // the family of V: srht or rademacher
    std::uint64_t up_seed = 0, readout_seed = 0;
    std::int64_t m = 0, p = 0, k = 0;
    Rows<const Hidden> h;          // n × p
    Rows<std::uint64_t> gates;     // n × ⌈m/64⌉ words, written in full; no data: not wanted
    Rows<std::int32_t> gradients;  // n × (k·p), added to; no data: not wanted

    Launch launch(const DeviceLimits& limits) const {
        if (tasks() == 0 || (gates.data == nullptr && (gradients.data == nullptr || k == 0))) return {};
        return {smaller<std::int64_t>(tasks(), std::int64_t{8} * limits.multiprocessors), max_threads,
                shared_size<std::uint32_t>(samples_at_once * task_words)};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        auto* open = grid.template shared<std::uint32_t>(samples_at_once * task_words);
        const std::int64_t groups = ceil_div(h.rows, samples_at_once),
                           ranges = ceil_div(m, 32 * task_words);
        std::int64_t group = grid.block(), range = 0;
        while (true) {
            for (; group >= groups; group -= groups) ++range;  // cheaper than a 64-bit division
            if (range >= ranges) break;
            const std::int64_t i0 = group * samples_at_once, word0 = range * task_words;
            const int words = static_cast<int>(smaller<std::int64_t>(task_words, ceil_div(m, 32) - word0));
            FNTK_UNROLL_BY(1)
            for (int w = grid.warp(); w < words; w += grid.threads() / warp_size)
                find_gates(grid, i0, word0, w, open);
            grid.sync();  // all gates are there
            if (gates.data != nullptr) write_gates(grid, i0, word0, open);
            if (gradients.data != nullptr)
                for (std::int64_t c = 0; c < k; ++c)
                    for (std::int64_t q = grid.warp(); q < sign_words(p); q += grid.threads() / warp_size)
                        add_gradients(grid, i0, word0, words, open, c, q);
            grid.sync();  // all have been read
            group += grid.blocks();
        }
    }

  private:
    FNTK_HD std::int64_t tasks() const {
        return ceil_div(h.rows, samples_at_once) * ceil_div(m, 32 * task_words);
    }
    /// Word w of row r of V, P = 2^log: rademacher_bits or srht_bits, with one copy of Philox for both.
    FNTK_DEVICE std::uint32_t up_bits(std::int64_t r, std::int64_t w, int log) const {
        const std::int64_t padded = std::int64_t{1} << log;
        const std::uint64_t first = srht ? srht_word(r >> log, padded) : rademacher_word(r, p);
        return word_at(up_seed, srht ? Stream::up_signs : Stream::up,
                       first + static_cast<std::uint64_t>(w)) ^
               (srht ? hadamard_bits(r & (padded - 1), w) : 0);
    }

    /// Word w of the task's gates, for its four samples.
    template <class Grid>
    FNTK_DEVICE void find_gates(Grid& grid, std::int64_t i0, std::int64_t word0, int w,
                                std::uint32_t* open) const {
        const std::int64_t r = 32 * (word0 + w) + grid.lane();
        const int log = ceil_log2(p);
        std::int64_t row[samples_at_once];  // offsets: a sample behind the last is the last again
        std::int64_t z[samples_at_once] = {};
        FNTK_UNROLL
        for (int s = 0; s < samples_at_once; ++s) row[s] = smaller(i0 + s, h.rows - 1) * h.stride;
        FNTK_UNROLL_BY(1)
        for (std::int64_t q0 = 0; q0 < p; q0 += 32) {
            const std::uint32_t bits = up_bits(r, q0 / 32, log);
            const int columns = static_cast<int>(smaller<std::int64_t>(32, p - q0));
            FNTK_UNROLL_BY(2)
            for (int j = 0; j < columns; ++j) {
                const bool plus = (bits >> j & 1U) != 0;
                FNTK_UNROLL
                for (int s = 0; s < samples_at_once; ++s) {
                    const std::int64_t x = h.data[row[s] + q0 + j];
                    z[s] += plus ? x : -x;
                }
            }
        }
        FNTK_UNROLL
        for (int s = 0; s < samples_at_once; ++s) {
            const std::uint32_t bits = grid.ballot(z[s] > 0 && r < m);
            if (grid.lane() == 0) open[s * task_words + w] = bits;
        }
    }

    template <class Grid>
    FNTK_DEVICE void write_gates(Grid& grid, std::int64_t i0, std::int64_t word0,
                                 const std::uint32_t* open) const {
        constexpr int pairs = task_words / 2;
        for (int x = grid.thread(); x < samples_at_once * pairs; x += grid.threads()) {
            const std::int64_t i = i0 + x / pairs, w = x % pairs, to = word0 / 2 + w;
            if (i >= h.rows || 64 * to >= m) continue;
            const std::uint32_t* pair = open + x / pairs * task_words + 2 * w;
            const std::uint64_t high =
                64 * to + 32 < m ? pair[1] : 0;  // not set where there is no such row
            gates.row(i)[to] = pair[0] | high << 32;
        }
    }

    /// Columns 32w to 32w + 31 of output c.
    template <class Grid>
    FNTK_DEVICE void add_gradients(Grid& grid, std::int64_t i0, std::int64_t word0, int words,
                                   const std::uint32_t* open, std::int64_t c, std::int64_t w) const {
        const std::int64_t q = 32 * w + grid.lane();
        const int log = ceil_log2(p);
        std::int32_t sum[samples_at_once] = {};
        FNTK_UNROLL_BY(1)
        for (int x = 0; x < words; ++x) {
            const std::uint32_t bits = up_bits(32 * (word0 + x) + grid.lane(), w, log);
            const std::uint32_t agree =
                ~(transpose_bits(grid, bits) ^ readout_bits(readout_seed, word0 + x, c));
            FNTK_UNROLL
            for (int s = 0; s < samples_at_once; ++s) {
                const std::uint32_t gate = open[s * task_words + x];
                sum[s] += 2 * popcount(std::uint64_t{gate & agree}) - popcount(std::uint64_t{gate});
            }
        }
        FNTK_UNROLL
        for (int s = 0; s < samples_at_once; ++s)
            if (i0 + s < h.rows && q < p) grid.atomic_add(gradients.row(i0 + s) + c * p + q, sum[s]);
    }
};

}  // namespace fntk::kernels

// Rows r0.. of a seeded A (b × k), ±1 as real values. T is float or double.
//
// A word of stream `readout` is 32 units of one output. A warp draws 32 words of one output, one per lane,
// and hands them round: in turn each is the word of all lanes, which write its 32 rows. No shared memory.
#pragma once

#include "sign_words.hpp"

namespace fntk::kernels {

template <class T>
struct ReadoutRows {
    static constexpr int max_threads = 256;

    std::uint64_t seed = 0;
    std::int64_t r0 = 0;
    Rows<T> rows;  // b × k

    Launch launch(const DeviceLimits& limits) const {
        return {
            smaller(ceil_div(items(), max_threads / warp_size), std::int64_t{32} * limits.multiprocessors),
            max_threads, 0};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const std::int64_t warps = grid.threads() / warp_size;
        for (std::int64_t item = grid.block() * warps + grid.warp(); item < items();
             item += grid.blocks() * warps) {
            const std::int64_t c = item % rows.cols, first = r0 / 32 + item / rows.cols * warp_size;
            const std::uint32_t drawn = readout_bits(seed, first + grid.lane(), c);
            for (int from = 0; from < warp_size; ++from) {
                const std::uint32_t bits = grid.shuffle(drawn, from);
                const std::int64_t row = 32 * (first + from) + grid.lane() - r0;
                if (row >= 0 && row < rows.rows) rows.row(row)[c] = bits >> grid.lane() & 1U ? T(1) : T(-1);
            }
        }
    }

  private:
    /// Outputs × groups of 32 words, of those that hold at least one row.
    FNTK_HD std::int64_t items() const {
        if (rows.rows == 0) return 0;
        const std::int64_t words = (r0 + rows.rows - 1) / 32 - r0 / 32 + 1;
        return rows.cols * ceil_div(words, warp_size);
    }
};

}  // namespace fntk::kernels

// Rows r0.. of a V that its seed reproduces, as real values (b × p). T is float or double.
//     UpRowsOfSigns      rademacher, srht: ±1
//     UpRowsOfNormals    gaussian: normal number r·p + q of stream `up`
// No shared memory.
#pragma once

#include "sign_words.hpp"

namespace fntk::kernels {

/// A warp draws 32 words of signs, one per lane, consecutive in row and column, and hands them round: in
/// turn each is the word of all lanes, which write its 32 columns side by side.
template <class T, bool srht>
struct UpRowsOfSigns {
    static constexpr int max_threads = 256;

    std::uint64_t seed = 0;
    std::int64_t r0 = 0;
    Rows<T> rows;  // b × p

    Launch launch(const DeviceLimits& limits) const {
        return {smaller(ceil_div(items(), max_threads), std::int64_t{32} * limits.multiprocessors),
                max_threads, 0};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const std::int64_t words = sign_words(rows.cols), padded = next_power_of_two(rows.cols);
        const std::int64_t warps = grid.threads() / warp_size;
        for (std::int64_t first = (grid.block() * warps + grid.warp()) * warp_size; first < items();
             first += grid.blocks() * warps * warp_size) {
            const std::int64_t own = first + grid.lane(), r = r0 + own / words, w = own % words;
            std::uint32_t drawn = 0;
            if (own < items())
                drawn = srht ? srht_bits(seed, r, w, padded) : rademacher_bits(seed, r, w, rows.cols);
            std::int64_t row = first / words, word = first % words;
            for (int from = 0; from < warp_size; ++from) {
                const std::uint32_t bits = grid.shuffle(drawn, from);
                const std::int64_t q = 32 * word + grid.lane();
                if (row < rows.rows && q < rows.cols)
                    rows.row(row)[q] = bits >> grid.lane() & 1U ? T(1) : T(-1);
                if (++word == words) word = 0, ++row;
            }
        }
    }

  private:
    FNTK_HD std::int64_t items() const { return rows.rows * sign_words(rows.cols); }
};

/// A thread takes the four normals of one Philox block; those outside the rows are left out.
template <class T>
struct UpRowsOfNormals {
    static constexpr int max_threads = 256;

    std::uint64_t seed = 0;
    std::int64_t r0 = 0;
    Rows<T> rows;  // b × p

    Launch launch(const DeviceLimits& limits) const {
        return {smaller(ceil_div(items(), max_threads), std::int64_t{32} * limits.multiprocessors),
                max_threads, 0};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const std::int64_t begin = r0 * rows.cols, end = begin + rows.rows * rows.cols;
        for (std::int64_t i = grid.block() * grid.threads() + grid.thread(); i < items();
             i += grid.blocks() * grid.threads()) {
            const std::int64_t block = begin / 4 + i;
            const Normal4 normals = random_normals(seed, Stream::up, static_cast<std::uint64_t>(block));
            FNTK_UNROLL
            for (int l = 0; l < 4; ++l) {
                const std::int64_t index = 4 * block + l;
                if (index >= begin && index < end)
                    rows.row((index - begin) / rows.cols)[(index - begin) % rows.cols] =
                        static_cast<T>(normals.value[l]);
            }
        }
    }

  private:
    /// Blocks that hold at least one entry.
    FNTK_HD std::int64_t items() const {
        if (rows.rows == 0 || rows.cols == 0) return 0;
        return (r0 + rows.rows) * rows.cols / 4 + ((r0 + rows.rows) * rows.cols % 4 != 0) -
               r0 * rows.cols / 4;
    }
};

}  // namespace fntk::kernels

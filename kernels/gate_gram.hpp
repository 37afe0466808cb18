// counts (int32, n × n') = Σ_r w_r B_ir B'_jr over rows of bits, by AND and popcount of 64-bit words:
//     without weights   Σ popcount(b & b')
//     w = ±1            2·Σ popcount(b & b' & w) − Σ popcount(b & b'), bit set: +1
// Bits behind the width are zero in every row, as BitView promises; those of w may be anything.
//
// A block takes tiles of 64 × 64 counts in turn. Thread (y, x) of 16 × 16 owns rows 4y to 4y + 3 and
// columns x, x + 16, x + 32, x + 48, in registers. When both operands are one view only tiles on and below
// the diagonal are computed, and each count is written to both of its places: exactly symmetric.
//
// Shared memory: stage_words words of 64 rows of each side, word by word (a[word·65 + row]), so that the 16
// threads of a row of threads read 16 neighbours and 16 words of a row are written to different banks; and
// the weights' words. Rows and words past the end are zero. One barrier makes a stage visible; a second
// keeps it until every thread has read it.
#pragma once

#include "grid.hpp"

#include <cmath>

namespace fntk::kernels {

struct GateGram {
    static constexpr int max_threads = 256;

    std::int64_t width = 0;            // bits of a row
    Rows<const std::uint64_t> a, b;    // n and n' rows of ⌈width/64⌉ words
    const std::uint64_t* w = nullptr;  // ⌈width/64⌉ words; null: all weights 1
    Rows<std::int32_t> counts;         // n × n', written in full

    Launch launch(const DeviceLimits& limits) const {
        const std::int64_t shared =
            2 * shared_size<std::uint64_t>(stage_words * pitch) + shared_size<std::uint64_t>(stage_words);
        return {smaller(tiles(), std::int64_t{16} * limits.multiprocessors), 256, shared};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const Stage stage{grid.template shared<std::uint64_t>(stage_words * pitch),
                          grid.template shared<std::uint64_t>(stage_words * pitch),
                          grid.template shared<std::uint64_t>(stage_words)};
        for (std::int64_t index = grid.block(); index < tiles(); index += grid.blocks()) {
            const Corner corner = corner_of(index);
            if (w == nullptr)
                count<false>(grid, corner, stage);
            else
                count<true>(grid, corner, stage);
        }
    }

  private:
    static constexpr int tile = 64, pitch = tile + 1, stage_words = 16;

    struct Stage {
        std::uint64_t *a, *b, *w;
    };
    struct Corner {
        std::int64_t i, j;
    };

    FNTK_HD bool symmetric() const { return a.data == b.data && a.rows == b.rows && a.stride == b.stride; }
    FNTK_HD std::int64_t tiles() const {
        const std::int64_t down = ceil_div(a.rows, tile);
        return symmetric() ? down * (down + 1) / 2 : down * ceil_div(b.rows, tile);
    }
    /// Symmetric: tile (i, j ≤ i) has number i(i + 1)/2 + j; the root finds i to within one.
    FNTK_DEVICE Corner corner_of(std::int64_t index) const {
        if (!symmetric()) {
            const std::int64_t across = ceil_div(b.rows, tile);
            return {index / across * tile, index % across * tile};
        }
        auto i = static_cast<std::int64_t>((std::sqrt(8.0 * static_cast<double>(index) + 1.0) - 1.0) / 2.0);
        while (i * (i + 1) / 2 > index) --i;
        while ((i + 1) * (i + 2) / 2 <= index) ++i;
        return {i * tile, (index - i * (i + 1) / 2) * tile};
    }

    /// Neighbouring threads load neighbouring words of one row.
    template <class Grid>
    FNTK_DEVICE void load(Grid& grid, const Corner& corner, std::int64_t first, const Stage& stage) const {
        const std::int64_t words = ceil_div(width, 64);
        for (int l = grid.thread(); l < tile * stage_words; l += grid.threads()) {
            const int row = l / stage_words, word = l % stage_words;
            const bool inside = first + word < words;
            stage.a[word * pitch + row] =
                inside && corner.i + row < a.rows ? a.row(corner.i + row)[first + word] : 0;
            stage.b[word * pitch + row] =
                inside && corner.j + row < b.rows ? b.row(corner.j + row)[first + word] : 0;
            if (row == 0) stage.w[word] = inside && w != nullptr ? w[first + word] : 0;
        }
    }

    template <bool weighted, class Grid>
    FNTK_DEVICE void count(Grid& grid, const Corner& corner, const Stage& stage) const {
        const int x = grid.thread() % 16, y = grid.thread() / 16;
        std::int32_t sums[16] = {};  // row l / 4, column l % 4
        for (std::int64_t first = 0; first < ceil_div(width, 64); first += stage_words) {
            load(grid, corner, first, stage);
            grid.sync();
            for (int word = 0; word < stage_words; ++word) {
                std::uint64_t rows[4], cols[4];
                FNTK_UNROLL
                for (int l = 0; l < 4; ++l) {
                    rows[l] = stage.a[word * pitch + 4 * y + l];
                    cols[l] = stage.b[word * pitch + x + 16 * l];
                }
                FNTK_UNROLL
                for (int l = 0; l < 16; ++l) {
                    const std::uint64_t both = rows[l / 4] & cols[l % 4];
                    sums[l] +=
                        weighted ? 2 * popcount(both & stage.w[word]) - popcount(both) : popcount(both);
                }
            }
            grid.sync();
        }
        FNTK_UNROLL
        for (int l = 0; l < 16; ++l) write(corner.i + 4 * y + l / 4, corner.j + x + 16 * (l % 4), sums[l]);
    }

    FNTK_DEVICE void write(std::int64_t i, std::int64_t j, std::int32_t sum) const {
        if (i >= a.rows || j >= b.rows) return;
        if (symmetric() && j > i) return;  // the other half of a tile on the diagonal writes it
        counts.row(i)[j] = sum;
        if (symmetric() && j < i) counts.row(j)[i] = sum;
    }
};

}  // namespace fntk::kernels

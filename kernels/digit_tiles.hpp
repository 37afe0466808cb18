// Rows of floats as whole numbers of three bytes, in tiles for products of int8 (digit_sums.hpp).
//     x_j ≈ v_j·2^u, u of the row, v = 65536 v₂ + 256 v₁ + v₀, digits −128 to 127: v keeps 22 bits or more
//     below the row's largest magnitude
// A tile is 128 rows by 32 columns: 4096 bytes v₂, then v₁, then v₀, each in core matrices of 8 rows × 16
// columns (warpgroup.hpp), which lie in one piece of 128 bytes: column l of row r is byte
//     r / 8·stride + l / 16·leading + 16·(r % 8) + l % 16
// Tiles of the same rows follow each other; rows and columns past the end are zero. A row that is not
// finite has u = not_finite.
#pragma once

#include "fixed_point.hpp"
#include "quad.hpp"
#include "row_lanes.hpp"

namespace fntk::kernels {

struct DigitTiles {
    static constexpr int rows = 128, cols = 32, leading = 128, stride = 256;
    static constexpr int digit_bytes = rows * cols, quads = 3 * digit_bytes / 16;  // of a digit; of a tile
    static constexpr std::int32_t not_finite = std::int32_t{1} << 30;

    const Quad* data = nullptr;
    const std::int32_t* units = nullptr;  // u, of whole tiles
    std::int64_t n = 0, steps = 0;        // rows; tiles of a row

    FNTK_HD static constexpr std::int64_t steps_of(std::int64_t cols_) { return ceil_div(cols_, cols); }
    FNTK_HD static constexpr std::int64_t padded_rows(std::int64_t n) { return round_up(n, rows); }
    /// One at least, so that there is memory to count from.
    FNTK_HD static constexpr std::int64_t quads_of(std::int64_t n, std::int64_t cols_) {
        return larger<std::int64_t>(1, ceil_div(n, rows) * steps_of(cols_) * quads);
    }
    /// Of a tile, the first quad of a row; the others are multiples of `leading` and `digit_bytes` on.
    FNTK_HD static constexpr int row_quad(int row) { return row / 8 * (stride / 16) + row % 8; }
    FNTK_DEVICE const Quad* tile(std::int64_t row, std::int64_t step) const {
        return data + (row / rows * steps + step) * quads;
    }
};

/// A group of lanes has a row (row_lanes.hpp) and reads it twice: for its maximum, and to write.
struct PackDigits {
    static constexpr int max_threads = row_threads;

    Rows<const float> x;
    Quad* tiles = nullptr;          // DigitTiles::quads_of(n, d)
    std::int32_t* units = nullptr;  // DigitTiles::padded_rows(n)

    Launch launch(const DeviceLimits& limits) const {
        return row_launch(DigitTiles::padded_rows(x.rows), x.cols, limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const std::int64_t steps = DigitTiles::steps_of(x.cols);
        for_each_row(grid, DigitTiles::padded_rows(x.rows), x.cols, [&](const RowLane& at) {
            const std::int64_t cols = at.active && at.row < x.rows ? x.cols : 0;
            const float* from = x.row(cols > 0 ? at.row : 0);
            const float largest = reduce_lanes(grid, largest_of(from, cols, at), at.lanes, Largest());
            const bool finite = is_finite(static_cast<double>(largest));
            const int shift = finite ? shift_of(static_cast<double>(largest)) : 0;
            if (at.first()) units[at.row] = finite ? -shift : DigitTiles::not_finite;
            const PowerOfTwo scale(shift);
            const int row = static_cast<int>(at.row % DigitTiles::rows);
            auto* to = reinterpret_cast<std::uint32_t*>(tiles + at.row / DigitTiles::rows * steps *
                                                                    DigitTiles::quads) +
                       row / 8 * (DigitTiles::stride / 4) + row % 8 * 4;
            at.columns(steps * (DigitTiles::cols / 4), [&](std::int64_t quad) {
                const auto bytes = [&](int l) {
                    const std::int64_t j = 4 * quad + l;
                    const double value = j < cols && finite ? static_cast<double>(from[j]) : 0.0;
                    return DigitWord::bytes(static_cast<std::int32_t>(quantise(value, scale)));
                };
                const DigitWord words(bytes(0), bytes(1), bytes(2), bytes(3));
                const std::int64_t word = quad / 8 * (DigitTiles::quads * 4) +
                                          quad % 8 / 4 * (DigitTiles::leading / 4) + quad % 4;
                FNTK_UNROLL
                for (int t = 0; t < 3; ++t) to[word + t * (DigitTiles::digit_bytes / 4)] = words.of[t];
            });
        });
    }

  private:
    /// Infinity where one is not finite.
    FNTK_DEVICE static float largest_of(const float* from, std::int64_t cols, const RowLane& at) {
        float largest = 0;
        FNTK_UNROLL_BY(4)
        for (std::int64_t j = at.lane; j < cols; j += at.lanes) {
            const float v = std::fabs(from[j]);
            largest = v - v == 0 ? larger(largest, v) : HUGE_VALF;
        }
        return largest;
    }
    /// 0 for a row of zeros; else 23 bits of the largest, or 22 where it would leave the digits; of long
    /// rows fewer, so that sums of v₂ v₂' stay within int32: 2^14 to a column, 2^12 beyond 2^17 columns,
    /// 2^10 beyond 2^19.
    FNTK_DEVICE int shift_of(double largest) const {
        if (largest == 0) return 0;
        int shift = 23 - exponent_of(largest);
        if (PowerOfTwo(shift).times(largest) > DigitWord::most) --shift;
        for (std::int64_t cols = std::int64_t{1} << 17; cols < x.cols; cols *= 4) --shift;
        return shift;
    }
};

}  // namespace fntk::kernels

// Floats as whole numbers of three digits (digit_sums.hpp) where the scale is found before they are read:
// one of a row or of a column, from its largest magnitude.
//     x ≈ v·2^u, u of a largest magnitude in [2^(E−1), 2^E), E ≥ −126: E − 23, or E − 22 where v would be
//     beyond three digits
// A magnitude is the bits of |x|, which order as the numbers do; infinity and NaN are the largest.
//     DigitRounding    v + 0x808080, of which DigitWord makes words of digits (fixed_point.hpp)
//     Magnitudes       of the rows and the columns of a source of floats
#pragma once

#include "digit_sums.hpp"

namespace fntk::kernels {

inline constexpr std::uint32_t infinite_magnitude = 0x7F800000U;

FNTK_DEVICE std::uint32_t magnitude_of(float x) { return bits_of(x) & 0x7FFFFFFFU; }

/// u of DigitTiles. A fraction of 0x7EFEFE is that of DigitWord::most.
FNTK_DEVICE std::int32_t digit_unit(std::uint32_t magnitude) {
    if (magnitude >= infinite_magnitude) return DigitTiles::not_finite;
    return static_cast<std::int32_t>(magnitude >> 23) - 126 -
           ((magnitude & 0x7FFFFFU) > 0x7EFEFEU ? 22 : 23);
}

/// The whole number nearest to x, 0 ≤ x ≤ 2^24, or the result means nothing.
FNTK_DEVICE std::uint32_t nearest_whole(float x) {
#ifdef __CUDA_ARCH__
    return __float2uint_rn(x);
#else
    return x >= 0 && x <= 0x1p24F ? static_cast<std::uint32_t>(std::nearbyint(x)) : 0;
#endif
}

/// 2^−u as two factors, both normal: x·2^−u is exact where it rounds to no zero.
struct DigitRounding {
    float first = 1, second = 1;

    DigitRounding() = default;
    FNTK_DEVICE explicit DigitRounding(std::uint32_t magnitude) {
        const std::int32_t u = magnitude >= infinite_magnitude ? 0 : digit_unit(magnitude);
        first = power_of_two(-u / 2);
        second = power_of_two(-u + u / 2);
    }
    /// v + 0x808080, whose bytes are the digits plus 128. Below 2^23 the sum is rounded to halves first: v
    /// is off by three quarters at most.
    FNTK_DEVICE std::uint32_t operator()(float x) const {
        return nearest_whole(std::fma(x * first, second, 8421504.0F));
    }
};

/// Writes 32 numbers, x(l) the l-th, as a row of a tile: `to` is the row's first quad
/// (DigitTiles::row_quad).
template <class X>
FNTK_DEVICE void write_digit_row(const DigitRounding& rounding, const X& x, Quad* to) {
    FNTK_UNROLL
    for (int half = 0; half < 2; ++half) {
        float found[16];
        FNTK_UNROLL
        for (int l = 0; l < 16; ++l) found[l] = x(16 * half + l);
        Quad of_digits[3];
        FNTK_UNROLL
        for (int w = 0; w < 4; ++w) {
            const auto bytes = [&](int l) { return rounding(found[4 * w + l]); };
            const DigitWord word(bytes(0), bytes(1), bytes(2), bytes(3));
            FNTK_UNROLL
            for (int t = 0; t < 3; ++t) of_digits[t].word[w] = word.of[t];
        }
        FNTK_UNROLL
        for (int t = 0; t < 3; ++t)
            to[t * (DigitTiles::digit_bytes / 16) + half * (DigitTiles::leading / 16)] = of_digits[t];
    }
}

/// A source: n() rows, d() columns and its elements, rows_at_once of which a thread reads before it looks
/// at one.
struct FloatRows {
    static constexpr int rows_at_once = 16;
    Rows<const float> x;

    FNTK_HD std::int64_t n() const { return x.rows; }
    FNTK_HD std::int64_t d() const { return x.cols; }
    FNTK_DEVICE float operator()(std::int64_t i, std::int64_t j) const { return x.row(i)[j]; }
};

/// W_i = v_i·A_i, n × p.
struct ScaledRows {
    static constexpr int rows_at_once = 16;
    Rows<const float> a, v;

    FNTK_HD std::int64_t n() const { return a.rows; }
    FNTK_HD std::int64_t d() const { return a.cols; }
    FNTK_DEVICE float operator()(std::int64_t i, std::int64_t q) const { return *v.row(i) * a.row(i)[q]; }
};

/// W_i = Σ_c v_ic · A_i block c, n × p; A: n × (k·p), v: n × k.
struct WeightedRows {
    static constexpr int rows_at_once = 8;
    Rows<const float> a, v;
    std::int64_t p = 0;

    FNTK_HD std::int64_t n() const { return a.rows; }
    FNTK_HD std::int64_t d() const { return p; }
    FNTK_DEVICE float operator()(std::int64_t i, std::int64_t q) const {
        float sum = 0;
        for (std::int64_t c = 0; c < v.cols; ++c) sum += v.row(i)[c] * a.row(i)[c * p + q];
        return sum;
    }
};

/// A block has a panel of 256 columns and every so many rows, a thread a column of it.
template <class Source>
struct Magnitudes {
    static constexpr int max_threads = 256;

    Source source;
    std::uint32_t* rows = nullptr;  // n, zeros before; null: not wanted
    std::uint32_t* cols = nullptr;  // d, zeros before

    Launch launch(const DeviceLimits& limits) const {
        if (source.n() == 0 || source.d() == 0) return {};
        const std::int64_t most = ceil_div(8 * limits.multiprocessors, panels());
        return {panels() * smaller<std::int64_t>(most, ceil_div(source.n(), step)), max_threads, 0};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const std::int64_t n = source.n(), ranges = grid.blocks() / panels();
        const std::int64_t j = grid.block() % panels() * max_threads + grid.thread();
        const bool inside = j < source.d();
        std::uint32_t of_column = 0;
        for (std::int64_t i0 = grid.block() / panels() * step; i0 < n; i0 += ranges * step) {
            std::uint32_t found[step];
            FNTK_UNROLL
            for (int r = 0; r < step; ++r)
                found[r] = inside && i0 + r < n ? magnitude_of(source(i0 + r, j)) : 0;
            FNTK_UNROLL
            for (int r = 0; r < step; ++r) {
                of_column = larger(of_column, found[r]);
                if (rows == nullptr) continue;
                FNTK_UNROLL
                for (int mask = warp_size / 2; mask > 0; mask /= 2)
                    found[r] = larger(found[r], grid.shuffle_xor(found[r], mask));
                if (grid.lane() == 0 && i0 + r < n) grid.atomic_max(rows + i0 + r, found[r]);
            }
        }
        if (inside) grid.atomic_max(cols + j, of_column);
    }

  private:
    static constexpr int step = Source::rows_at_once;
    FNTK_HD std::int64_t panels() const { return ceil_div(source.d(), max_threads); }
};

/// The columns of a source as the rows of DigitTiles: tile (q / 128, i / 32). A block makes one at a time,
/// a thread a column of it.
template <class Source>
struct PackColumnDigits {
    static constexpr int max_threads = DigitTiles::rows;

    Source source;
    const std::uint32_t* magnitudes = nullptr;  // d
    Quad* tiles = nullptr;                      // DigitTiles::quads_of(d, n)

    Launch launch(const DeviceLimits& limits) const {
        return {smaller<std::int64_t>(count(), 16 * limits.multiprocessors), max_threads, 0};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const std::int64_t steps = DigitTiles::steps_of(source.n());
        for (std::int64_t t = grid.block(); t < count(); t += grid.blocks()) {
            const std::int64_t i0 = t % steps * DigitTiles::cols,
                               q = t / steps * DigitTiles::rows + grid.thread();
            const bool inside = q < source.d();
            const DigitRounding rounding(inside ? magnitudes[q] : 0);
            float x[DigitTiles::cols];
            FNTK_UNROLL
            for (int l = 0; l < DigitTiles::cols; ++l)
                x[l] = inside && i0 + l < source.n() ? source(i0 + l, q) : 0.0F;
            write_digit_row(
                rounding, [&](int l) { return x[l]; },
                tiles + t * DigitTiles::quads + DigitTiles::row_quad(grid.thread()));
        }
    }

  private:
    FNTK_HD std::int64_t count() const {
        return ceil_div(source.d(), DigitTiles::rows) * DigitTiles::steps_of(source.n());
    }
};

}  // namespace fntk::kernels

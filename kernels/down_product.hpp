// X into fixed point, and the digit products back to real numbers (kernels/fixed_point.hpp):
//     ScaleRows    v_i = X_i·2^−E_i, the whole of it where U is the identity
//     SplitRows    digit a of X_i·2^−E_i as three bytes −128 to 127, for int8 products by a library
//     AddDigitProduct    v = scale·Σ_ab digit_term(P_ab), P_ab (n × p) the product of digit a of X with
//                        digit b of U:  P_ab = Σ_s 256^s S_s,  S_s = Σ_t X_t U_(s−t)ᵀ over their bytes
// X: n × d, E_i the exponent of the row's largest magnitude. The first two give each row to a group of
// lanes (row_lanes.hpp), which reads it twice: for its maximum, and to write. The third is elementwise.
//
// Bytes lie so that S_s, s = 0 to 4, is one product (DigitBytes): the bytes of X side by side, the highest
// first, those of U the lowest first. Columns come in chunks, whose sums are exact in int32.
#pragma once

#include "elements.hpp"
#include "fixed_point.hpp"
#include "row_lanes.hpp"

namespace fntk::kernels {

template <class T>
struct ScaleRows {
    static constexpr int max_threads = row_threads;

    Rows<const T> x;
    Rows<double> v;                // n × d
    Rows<std::int32_t> exponents;  // n × 1, E_i

    Launch launch(const DeviceLimits& limits) const { return row_launch(x.rows, x.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_row(grid, x.rows, x.cols, [&](const RowLane& at) {
            const int exponent = exponent_of(row_largest(grid, at, x));
            if (at.first()) *exponents.row(at.row) = exponent;
            const PowerOfTwo to_one(-exponent);
            const T* from = x.row(at.row);
            double* to = v.row(at.row);
            at.columns(x.cols, [&](std::int64_t j) { to[j] = to_one.times(static_cast<double>(from[j])); });
        });
    }
};

/// The bytes t = 0 (lowest), 1, 2 of the digits of n rows of `cols` columns. A row has its chunks of
/// columns one after the other, padded to 16 columns by zeros, and of each chunk three planes.
struct DigitBytes {
    /// Columns of a chunk: S_1 and S_2 add 2·128² a column at most, 2^30 in all.
    static constexpr std::int64_t chunk = std::int64_t{1} << 15;

    std::int8_t* data = nullptr;
    std::int64_t cols = 0;

    FNTK_HD static constexpr std::int64_t padded(std::int64_t cols) {
        return round_up(larger<std::int64_t>(cols, 1), 16);
    }
    FNTK_HD static constexpr std::int64_t row_bytes(std::int64_t cols) { return 3 * padded(cols); }
    /// Bytes of a plane of the chunk from column j0 on.
    FNTK_HD static constexpr std::int64_t pitch(std::int64_t cols, std::int64_t j0) {
        return smaller(chunk, padded(cols) - j0);
    }
    /// Byte t of the columns j to j + 3 of X, the most significant first, j a multiple of 4.
    FNTK_DEVICE std::uint32_t* word(std::int64_t row, std::int64_t j, int t) const {
        const std::int64_t j0 = j / chunk * chunk;
        return reinterpret_cast<std::uint32_t*>(data + row * row_bytes(cols) + 3 * j0 +
                                                t * pitch(cols, j0) + j - j0);
    }
};

template <class T>
struct SplitRows {
    static constexpr int max_threads = row_threads;
    static constexpr int places = sizeof(T) == 4 ? 1 : 3;  // digits

    Rows<const T> x;
    const std::int32_t* down_exponent = nullptr;  // of U, one element; null: 0
    DigitBytes digits[places];                    // of n × d, most significant first
    Rows<std::int32_t> exponents;                 // n × 1, E_i + that of U

    Launch launch(const DeviceLimits& limits) const { return row_launch(x.rows, x.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const int of_u = down_exponent == nullptr ? 0 : *down_exponent;
        for_each_row(grid, x.rows, x.cols, [&](const RowLane& at) {
            const int exponent = exponent_of(row_largest(grid, at, x));
            if (at.first()) *exponents.row(at.row) = exponent + of_u;
            const PowerOfTwo to_one(-exponent);
            const T* from = x.row(at.row);
            at.columns(DigitBytes::padded(x.cols) / 4, [&](std::int64_t quad) {
                double rest[4];
                FNTK_UNROLL
                for (int l = 0; l < 4; ++l) {
                    const std::int64_t j = 4 * quad + l;
                    rest[l] = j < x.cols ? to_one.times(static_cast<double>(from[j])) : 0.0;
                }
                FNTK_UNROLL
                for (int a = 0; a < places; ++a) {
                    const auto bytes = [&](int l) {
                        return DigitWord::bytes(take_digit(rest[l], input_digit_bits));
                    };
                    const DigitWord words(bytes(0), bytes(1), bytes(2), bytes(3));
                    FNTK_UNROLL
                    for (int t = 0; t < 3; ++t) *digits[a].word(at.row, 4 * quad, t) = words.of[t];
                }
            });
        });
    }
};

/// Takes one chunk of P_ab. Call it for the pairs (a, b) from the last to the first, all chunks of a pair
/// after each other; the last chunk of a pair adds its term to v.
struct AddDigitProduct {
    static constexpr int max_threads = element_threads;
    static constexpr int shifts = 5;

    Rows<const std::int32_t> sums[shifts];  // S_s of the chunk, n × p
    Rows<std::int64_t> total;               // n × p, the chunks so far; not touched when there is one only
    Rows<double> v;                         // n × p
    int a = 0, b = 0;
    bool first_chunk = true, last_chunk = true;
    bool first_pair = true;  // v is not read
    double scale = 1;        // applied with the pair (0, 0)

    Launch launch(const DeviceLimits& limits) const { return element_launch(v.rows, v.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const double weight = digit_term(1, a, b);
        for_each_element(grid, v.rows, v.cols, [&](std::int64_t i, std::int64_t q) {
            std::int64_t sum = 0;
            FNTK_UNROLL
            for (int s = shifts - 1; s >= 0; --s) sum = 256 * sum + sums[s].row(i)[q];
            if (!first_chunk) sum += total.row(i)[q];
            if (!last_chunk) {
                total.row(i)[q] = sum;
                return;
            }
            double to = (first_pair ? 0.0 : v.row(i)[q]) + weight * static_cast<double>(sum);
            if (a == 0 && b == 0) to *= scale;
            v.row(i)[q] = to;
        });
    }
};

}  // namespace fntk::kernels

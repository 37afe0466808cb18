// The fused Grams (kernels/hadamard_gram.hpp, hadamard_gram_s8.hpp, hadamard_gram_wgmma.hpp), the digits
// of the last two (kernels/digit_tiles.hpp) and the indices of its triangle (kernels/triangle.hpp).
#include "kernel_matrices.hpp"

#include <backend/ops.hpp>

#include <hadamard_gram.hpp>
#include <hadamard_gram_s8.hpp>
#include <hadamard_gram_wgmma.hpp>

#include <algorithm>
#include <limits>
#include <set>
#include <utility>
#include <vector>

namespace fntk {
namespace {

using test::Padded;
using test::run_on_host;

const Device& reference() {
    static const Device device = Device::open("reference");
    return device;
}

TEST(KernelsHadamardGram, TriangleIndexIsExactFarBeyondTwoToThe31) {
    for (std::int64_t t = 0, i = 0; i < 300; ++i)
        for (std::int64_t j = 0; j <= i; ++j, ++t) {
            ASSERT_EQ(kernels::triangle_row(t), i);
            ASSERT_EQ(t - kernels::triangle_size(i), j);
        }
    for (const std::int64_t i :
         {std::int64_t{65535}, std::int64_t{65536}, std::int64_t{94906267}, std::int64_t{134217727},
          std::int64_t{2147483647}, std::int64_t{3000000000}}) {
        const std::int64_t first = kernels::triangle_size(i);
        EXPECT_EQ(first - kernels::triangle_size(i - 1), i);
        EXPECT_EQ(kernels::triangle_row(first - 1), i - 1);
        EXPECT_EQ(kernels::triangle_row(first), i);
        EXPECT_EQ(kernels::triangle_row(first + i), i);
        EXPECT_EQ(kernels::triangle_row(first + i + 1), i + 1);
    }
    EXPECT_EQ(kernels::triangle_size(3000000000), 4500000001500000000);
}

TEST(KernelsHadamardGram, EveryTileHasOneIndex) {
    for (const std::int64_t rows : {1, 7, 8, 9, 20})
        for (const std::int64_t cols : {1, 3, 8, 30}) {
            std::set<std::pair<std::int64_t, std::int64_t>> seen;
            for (std::int64_t t = 0; t < rows * cols; ++t) {
                const kernels::TilePlace at = kernels::tile_place(t, rows, cols);
                ASSERT_TRUE(at.row >= 0 && at.row < rows && at.col >= 0 && at.col < cols) << t;
                seen.emplace(at.row, at.col);
            }
            EXPECT_EQ(static_cast<std::int64_t>(seen.size()), rows * cols);
        }
    for (const std::int64_t rows : {1, 7, 8, 9, 31}) {
        std::set<std::pair<std::int64_t, std::int64_t>> seen;
        for (std::int64_t t = 0; t < kernels::triangle_size(rows); ++t) {
            const kernels::TilePlace at = kernels::lower_tile(t, rows);
            ASSERT_TRUE(at.row < rows && at.col >= 0 && at.col <= at.row) << t;
            seen.emplace(at.row, at.col);
        }
        EXPECT_EQ(static_cast<std::int64_t>(seen.size()), kernels::triangle_size(rows));
    }
}

TEST(KernelsHadamardGram, TilesThatFollowEachOtherShareOperands) {
    for (std::int64_t t = 0; t + 128 < kernels::triangle_size(256); t += 128) {
        std::set<std::int64_t> rows, cols;
        for (std::int64_t i = t; i < t + 128; ++i) {
            rows.insert(kernels::lower_tile(i, 256).row);
            cols.insert(kernels::lower_tile(i, 256).col);
        }
        EXPECT_LE(rows.size() + cols.size(), 48U) << t;  // 16 bands' ends; of 128 tiles of a row 129
    }
    const std::int64_t rows = 3000000000, band = 8 * (rows / 8 - 1);
    EXPECT_EQ(kernels::lower_tile(kernels::triangle_size(band), rows).row, band);
    EXPECT_EQ(kernels::lower_tile(kernels::triangle_size(band) - 1, rows).row, band - 1);
    EXPECT_EQ(kernels::lower_tile(kernels::triangle_size(band) - 1, rows).col, band - 1);
    EXPECT_EQ(kernels::tile_place(rows * 8 + 9, rows, rows).row, 8 + 1);
    EXPECT_EQ(kernels::tile_place(rows * 8 + 9, rows, rows).col, 1);
}

/// Roundings per term of a sum.
constexpr double slack = 2;

struct Case {
    std::int64_t n, n_cols, d, p;
};

/// X as the kernel of float32 takes it.
struct Digits {
    std::vector<kernels::Quad> tiles;
    std::vector<std::int32_t> units;
    kernels::DigitTiles view;

    explicit Digits(const kernels::Rows<const float>& x)
        : tiles(static_cast<std::size_t>(kernels::DigitTiles::quads_of(x.rows, x.cols)),
                kernels::Quad{{7, 7, 7, 7}}),
          units(static_cast<std::size_t>(kernels::DigitTiles::padded_rows(x.rows)), 99),
          view{tiles.data(), units.data(), x.rows, kernels::DigitTiles::steps_of(x.cols)} {
        run_on_host(kernels::PackDigits{x, tiles.data(), units.data()});
    }
    /// Entry j of row i, padding included.
    [[nodiscard]] double value(std::int64_t i, std::int64_t j) const {
        std::int64_t whole = 0;
        for (int t = 0; t < 3; ++t) {
            const std::int64_t byte =
                4096 * t + i % 128 / 8 * 256 + j % 32 / 16 * 128 + 16 * (i % 8) + j % 16;
            const kernels::Quad& quad = tiles[static_cast<std::size_t>(
                (i / 128 * view.steps + j / 32) * kernels::DigitTiles::quads + byte / 16)];
            whole =
                256 * whole + static_cast<std::int8_t>(quad.word[byte % 16 / 4] >> (byte % 4 * 8) & 255U);
        }
        return std::ldexp(static_cast<double>(whole), units[static_cast<std::size_t>(i)]);
    }
};

constexpr kernels::DeviceLimits limits{.shared_bytes_per_block = 99 * 1024};

void run_gram(const kernels::Rows<const double>& x, const kernels::Rows<const double>& x_cols,
              const kernels::Rows<const double>& g, const kernels::Rows<const double>& g_cols, double alpha,
              const kernels::Rows<double>& k, bool symmetric) {
    run_on_host(kernels::HadamardGram{{alpha, k, symmetric}, x, x_cols, g, g_cols}, {.limits = limits});
}
std::vector<std::uint32_t> bits_of(const kernels::Rows<float>& k) {
    std::vector<std::uint32_t> bits;
    for (std::int64_t i = 0; i < k.rows; ++i)
        for (std::int64_t j = 0; j < k.cols; ++j)
            bits.push_back(__builtin_bit_cast(std::uint32_t, k.row(i)[j]));
    return bits;
}
/// By both kernels, which give the same bits.
void run_gram(const kernels::Rows<const float>& x, const kernels::Rows<const float>& x_cols,
              const kernels::Rows<const float>& g, const kernels::Rows<const float>& g_cols, double alpha,
              const kernels::Rows<float>& k, bool symmetric, int multiprocessors = 1) {
    const Digits of_x(x), of_x_cols(x_cols), of_g(g), of_g_cols(g_cols);
    const kernels::HadamardDigits products{
        {alpha, k, symmetric}, {of_x.view, of_g.view}, {of_x_cols.view, of_g_cols.view}};
    run_on_host(kernels::HadamardGramS8{products}, {.limits = limits});
    const std::vector<std::uint32_t> portable = bits_of(k);
    for (std::int64_t i = 0; i < k.rows; ++i)
        std::fill_n(k.row(i), k.cols, std::numeric_limits<float>::quiet_NaN());
    run_on_host(kernels::HadamardGramWgmma{products}, {.limits = {multiprocessors, 227 * 1024, 90}});
    EXPECT_EQ(bits_of(k), portable);
}

/// Against the reference: equal on integers, else within the bound of two sums.
template <class T>
void expect_gram(const Case& c, bool whole_numbers, bool symmetric) {
    const auto make = [&](std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
        return Padded<T>(whole_numbers ? test::small_integers(rows, cols, 3, seed, DType::f64)
                                       : test::normals(rows, cols, seed));
    };
    Padded<T> x = make(c.n, c.d, 1), g = make(c.n, c.p, 2);
    Padded<T> x_cols = symmetric ? Padded<T>(x.view()) : make(c.n_cols, c.d, 3),
              g_cols = symmetric ? Padded<T>(g.view()) : make(c.n_cols, c.p, 4);
    const std::int64_t n_cols = symmetric ? c.n : c.n_cols;
    Padded<T> k(c.n, n_cols, std::numeric_limits<T>::quiet_NaN()), expected(c.n, n_cols);
    run_gram(x.rows_in(), (symmetric ? x : x_cols).rows_in(), g.rows_in(),
             (symmetric ? g : g_cols).rows_in(), 0.5, k.rows(), symmetric);
    reference().ops().hadamard_gram(x, x_cols, g, g_cols, 0.5, expected);
    if (whole_numbers)
        EXPECT_TRUE(test::same_values(k, expected)) << c.n << ' ' << n_cols;
    else
        EXPECT_TRUE(test::near_values(
            k, expected, slack * std::numeric_limits<T>::epsilon() * static_cast<double>(c.d + c.p + 4)));
    EXPECT_TRUE(k.intact());
    if (!symmetric) return;
    for (std::int64_t i = 0; i < c.n; ++i)
        for (std::int64_t j = 0; j < i; ++j) ASSERT_EQ(k.at(i, j), k.at(j, i)) << i << ' ' << j;
}

TEST(KernelsHadamardGram, IsTheReferenceToTheBitOnIntegers) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        for (const Case& c : {Case{1, 1, 1, 1}, Case{33, 65, 17, 16}, Case{129, 31, 33, 15},
                              Case{5, 7, 0, 3}, Case{0, 4, 3, 3}, Case{128, 130, 160, 32}})
            expect_gram<T>(c, true, false);
    });
}

TEST(KernelsHadamardGram, IsExactlySymmetric) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        for (const std::int64_t n : {1, 33, 129}) {
            expect_gram<T>({n, n, 9, 5}, true, true);
            expect_gram<T>({n, n, 9, 5}, false, true);
        }
        expect_gram<T>({0, 0, 9, 5}, true, true);
    });
}

/// Blocks that take several tiles, and go round their stages of shared memory.
TEST(KernelsHadamardGram, TilesOfABlockFollowEachOther) {
    const std::int64_t n = 300, d = 100, p = 33;
    Padded<float> x(test::normals(n, d, 1)), g(test::normals(n, p, 2)), k(n, n), expected(n, n);
    reference().ops().hadamard_gram(x, x, g, g, 2, expected);
    for (const int multiprocessors : {1, 2, 5, 100}) {
        run_gram(x.rows_in(), x.rows_in(), g.rows_in(), g.rows_in(), 2, k.rows(), true, multiprocessors);
        EXPECT_TRUE(test::near_values(k, expected, 1e-5)) << multiprocessors;
    }
}

/// Tiles that are written beside the first products of the next, of which d columns make few or many: those
/// inside of a K whose rows begin at pairs.
void expect_written(std::int64_t d, int multiprocessors) {
    const std::int64_t n = 301, n_cols = 257, p = 5;
    Padded<float> x(test::normals(n, d, 1)), x_cols(test::normals(n_cols, d, 3)), g(test::normals(n, p, 2)),
        g_cols(test::normals(n_cols, p, 4)), k(n, n_cols), square(n, n), expected(n, n_cols),
        expected_square(n, n);
    ASSERT_EQ(k.rows().stride % 2 + square.rows().stride % 2, 0);
    reference().ops().hadamard_gram(x, x_cols, g, g_cols, 2, expected);
    run_gram(x.rows_in(), x_cols.rows_in(), g.rows_in(), g_cols.rows_in(), 2, k.rows(), false,
             multiprocessors);
    EXPECT_TRUE(test::near_values(k, expected, 1e-5));
    reference().ops().hadamard_gram(x, x, g, g, 2, expected_square);
    run_gram(x.rows_in(), x.rows_in(), g.rows_in(), g.rows_in(), 2, square.rows(), true);
    EXPECT_TRUE(test::near_values(square, expected_square, 1e-5));
    EXPECT_TRUE(k.intact() && square.intact());
}

TEST(KernelsHadamardGram, TilesAreWrittenBesideFewProducts) { expect_written(5, 2); }

TEST(KernelsHadamardGram, TilesAreWrittenWhateverTheNextOneHasToDo) {
    expect_written(0, 2);
    expect_written(5, 100);
    expect_written(545, 2);
}

/// Rows whose units leave the range of one float factor, beside others and zeros.
TEST(KernelsHadamardGram, TakesRowsOfEveryScale) {
    const std::int64_t n = 150, d = 20, p = 9;
    Matrix x = test::normals(n, d, 1, DType::f32), g = test::normals(n, p, 2, DType::f32);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < d; ++j) {
            float& v = x.at<float>(i, j);
            v = i % 7 == 3 ? 0.0F : i < 64 ? v : std::ldexp(v, i % 2 == 0 ? 55 : -90);
        }
    Matrix k(n, n, DType::f32), expected(n, n, DType::f64);
    run_gram(test::kernel_rows_in<float>(x), test::kernel_rows_in<float>(x), test::kernel_rows_in<float>(g),
             test::kernel_rows_in<float>(g), 1, test::kernel_rows<float>(k), true);
    const Matrix x64 = Matrix::converted(x, DType::f64), g64 = Matrix::converted(g, DType::f64);
    reference().ops().hadamard_gram(x64, x64, g64, g64, 1, expected);
    const auto size = [&](std::int64_t i) { return std::sqrt(expected.at<double>(i, i)); };
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j)
            ASSERT_NEAR(k.at<float>(i, j), expected.at<double>(i, j), 1e-5 * size(i) * size(j) + 0x1p-126)
                << i << ' ' << j;
}

TEST(KernelsHadamardGram, RealNumbersStayWithinTheBoundOfTheirSums) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        expect_gram<T>({70, 130, 100, 50}, false, false);
    });
}

/// Positive entries, where errors that all go one way would show.
TEST(KernelsHadamardGram, FloatsKeepTheirPrecisionInDigits) {
    for (const std::int64_t d : {36, 333}) {
        const std::int64_t n = 40, n_cols = 24, p = 8;
        const auto positive = [](std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
            Matrix m = test::normals(rows, cols, seed, DType::f32);
            for (std::int64_t i = 0; i < rows; ++i)
                for (std::int64_t j = 0; j < cols; ++j)
                    m.at<float>(i, j) =
                        std::ldexp(1 + std::abs(m.at<float>(i, j)), static_cast<int>(i % 60 - 30));
            return m;
        };
        Matrix x = positive(n, d, 1), x_cols = positive(n_cols, d, 2), g = positive(n, p, 3),
               g_cols = positive(n_cols, p, 4), k(n, n_cols, DType::f32), expected(n, n_cols, DType::f64);
        run_gram(test::kernel_rows_in<float>(x), test::kernel_rows_in<float>(x_cols),
                 test::kernel_rows_in<float>(g), test::kernel_rows_in<float>(g_cols), 1,
                 test::kernel_rows<float>(k), false);
        reference().ops().hadamard_gram(
            Matrix::converted(x, DType::f64), Matrix::converted(x_cols, DType::f64),
            Matrix::converted(g, DType::f64), Matrix::converted(g_cols, DType::f64), 1, expected);
        double worst = 0;
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < n_cols; ++j)
                worst = std::max(worst, std::abs(value(k, i, j) / value(expected, i, j) - 1));
        EXPECT_LT(worst, 4 * std::numeric_limits<float>::epsilon()) << d;
    }
}

TEST(KernelsHadamardGram, DigitsAreTheNearestWithinTheLargestEntry) {
    Matrix x = test::normals(150, 45, 1, DType::f32);
    for (std::int64_t i = 0; i < 150; ++i)
        for (std::int64_t j = 0; j < 45; ++j) {
            float& v = x.at<float>(i, j);
            if (i % 5 == 1) v = 0;
            if (i % 5 == 2) v = std::ldexp(v, 125);
            if (i % 5 == 3) v = std::ldexp(v, -140);                           // subnormal
            if (i % 5 == 4) v = j == 7 ? -std::nextafter(1.0F, 0.0F) : v / 8;  // beyond 127·65536 + ...
        }
    const Digits digits(test::kernel_rows_in<float>(x));
    for (std::int64_t i = 0; i < 256; ++i) {
        double largest = 0;
        for (std::int64_t j = 0; j < 45 && i < 150; ++j)
            largest = std::max(largest, static_cast<double>(std::abs(x.at<float>(i, j))));
        for (std::int64_t j = 0; j < 64; ++j) {
            const double want = i < 150 && j < 45 ? static_cast<double>(x.at<float>(i, j)) : 0;
            ASSERT_LE(std::abs(digits.value(i, j) - want), largest * 0x1p-22) << i << ", " << j;
        }
    }
}

/// 3·127² times the columns, which int32 has no room for without carrying.
TEST(SlowKernelsHadamardGram, SumsOfLongRowsStayWithinInt32) {
    const std::int64_t d = 3 << 14;
    Matrix x(1, d, DType::f32), g(1, 1, DType::f32), k(1, 1, DType::f32);
    for (std::int64_t j = 0; j < d; ++j) x.at<float>(0, j) = 0.99609F;  // 127, 127, 123 to the base 256
    g.at<float>(0, 0) = 1;
    const auto rows = test::kernel_rows_in<float>(x), one = test::kernel_rows_in<float>(g);
    run_gram(rows, rows, one, one, 1, test::kernel_rows<float>(k), true);
    const double entry = static_cast<double>(x.at<float>(0, 0)),
                 exact = static_cast<double>(d) * entry * entry;
    EXPECT_NEAR(k.at<float>(0, 0) / exact, 1, 4 * std::numeric_limits<float>::epsilon());
}

TEST(KernelsHadamardGram, LongerRowsHaveSmallerDigits) {
    for (const auto& [d, unit] :
         {std::pair{1 << 17, -23}, {(1 << 17) + 1, -22}, {1 << 19, -22}, {1 << 20, -21}}) {
        Matrix x(1, d, DType::f32);
        x.at<float>(0, d - 1) = 0.75F;
        const Digits digits(test::kernel_rows_in<float>(x));
        EXPECT_EQ(digits.units[0], unit) << d;
        EXPECT_EQ(digits.value(0, d - 1), 0.75) << d;
    }
}

TEST(KernelsHadamardGram, FloatsThatAreNotFiniteStayApparent) {
    for (const std::uint32_t bits : {0x7FFFFFFFU, 0xFFC00000U, 0x7F800000U}) {  // two NaNs, ∞
        Matrix x = test::normals(3, 5, 1, DType::f32), k(3, 3, DType::f32);
        x.at<float>(1, 2) = __builtin_bit_cast(float, bits);
        const auto rows = test::kernel_rows_in<float>(x);
        run_gram(rows, rows, rows, rows, 1, test::kernel_rows<float>(k), true);
        for (std::int64_t j = 0; j < 3; ++j) EXPECT_FALSE(std::isfinite(k.at<float>(1, j))) << j;
        EXPECT_TRUE(std::isfinite(k.at<float>(0, 2)));
    }
}

}  // namespace
}  // namespace fntk

// The fused Grams (kernels/hadamard_gram.hpp, hadamard_gram_tf32.hpp) and the indices of its triangle
// (kernels/triangle.hpp).
#include "kernel_matrices.hpp"

#include <backend/ops.hpp>

#include <hadamard_gram.hpp>
#include <hadamard_gram_tf32.hpp>

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

TEST(KernelsHadamardGram, TilesOfTheTriangleFollowEachOther) {
    for (const std::int64_t ratio : {1, 2}) {
        std::int64_t t = 0;
        for (std::int64_t row = 0; row < 40; ++row)
            for (std::int64_t col = 0; col < ratio * (row + 1); ++col, ++t) {
                const kernels::TilePlace place = kernels::lower_tile(t, ratio);
                ASSERT_EQ(place.row, row);
                ASSERT_EQ(place.col, col);
            }
        const std::int64_t row = 3000000000, first = ratio * kernels::triangle_size(row);
        EXPECT_EQ(kernels::lower_tile(first, ratio).row, row);
        EXPECT_EQ(kernels::lower_tile(first, ratio).col, 0);
        EXPECT_EQ(kernels::lower_tile(first - 1, ratio).col, ratio * row - 1);
    }
}

/// Roundings per term of a sum.
constexpr double slack = 2;

struct Case {
    std::int64_t n, n_cols, d, p;
};

/// The kernel of a type.
template <class T>
using GramOf =
    std::conditional_t<std::is_same_v<T, float>, kernels::HadamardGramTf32, kernels::HadamardGram>;

/// Against the reference: equal on integers, else within the bound of two sums.
template <class T>
void expect_gram(const Case& c, double beta, bool whole_numbers, bool symmetric) {
    const auto make = [&](std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
        return Padded<T>(whole_numbers ? test::small_integers(rows, cols, 3, seed, DType::f64)
                                       : test::normals(rows, cols, seed));
    };
    Padded<T> x = make(c.n, c.d, 1), g = make(c.n, c.p, 2);
    Padded<T> x_cols = symmetric ? Padded<T>(x.view()) : make(c.n_cols, c.d, 3),
              g_cols = symmetric ? Padded<T>(g.view()) : make(c.n_cols, c.p, 4);
    const std::int64_t n_cols = symmetric ? c.n : c.n_cols;
    const T start = beta == 0 ? std::numeric_limits<T>::quiet_NaN() : T(6);  // NaN: not to be read
    Padded<T> k(c.n, n_cols, start), expected(c.n, n_cols, start);
    run_on_host(GramOf<T>{{x.rows_in(), (symmetric ? x : x_cols).rows_in(), g.rows_in(),
                           (symmetric ? g : g_cols).rows_in(), 0.5, beta, k.rows(), symmetric}});
    reference().ops().hadamard_gram(x, x_cols, g, g_cols, 0.5, beta, expected);
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
                              Case{5, 7, 0, 3}, Case{0, 4, 3, 3}, Case{64, 64, 16, 32}})
            for (const double beta : {0.0, 0.5}) expect_gram<T>(c, beta, true, false);
    });
}

TEST(KernelsHadamardGram, IsExactlySymmetric) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        for (const std::int64_t n : {1, 33, 129}) {
            expect_gram<T>({n, n, 9, 5}, 0, true, true);
            expect_gram<T>({n, n, 9, 5}, 0.25, false, true);
        }
        expect_gram<T>({0, 0, 9, 5}, 0, true, true);
    });
}

TEST(KernelsHadamardGram, RealNumbersStayWithinTheBoundOfTheirSums) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        expect_gram<T>({70, 130, 100, 50}, 0, false, false);
        expect_gram<T>({70, 130, 100, 50}, 2, false, false);
    });
}

/// Positive entries, where cut sums would all err one way: errors stay those of rounded float sums. Rows
/// that stand 16 bytes aligned are read a quad at a time.
TEST(KernelsHadamardGram, FloatsKeepTheirPrecisionInTf32Products) {
    for (const std::int64_t d : {36, 333}) {
        const std::int64_t n = 40, n_cols = 24, p = 8;
        const auto positive = [](std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
            Matrix m = test::normals(rows, cols, seed, DType::f32);
            for (std::int64_t i = 0; i < rows; ++i)
                for (std::int64_t j = 0; j < cols; ++j) m.at<float>(i, j) = 1 + std::abs(m.at<float>(i, j));
            return m;
        };
        Matrix x = positive(n, d, 1), x_cols = positive(n_cols, d, 2), g = positive(n, p, 3),
               g_cols = positive(n_cols, p, 4), k(n, n_cols, DType::f32), expected(n, n_cols, DType::f64);
        run_on_host(
            kernels::HadamardGramTf32{{test::kernel_rows_in<float>(x), test::kernel_rows_in<float>(x_cols),
                                       test::kernel_rows_in<float>(g), test::kernel_rows_in<float>(g_cols),
                                       1, 0, test::kernel_rows<float>(k), false}});
        reference().ops().hadamard_gram(
            Matrix::converted(x, DType::f64), Matrix::converted(x_cols, DType::f64),
            Matrix::converted(g, DType::f64), Matrix::converted(g_cols, DType::f64), 1, 0, expected);
        double worst = 0;
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < n_cols; ++j)
                worst = std::max(worst, std::abs(value(k, i, j) / value(expected, i, j) - 1));
        EXPECT_LT(worst, 12 * std::numeric_limits<float>::epsilon()) << d;
    }
}

TEST(KernelsHadamardGram, FloatsThatAreNotFiniteStayApparent) {
    for (const std::uint32_t bits : {0x7FFFFFFFU, 0xFFC00000U, 0x7F800000U}) {  // two NaNs, ∞
        Matrix x = test::normals(3, 5, 1, DType::f32), k(3, 3, DType::f32);
        x.at<float>(1, 2) = __builtin_bit_cast(float, bits);
        const auto rows = test::kernel_rows_in<float>(x);
        run_on_host(
            kernels::HadamardGramTf32{{rows, rows, rows, rows, 1, 0, test::kernel_rows<float>(k), true}});
        for (std::int64_t j = 0; j < 3; ++j) EXPECT_FALSE(std::isfinite(k.at<float>(1, j))) << j;
        EXPECT_TRUE(std::isfinite(k.at<float>(0, 2)));
    }
}

}  // namespace
}  // namespace fntk

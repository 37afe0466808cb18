// The fused Gram (kernels/hadamard_gram.hpp) and the indices of its triangle (kernels/triangle.hpp).
#include "kernel_matrices.hpp"

#include <backend/ops.hpp>

#include <hadamard_gram.hpp>

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
    run_on_host(kernels::HadamardGram<T>{x.rows_in(), (symmetric ? x : x_cols).rows_in(), g.rows_in(),
                                         (symmetric ? g : g_cols).rows_in(), 0.5, beta, k.rows(),
                                         symmetric});
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
        for (const std::int64_t n : {1, 31, 33, 129, 257}) {
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

}  // namespace
}  // namespace fntk

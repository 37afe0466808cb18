// U: the isometries among its families, lengths kept on average, and its rounding to fixed point.
#include "support.hpp"

#include <fntk/spectrum.hpp>

#include <algorithm>

namespace fntk {
namespace {

using test::normals;
using test::relative_error;

/// ‖U x/√p‖²/‖x‖² row by row, U as the network holds it.
std::vector<double> squared_stretch(const Network& network, ConstMatrixView x) {
    const Matrix u = Matrix::converted(network.materialize_down(), DType::f64);
    const Matrix h = test::times_transposed(x, u);
    std::vector<double> result;
    for (std::int64_t i = 0; i < x.rows; ++i) {
        double image = 0, original = 0;
        for (std::int64_t q = 0; q < h.cols(); ++q) image += h.at<double>(i, q) * h.at<double>(i, q);
        for (std::int64_t j = 0; j < x.cols; ++j) original += value(x, i, j) * value(x, i, j);
        result.push_back(image / static_cast<double>(h.cols()) / original);
    }
    return result;
}

// ---- the down factors
// ----------------------------------------------------------------------------------------------

TEST(DownFactor, IdentityOrthonormalAndPcaAreIsometriesOnTheData) {
    const std::int64_t d = 24, rank = 5;
    const Matrix any = normals(10, d, 1);
    const Matrix low = test::times_transposed(normals(40, rank, 2), normals(d, rank, 3));  // rank(X) = 5
    for (const DType precision : {DType::f32, DType::f64}) {
        const double tolerance = precision == DType::f32 ? 0x1p-20 : 1e-12;
        const auto expect_isometry = [&](Down down, std::int64_t p, const Matrix& x) {
            const Network network = Network::create({.dim = d,
                                                     .width = 8,
                                                     .rank = p,
                                                     .down = down,
                                                     .up = Up::rademacher,
                                                     .precision = precision,
                                                     .seed = 4},
                                                    x);
            for (const double stretch : squared_stretch(network, x))
                EXPECT_NEAR(std::sqrt(stretch), 1, tolerance) << name(down) << ' ' << p;
        };
        expect_isometry(Down::identity, 0, any);
        expect_isometry(Down::orthonormal, d, any);
        expect_isometry(Down::pca, rank, low);
        expect_isometry(Down::pca, rank + 3, low);
        expect_isometry(Down::srht, 32, any);  // all rows of H
    }
    const Network short_pca = Network::create({.dim = d,
                                               .width = 8,
                                               .rank = rank - 1,
                                               .down = Down::pca,
                                               .up = Up::rademacher,
                                               .precision = DType::f64},
                                              low);
    double kept = 0;
    for (const double stretch : squared_stretch(short_pca, low)) kept = std::max(kept, 1 - stretch);
    EXPECT_GT(kept, 1e-3) << "one direction short, something must be lost";
}

TEST(DownFactor, PcaOfFewerRowsThanColumnsIsOfTheSameKind) {
    const std::int64_t d = 300, n = 90;
    Matrix x = normals(n, d, 5);
    for (std::int64_t i = 0; i < n; ++i)  // singular values over six orders of magnitude
        for (std::int64_t j = 0; j < d; ++j)
            x.at<double>(i, j) *= std::pow(10.0, -6.0 * static_cast<double>(i) / static_cast<double>(n));
    const auto pca = [&](std::int64_t p) {
        return Network::create({.dim = d,
                                .width = 8,
                                .rank = p,
                                .down = Down::pca,
                                .up = Up::rademacher,
                                .precision = DType::f64},
                               x);
    };
    const Spectrum eigen = spectrum(test::cpu(), test::times_transposed(x, x));
    double total = 0, top = 0;
    for (const double value : eigen.eigenvalues) total += value;
    for (std::int64_t q = 0; q < 20; ++q) top += eigen.eigenvalues[static_cast<std::size_t>(n - 1 - q)];
    const std::vector<double> stretch = squared_stretch(pca(20), x);
    double kept = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        double square = 0;
        for (std::int64_t j = 0; j < d; ++j) square += x.at<double>(i, j) * x.at<double>(i, j);
        kept += stretch[static_cast<std::size_t>(i)] * square;
    }
    EXPECT_NEAR(kept / total, top / total, 1e-12);
    for (const std::int64_t p : {n, n + 40}) {  // all of X, and any rows beyond
        for (const double all : squared_stretch(pca(p), x)) EXPECT_NEAR(all, 1, 1e-9) << p;
        const Matrix u = Matrix::converted(pca(p).materialize_down(), DType::f64);
        const Matrix products = test::times_transposed(u, u);
        for (std::int64_t q = 0; q < p; ++q)
            for (std::int64_t r = 0; r <= q; ++r)
                EXPECT_NEAR(products.at<double>(q, r) / static_cast<double>(p), q == r, 1e-12);
    }
}

TEST(DownFactor, RowsOfOrthonormalAreOrthogonalAndOfLengthRootD) {
    const std::int64_t d = 33, p = 12;
    const Network network = Network::create({.dim = d,
                                             .width = 8,
                                             .rank = p,
                                             .down = Down::orthonormal,
                                             .up = Up::rademacher,
                                             .precision = DType::f64,
                                             .seed = 1});
    const Matrix identity = test::filled(p, p, DType::f64, [&](auto i, auto j) { return i == j ? d : 0; });
    EXPECT_LT(relative_error(test::times_transposed(network.down(), network.down()), identity), 1e-13);
}

TEST(DownFactor, GaussianAndSrhtKeepLengthsOnAverage) {
    const std::int64_t d = 20, p = 8, n = 16, seeds = 400;
    const Matrix x = normals(n, d, 6);
    for (const Down down : {Down::gaussian, Down::srht, Down::orthonormal}) {
        double mean = 0, square = 0;
        for (std::int64_t seed = 0; seed < seeds; ++seed) {
            double stretch = 0;  // of one draw; the rows of x share U, so draws are the independent unit
            for (const double s : squared_stretch(Network::create({.dim = d,
                                  .width = 8,
                                  .rank = p,
                                  .down = down,
                                  .seed = static_cast<std::uint64_t>(seed)}),
                                                  x))
                stretch += s / static_cast<double>(n);
            mean += stretch / static_cast<double>(seeds);
            square += stretch * stretch / static_cast<double>(seeds);
        }
        const double standard_error = std::sqrt((square - mean * mean) / static_cast<double>(seeds));
        EXPECT_LT(standard_error, 0.02);
        EXPECT_NEAR(mean, 1, 4.5 * standard_error) << name(down);
    }
}

TEST(DownFactor, IsItsOwnRoundingToFixedPoint) {
    for (const DType precision : {DType::f32, DType::f64})
        for (const Down down : {Down::gaussian, Down::orthonormal, Down::srht}) {
            const Network network = Network::create(
                {.dim = 9, .width = 8, .rank = 4, .down = down, .precision = precision, .seed = 3});
            const FixedPoint fixed = network.fixed_down();
            ASSERT_EQ(fixed.count(), precision == DType::f32 ? 1 : 3);
            const int exponent = fixed.exponent.at<std::int32_t>(0, 0);
            for (std::int64_t i = 0; i < 36; ++i) {
                double sum = 0;
                for (int j = 0; j < fixed.count(); ++j) {
                    const std::int32_t digit = fixed.digit(j).at<std::int32_t>(i / 9, i % 9);
                    EXPECT_LE(std::abs(digit), 1 << 21);
                    sum += std::ldexp(digit, exponent - 21 * (j + 1));
                }
                EXPECT_EQ(sum, value(network.down(), i / 9, i % 9));
            }
            const Network again = network.with_down(network.down());
            EXPECT_TRUE(test::same_bits(again.down(), network.down())) << name(down);
            EXPECT_TRUE(test::same_bits(again.fixed_down().digits, fixed.digits));
            EXPECT_TRUE(test::same_bits(again.fixed_down().exponent, fixed.exponent));
        }
    EXPECT_TRUE(Network::create({.dim = 9, .width = 8, .down = Down::identity}).fixed_down().empty());
}

TEST(DownFactor, IsItsOwnRoundingWhereTheLargestEntryRoundsUpToAPowerOfTwo) {
    for (const DType precision : {DType::f32, DType::f64})
        for (const double largest :
             {1.0, 1 - 0x1p-21, 1 - 0x1p-22, 1 - 0x1p-23, 1 - 0x1p-40, -1 + 0x1p-30, 1 - 0x1p-53}) {
            Matrix u = normals(4, 6, 1);
            for (std::int64_t i = 0; i < 24; ++i) u.row<double>(0)[i] *= 0.1;
            u.at<double>(2, 3) = largest;
            const NetworkSpec spec{.dim = 6, .width = 37, .rank = 4, .precision = precision};
            const Network once = Network::from_tensors(spec, {u, {}, {}}),
                          twice = once.with_down(once.down());
            EXPECT_TRUE(test::same_bits(twice.down(), once.down())) << largest;
            EXPECT_TRUE(test::same_bits(twice.fixed_down().digits, once.fixed_down().digits)) << largest;
            EXPECT_TRUE(test::same_bits(twice.fixed_down().exponent, once.fixed_down().exponent))
                << largest;
            EXPECT_NEAR(value(once.down(), 2, 3), largest, precision == DType::f32 ? 0x1p-21 : 0);
        }
}

TEST(DownFactor, FastRoundingLeavesTheHiddenLayer14Bits) {
    NetworkSpec spec{.dim = 4, .width = 1, .rank = 1, .down = Down::gaussian, .up = Up::rademacher};
    spec.rounding = Rounding::fast;
    const auto bits = [&](std::int64_t p) {
        spec.rank = p;
        return Network::create(spec).hidden_bits();
    };
    EXPECT_EQ(bits(1), 14);
    EXPECT_EQ(bits(4096), 14);
    EXPECT_EQ(bits(1 << 16), 14);
    EXPECT_EQ(bits(1 << 17), 13);
}

TEST(DownFactor, KeepsTheBitsOfTheHiddenLayerInsideItsIntegers) {
    const auto bits = [](std::int64_t p, DType precision) {
        return Network::create({.dim = 4,
                                .width = 1,
                                .rank = p,
                                .down = Down::gaussian,
                                .up = Up::rademacher,
                                .precision = precision})
            .hidden_bits();
    };
    EXPECT_EQ(bits(1, DType::f32), 22);
    EXPECT_EQ(bits(256, DType::f32), 22);
    EXPECT_EQ(bits(257, DType::f32), 21);
    EXPECT_EQ(bits(4096, DType::f32), 18);
    EXPECT_EQ(bits(1, DType::f64), 52);
    EXPECT_EQ(bits(1024, DType::f64), 52);
    EXPECT_EQ(bits(1025, DType::f64), 51);
}

}  // namespace
}  // namespace fntk

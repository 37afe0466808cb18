// Eigenvalues against analytic spectra and against the reference backend; Lanczos against the dense
// spectrum, and its residual as the bound it claims to be.
#include "spectra.hpp"
#include "support.hpp"

#include <fntk/error.hpp>
#include <fntk/spectrum.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <random>
#include <string>
#include <vector>

namespace fntk {
namespace {

using test::laplacian;
using test::matrix_of;
using test::narrowed;
using test::random_psd;
using test::with_eigenvalues;

class SpectrumTest : public ::testing::TestWithParam<const char*> {
  protected:
    Device device = Device::open(GetParam(), std::string(GetParam()) == "cpu" ? 2 : 0);
};
INSTANTIATE_TEST_SUITE_P(Devices, SpectrumTest, ::testing::Values("reference", "cpu"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST_P(SpectrumTest, Analytic) {
    const Spectrum one = spectrum(device, matrix_of(1, [](auto, auto) { return -3.5; }));
    EXPECT_EQ(one.eigenvalues, std::vector<double>{-3.5});
    EXPECT_EQ(one.residual, 0);

    const std::vector<double> diagonal{4, -1, 0, 2.5};
    const Spectrum d = spectrum(
        device, matrix_of(4, [&](std::int64_t i, std::int64_t j) { return i == j ? diagonal[i] : 0.0; }));
    const std::vector<double> sorted{-1, 0, 2.5, 4};
    for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(d.eigenvalues[i], sorted[i], 1e-15);
    EXPECT_TRUE(std::isinf(d.condition()));

    const Spectrum two =
        spectrum(device, matrix_of(2, [](std::int64_t i, std::int64_t j) { return i == j ? 2.0 : 1.0; }));
    EXPECT_NEAR(two.min(), 1, 1e-15);
    EXPECT_NEAR(two.max(), 3, 1e-15);
    EXPECT_NEAR(two.condition(), 3, 1e-14);
    EXPECT_LE(two.residual, 1e-15);
    EXPECT_LE(two.orthogonality, 1e-15);

    const Spectrum zero = spectrum(device, Matrix(5, 5, DType::f32));
    EXPECT_EQ(zero.eigenvalues, std::vector<double>(5, 0.0));

    EXPECT_TRUE(two.positive());
    EXPECT_FALSE(one.positive() || d.positive() || zero.positive());
    const Spectrum ones = spectrum(device, matrix_of(50, [](auto, auto) { return 0.1; }));  // of rank 1
    EXPECT_FALSE(ones.positive()) << ones.min();
}

TEST_P(SpectrumTest, LaplacianOfALine) {
    const std::int64_t n = 257;
    const Spectrum found = spectrum(device, laplacian(n));
    for (std::int64_t k = 1; k <= n; ++k)
        EXPECT_NEAR(found.eigenvalues[k - 1],
                    2 - 2 * std::cos(static_cast<double>(k) * std::numbers::pi / (n + 1)), 1e-12);
    EXPECT_LE(found.residual, 1e-12);
    EXPECT_LE(found.orthogonality, 1e-12);
}

TEST_P(SpectrumTest, AgreesWithTheReferenceAtEverySizeAndType) {
    for (const std::int64_t n : {1, 2, 31, 32, 33, 100}) {
        const Matrix k = random_psd(n, n + 3, 100 + static_cast<std::uint64_t>(n));
        const Spectrum want = spectrum(Device::open("reference"), k), have = spectrum(device, k);
        const Spectrum single = spectrum(device, narrowed(k));
        for (std::size_t i = 0; i < want.eigenvalues.size(); ++i) {
            EXPECT_NEAR(have.eigenvalues[i], want.eigenvalues[i],
                        1e-14 * static_cast<double>(n) * want.max());
            EXPECT_NEAR(single.eigenvalues[i], want.eigenvalues[i], 1e-6 * want.max());
        }
    }
}

TEST_P(SpectrumTest, AnyScaleAndViewsWithAStride) {
    const Matrix k = random_psd(20, 25, 5);
    const Spectrum want = spectrum(device, k);
    for (const int exponent : {-1060, -1000, 1000, 1020}) {
        const Spectrum have = spectrum(device, matrix_of(20, [&](auto i, auto j) {
                                           return std::ldexp(k.at<double>(i, j), exponent);
                                       }));
        const double tolerance =
            exponent == -1060 ? 1e-3 : 1e-12;  // denormal entries have lost their digits
        EXPECT_NEAR(std::ldexp(have.max(), -exponent), want.max(), tolerance * want.max());
    }
    Matrix frame(22, 30, DType::f64);
    for (std::int64_t i = 0; i < 20; ++i)
        for (std::int64_t j = 0; j < 20; ++j) frame.at<double>(i + 1, j + 4) = k.at<double>(i, j);
    EXPECT_EQ(spectrum(device, frame.view().row_block(1, 20).col_block(4, 20)).eigenvalues,
              want.eigenvalues);
}

std::string refusal(const std::function<void()>& call) {
    try {
        call();
    } catch (const ValueError& error) {
        return error.what();
    }
    return "";
}

TEST_P(SpectrumTest, RefusesByName) {
    EXPECT_THROW(spectrum(device, Matrix(3, 4, DType::f64)), ShapeError);
    EXPECT_THROW(spectrum(device, Matrix(0, 0, DType::f64)), ShapeError);
    EXPECT_THROW(spectrum(device, Matrix(2, 2, DType::i64)), ValueError);
    Matrix k = laplacian(4);
    k.at<double>(2, 1) = std::numeric_limits<double>::quiet_NaN();
    EXPECT_NE(refusal([&] { spectrum(device, k); }).find("row 2, column 1"), std::string::npos);
    k = laplacian(4);
    k.at<double>(3, 1) = 1e-11;
    const std::string text = refusal([&] { spectrum(device, k); });
    EXPECT_NE(text.find("not symmetric"), std::string::npos);
    EXPECT_NE(text.find("(3, 1)"), std::string::npos);
    k.at<double>(3, 1) = 1e-12;  // 2·1e-12 is allowed
    EXPECT_NO_THROW(spectrum(device, k));
    EXPECT_NO_THROW(spectrum(device, narrowed(k)));
    Matrix wide = narrowed(laplacian(4));
    wide.at<float>(3, 1) = 1e-5F;
    EXPECT_THROW(spectrum(device, wide), ValueError);
    wide.at<float>(3, 1) = 1e-6F;
    EXPECT_NO_THROW(spectrum(device, wide));
}

TEST_P(SpectrumTest, LargestEigenvalueOfRandomKernels) {
    for (const std::int64_t n : {2, 3, 33, 150})
        for (const bool single : {false, true}) {
            const Matrix wide = random_psd(n, 2 * n, 200 + static_cast<std::uint64_t>(n));
            const Matrix k = single ? narrowed(wide) : wide.copy();
            const double want = spectrum(device, k).max();
            const ExtremalEigenvalue found =
                lambda_max(DenseOperator(device, k), {.tolerance = single ? 1e-6 : 1e-10});
            EXPECT_TRUE(found.converged) << n;
            EXPECT_LE(found.iterations, n);
            EXPECT_NEAR(found.value, want, (single ? 3e-6 : 1e-9) * want);
            EXPECT_LE(found.residual, (single ? 2e-6 : 1.1e-10) * want);
        }
}

TEST_P(SpectrumTest, TheResidualBoundsTheError) {
    const Matrix k = random_psd(60, 60, 9);
    const std::vector<double> all = spectrum(device, k).eigenvalues;
    for (int iterations = 1; iterations <= 20; ++iterations) {
        const ExtremalEigenvalue found =
            lambda_max(DenseOperator(device, k), {.max_iterations = iterations, .tolerance = 0});
        double nearest = HUGE_VAL;
        for (const double eigenvalue : all) nearest = std::min(nearest, std::abs(eigenvalue - found.value));
        EXPECT_LE(nearest, found.residual + 1e-13 * all.back()) << iterations;
        EXPECT_LE(found.value, all.back() * (1 + 1e-13));
        EXPECT_EQ(found.iterations, iterations);
        EXPECT_FALSE(found.converged);
        EXPECT_GT(found.residual, 0);
    }
}

TEST_P(SpectrumTest, RepeatedNegativeAndHardSpectra) {
    std::vector<double> repeated(40, 0.1);
    repeated[3] = repeated[17] = repeated[39] = 5;
    const Matrix twice =
        with_eigenvalues(repeated, 1);  // two distinct eigenvalues: Lanczos ends after two steps
    const ExtremalEigenvalue found = lambda_max(DenseOperator(device, twice), {.tolerance = 1e-13});
    EXPECT_TRUE(found.converged);
    EXPECT_LE(found.iterations, 4);
    EXPECT_NEAR(found.value, 5, 1e-12);

    const Matrix identity = with_eigenvalues(std::vector<double>(10, 1.0), 2);
    const ExtremalEigenvalue unit = lambda_max(DenseOperator(device, identity));
    EXPECT_EQ(unit.iterations, 1);
    EXPECT_TRUE(unit.converged);
    EXPECT_NEAR(unit.value, 1, 1e-14);

    std::vector<double> gap(
        100);  // one eigenvalue far above the rest: found long before the space is exhausted
    for (std::size_t i = 0; i < 100; ++i) gap[i] = static_cast<double>(i) / 100;
    gap[50] = 10;
    const ExtremalEigenvalue alone =
        lambda_max(DenseOperator(device, with_eigenvalues(gap, 4)), {.tolerance = 1e-6});
    EXPECT_TRUE(alone.converged);
    EXPECT_LE(alone.iterations, 9);
    EXPECT_NEAR(alone.value, 10, 1e-5);

    std::vector<double> negative(30);
    for (std::size_t i = 0; i < 30; ++i) negative[i] = -1 - static_cast<double>(i);
    const ExtremalEigenvalue top =
        lambda_max(DenseOperator(device, with_eigenvalues(negative, 3)), {.tolerance = 1e-9});
    EXPECT_TRUE(top.converged);
    EXPECT_NEAR(top.value, -1, 1e-8);

    const ExtremalEigenvalue slow =
        lambda_max(DenseOperator(device, laplacian(120)), {.max_iterations = 500, .tolerance = 1e-12});
    EXPECT_TRUE(slow.converged);
    EXPECT_LE(slow.iterations, 120);
    EXPECT_NEAR(slow.value, 2 - 2 * std::cos(120 * std::numbers::pi / 121), 1e-11);
}

TEST_P(SpectrumTest, ZeroOperatorOneRowAndAnyScale) {
    for (const std::int64_t n : {1, 7}) {
        const Matrix zero(n, n, DType::f32);
        const ExtremalEigenvalue found = lambda_max(DenseOperator(device, zero));
        EXPECT_TRUE(found.converged);
        EXPECT_EQ(found.value, 0);
        EXPECT_EQ(found.residual, 0);
    }
    const Matrix single = matrix_of(1, [](auto, auto) { return 2.5; });
    const ExtremalEigenvalue one = lambda_max(DenseOperator(device, single));
    EXPECT_TRUE(one.converged);
    EXPECT_EQ(one.value, 2.5);
    EXPECT_EQ(one.iterations, 1);

    const Matrix k = random_psd(12, 20, 4);
    const double want = spectrum(device, k).max();
    for (const int exponent : {-900, 900}) {
        const Matrix scaled =
            matrix_of(12, [&](auto i, auto j) { return std::ldexp(k.at<double>(i, j), exponent); });
        const ExtremalEigenvalue found = lambda_max(DenseOperator(device, scaled), {.tolerance = 1e-10});
        EXPECT_TRUE(found.converged);
        EXPECT_NEAR(std::ldexp(found.value, -exponent), want, 1e-9 * want);
    }
}

TEST_P(SpectrumTest, TheRankIsOfAllRowsAndColumns) {
    const Matrix tall =
        test::filled(2500, 7, DType::f64, [](auto i, auto j) {  // a direction every 500 rows
            return j == i / 500 ? 1.0 + static_cast<double>(i % 3) : 0.0;
        });
    EXPECT_EQ(numerical_rank(device, tall), 5);
    EXPECT_EQ(numerical_rank(device, test::transposed(tall)), 5);
    EXPECT_EQ(numerical_rank(device, tall.view().row_block(400, 1100)), 3);
    EXPECT_EQ(numerical_rank(device, Matrix(3, 4, DType::f64)), 0);
}

TEST_P(SpectrumTest, TheStartVectorComesFromTheSeedAlone) {
    const Matrix k = random_psd(50, 50, 10);
    const DenseOperator op(device, k);
    const LanczosOptions few{.max_iterations = 3, .tolerance = 0};
    EXPECT_EQ(lambda_max(op, few).value, lambda_max(op, few).value);
    EXPECT_NE(lambda_max(op, few).value,
              lambda_max(op, {.max_iterations = 3, .tolerance = 0, .seed = 1}).value);
    const DenseOperator reference(Device::open("reference"), k);
    EXPECT_NEAR(lambda_max(op, few).value, lambda_max(reference, few).value, 1e-12);
}

TEST_P(SpectrumTest, LanczosRefusesByName) {
    const Matrix k = laplacian(3), wide(3, 4, DType::f64), none(0, 0, DType::f64);
    EXPECT_THROW(lambda_max(DenseOperator(device, wide)), ShapeError);
    EXPECT_THROW(lambda_max(DenseOperator(device, none)), ShapeError);
    EXPECT_THROW(lambda_max(DenseOperator(device, k), {.max_iterations = 0}), ValueError);
    EXPECT_THROW(lambda_max(DenseOperator(device, k), {.tolerance = -1}), ValueError);
    EXPECT_THROW(lambda_max(DenseOperator(device, k), {.tolerance = std::nan("")}), ValueError);
    const Matrix huge = narrowed(matrix_of(50, [](auto, auto) { return 3e38; }));
    EXPECT_THROW(lambda_max(DenseOperator(device, huge)), Error);  // the product overflows float32
}

}  // namespace
}  // namespace fntk

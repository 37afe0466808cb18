// Ridge regression against the normal equations of the same problem in feature space, and classes in and
// out.
#include "support.hpp"

#include <fntk/error.hpp>
#include <fntk/regression.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace fntk {
namespace {

using test::narrowed;
using test::normals;

class RegressionTest : public ::testing::TestWithParam<const char*> {
  protected:
    Device device = Device::open(GetParam(), std::string(GetParam()) == "cpu" ? 2 : 0);
};
INSTANTIATE_TEST_SUITE_P(Devices, RegressionTest, ::testing::Values("reference", "cpu"),
                         [](const auto& instance) { return std::string(instance.param); });

/// A Bᵀ, by plain loops.
Matrix product(const Matrix& a, const Matrix& b) {
    Matrix c(a.rows(), b.rows(), DType::f64);
    for (std::int64_t i = 0; i < a.rows(); ++i)
        for (std::int64_t j = 0; j < b.rows(); ++j)
            for (std::int64_t q = 0; q < a.cols(); ++q)
                c.at<double>(i, j) += a.at<double>(i, q) * b.at<double>(j, q);
    return c;
}

/// S x = b by Gaussian elimination with pivoting, S q × q, b q × k.
Matrix solve(Matrix s, Matrix b) {
    const std::int64_t q = s.rows();
    for (std::int64_t c = 0; c < q; ++c) {
        std::int64_t pivot = c;
        for (std::int64_t i = c; i < q; ++i)
            if (std::abs(s.at<double>(i, c)) > std::abs(s.at<double>(pivot, c))) pivot = i;
        for (std::int64_t j = 0; j < q; ++j) std::swap(s.at<double>(c, j), s.at<double>(pivot, j));
        for (std::int64_t j = 0; j < b.cols(); ++j) std::swap(b.at<double>(c, j), b.at<double>(pivot, j));
        for (std::int64_t i = 0; i < q; ++i) {
            if (i == c) continue;
            const double factor = s.at<double>(i, c) / s.at<double>(c, c);
            for (std::int64_t j = 0; j < q; ++j) s.at<double>(i, j) -= factor * s.at<double>(c, j);
            for (std::int64_t j = 0; j < b.cols(); ++j) b.at<double>(i, j) -= factor * b.at<double>(c, j);
        }
    }
    for (std::int64_t i = 0; i < q; ++i)
        for (std::int64_t j = 0; j < b.cols(); ++j) b.at<double>(i, j) /= s.at<double>(i, i);
    return b;
}

TEST_P(RegressionTest, IsTheNormalEquationsInFeatureSpace) {
    const std::int64_t n = 40, features = 5, outputs = 3;
    const Matrix x = normals(n, features, 1), fresh = normals(700, features, 2), y = normals(n, outputs, 3);
    const Matrix k = product(x, x), cross = product(fresh, x);
    for (const double ridge : {1e-3, 0.5, 20.0}) {
        const RidgeModel model = fit_ridge(device, k, y, ridge);
        double mean = 0;
        for (std::int64_t i = 0; i < n; ++i) mean += k.at<double>(i, i) / n;
        EXPECT_NEAR(model.jitter, ridge * mean, 1e-13 * ridge * mean);
        EXPECT_EQ(model.ridge, ridge);
        Matrix s(features, features, DType::f64),
            b(features, outputs, DType::f64);  // (XᵀX + jitter·I) w = Xᵀ Y
        for (std::int64_t i = 0; i < features; ++i) {
            for (std::int64_t r = 0; r < n; ++r) {
                for (std::int64_t j = 0; j < features; ++j)
                    s.at<double>(i, j) += x.at<double>(r, i) * x.at<double>(r, j);
                for (std::int64_t c = 0; c < outputs; ++c)
                    b.at<double>(i, c) += x.at<double>(r, i) * y.at<double>(r, c);
            }
            s.at<double>(i, i) += model.jitter;
        }
        const Matrix w = solve(std::move(s), std::move(b));
        const Matrix have = predict(device, model, cross), single = predict(device, model, narrowed(cross));
        ASSERT_EQ(have.rows(), 700);
        ASSERT_EQ(single.dtype(), DType::f64);
        for (std::int64_t i = 0; i < 700; ++i)
            for (std::int64_t c = 0; c < outputs; ++c) {
                double want = 0;
                for (std::int64_t j = 0; j < features; ++j)
                    want += fresh.at<double>(i, j) * w.at<double>(j, c);
                EXPECT_NEAR(have.at<double>(i, c), want, 1e-10);
                EXPECT_NEAR(single.at<double>(i, c), want, 1e-3);
            }
    }
}

TEST_P(RegressionTest, WithoutRidgeItInterpolates) {
    for (const std::int64_t n : {1, 31, 33}) {
        const Matrix x = normals(n, 2 * n, 4), y = normals(n, 2, 5), k = product(x, x);
        const Matrix fitted = predict(device, fit_ridge(device, k, y, 0), k);
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t c = 0; c < 2; ++c)
                EXPECT_NEAR(fitted.at<double>(i, c), y.at<double>(i, c), 1e-10);
        const Matrix single = narrowed(k);
        const Matrix back = predict(device, fit_ridge(device, single, narrowed(y), 0), single);
        for (std::int64_t i = 0; i < n; ++i) EXPECT_NEAR(back.at<double>(i, 0), y.at<double>(i, 0), 1e-6);
    }
}

TEST_P(RegressionTest, TheRidgeIsRelative) {
    const Matrix x = normals(12, 20, 6), y = normals(12, 1, 7), k = product(x, x);
    Matrix scaled = k.copy();
    for (std::int64_t i = 0; i < 12; ++i)
        for (std::int64_t j = 0; j < 12; ++j) scaled.at<double>(i, j) *= 0x1p40;
    const Matrix one = predict(device, fit_ridge(device, k, y, 0.1), k);
    const Matrix other = predict(device, fit_ridge(device, scaled, y, 0.1), scaled);
    for (std::int64_t i = 0; i < 12; ++i) EXPECT_NEAR(one.at<double>(i, 0), other.at<double>(i, 0), 1e-12);
}

TEST_P(RegressionTest, ASingularKernelIsRefusedAndTheRidgeItNamesWorks) {
    for (const bool single : {false, true}) {
        Matrix x = normals(30, 4, 8);  // rank 4, and two equal rows
        for (std::int64_t j = 0; j < 4; ++j) x.at<double>(1, j) = x.at<double>(0, j);
        const Matrix wide = product(x, x), k = single ? narrowed(wide) : wide.copy(), y = normals(30, 1, 9);
        std::string text;
        try {
            fit_ridge(device, k, y, 0);
        } catch (const Error& error) {
            text = error.what();
        }
        EXPECT_NE(text.find("ridge = 0"), std::string::npos) << text;
        EXPECT_NE(text.find("leading minor "), std::string::npos) << text;
        const std::size_t at = text.find("try ridge = ");
        ASSERT_NE(at, std::string::npos) << text;
        EXPECT_NO_THROW(fit_ridge(device, k, y, std::stod(text.substr(at + 12)))) << text;
    }
    EXPECT_THROW(fit_ridge(device, Matrix(3, 3, DType::f64), Matrix(3, 1, DType::f64), 0.1), Error);
}

/// One that is short of full rank by one, of which rounding makes a positive eigenvalue as often as not.
TEST_P(RegressionTest, ASingularKernelIsRefusedWhateverItsRounding) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        const Matrix x = normals(12, 11, seed), k = product(x, x), y = normals(12, 1, seed + 100);
        EXPECT_THROW(fit_ridge(device, k, y, 0), Error) << seed;
        EXPECT_NO_THROW(fit_ridge(device, k, y, 1e-9)) << seed;
    }
}

TEST_P(RegressionTest, RefusesByName) {
    const Matrix x = normals(4, 6, 10), k = product(x, x), y = normals(4, 2, 11);
    EXPECT_THROW(fit_ridge(device, k, y, -1e-9), ValueError);
    EXPECT_THROW(fit_ridge(device, k, y, std::nan("")), ValueError);
    EXPECT_THROW(fit_ridge(device, k, y, HUGE_VAL), ValueError);
    EXPECT_THROW(fit_ridge(device, k, normals(3, 2, 1), 0), ShapeError);
    EXPECT_THROW(fit_ridge(device, x, y, 0), ShapeError);
    EXPECT_THROW(fit_ridge(device, k, Matrix(4, 1, DType::i32), 0), ValueError);
    Matrix bad = k.copy();
    bad.at<double>(1, 0) += 1;
    EXPECT_THROW(fit_ridge(device, bad, y, 0), ValueError);
    bad.at<double>(1, 0) = HUGE_VAL;
    EXPECT_THROW(fit_ridge(device, bad, y, 0), ValueError);
    Matrix hole = y.copy();
    hole.at<double>(2, 1) = std::nan("");
    EXPECT_THROW(fit_ridge(device, k, hole, 0), ValueError);
    const RidgeModel model = fit_ridge(device, k, y, 0.1);
    EXPECT_THROW(predict(device, model, normals(2, 5, 1)), ShapeError);
    EXPECT_THROW(predict(device, model, bad), ValueError);
    EXPECT_EQ(predict(device, model, Matrix(0, 4, DType::f32)).rows(), 0);
}

TEST(Classes, OneHot) {
    const Matrix targets = one_hot({2, 0, 1, 2}, 4);
    for (std::int64_t i = 0; i < 4; ++i) {
        double sum = 0;
        for (std::int64_t c = 0; c < 4; ++c) sum += targets.at<double>(i, c);
        EXPECT_EQ(sum, 0);
    }
    EXPECT_EQ(targets.at<double>(0, 2), 0.75);
    EXPECT_EQ(targets.at<double>(0, 3), -0.25);
    const Matrix signs = one_hot({0, 1}, 1);
    EXPECT_EQ(signs.cols(), 1);
    EXPECT_EQ(signs.at<double>(0, 0), -0.5);
    EXPECT_EQ(signs.at<double>(1, 0), 0.5);
    EXPECT_EQ(one_hot({}, 3).rows(), 0);
    EXPECT_THROW(one_hot({0}, 0), ValueError);
    EXPECT_THROW(one_hot({0, -1}, 3), ValueError);
    EXPECT_THROW(one_hot({2}, 1), ValueError);
    try {
        one_hot({0, 2, 3}, 3);
        FAIL() << "class 3 of 3 was accepted";
    } catch (const ValueError& error) {
        EXPECT_NE(std::string(error.what()).find("classes[2] = 3"), std::string::npos) << error.what();
        EXPECT_NE(std::string(error.what()).find("[0, 3)"), std::string::npos) << error.what();
    }
}

TEST(Classes, Accuracy) {
    Matrix scores(4, 3, DType::f32);
    const float values[4][3] = {{1, 3, 2}, {5, 5, 1}, {0, 0, 0}, {-2, -1, -1}};
    for (std::int64_t i = 0; i < 4; ++i)
        for (std::int64_t c = 0; c < 3; ++c) scores.at<float>(i, c) = values[i][c];
    EXPECT_EQ(accuracy(scores, {1, 0, 0, 1}), 1);  // of equal columns the first
    EXPECT_EQ(accuracy(scores, {1, 1, 2, 2}), 0.25);
    Matrix one(3, 1, DType::f64);
    one.at<double>(0, 0) = 0.1;
    one.at<double>(2, 0) = -3;
    EXPECT_EQ(accuracy(one, {1, 0, 0}), 1);  // a score of 0 is class 0
    EXPECT_NEAR(accuracy(one, {1, 1, 1}), 1.0 / 3, 1e-16);
    EXPECT_THROW(accuracy(one, {1, 0}), ShapeError);
    EXPECT_THROW(accuracy(one, {1, 0, 2}), ValueError);
    EXPECT_THROW(accuracy(Matrix(0, 3, DType::f64), {}), ShapeError);
    one.at<double>(1, 0) = std::nan("");
    EXPECT_THROW(accuracy(one, {1, 0, 0}), ValueError);
}

TEST_P(RegressionTest, SeparatesTwoClusters) {
    const std::int64_t n = 40;
    Matrix x = normals(n, 3, 12);
    std::vector<std::int64_t> classes(n);
    for (std::int64_t i = 0; i < n; ++i) {
        classes[i] = i % 2;
        x.at<double>(i, 0) += i % 2 == 1 ? 6 : -6;
    }
    const Matrix k = product(x, x);
    for (const std::int64_t outputs : {1, 2}) {
        const RidgeModel model = fit_ridge(device, k, one_hot(classes, outputs), 0.01);
        EXPECT_EQ(accuracy(predict(device, model, k), classes), 1);
    }
}

}  // namespace
}  // namespace fntk

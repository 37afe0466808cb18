// Limits against Monte Carlo over the weights, and against closed forms in long double where the angle is
// tiny or nearly π; every scale, zero, duplicated and opposite rows. error_law is in
// limit_error_law_test.cpp.
#include "support.hpp"

#include <fntk/error.hpp>
#include <fntk/limit.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <random>
#include <string>
#include <vector>

namespace fntk {
namespace {

using test::normals;
using test::rows_of;

constexpr double pi = std::numbers::pi;
constexpr long double pi_l = std::numbers::pi_v<long double>;
constexpr Train down{.down = true}, up{.up = true}, readout{.readout = true};

class LimitTest : public ::testing::TestWithParam<const char*> {
  protected:
    Device device = Device::open(GetParam(), std::string(GetParam()) == "cpu" ? 2 : 0);
};
INSTANTIATE_TEST_SUITE_P(Devices, LimitTest, ::testing::Values("reference", "cpu"),
                         [](const auto& instance) { return std::string(instance.param); });

double sigma(const ActivationSpec& activation, double z) {
    if (activation.kind == Activation::erf) return std::erf(z);
    return z > 0 ? z : activation.closed_slope() * z;
}
double sigma_prime(const ActivationSpec& activation, double z) {
    if (activation.kind == Activation::erf) return 2 / std::sqrt(pi) * std::exp(-z * z);
    return z > 0 ? 1 : activation.closed_slope();
}

const std::vector<ActivationSpec> closed_forms{{Activation::relu, 0.01},
                                               {Activation::leaky_relu, 0.2},
                                               {Activation::abs, 0.01},
                                               {Activation::erf, 0.01}};

struct Mean {
    double sum = 0, squares = 0, count = 0;
    void add(double x) { sum += x, squares += x * x, ++count; }
    [[nodiscard]] double mean() const { return sum / count; }
    [[nodiscard]] double error() const { return std::sqrt((squares / count - mean() * mean()) / count); }
};

TEST_P(LimitTest, AgreesWithMonteCarlo) {
    constexpr std::int64_t draws = 100000;
    const Matrix g = normals(draws, 2, 11);
    for (const ActivationSpec& activation : closed_forms)
        for (const double theta : {0.3, 1.2, 2.0, 2.9})
            for (const auto& [a, b] : {std::pair{1.0, 1.0}, std::pair{0.4, 2.5}}) {
                const Matrix x = rows_of({{a, 0}, {b * std::cos(theta), b * std::sin(theta)}});
                Mean derivative, product;
                for (std::int64_t r = 0; r < draws; ++r) {
                    const double z = a * g.at<double>(r, 0);
                    const double w =
                        b * (std::cos(theta) * g.at<double>(r, 0) + std::sin(theta) * g.at<double>(r, 1));
                    derivative.add(sigma_prime(activation, z) * sigma_prime(activation, w));
                    product.add(sigma(activation, z) * sigma(activation, w));
                }
                const double rho = a * b * std::cos(theta);
                const double have = limit_kernel(device, activation, up, x).at<double>(0, 1) / rho;
                const double nngp = limit_kernel(device, activation, readout, x).at<double>(0, 1);
                EXPECT_NEAR(have, derivative.mean(), 4 * derivative.error())
                    << name(activation.kind) << " " << theta;
                EXPECT_NEAR(nngp, product.mean(), 4 * product.error())
                    << name(activation.kind) << " " << theta;
                EXPECT_DOUBLE_EQ(limit_kernel(device, activation, down, x).at<double>(0, 1) / rho, have);
            }
}

TEST_P(LimitTest, TrainedFactorsAdd) {
    const Matrix x = normals(5, 4, 3);
    for (const ActivationSpec& activation : closed_forms) {
        const Matrix d = limit_kernel(device, activation, down, x),
                     r = limit_kernel(device, activation, readout, x);
        const Matrix all = limit_kernel(device, activation, {true, true, true}, x);
        for (std::int64_t i = 0; i < 5; ++i)
            for (std::int64_t j = 0; j < 5; ++j)
                EXPECT_NEAR(all.at<double>(i, j), 2 * d.at<double>(i, j) + r.at<double>(i, j), 1e-13);
    }
}

TEST_P(LimitTest, NearlyEqualAndNearlyOppositeRows) {
    for (const double theta : {1e-9, 1e-5, 1e-2}) {
        const double c = std::cos(theta), s = std::sin(theta);
        const Matrix x = rows_of({{1, 0}, {c, s}, {-c, s}});
        const Matrix k = limit_kernel(device, {}, up, x), nngp = limit_kernel(device, {}, readout, x);
        const long double t = std::atan2(static_cast<long double>(s), static_cast<long double>(c));
        const long double near = std::cos(t) * (pi_l - t) / (2 * pi_l);
        const long double far = -std::cos(t) * t / (2 * pi_l);  // angle π − t
        EXPECT_NEAR(k.at<double>(0, 1), static_cast<double>(near), 4e-16);
        EXPECT_NEAR(k.at<double>(0, 2) / static_cast<double>(far), 1, 1e-14);
        const long double near1 = (std::sin(t) + (pi_l - t) * std::cos(t)) / (2 * pi_l);
        const long double t2 = t * t;
        const long double far1 =
            t * t2 * (1 / 3.0L - t2 / 30 + t2 * t2 / 840 - t2 * t2 * t2 / 45360) / (2 * pi_l);
        EXPECT_NEAR(nngp.at<double>(0, 1), static_cast<double>(near1), 4e-16);
        EXPECT_NEAR(nngp.at<double>(0, 2) / static_cast<double>(far1), 1, 1e-14);
    }
}

TEST_P(LimitTest, TinyAnglesBetweenLongRows) {
    const std::int64_t d = 203;
    const Matrix g = normals(2, d, 17);
    long double aa = 0, ab = 0;
    for (std::int64_t j = 0; j < d; ++j) {
        aa += static_cast<long double>(g.at<double>(0, j)) * g.at<double>(0, j);
        ab += static_cast<long double>(g.at<double>(0, j)) * g.at<double>(1, j);
    }
    for (const long double theta :
         {1e-9L, 1e-6L, 1e-3L, 0.1L, 0.2L, pi_l - 0.2L, pi_l - 1e-3L, pi_l - 1e-9L}) {
        Matrix x(2, d, DType::f64);  // unit rows at the angle θ, to rounding
        std::vector<long double> across(d);
        long double length2 = 0;
        for (std::int64_t j = 0; j < d; ++j) {
            across[j] = g.at<double>(1, j) - ab / aa * g.at<double>(0, j);
            length2 += across[j] * across[j];
        }
        for (std::int64_t j = 0; j < d; ++j) {
            const long double along = g.at<double>(0, j) / std::sqrt(aa);
            x.at<double>(0, j) = static_cast<double>(along);
            x.at<double>(1, j) = static_cast<double>(std::cos(theta) * along +
                                                     std::sin(theta) * across[j] / std::sqrt(length2));
        }
        const double want = static_cast<double>(std::cos(theta) * (pi_l - theta) / (2 * pi_l));
        EXPECT_NEAR(limit_kernel(device, {}, up, x).at<double>(0, 1), want, 2e-15)
            << static_cast<double>(theta);
        if (theta < 0.15L) {  // θ itself survives, though its cosine has lost it
            const double found = pi - 2 * pi * limit_kernel(device, {}, up, x).at<double>(0, 1) /
                                          std::cos(static_cast<double>(theta));
            EXPECT_NEAR(found, static_cast<double>(theta), 2e-15);
        }
    }
}

TEST_P(LimitTest, ErfKeepsItsDigitsAtLargeNorms) {
    const ActivationSpec activation{.kind = Activation::erf};
    for (const double scale : {1e-3, 1.0, 1e2, 1e4})
        for (const double theta : {1e-7, 1e-3, 0.5, 2.0}) {
            const Matrix x =
                rows_of({{scale, 0}, {2 * scale * std::cos(theta), 2 * scale * std::sin(theta)}});
            const long double x1 = x.at<double>(1, 0), y1 = x.at<double>(1, 1);
            const long double a = static_cast<long double>(scale) * scale, b = x1 * x1 + y1 * y1,
                              rho = scale * x1;
            const long double square = (1 + 2 * a) * (1 + 2 * b) - 4 * rho * rho;
            const double want = static_cast<double>(rho * 4 / pi_l / std::sqrt(square));
            EXPECT_NEAR(limit_kernel(device, activation, up, x).at<double>(0, 1) / want, 1, 1e-9);
            const double nngp =
                static_cast<double>(2 / pi_l * std::asin(2 * rho / std::sqrt((1 + 2 * a) * (1 + 2 * b))));
            EXPECT_NEAR(limit_kernel(device, activation, readout, x).at<double>(0, 1), nngp, 1e-13);
        }
}

TEST_P(LimitTest, ZeroDuplicatedAndOppositeRows) {
    const Matrix x =
        rows_of({{0, 0, 0}, {0.3, -1.7, 0.2}, {0.3, -1.7, 0.2}, {-0.3, 1.7, -0.2}, {1.2, -6.8, 0.8}});
    for (const ActivationSpec& activation : closed_forms)
        for (const Train train : {down, up, readout}) {
            const Matrix k = limit_kernel(device, activation, train, x);
            for (std::int64_t i = 0; i < 5; ++i) EXPECT_EQ(k.at<double>(0, i), 0);
            EXPECT_EQ(k.at<double>(1, 2), k.at<double>(1, 1));
            EXPECT_EQ(k.at<double>(1, 2), k.at<double>(2, 2));
        }
    const double square = 0.09 + 2.89 + 0.04;
    const Matrix relu = limit_kernel(device, {}, up, x), nngp = limit_kernel(device, {}, readout, x);
    EXPECT_EQ(relu.at<double>(1, 3), 0);
    EXPECT_EQ(nngp.at<double>(1, 3), 0);
    EXPECT_NEAR(relu.at<double>(1, 1), square / 2, 1e-15 * square);
    EXPECT_NEAR(relu.at<double>(1, 4), 4 * square / 2, 4e-15 * square);
    EXPECT_NEAR(nngp.at<double>(1, 2), square / 2, 1e-15 * square);
    const Matrix abs = limit_kernel(device, {.kind = Activation::abs}, up, x);
    EXPECT_NEAR(abs.at<double>(1, 3), square, 1e-14);
    EXPECT_NEAR(abs.at<double>(1, 1), square, 1e-14);
}

TEST_P(LimitTest, AnyScale) {
    const Matrix base = rows_of({{0.6, 0.8}, {-0.28, 0.96}, {1, 0}});
    for (const ActivationSpec& activation : {closed_forms[0], closed_forms[1], closed_forms[2]})
        for (const Train train : {up, readout}) {
            const Matrix want = limit_kernel(device, activation, train, base);
            for (const double scale : {1e300, 1e-300}) {
                Matrix x = base.copy(), y = base.copy();
                for (std::int64_t i = 0; i < 3; ++i)
                    for (std::int64_t j = 0; j < 2; ++j)
                        x.at<double>(i, j) *= scale, y.at<double>(i, j) /= scale;
                const Matrix k = limit_kernel(device, activation, train, x, y);
                for (std::int64_t i = 0; i < 3; ++i)
                    for (std::int64_t j = 0; j < 3; ++j)
                        EXPECT_NEAR(k.at<double>(i, j), want.at<double>(i, j), 1e-14);
            }
            Matrix x32(3, 2, DType::f32), y32(3, 2, DType::f32);
            for (std::int64_t i = 0; i < 3; ++i)
                for (std::int64_t j = 0; j < 2; ++j) {
                    x32.at<float>(i, j) = static_cast<float>(base.at<double>(i, j) * 1e30);
                    y32.at<float>(i, j) = static_cast<float>(base.at<double>(i, j) * 1e-30);
                }
            const Matrix k = limit_kernel(device, activation, train, x32, y32);
            for (std::int64_t i = 0; i < 3; ++i)
                for (std::int64_t j = 0; j < 3; ++j)
                    EXPECT_NEAR(k.at<float>(i, j), want.at<double>(i, j), 3e-7);
        }
    const double inf = std::numeric_limits<double>::infinity();
    for (const ActivationSpec& activation :
         closed_forms)  // no NaN where the norms' product leaves the range
        for (const Train train : {up, down, readout})
            for (const double scale : {1e300, 1.7e308, 1e-300, 5e-324}) {
                const Matrix x = rows_of({{scale, 0}, {0, scale}, {-scale, scale}, {scale, scale}});
                const Matrix k = limit_kernel(device, activation, train, x);
                for (std::int64_t i = 0; i < 4; ++i)
                    for (std::int64_t j = 0; j < 4; ++j) EXPECT_FALSE(std::isnan(k.at<double>(i, j)));
                if (activation.kind == Activation::relu) {
                    EXPECT_EQ(k.at<double>(0, 0), scale > 1 ? inf : 0);
                }
            }
}

TEST_P(LimitTest, ErfSaturatesAtHugeNorms) {
    const double theta = 0.7;
    const Matrix x = rows_of({{1e200, 0}, {1e250 * std::cos(theta), 1e250 * std::sin(theta)}});
    const ActivationSpec activation{.kind = Activation::erf};
    EXPECT_NEAR(limit_kernel(device, activation, up, x).at<double>(0, 1), 2 / pi / std::tan(theta), 1e-14);
    EXPECT_NEAR(limit_kernel(device, activation, down, x).at<double>(0, 1), 2 / pi / std::tan(theta),
                1e-14);
    EXPECT_NEAR(limit_kernel(device, activation, readout, x).at<double>(0, 1), 2 / pi * (pi / 2 - theta),
                1e-14);
}

TEST_P(LimitTest, SymmetricAcrossBlocksAndRectangularIsItsBlock) {
    const std::int64_t n = 1040, cut = 1029;  // more than one block of rows
    const Matrix x = normals(n, 3, 5);
    for (const ActivationSpec& activation : {closed_forms[0], closed_forms[3]}) {
        const Train train{true, true, true};
        const Matrix k = limit_kernel(device, activation, train, x);
        const Matrix part = limit_kernel(device, activation, train, x.view().row_block(3, cut), x);
        double asymmetry = 0, difference = 0;
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < n; ++j) {
                asymmetry = std::max(asymmetry, std::abs(k.at<double>(i, j) - k.at<double>(j, i)));
                if (i >= 3 && i < 3 + cut)
                    difference =
                        std::max(difference, std::abs(k.at<double>(i, j) - part.at<double>(i - 3, j)));
            }
        EXPECT_EQ(asymmetry, 0);
        EXPECT_LE(difference, 1e-13);
    }
}

TEST_P(LimitTest, FloatIsTheRoundedDouble) {
    const Matrix wide = normals(9, 7, 6);
    Matrix narrow(9, 7, DType::f32);
    for (std::int64_t i = 0; i < 9; ++i)
        for (std::int64_t j = 0; j < 7; ++j)
            narrow.at<float>(i, j) = static_cast<float>(wide.at<double>(i, j));
    for (const ActivationSpec& activation : closed_forms) {
        const Matrix k32 = limit_kernel(device, activation, up, narrow);
        const Matrix k64 = limit_kernel(device, activation, up, Matrix::converted(narrow, DType::f64));
        ASSERT_EQ(k32.dtype(), DType::f32);
        for (std::int64_t i = 0; i < 9; ++i)
            for (std::int64_t j = 0; j < 9; ++j)
                EXPECT_EQ(k32.at<float>(i, j), static_cast<float>(k64.at<double>(i, j)));
    }
}

TEST_P(LimitTest, EmptyShapes) {
    const Matrix x = normals(3, 4, 1);
    EXPECT_EQ(limit_kernel(device, {}, up, Matrix(0, 4, DType::f64)).rows(), 0);
    const Matrix wide = limit_kernel(device, {}, up, x, Matrix(0, 4, DType::f64));
    EXPECT_EQ(wide.rows(), 3);
    EXPECT_EQ(wide.cols(), 0);
    for (const ActivationSpec& activation : closed_forms) {
        const Matrix k = limit_kernel(device, activation, {true, true, true}, Matrix(3, 0, DType::f32));
        ASSERT_EQ(k.rows(), 3);
        for (std::int64_t i = 0; i < 3; ++i)
            for (std::int64_t j = 0; j < 3; ++j) EXPECT_EQ(k.at<float>(i, j), 0);
    }
}

TEST_P(LimitTest, RefusesByName) {
    Matrix x = normals(3, 4, 1);
    EXPECT_THROW(limit_kernel(device, {}, {}, x), ValueError);
    EXPECT_THROW(limit_kernel(device, {}, up, x, normals(2, 5, 1)), ShapeError);
    EXPECT_THROW(limit_kernel(device, {}, up, Matrix(2, 2, DType::i32)), ValueError);
    EXPECT_THROW(limit_kernel(device, {Activation::leaky_relu, std::nan("")}, up, x), ValueError);
    x.at<double>(1, 2) = std::nan("");
    try {
        limit_kernel(device, {}, up, normals(2, 4, 1), x);
        FAIL() << "NaN was accepted";
    } catch (const ValueError& error) {
        const std::string text = error.what();
        EXPECT_NE(text.find("others"), std::string::npos) << text;
        EXPECT_NE(text.find("row 1, column 2"), std::string::npos) << text;
    }
}

TEST_P(LimitTest, FixedDownUsesTheProjectedAngles) {
    const std::int64_t n = 6, d = 10;
    const Matrix x = normals(n, d, 21);
    NetworkSpec spec{.dim = d,
                     .width = 64,
                     .rank = 8,
                     .down = Down::gaussian,
                     .activation = {},
                     .precision = DType::f64,
                     .seed = 4};
    const Network network = Network::create(spec);
    const ConstMatrixView u = network.down();
    Matrix h(n, 8, DType::f64);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t q = 0; q < 8; ++q)
            for (std::int64_t j = 0; j < d; ++j)
                h.at<double>(i, q) += x.at<double>(i, j) * u.at<double>(q, j) / std::sqrt(8.0);
    const Matrix want_up = limit_kernel(device, {}, up, h),
                 want_readout = limit_kernel(device, {}, readout, h);
    const Matrix have_down = fixed_down_limit(device, network, x);
    const Matrix have_up = fixed_down_limit(device, network.with_train(up), x);
    const Matrix have_readout = fixed_down_limit(device, network.with_train(readout), x);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
            long double xx = 0, hh = 0, hi = 0, hj = 0;
            for (std::int64_t q = 0; q < d; ++q)
                xx += static_cast<long double>(x.at<double>(i, q)) * x.at<double>(j, q);
            for (std::int64_t q = 0; q < 8; ++q) {
                hh += static_cast<long double>(h.at<double>(i, q)) * h.at<double>(j, q);
                hi += static_cast<long double>(h.at<double>(i, q)) * h.at<double>(i, q);
                hj += static_cast<long double>(h.at<double>(j, q)) * h.at<double>(j, q);
            }
            const long double theta = i == j ? 0 : std::acos(hh / std::sqrt(hi * hj));
            EXPECT_NEAR(have_down.at<double>(i, j), static_cast<double>(xx * (pi_l - theta) / (2 * pi_l)),
                        1e-13);
            EXPECT_NEAR(have_up.at<double>(i, j), want_up.at<double>(i, j), 1e-13);
            EXPECT_NEAR(have_readout.at<double>(i, j), want_readout.at<double>(i, j), 1e-13);
            EXPECT_EQ(have_down.at<double>(i, j), have_down.at<double>(j, i));
        }
    const Matrix part = fixed_down_limit(device, network, x.view().row_block(2, 3), x);
    for (std::int64_t j = 0; j < n; ++j)
        EXPECT_NEAR(part.at<double>(1, j), have_down.at<double>(3, j), 1e-13);
    EXPECT_THROW(fixed_down_limit(device, network, normals(2, d + 1, 1)), ShapeError);
}

TEST_P(LimitTest, FixedDownOfAnIsometryIsTheLimit) {
    const Matrix x = normals(5, 6, 22);
    for (const Down family : {Down::identity, Down::orthonormal})
        for (const Train train : {up, readout}) {
            const NetworkSpec spec{.dim = 6,
                                   .width = 64,
                                   .rank = 6,
                                   .down = family,
                                   .up = Up::rademacher,
                                   .train = train,
                                   .activation = {Activation::leaky_relu, 0.3},
                                   .precision = DType::f64};
            const Matrix have = fixed_down_limit(device, Network::create(spec), x);
            const Matrix want = limit_kernel(device, spec.activation, train, x);
            for (std::int64_t i = 0; i < 5; ++i)
                for (std::int64_t j = 0; j < 5; ++j)
                    EXPECT_NEAR(have.at<double>(i, j), want.at<double>(i, j), 1e-12);
        }
}

TEST_P(LimitTest, FixedDownWhereTheProjectionIsZero) {
    const Matrix x = rows_of({{2, 0, 0}, {1, 1, 0}, {3, 0, 0}});
    const Matrix u = rows_of({{0, 1, 0.5}, {0, -0.25, 1}});  // h = 0 for rows 0 and 2
    for (const ActivationSpec& activation : {closed_forms[0], closed_forms[1], closed_forms[2]}) {
        const NetworkSpec spec{.dim = 3,
                               .width = 8,
                               .rank = 2,
                               .down = Down::gaussian,
                               .activation = activation,
                               .precision = DType::f64};
        const Matrix k = fixed_down_limit(device, Network::from_tensors(spec, {u, {}, {}}), x);
        const double closed = activation.closed_slope();
        EXPECT_NEAR(k.at<double>(0, 2), 6 * closed * closed, 1e-14);
        EXPECT_NEAR(k.at<double>(0, 1), 2 * closed * (1 + closed) / 2, 1e-14);
    }
}

}  // namespace
}  // namespace fntk

// Limits of gelu, tanh and softplus (src/limit_hermite.hpp) against two-dimensional quadrature over the
// weights that a pair of rows sees.
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/kernel.hpp>
#include <fntk/kernel_function.hpp>
#include <fntk/limit.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

namespace fntk {
namespace {

using test::error_of;
using test::expect_parts;
using test::normals;
using test::rows_of;

constexpr Activation smooth[] = {Activation::gelu, Activation::tanh, Activation::softplus};
constexpr Train down{.down = true}, up{.up = true}, readout{.readout = true};

Device cpu() { return Device::open("cpu", 2); }

double sigma(Activation kind, bool derivative, double z) {
    const double below = std::erfc(-z / std::numbers::sqrt2) / 2,
                 density = std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
    switch (kind) {
        case Activation::gelu:
            return derivative ? below + z * density : z * below;
        case Activation::tanh:
            return derivative ? 1 / (std::cosh(z) * std::cosh(z)) : std::tanh(z);
        default:
            return derivative ? 1 / (1 + std::exp(-z))
                              : std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z)));
    }
}

/// E σ(<v, h>) σ(<v, h'>), or of σ', by the trapezoidal rule over the two coordinates of v that they see.
double expectation(Activation kind, bool derivative, double s, double t, double cosine) {
    constexpr double step = 1.0 / 32, reach = 9;
    const double sine = std::sqrt(1 - cosine * cosine);
    double sum = 0;
    for (double g = -reach; g <= reach; g += step) {
        const double left = sigma(kind, derivative, s * g) * std::exp(-g * g / 2);
        double inner = 0;
        for (double w = -reach; w <= reach; w += step)
            inner += sigma(kind, derivative, t * (cosine * g + sine * w)) * std::exp(-w * w / 2);
        sum += left * inner;
    }
    return sum * step * step / (2 * std::numbers::pi);
}

TEST(LimitHermite, IsTheExpectationOverTheWeights) {
    for (const Activation kind : smooth)
        for (const auto& [s, t] : {std::pair{1.0, 1.0}, std::pair{0.3, 2.0}, std::pair{2.1, 0.7}})
            for (const double theta : {0.4, 1.3, 2.0, 3.0}) {
                SCOPED_TRACE(std::string(name(kind)) + ", lengths " + std::to_string(s) + ", " +
                             std::to_string(t) + ", angle " + std::to_string(theta));
                const Matrix x = rows_of({{s, 0}, {t * std::cos(theta), t * std::sin(theta)}});
                const double rho = s * t * std::cos(theta),
                             slopes = expectation(kind, true, s, t, std::cos(theta)),
                             values = expectation(kind, false, s, t, std::cos(theta));
                const auto at = [&](Train train) {
                    return limit_kernel(cpu(), {.kind = kind}, train, x).at<double>(1, 0);
                };
                EXPECT_NEAR(at(up), rho * slopes, 1e-13 * s * t);
                EXPECT_NEAR(at(down), rho * slopes, 1e-13 * s * t);
                EXPECT_NEAR(at(readout), values, 1e-13 * (1 + s * t));
                EXPECT_NEAR(at({true, true, true}), 2 * rho * slopes + values, 3e-13 * (1 + s * t));
            }
}

/// Of equal, opposite and zero rows one-dimensional integrals are left.
TEST(LimitHermite, EqualOppositeAndZeroRows) {
    const auto mean = [](const auto& f) {
        double sum = 0;
        for (double g = -12; g <= 12; g += 1.0 / 64) sum += f(g) * std::exp(-g * g / 2) / 64;
        return sum / std::sqrt(2 * std::numbers::pi);
    };
    for (const Activation kind : smooth)
        for (const double s : {1e-9, 0.5, 1.0, 2.1}) {
            const Matrix x =
                rows_of({{0.6 * s, 0.8 * s}, {0.6 * s, 0.8 * s}, {-0.6 * s, -0.8 * s}, {0, 0}});
            const Matrix k = limit_kernel(cpu(), {.kind = kind}, readout, x),
                         slopes = limit_kernel(cpu(), {.kind = kind}, up, x);
            const auto f = [&](double z) { return sigma(kind, false, z); };
            const auto slope = [&](double z) { return sigma(kind, true, z); };
            EXPECT_NEAR(k.at<double>(0, 1), mean([&](double g) { return f(s * g) * f(s * g); }),
                        1e-13 * (1 + s * s));
            EXPECT_EQ(k.at<double>(0, 1), k.at<double>(0, 0));
            EXPECT_NEAR(k.at<double>(0, 2), mean([&](double g) { return f(s * g) * f(-s * g); }),
                        1e-13 * (1 + s * s));
            EXPECT_NEAR(k.at<double>(0, 3), f(0) * mean([&](double g) { return f(s * g); }),
                        1e-14 * (1 + s));
            EXPECT_NEAR(k.at<double>(3, 3), f(0) * f(0), 1e-15);
            EXPECT_NEAR(slopes.at<double>(0, 1) / (s * s),
                        mean([&](double g) { return slope(s * g) * slope(s * g); }), 1e-13);
            EXPECT_NEAR(slopes.at<double>(0, 2) / (s * s),
                        -mean([&](double g) { return slope(s * g) * slope(-s * g); }), 1e-13);
            EXPECT_EQ(slopes.at<double>(0, 3), 0);
        }
}

/// The kernels of wide networks scatter around it like 1/√m, at their own U too.
TEST(LimitHermite, WideNetworksTendToIt) {
    const Matrix x = normals(6, 5, 3);
    Matrix scaled = x.copy();
    for (std::int64_t i = 0; i < 6; ++i)
        for (std::int64_t j = 0; j < 5; ++j) scaled.at<double>(i, j) *= 0.4;
    for (const Activation kind : smooth)
        for (const Train train : {up, readout}) {
            const auto error_at = [&](Down family, std::int64_t rank, std::uint64_t seed) {
                const Network network = Network::create({.dim = 5,
                                                         .width = 40000,
                                                         .rank = rank,
                                                         .down = family,
                                                         .up = Up::gaussian,
                                                         .train = train,
                                                         .activation = {.kind = kind},
                                                         .precision = DType::f64,
                                                         .seed = seed});
                const Matrix limit = family == Down::identity
                                         ? limit_kernel(cpu(), {.kind = kind}, train, scaled)
                                         : fixed_down_limit(cpu(), network, scaled);
                return test::relative_error(gram(tangent(cpu(), network, scaled)), limit);
            };
            EXPECT_LT(error_at(Down::identity, 0, 1), 0.03) << name(kind);
            EXPECT_LT(error_at(Down::gaussian, 8, 2), 0.03) << name(kind);
        }
}

TEST(LimitHermite, TilesOfTwoBatchesAreThoseOfTheWhole) {
    const Matrix x = normals(30, 4, 5, DType::f32);
    Matrix small = x.copy();
    for (std::int64_t i = 0; i < 30; ++i)
        for (std::int64_t j = 0; j < 4; ++j) small.at<float>(i, j) *= 0.5F;
    const KernelFunction function =
        KernelFunction::limit({Activation::gelu}, {.down = true, .readout = true}, 4);
    const KernelBatch batch(cpu(), function, small);
    const Matrix whole = limit_kernel(cpu(), {Activation::gelu}, {.down = true, .readout = true}, small);
    Matrix tile(7, 11, DType::f32);
    batch.tile(3, 7, batch, 16, 11, tile);
    for (std::int64_t i = 0; i < 7; ++i)
        for (std::int64_t j = 0; j < 11; ++j)
            EXPECT_NEAR(tile.at<float>(i, j), whole.at<float>(3 + i, 16 + j), 1e-6);
    for (std::int64_t i = 0; i < 30; ++i)
        for (std::int64_t j = 0; j < i; ++j) EXPECT_EQ(whole.at<float>(i, j), whole.at<float>(j, i));
}

TEST(LimitHermite, RowsThatAreTooLongAreNamed) {
    struct Case {
        Activation kind;
        double reach;
    };
    for (const Case& c :
         {Case{Activation::tanh, 2.1}, {Activation::gelu, 4.9}, {Activation::softplus, 5.2}}) {
        const auto at = [&](double length) {
            return limit_kernel(cpu(), {.kind = c.kind}, up, rows_of({{1, 0}, {0, length}}));
        };
        EXPECT_GT(at(c.reach).at<double>(1, 1), 0);
        for (const double length : {10 * c.reach, 1e300})
            expect_parts(error_of<ValueError>([&] { (void)at(length); }),
                         {"inputs: row 1", name(c.kind), "scale the rows down"});
    }
    expect_parts(error_of<ValueError>([] {
                     (void)limit_kernel(cpu(), {Activation::tanh}, up, rows_of({{1, 0}}),
                                        rows_of({{1, 0}, {50, 0}}));
                 }),
                 {"others: row 1"});
    EXPECT_EQ(limit_kernel(cpu(), {Activation::tanh}, up, Matrix(0, 3, DType::f64)).rows(), 0);
}

}  // namespace
}  // namespace fntk

// The error law E relF² = A/p + B/m against simulated networks: gaussian V and gates written out in double,
// nothing of the library between the draws and the error.
#include "support.hpp"

#include <fntk/error.hpp>
#include <fntk/limit.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>
#include <vector>

namespace fntk {
namespace {

using test::normals;
using test::rows_of;

constexpr double pi = std::numbers::pi;

struct Mean {
    double sum = 0, squares = 0, count = 0;
    void add(double x) { sum += x, squares += x * x, ++count; }
    [[nodiscard]] double mean() const { return sum / count; }
    [[nodiscard]] double error() const { return std::sqrt((squares / count - mean() * mean()) / count); }
};

/// The law on the backends, which must agree.
ErrorLaw law_of(const Matrix& x) {
    const ErrorLaw law = error_law(Device::open("reference"), x),
                   cpu = error_law(Device::open("cpu", 2), x);
    EXPECT_NEAR(cpu.rank_term / law.rank_term, 1, 1e-13);
    EXPECT_NEAR(cpu.width_term / law.width_term, 1, 1e-13);
    return law;
}

/// Σ over pairs of the squared error of one simulated kernel against ρκ0, relative to ‖K∞‖²_F.
struct Simulation {
    const Matrix& x;  // unit rows
    std::int64_t rank, width;
    std::mt19937_64 engine{7};
    std::normal_distribution<double> normal{};

    /// K = ρ ∘ <G_i, G_j>, G = (D ∘ a) V/√(pm), h = U x/√p with U gaussian, or x padded by zeros (an
    /// isometry: V gaussian is the same in every direction).
    double down_error(bool gaussian_down) {
        const std::int64_t n = x.rows(), d = x.cols();
        std::vector<double> h(n * rank), g(n * rank);
        if (gaussian_down) {
            std::vector<double> u(rank * d);
            for (double& entry : u) entry = normal(engine);
            for (std::int64_t i = 0; i < n; ++i)
                for (std::int64_t q = 0; q < rank; ++q)
                    for (std::int64_t j = 0; j < d; ++j)
                        h[i * rank + q] += x.at<double>(i, j) * u[q * d + j];
        } else {
            for (std::int64_t i = 0; i < n; ++i)
                for (std::int64_t j = 0; j < d; ++j) h[i * rank + j] = x.at<double>(i, j);
        }
        std::vector<double> v(rank);
        for (std::int64_t r = 0; r < width; ++r) {
            for (double& entry : v) entry = normal(engine);
            const double a = (engine() >> 63) != 0 ? 1 : -1;
            for (std::int64_t i = 0; i < n; ++i) {
                double z = 0;
                for (std::int64_t q = 0; q < rank; ++q) z += h[i * rank + q] * v[q];
                if (z > 0)
                    for (std::int64_t q = 0; q < rank; ++q) g[i * rank + q] += a * v[q];
            }
        }
        return error([&](std::int64_t i, std::int64_t j) {
            double sum = 0;
            for (std::int64_t q = 0; q < rank; ++q) sum += g[i * rank + q] * g[j * rank + q];
            return sum / static_cast<double>(rank * width);
        });
    }

    /// The dense network: K = ρ ∘ (1/m)·Σ_r D_ir D_jr.
    double dense_error() {
        const std::int64_t n = x.rows(), d = x.cols();
        std::vector<double> gates(n * width), w(d);
        for (std::int64_t r = 0; r < width; ++r) {
            for (double& entry : w) entry = normal(engine);
            for (std::int64_t i = 0; i < n; ++i) {
                double z = 0;
                for (std::int64_t j = 0; j < d; ++j) z += x.at<double>(i, j) * w[j];
                gates[i * width + r] = z > 0;
            }
        }
        return error([&](std::int64_t i, std::int64_t j) {
            double sum = 0;
            for (std::int64_t r = 0; r < width; ++r) sum += gates[i * width + r] * gates[j * width + r];
            return sum / static_cast<double>(width);
        });
    }

    template <class Gate>
    double error(Gate&& gate) {
        double off = 0, norm = 0;
        for (std::int64_t i = 0; i < x.rows(); ++i)
            for (std::int64_t j = 0; j < x.rows(); ++j) {
                const double k0 = (pi - theta(i, j)) / (2 * pi), rho = std::cos(theta(i, j));
                off += rho * rho * (gate(i, j) - k0) * (gate(i, j) - k0);
                norm += rho * rho * k0 * k0;
            }
        return off / norm;
    }

    [[nodiscard]] double theta(std::int64_t i, std::int64_t j) const {
        double rho = 0;
        for (std::int64_t q = 0; q < x.cols(); ++q) rho += x.at<double>(i, q) * x.at<double>(j, q);
        return i == j ? 0 : std::acos(rho);
    }
};

Matrix sphere(std::int64_t n, std::int64_t d, std::uint64_t seed) {
    Matrix x = normals(n, d, seed);
    for (std::int64_t i = 0; i < n; ++i) {
        double square = 0;
        for (std::int64_t j = 0; j < d; ++j) square += x.at<double>(i, j) * x.at<double>(i, j);
        for (std::int64_t j = 0; j < d; ++j) x.at<double>(i, j) /= std::sqrt(square);
    }
    return x;
}

TEST(ErrorLaw, OfTheDenseNetwork) {
    const Matrix x = sphere(16, 6, 31);
    const ErrorLaw law = law_of(x);
    Simulation simulation{x, 0, 64};
    Mean error;
    for (int run = 0; run < 2000; ++run) error.add(simulation.dense_error());
    EXPECT_NEAR(error.mean() / (law.width_term / 64), 1, 0.04)
        << "standard error " << error.error() / law.width_term * 64;
    EXPECT_NEAR(dense_width_of_equal_error(law, std::sqrt(error.mean())) / 64, 1, 0.04);
}

TEST(ErrorLaw, OfTheFactorisedNetwork) {
    const Matrix x = sphere(12, 6, 32);
    const ErrorLaw law = law_of(x);
    const std::int64_t p = 64, m = 192;
    Simulation simulation{x, p, m};
    double angles = 0, norm = 0;  // what a gaussian U adds to A: Σρ² sin²θ/4π²
    for (std::int64_t i = 0; i < 12; ++i)
        for (std::int64_t j = 0; j < 12; ++j) {
            const double t = simulation.theta(i, j), k = (pi - t) / (2 * pi),
                         rho2 = std::cos(t) * std::cos(t);
            angles += rho2 * std::sin(t) * std::sin(t) / (4 * pi * pi);
            norm += rho2 * k * k;
        }
    const double added = angles / norm;
    EXPECT_LE(added, law.rank_term / 10);
    Mean isometry, gaussian;
    for (int run = 0; run < 1000; ++run) {
        isometry.add(simulation.down_error(false));
        gaussian.add(simulation.down_error(true));
    }
    const double predicted = law.rank_term / p + law.width_term / m;
    EXPECT_NEAR(isometry.mean() / predicted, 1, 0.06) << "standard error " << isometry.error() / predicted;
    EXPECT_NEAR(gaussian.mean() / (predicted + added / p), 1, 0.06)
        << "standard error " << gaussian.error() / predicted;
}

TEST(ErrorLaw, InHandAndItsArguments) {
    const Device device = Device::open("reference");
    const ErrorLaw orthogonal =
        error_law(device, rows_of({{3, 0}, {0, 3}}));  // ρ = 0 off the diagonal, k_ii = 1/2
    EXPECT_NEAR(orthogonal.rank_term, 2, 1e-14);
    EXPECT_NEAR(orthogonal.width_term, 1, 1e-14);
    const Matrix x = sphere(7, 3, 8);
    Matrix huge = x.copy();
    for (std::int64_t i = 0; i < 7; ++i)
        for (std::int64_t j = 0; j < 3; ++j) huge.at<double>(i, j) *= 0x1p1000;
    EXPECT_DOUBLE_EQ(error_law(device, huge).rank_term, error_law(device, x).rank_term);
    EXPECT_THROW(error_law(device, Matrix(3, 2, DType::f64)), ValueError);
    EXPECT_THROW(error_law(device, Matrix(0, 2, DType::f64)), ValueError);
    EXPECT_THROW(dense_width_of_equal_error(orthogonal, 0), ValueError);
    EXPECT_THROW(dense_width_of_equal_error(orthogonal, std::nan("")), ValueError);
    EXPECT_DOUBLE_EQ(dense_width_of_equal_error({3, 2}, 0.1), 200);
    EXPECT_EQ(dense_width_of_equal_error({0, 0}, 1e-200), 0);
    EXPECT_DOUBLE_EQ(dense_width_of_equal_error({0, 1e-300}, 1e-170), 1e40);
}

}  // namespace
}  // namespace fntk

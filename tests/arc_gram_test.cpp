// arc_gram on the backends of host memory: against the oracle, against limit_kernel, which finds angles
// pair by pair in double, and against closed forms at equal, opposite and nearly opposite rows.
#include "arc_rows.hpp"

#include <backend/ops.hpp>
#include <backend/simd/target.hpp>
#include <limit_pairs.hpp>

#include <numbers>

namespace fntk {
namespace {

using test::arc_cases;
using test::arc_rows;
using test::ArcCase;
using test::ArcRows;
using test::near_kernel;

constexpr DType reals[] = {DType::f32, DType::f64};
double tolerance(DType dtype) { return dtype == DType::f32 ? 3e-6 : 1e-13; }

/// The kernel inside a matrix that is 3 columns wider, which have to stay as they were.
Matrix arc_gram(const Device& device, const ArcRows& a, const ArcRows& b, const ArcCase& c) {
    Matrix out(a.u.rows(), b.u.rows() + 3, a.u.dtype());
    const MatrixView k = out.view().col_block(0, b.u.rows());
    device.ops().arc_gram(a.u, a.norms, b.u, b.norms, c.alpha, c.derivative, c.product, k);
    for (std::int64_t i = 0; i < out.rows(); ++i)
        for (std::int64_t j = k.cols; j < out.cols(); ++j)
            EXPECT_EQ(value(out, i, j), 0) << "behind the row";
    return Matrix::copy_of(k);
}

/// The kernel of the rows |x|·u from angles that are found pair by pair, as the limits of other σ find
/// them.
Matrix from_pairs(const ArcRows& a, const ArcRows& b, const ArcCase& c) {
    const auto inputs = [](const ArcRows& rows) {
        return test::filled(rows.u.rows(), rows.u.cols(), DType::f64, [&](std::int64_t i, std::int64_t q) {
            return value(rows.u, i, q) * value(rows.norms, i, 0);
        });
    };
    const Device device = Device::open("reference");
    const Matrix x = inputs(a), y = inputs(b);
    const Side rows = make_side(device, x, {}), cols = make_side(device, y, {});
    const double gain = (1 - c.alpha) * (1 - c.alpha) / (2 * std::numbers::pi);
    Matrix k(x.rows(), y.rows(), DType::f64);
    for_pairs(device, rows, &cols, [&](std::int64_t i, std::int64_t j, const Pair& pair) {
        const Angle& angle = pair.angle;
        k.at<double>(i, j) = times_norms(c.derivative * angle.cos * (c.alpha + gain * angle.open) +
                                             c.product * (c.alpha * angle.cos + gain * angle.arc),
                                         pair.x_i, pair.x_j);
    });
    return k;
}

TEST(ArcGram, IsThatOfTheOracleAndOfPairsOfRows) {
    const Device oracle = Device::open("reference");
    for (const DType dtype : reals)
        for (const auto& [n, d] :
             {std::pair<std::int64_t, std::int64_t>{1, 1}, {31, 2}, {33, 17}, {49, 784}, {257, 9}}) {
            const ArcRows a = arc_rows(n, d, 1, dtype), b = arc_rows(n == 33 ? 31 : n, d, 7, dtype);
            for (const ArcCase& c : arc_cases) {
                const Matrix want = arc_gram(oracle, a, b, c), square = arc_gram(oracle, a, a, c);
                // rows rounded to f32 are no unit rows: pairs have other lengths and angles
                EXPECT_TRUE(near_kernel(want, from_pairs(a, b, c), a, b, c, tolerance(dtype)));
                EXPECT_TRUE(near_kernel(square, from_pairs(a, a, c), a, a, c, tolerance(dtype)));
                EXPECT_TRUE(test::symmetric(square));
                for (const auto& [name, device] : test::host_devices()) {
                    SCOPED_TRACE(name + ", n " + std::to_string(n) + ", alpha " + std::to_string(c.alpha));
                    EXPECT_TRUE(near_kernel(arc_gram(device, a, b, c), want, a, b, c, tolerance(dtype)));
                    const Matrix symmetric = arc_gram(device, a, a, c);
                    EXPECT_TRUE(near_kernel(symmetric, square, a, a, c, tolerance(dtype)));
                    EXPECT_TRUE(test::symmetric(symmetric));
                }
            }
        }
}

TEST(ArcGram, OfEveryInstructionSet) {
    const Device oracle = Device::open("reference"), cpu = Device::open("cpu", 2);
    for (const DType dtype : reals)
        for (const std::int64_t n : {1, 2, 15, 50, 83}) {
            const ArcRows a = arc_rows(n, 37, 1, dtype), b = arc_rows(n + 1, 37, 7, dtype);
            for (const ArcCase& c : arc_cases) {
                const Matrix want = arc_gram(oracle, a, b, c);
                for (const std::string& target : backend::simd_targets()) {
                    backend::use_simd_target(target);
                    EXPECT_TRUE(near_kernel(arc_gram(cpu, a, b, c), want, a, b, c, tolerance(dtype)))
                        << target << ", n " << n;
                }
                backend::use_simd_target("");
            }
        }
}

TEST(ArcGram, EqualAndOppositeRowsAreExact) {
    for (const DType dtype : reals)
        for (const auto& [name, device] : test::host_devices()) {
            const ArcRows rows = arc_rows(60, 31, 3, dtype);
            for (const ArcCase& c : arc_cases) {
                SCOPED_TRACE(name + ", alpha " + std::to_string(c.alpha));
                const Matrix k = arc_gram(device, rows, rows, c);
                const double both = c.derivative + c.product, gain = (1 - c.alpha) * (1 - c.alpha);
                const double epsilon = dtype == DType::f32 ? 0x1p-22 : 0x1p-51;  // the factors' roundings
                for (std::int64_t i = 0; i < 60; i += 6)
                    for (const std::int64_t twin : {i, i + 1, i + 2}) {
                        const double lengths = value(rows.norms, i, 0) * value(rows.norms, twin, 0);
                        const double want =
                            twin == i + 2 ? -c.alpha * both : both * (c.alpha + gain / 2);  // θ = π, 0
                        EXPECT_NEAR(value(k, i, twin), want * lengths, epsilon * std::abs(want) * lengths);
                        EXPECT_EQ(value(k, i, i + 3), 0) << "a row of zeros";
                        EXPECT_EQ(value(k, i + 3, twin), 0) << "a row of zeros";
                    }
            }
        }
}

// φ is small: |x||x'|·(φ³/3 − φ⁵/30 + ...)/2π for the product of relu keeps its digits, not only a share of
// |x||x'|. The rows are (1, 0) and (−1, φ) to φ²/2: the length of their sum is 2 sin(φ/2) to φ³.
TEST(ArcGram, SmallAnglesKeepTheirDigits) {
    for (const DType dtype : reals)
        for (const auto& [name, device] : test::host_devices())
            for (const double angle : {1e-7, 1e-6, 1e-5, 1e-4}) {
                const ArcRows rows{test::filled(3, 2, dtype,
                                                [&](auto i, auto q) {
                                                    if (q == 1) return i == 0 ? 0.0 : angle;
                                                    return i == 1 ? -1.0 : 1.0;
                                                }),
                                   test::filled(3, 1, dtype, [](auto, auto) { return 1; })};
                const Matrix product = arc_gram(device, rows, rows, {0, 0, 1}),
                             slopes = arc_gram(device, rows, rows, {0, 1, 0});
                const double phi = value(rows.u, 1, 1);
                const double relative = dtype == DType::f32 ? 1e-6 : angle * angle;
                const double cube = phi * phi * phi / (6 * std::numbers::pi);
                EXPECT_NEAR(value(product, 0, 1), cube, relative * cube) << name << ' ' << angle;
                const double linear = -phi / (2 * std::numbers::pi);
                EXPECT_NEAR(value(slopes, 0, 1), linear, -relative * linear) << name << ' ' << angle;
                EXPECT_NEAR(value(slopes, 0, 2), std::cos(phi) * (0.5 + linear),
                            dtype == DType::f32 ? 1e-7 : 1e-16 + angle * angle * angle)
                    << name << ' ' << angle;
            }
}

TEST(ArcGram, EmptyAndWithoutColumns) {
    for (const DType dtype : reals)
        for (const auto& [name, device] : test::host_devices()) {
            SCOPED_TRACE(name);
            const ArcRows none = arc_rows(0, 5, 1, dtype), some = arc_rows(9, 5, 1, dtype);
            EXPECT_EQ(arc_gram(device, none, none, arc_cases[0]).rows(), 0);
            EXPECT_EQ(arc_gram(device, none, some, arc_cases[0]).cols(), 9);
            EXPECT_EQ(arc_gram(device, some, none, arc_cases[0]).rows(), 9);
            const ArcRows flat{Matrix(9, 0, dtype), Matrix(9, 1, dtype)};
            const Matrix k = arc_gram(device, flat, flat, arc_cases[2]);
            for (std::int64_t i = 0; i < 9; ++i)
                for (std::int64_t j = 0; j < 9; ++j) EXPECT_EQ(value(k, i, j), 0);
        }
}

}  // namespace
}  // namespace fntk

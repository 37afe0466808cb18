// Moments and products along them by digits on wgmma (kernels/moment_wgmma.hpp, along_moment_wgmma.hpp),
// and digits whose scale is known before (kernels/digit_scales.hpp).
#include "kernel_matrices.hpp"

#include <backend/ops.hpp>

#include <along_moment_wgmma.hpp>
#include <moment_wgmma.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace fntk {
namespace {

using test::Padded;
using test::run_on_host;

constexpr double epsilon = std::numeric_limits<float>::epsilon();

const Device& reference() {
    static const Device device = Device::open("reference");
    return device;
}
kernels::DeviceLimits hopper(int multiprocessors) { return {multiprocessors, 227 * 1024, 90}; }

struct Magnitudes {
    std::vector<std::uint32_t> rows, cols;

    explicit Magnitudes(const kernels::Rows<const float>& x, int multiprocessors = 1)
        : rows(static_cast<std::size_t>(x.rows)), cols(static_cast<std::size_t>(x.cols)) {
        run_on_host(kernels::Magnitudes<kernels::FloatRows>{{x}, rows.data(), cols.data()},
                    {.limits = hopper(multiprocessors)});
    }
};

std::uint32_t bits(float x) { return __builtin_bit_cast(std::uint32_t, x); }

TEST(KernelsMoment, MagnitudesAreTheLargestOfRowsAndColumns) {
    const float infinity = std::numeric_limits<float>::infinity(),
                nan = std::numeric_limits<float>::quiet_NaN();
    for (const auto& [n, d] : {std::pair{1, 1}, {9, 257}, {70, 40}, {0, 3}, {3, 0}})
        for (const int multiprocessors : {1, 3}) {
            Padded<float> x(test::normals(n, d, 1));
            if (n == 70) {
                x.rows().row(3)[5] = infinity;
                x.rows().row(4)[6] = -nan;
                for (int j = 0; j < d; ++j) x.rows().row(6)[j] = j == 2 ? -0x1p-140F : 0.0F;
            }
            const Magnitudes found(x.rows_in(), multiprocessors);
            for (int i = 0; i < n; ++i) {
                std::uint32_t most = 0;
                for (int j = 0; j < d; ++j) most = std::max(most, bits(x.rows().row(i)[j]) & 0x7FFFFFFFU);
                EXPECT_EQ(found.rows[i], most) << i;
            }
            for (int j = 0; j < d; ++j) {
                std::uint32_t most = 0;
                for (int i = 0; i < n; ++i) most = std::max(most, bits(x.rows().row(i)[j]) & 0x7FFFFFFFU);
                EXPECT_EQ(found.cols[j], most) << j;
            }
        }
}

TEST(KernelsMoment, RoundingIsToTheNearestAndItsDigitsAreBalanced) {
    const auto value_of = [](const kernels::DigitRounding& rounding, float x) {
        const kernels::DigitWord word(0, rounding(x), 0, 0);
        std::int32_t value = 0;
        for (const std::uint32_t digit : word.of)
            value = 256 * value + static_cast<std::int8_t>(digit >> 8 & 255U);
        return value;
    };
    for (const int e : {-149, -130, -126, -3, 0, 1, 50, 126}) {
        const double largest = std::ldexp(e % 2 == 0 ? 1.99 : 1.9999, e);
        const kernels::DigitRounding rounding(bits(static_cast<float>(largest)));
        const double unit = std::ldexp(1.0, kernels::digit_unit(bits(static_cast<float>(largest))));
        for (const double share : {0.0, 1.0, -1.0, 0.5, 1e-3, -1e-6, 0.33333, -0.77}) {
            const auto x = static_cast<float>(share * largest);
            const std::int32_t v = value_of(rounding, x);
            EXPECT_LE(std::abs(v), kernels::DigitWords::most);
            EXPECT_LE(std::abs(unit * v - static_cast<double>(x)), 0.75 * unit) << e << ' ' << share;
            if (e >= -126 && share == 1.0) {
                EXPECT_GE(v, 1 << 21) << e;
            }
        }
    }
    EXPECT_EQ(kernels::digit_unit(0x7F800000U), kernels::DigitTiles::not_finite);
    EXPECT_EQ(kernels::digit_unit(0x7FC00000U), kernels::DigitTiles::not_finite);
}

TEST(KernelsMoment, BytesArePickedAsPrmtDoes) {
    EXPECT_EQ(kernels::pick_bytes(0x33221100U, 0x77665544U, 0x5140), 0x55114400U);
    EXPECT_EQ(kernels::pick_bytes(0x33221100U, 0x77665544U, 0x7632), 0x77663322U);
    EXPECT_EQ(kernels::pick_bytes(0x33221100U, 0x77665544U, 0x0062), 0x00006622U);
}

struct Case {
    std::int64_t n, p, d, k;
};

/// M and <A_i, M x_i> as the backend makes them.
void run_moment(const kernels::Rows<const float>& a, const kernels::Rows<const float>& v,
                const kernels::Rows<const float>& x, const Magnitudes& of_x, float alpha, bool add,
                const kernels::Rows<float>& m, int multiprocessors) {
    const kernels::DeviceLimits limits = hopper(multiprocessors);
    const kernels::MomentRanges ranges(x.rows, m.rows, x.cols, limits);
    std::vector<std::uint32_t> of_w(static_cast<std::size_t>(m.rows));
    std::vector<kernels::Quad> tiles(
        static_cast<std::size_t>(kernels::DigitTiles::quads_of(m.rows, x.rows)),
        kernels::Quad{{7, 7, 7, 7}});
    Padded<float> sums(ranges.count * m.rows, m.cols, std::numeric_limits<float>::quiet_NaN());
    const auto pack = [&](const auto& w) {
        using Source = std::remove_cvref_t<decltype(w)>;
        run_on_host(kernels::Magnitudes<Source>{w, nullptr, of_w.data()}, {.limits = limits});
        run_on_host(kernels::PackColumnDigits<Source>{w, of_w.data(), tiles.data()}, {.limits = limits});
    };
    if (v.cols == 1)
        pack(kernels::ScaledRows{a, v});
    else
        pack(kernels::WeightedRows{a, v, m.rows});
    run_on_host(kernels::MomentWgmma{{tiles.data(), nullptr, m.rows, kernels::DigitTiles::steps_of(x.rows)},
                                     x,
                                     of_x.cols.data(),
                                     sums.rows()},
                {.limits = limits});
    EXPECT_TRUE(sums.intact());
    run_on_host(kernels::FinishMoment{sums.rows_in(), of_w.data(), of_x.cols.data(), alpha, add, m},
                {.limits = limits});
}
void run_along(const kernels::Rows<const float>& a, const kernels::Rows<const float>& x,
               const Magnitudes& of_x, const kernels::Rows<const float>& m, const kernels::Rows<float>& out,
               int multiprocessors) {
    std::vector<kernels::Quad> tiles(
        static_cast<std::size_t>(kernels::DigitTiles::quads_of(m.rows, m.cols)));
    std::vector<std::int32_t> units(static_cast<std::size_t>(kernels::DigitTiles::padded_rows(m.rows)));
    run_on_host(kernels::PackDigits{m, tiles.data(), units.data()});
    const kernels::DigitTiles packed{tiles.data(), units.data(), m.rows,
                                     kernels::DigitTiles::steps_of(m.cols)};
    run_on_host(kernels::AlongMomentWgmma{packed, x, a, of_x.rows.data(), out},
                {.limits = hopper(multiprocessors)});
}

void expect_moments(const Case& c, bool whole_numbers, int multiprocessors) {
    const auto make = [&](std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
        return Padded<float>(whole_numbers ? test::small_integers(rows, cols, 3, seed, DType::f64)
                                           : test::normals(rows, cols, seed));
    };
    Padded<float> a = make(c.n, c.k * c.p, 1), v = make(c.n, c.k, 2), x = make(c.n, c.d, 3),
                  m = make(c.p, c.d, 4), sum(c.p, c.d, std::numeric_limits<float>::quiet_NaN()),
                  expected(c.p, c.d), out(c.n, c.k, std::numeric_limits<float>::quiet_NaN()),
                  along(c.n, c.k);
    const Magnitudes of_x(x.rows_in());
    run_moment(a.rows_in(), v.rows_in(), x.rows_in(), of_x, 0.5F, false, sum.rows(), multiprocessors);
    reference().ops().moment(a, v, x, {}, 0.5, expected);
    run_along(a.rows_in(), x.rows_in(), of_x, m.rows_in(), out.rows(), multiprocessors);
    reference().ops().along_moment(a, x, {}, m, along);
    if (whole_numbers) {
        EXPECT_TRUE(test::same_values(sum, expected)) << c.n << ' ' << c.p << ' ' << c.d;
        EXPECT_TRUE(test::same_values(out, along)) << c.n << ' ' << c.p << ' ' << c.d;
    } else {
        EXPECT_TRUE(test::near_values(sum, expected, 16 * epsilon));
        EXPECT_TRUE(test::near_values(out, along, 16 * epsilon));
    }
    EXPECT_TRUE(sum.intact());
    EXPECT_TRUE(out.intact());
}

TEST(KernelsMoment, AreTheReferenceToTheBitOnIntegers) {
    for (const Case& c : {Case{1, 1, 1, 1}, Case{33, 32, 33, 1}, Case{130, 40, 140, 2},
                          Case{290, 129, 31, 1}, Case{128, 128, 128, 3}})
        expect_moments(c, true, 1);
    expect_moments({500, 40, 70, 1}, true, 5);   // five ranges, of 4 and of less than 4 steps
    expect_moments({700, 20, 130, 2}, true, 2);  // six tiles of rows for two blocks
}

TEST(KernelsMoment, RealNumbersStayWithinTheBoundOfTheirSums) {
    expect_moments({200, 50, 100, 1}, false, 3);
    expect_moments({150, 140, 45, 2}, false, 2);
}

TEST(KernelsMoment, MayBeAddedTo) {
    const std::int64_t n = 64, p = 33, d = 40;
    Padded<float> a(test::small_integers(n, p, 3, 1, DType::f64)),
        v(test::small_integers(n, 1, 3, 2, DType::f64)), x(test::small_integers(n, d, 3, 3, DType::f64)),
        m(p, d, 2.0F), expected(p, d);
    run_moment(a.rows_in(), v.rows_in(), x.rows_in(), Magnitudes(x.rows_in()), 1, true, m.rows(), 1);
    reference().ops().moment(a, v, x, {}, 1, expected);
    for (std::int64_t q = 0; q < p; ++q)
        for (std::int64_t j = 0; j < d; ++j) EXPECT_EQ(m.at(q, j), expected.at(q, j) + 2);
}

/// Each row of X and of M and each column of W and X keeps its own precision.
TEST(KernelsMoment, TakeRowsAndColumnsOfEveryScale) {
    const std::int64_t n = 96, p = 33, d = 40;
    Matrix a = test::normals(n, p, 1, DType::f32), x = test::normals(n, d, 2, DType::f32),
           v = test::normals(n, 1, 3, DType::f32), m = test::normals(p, d, 4, DType::f32);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < d; ++j)
            x.at<float>(i, j) = i % 5 == 1 || j == 7
                                    ? 0.0F
                                    : std::ldexp(x.at<float>(i, j), static_cast<int>(j % 3 * 30 - 20));
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t q = 0; q < p; ++q)
            a.at<float>(i, q) = std::ldexp(a.at<float>(i, q), static_cast<int>(q % 4 * 10 - 15));
    const Magnitudes of_x(test::kernel_rows_in<float>(x));
    Matrix sum(p, d, DType::f32), expected(p, d, DType::f64), out(n, 1, DType::f32),
        along(n, 1, DType::f64);
    run_moment(test::kernel_rows_in<float>(a), test::kernel_rows_in<float>(v),
               test::kernel_rows_in<float>(x), of_x, 1, false, test::kernel_rows<float>(sum), 2);
    run_along(test::kernel_rows_in<float>(a), test::kernel_rows_in<float>(x), of_x,
              test::kernel_rows_in<float>(m), test::kernel_rows<float>(out), 1);
    const Matrix a64 = Matrix::converted(a, DType::f64), v64 = Matrix::converted(v, DType::f64),
                 x64 = Matrix::converted(x, DType::f64), m64 = Matrix::converted(m, DType::f64);
    reference().ops().moment(a64, v64, x64, {}, 1, expected);
    reference().ops().along_moment(a64, x64, {}, m64, along);
    for (std::int64_t q = 0; q < p; ++q)
        for (std::int64_t j = 0; j < d; ++j)
            EXPECT_NEAR(sum.at<float>(q, j), expected.at<double>(q, j),
                        std::ldexp(1e-4, static_cast<int>(q % 4 * 10 - 15 + j % 3 * 30 - 20)))
                << q << ' ' << j;
    for (std::int64_t i = 0; i < n; ++i) {
        const double largest = i % 5 == 1 ? 0 : 0x1p40 * 0x1p15;
        EXPECT_NEAR(out.at<float>(i, 0), along.at<double>(i, 0), 1e-4 * largest) << i;
    }
}

TEST(KernelsMoment, WhatIsNotFiniteStaysApparent) {
    const std::int64_t n = 40, p = 33, d = 35;
    Padded<float> a(test::normals(n, p, 1)), v(test::normals(n, 1, 2)), x(test::normals(n, d, 3)),
        m(test::normals(p, d, 4)), sum(p, d), out(n, 1);
    x.rows().row(3)[5] = std::numeric_limits<float>::infinity();
    a.rows().row(4)[6] = std::numeric_limits<float>::quiet_NaN();
    const Magnitudes of_x(x.rows_in());
    run_moment(a.rows_in(), v.rows_in(), x.rows_in(), of_x, 1, false, sum.rows(), 1);
    run_along(a.rows_in(), x.rows_in(), of_x, m.rows_in(), out.rows(), 1);
    for (std::int64_t q = 0; q < p; ++q)
        for (std::int64_t j = 0; j < d; ++j)
            EXPECT_EQ(std::isnan(sum.at(q, j)), q == 6 || j == 5) << q << ' ' << j;
    for (std::int64_t i = 0; i < n; ++i) EXPECT_EQ(std::isnan(out.at(i, 0)), i == 3 || i == 4) << i;
}

/// Sums beyond int32 without carrying: of more samples than carry_steps tiles have.
TEST(SlowKernelsMoment, SumsOfManySamplesStayWithinInt32) {
    const std::int64_t n = 3 << 14;
    Matrix a(n, 1, DType::f32), v(n, 1, DType::f32), x(n, 1, DType::f32), m(1, 1, DType::f32);
    for (std::int64_t i = 0; i < n; ++i)
        a.at<float>(i, 0) = v.at<float>(i, 0) = x.at<float>(i, 0) = 0.9999F;
    run_moment(test::kernel_rows_in<float>(a), test::kernel_rows_in<float>(v),
               test::kernel_rows_in<float>(x), Magnitudes(test::kernel_rows_in<float>(x)), 1, false,
               test::kernel_rows<float>(m), 1);
    const double entry = static_cast<double>(0.9999F);
    EXPECT_NEAR(m.at<float>(0, 0) / (static_cast<double>(n) * entry * entry * entry), 1, 4 * epsilon);
}

}  // namespace
}  // namespace fntk

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
            EXPECT_LE(std::abs(v), kernels::DigitWord::most);
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
    const std::int64_t ranges = kernels::moment_ranges(x.rows, m.rows, x.cols, limits);
    std::vector<std::uint32_t> of_w(static_cast<std::size_t>(m.rows));
    std::vector<kernels::Quad> tiles(
        static_cast<std::size_t>(kernels::DigitTiles::quads_of(m.rows, x.rows)),
        kernels::Quad{{7, 7, 7, 7}});
    Padded<float> sums(ranges * m.rows, m.cols, std::numeric_limits<float>::quiet_NaN());
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
                                     sums.rows(),
                                     ranges},
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

/// Of each term of a sum, relative to the largest magnitudes of its row and column: 2^−22 of both roundings
/// and 2^−22 of the products of digits that are left out.
constexpr double of_term = 0x1p-21;

double largest_of(ConstMatrixView rows) {
    double most = 0;
    for (std::int64_t i = 0; i < rows.rows; ++i)
        for (std::int64_t j = 0; j < rows.cols; ++j) most = std::max(most, std::abs(value(rows, i, j)));
    return most;
}

/// M and <A_i, M x_i> of matrices that hold floats, by the kernels and the reference.
struct Moments {
    Matrix sum, along, expected_sum, expected_along, weighted;  // W

    Moments(ConstMatrixView a, ConstMatrixView v, ConstMatrixView x, ConstMatrixView m, int multiprocessors)
        : sum(m.rows, m.cols, DType::f32),
          along(x.rows, v.cols, DType::f32),
          expected_sum(m.rows, m.cols, DType::f64),
          expected_along(x.rows, v.cols, DType::f64),
          weighted(x.rows, m.rows, DType::f64) {
        const Magnitudes of_x(test::kernel_rows_in<float>(x));
        run_moment(test::kernel_rows_in<float>(a), test::kernel_rows_in<float>(v),
                   test::kernel_rows_in<float>(x), of_x, 0.5F, false, test::kernel_rows<float>(sum),
                   multiprocessors);
        run_along(test::kernel_rows_in<float>(a), test::kernel_rows_in<float>(x), of_x,
                  test::kernel_rows_in<float>(m), test::kernel_rows<float>(along), multiprocessors);
        const Matrix a64 = Matrix::converted(a, DType::f64), v64 = Matrix::converted(v, DType::f64),
                     x64 = Matrix::converted(x, DType::f64), m64 = Matrix::converted(m, DType::f64);
        reference().ops().moment(a64, v64, x64, {}, 0.5, expected_sum);
        reference().ops().along_moment(a64, x64, {}, m64, expected_along);
        reference().ops().row_combine(a64, v64, weighted);
    }
};

/// Every element within the bound of its terms.
void expect_within_bounds(const Moments& found, ConstMatrixView a, ConstMatrixView x, ConstMatrixView m) {
    const auto n = static_cast<double>(x.rows), d = static_cast<double>(x.cols);
    for (std::int64_t q = 0; q < m.rows; ++q)
        for (std::int64_t j = 0; j < m.cols; ++j) {
            const double most =
                largest_of(found.weighted.view().col_block(q, 1)) * largest_of(x.col_block(j, 1));
            ASSERT_NEAR(value(found.sum, q, j), value(found.expected_sum, q, j),
                        of_term * n * most + 0x1p-126)
                << q << ' ' << j;
        }
    const std::int64_t k = found.along.cols();
    for (std::int64_t i = 0; i < x.rows; ++i)
        for (std::int64_t c = 0; c < k; ++c) {
            double bound = 0x1p-126;  // Σ_q |A_iq| · of the product with row q of M, and of the sum over q
            for (std::int64_t q = 0; q < m.rows; ++q)
                bound += 2 * of_term * d * largest_of(x.row_block(i, 1)) * largest_of(m.row_block(q, 1)) *
                         std::abs(value(a, i, c * m.rows + q));
            ASSERT_NEAR(value(found.along, i, c), value(found.expected_along, i, c), bound)
                << i << ' ' << c;
        }
}

/// On integers equal; `plain`: rows follow each other as an aligned matrix has them, else there are gaps.
void expect_integers(const Case& c, int multiprocessors, bool plain = false) {
    const auto make = [&](std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
        return test::small_integers(rows, cols, 3, seed, DType::f32);
    };
    const Matrix a = make(c.n, c.k * c.p, 1), v = make(c.n, c.k, 2), x = make(c.n, c.d, 3),
                 m = make(c.p, c.d, 4);
    if (plain) {
        const Moments found(a, v, x, m, multiprocessors);
        EXPECT_TRUE(test::same_values(found.sum, found.expected_sum)) << c.n << ' ' << c.p << ' ' << c.d;
        EXPECT_TRUE(test::same_values(found.along, found.expected_along))
            << c.n << ' ' << c.p << ' ' << c.d;
        return;
    }
    Padded<float> a_gaps(a), v_gaps(v), x_gaps(x), m_gaps(m),
        sum(c.p, c.d, std::numeric_limits<float>::quiet_NaN()), expected(c.p, c.d),
        out(c.n, c.k, std::numeric_limits<float>::quiet_NaN()), along(c.n, c.k);
    const Magnitudes of_x(x_gaps.rows_in());
    run_moment(a_gaps.rows_in(), v_gaps.rows_in(), x_gaps.rows_in(), of_x, 0.5F, false, sum.rows(),
               multiprocessors);
    reference().ops().moment(a_gaps, v_gaps, x_gaps, {}, 0.5, expected);
    run_along(a_gaps.rows_in(), x_gaps.rows_in(), of_x, m_gaps.rows_in(), out.rows(), multiprocessors);
    reference().ops().along_moment(a_gaps, x_gaps, {}, m_gaps, along);
    EXPECT_TRUE(test::same_values(sum, expected)) << c.n << ' ' << c.p << ' ' << c.d;
    EXPECT_TRUE(test::same_values(out, along)) << c.n << ' ' << c.p << ' ' << c.d;
    EXPECT_TRUE(sum.intact());
    EXPECT_TRUE(out.intact());
}

TEST(KernelsMoment, AreTheReferenceToTheBitOnIntegers) {
    for (const Case& c : {Case{1, 1, 1, 1}, Case{33, 32, 33, 1}, Case{130, 40, 140, 2},
                          Case{290, 129, 31, 1}, Case{128, 128, 128, 3}})
        expect_integers(c, 1);
    expect_integers({500, 40, 70, 1}, 5);   // five ranges, of 4 and of less than 4 steps
    expect_integers({700, 20, 130, 2}, 2);  // six tiles of rows for two blocks
}

/// Four floats, and two of A, at a time.
TEST(KernelsMoment, TakeAlignedRowsInPieces) {
    expect_integers({150, 256, 128, 2}, 1, true);
    expect_integers({97, 128, 132, 1}, 2, true);
    expect_integers({64, 130, 36, 2}, 1, true);
}

TEST(KernelsMoment, RealNumbersStayWithinTheBoundOfTheirSums) {
    for (const Case& c : {Case{200, 50, 100, 1}, Case{150, 140, 45, 2}}) {
        const Matrix a = test::normals(c.n, c.k * c.p, 1, DType::f32),
                     v = test::normals(c.n, c.k, 2, DType::f32), x = test::normals(c.n, c.d, 3, DType::f32),
                     m = test::normals(c.p, c.d, 4, DType::f32);
        expect_within_bounds(Moments(a, v, x, m, 3), a, x, m);
    }
}

/// The sums of a rest of samples fit where those of a whole block do.
TEST(KernelsMoment, RangesOfARestAreNoMoreThanItsBlocks) {
    for (const std::int64_t p : {32, 64, 128, 256, 3000})
        for (const std::int64_t d : {32, 128, 196, 784, 3072})
            for (const int multiprocessors : {1, 2, 108, 132}) {
                const kernels::DeviceLimits limits = hopper(multiprocessors);
                const std::int64_t block = (std::int64_t{1} << 25) / kernels::DigitTiles::padded_rows(p);
                const std::int64_t most = kernels::moment_ranges(block, p, d, limits);
                for (std::int64_t rest = 1; rest <= block; rest += 977) {
                    const std::int64_t ranges = kernels::moment_ranges(rest, p, d, limits, most),
                                       steps = kernels::DigitTiles::steps_of(rest),
                                       of_each = kernels::ceil_div(steps, ranges);
                    ASSERT_LE(ranges, most) << p << ' ' << d << ' ' << rest;
                    ASSERT_LE(of_each, kernels::most_moment_steps);
                    ASSERT_LT((ranges - 1) * of_each, steps) << "no range is empty";
                }
            }
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

/// Each row of X and of M and each column of W and X keeps its own precision, in units of one float factor
/// and beyond.
TEST(KernelsMoment, TakeRowsAndColumnsOfEveryScale) {
    const std::int64_t n = 96, p = 33, d = 40;
    const auto scaled = [](Matrix matrix, const auto& exponent) {
        for (std::int64_t i = 0; i < matrix.rows(); ++i)
            for (std::int64_t j = 0; j < matrix.cols(); ++j)
                matrix.at<float>(i, j) =
                    std::ldexp(matrix.at<float>(i, j), static_cast<int>(exponent(i, j)));
        return matrix;
    };
    const Matrix v = test::normals(n, 1, 3, DType::f32);
    for (const int most : {10, 70}) {
        const Matrix a =
            scaled(test::normals(n, p, 1, DType::f32), [](auto, auto q) { return q % 4 * 10 - 15; });
        Matrix by_column = scaled(test::normals(n, d, 2, DType::f32),
                                  [&](auto, auto j) { return j % 3 * most - most; }),
               by_row = scaled(test::normals(n, d, 4, DType::f32),
                               [&](auto i, auto) { return i % 3 * most - most; });
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < d; ++j)
                if (i % 5 == 1 || j == 7) by_column.at<float>(i, j) = by_row.at<float>(i, j) = 0;
        const Matrix m = scaled(test::normals(p, d, 5, DType::f32),
                                [&](auto q, auto) { return q % 3 * (most / 3) - most / 3; });
        for (const Matrix* x : {&by_column, &by_row})
            expect_within_bounds(Moments(a, v, *x, m, 2), a, *x, m);
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
    const float entry = 8355711 * 0x1p-23F;  // digits 127, 127, 127: 3·127² to a sample in the last sum
    Matrix a(n, 1, DType::f32), v(n, 1, DType::f32), x(n, 1, DType::f32), m(1, 1, DType::f32);
    for (std::int64_t i = 0; i < n; ++i) {
        a.at<float>(i, 0) = x.at<float>(i, 0) = entry;
        v.at<float>(i, 0) = 1;
    }
    run_moment(test::kernel_rows_in<float>(a), test::kernel_rows_in<float>(v),
               test::kernel_rows_in<float>(x), Magnitudes(test::kernel_rows_in<float>(x)), 1, false,
               test::kernel_rows<float>(m), 1);
    EXPECT_NEAR(m.at<float>(0, 0) / (static_cast<double>(n) * entry * entry), 1, 4 * epsilon);
}

}  // namespace
}  // namespace fntk

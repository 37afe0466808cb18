// The operations that no other test reaches one by one: on every backend of host memory and number of
// threads, with strides larger than the width, against their formulas and the oracle.
#include "support.hpp"

#include <fntk/error.hpp>

#include <backend/ops.hpp>

#include <limits>

namespace fntk {
namespace {

using test::host_devices;
using test::normals;
using test::same_bits;

constexpr std::int64_t sizes[] = {0, 1, 31, 32, 33, 65};

/// A view of rows × cols inside a larger matrix.
struct Strided {
    Matrix owner;
    std::int64_t cols;

    Strided(std::int64_t rows, std::int64_t cols_, DType dtype)
        : owner(rows, cols_ + 3, dtype), cols(cols_) {}
    [[nodiscard]] MatrixView view() { return owner.view().col_block(0, cols); }
};

void set(MatrixView matrix, std::int64_t i, std::int64_t j, double to) {
    if (matrix.dtype == DType::f32)
        matrix.at<float>(i, j) = static_cast<float>(to);
    else
        matrix.at<double>(i, j) = to;
}

TEST(Operations, CopyZeroAndGatherMoveRowsOfAnyType) {
    for (const auto& [name, device] : host_devices())
        for (const DType type : {DType::f32, DType::f64, DType::i32, DType::i64}) {
            SCOPED_TRACE(name);
            const Matrix from =
                Matrix::converted(test::small_integers(9, 7, 50, 1, DType::f64), DType::f64);
            Matrix values(9, 7, type);
            for (std::int64_t i = 0; i < 9; ++i)
                for (std::int64_t j = 0; j < 7; ++j) {
                    const double x = from.at<double>(i, j);
                    if (type == DType::f32) values.at<float>(i, j) = static_cast<float>(x);
                    if (type == DType::f64) values.at<double>(i, j) = x;
                    if (type == DType::i32) values.at<std::int32_t>(i, j) = static_cast<std::int32_t>(x);
                    if (type == DType::i64) values.at<std::int64_t>(i, j) = static_cast<std::int64_t>(x);
                }
            Strided to(9, 7, type);
            device.ops().copy(values, to.view());
            EXPECT_TRUE(same_bits(to.view(), values));
            for (std::int64_t i = 0; i < 9; ++i) EXPECT_EQ(value(to.owner, i, 7), 0) << "behind the row";

            const std::int64_t order[] = {8, 0, 3, 3};
            Strided rows(4, 7, type);
            device.ops().gather_rows(to.view(), ConstMatrixView(order, 1, 4), rows.view());
            for (std::int64_t i = 0; i < 4; ++i)
                for (std::int64_t j = 0; j < 7; ++j)
                    EXPECT_EQ(value(rows.view(), i, j), value(values, order[i], j));

            device.ops().zero(to.view().row_block(2, 3).col_block(1, 2));
            for (std::int64_t i = 0; i < 9; ++i)
                for (std::int64_t j = 0; j < 7; ++j)
                    EXPECT_EQ(value(to.view(), i, j),
                              i >= 2 && i < 5 && j >= 1 && j < 3 ? 0 : value(values, i, j));
        }
}

TEST(Operations, TransposeSwapsInPlace) {
    for (const auto& [name, device] : host_devices())
        for (const DType type : {DType::f32, DType::f64})
            for (const std::int64_t n : sizes) {
                const Matrix k = normals(n, n, 3, type);
                Strided out(n, n, type);
                device.ops().copy(k, out.view());
                device.ops().transpose(out.view());
                for (std::int64_t i = 0; i < n; ++i) {
                    for (std::int64_t j = 0; j < n; ++j)
                        ASSERT_EQ(value(out.view(), i, j), value(k, j, i)) << name;
                    ASSERT_EQ(value(out.owner, i, n), 0) << "behind the row";
                }
            }
}

TEST(Operations, OuterRowsAreProductsOfEveryPair) {
    for (const auto& [name, device] : host_devices())
        for (const DType type : {DType::f32, DType::f64})
            for (const std::int64_t n : sizes) {
                const Matrix left = normals(n, 3, 4, type), right = normals(n, 33, 5, type);
                Strided out(n, 3 * 33, type);
                device.ops().outer_rows(left, right, out.view());
                for (std::int64_t i = 0; i < n; ++i)
                    for (std::int64_t q = 0; q < 3; ++q)
                        for (std::int64_t j = 0; j < 33; ++j) {
                            const double product = value(left, i, q) * value(right, i, j);
                            ASSERT_EQ(value(out.view(), i, q * 33 + j),
                                      type == DType::f32 ? static_cast<float>(product) : product)
                                << name;
                        }
            }
}

// Whole numbers whose sums float32 holds, so that no order of additions changes them.
TEST(Operations, MomentsAreSumsOfOuterProductsAndGoBackAlongThem) {
    const std::int64_t shapes[][3] = {{0, 3, 18}, {1, 3, 18}, {65, 3, 18}, {5003, 3, 18}, {389, 67, 94}};
    for (const auto& [name, device] : host_devices())
        for (const DType type : {DType::f32, DType::f64})
            for (const auto& [n, p, d] : shapes)
                for (const std::int64_t k : {1, 2}) {
                    SCOPED_TRACE(name + (", n " + std::to_string(n)) + ", k " + std::to_string(k));
                    Strided a(n, k * p, type), x(n, d, type), m(p, d, type), out(n, k, type);
                    device.ops().copy(test::small_integers(n, k * p, 2, 1, type), a.view());
                    device.ops().copy(test::small_integers(n, d, 2, 2, type), x.view());
                    device.ops().copy(test::small_integers(p, d, 9, 3, type), m.view());
                    const Matrix v = test::small_integers(n, k, 2, 4, type);
                    const Matrix back = test::small_integers(p, d, 5, 6, type);

                    device.ops().moment(a.view(), v, x.view(), {}, 0.5, m.view());
                    device.ops().along_moment(a.view(), x.view(), {}, back, out.view());
                    Matrix moment(p, d, DType::f64), along(n, k, DType::f64);
                    for (std::int64_t i = 0; i < n; ++i)
                        for (std::int64_t c = 0; c < k; ++c)
                            for (std::int64_t q = 0; q < p; ++q) {
                                const double factor = value(a.view(), i, c * p + q),
                                             weight = value(v, i, c);
                                for (std::int64_t j = 0; j < d; ++j) {
                                    const double product = factor * value(x.view(), i, j);
                                    moment.at<double>(q, j) += 0.5 * weight * product;
                                    along.at<double>(i, c) += value(back, q, j) * product;
                                }
                            }
                    EXPECT_TRUE(same_bits(Matrix::converted(m.view(), DType::f64), moment));
                    EXPECT_TRUE(same_bits(Matrix::converted(out.view(), DType::f64), along));
                    for (std::int64_t q = 0; q < p; ++q) EXPECT_EQ(value(m.owner, q, d), 0);
                }
}

TEST(Operations, MomentsTooLargeForASumPerThreadAreTheSame) {
    constexpr std::int64_t n = 2, p = 1500, d = 1501;
    const Device cpu = Device::open("cpu", 2), reference = Device::open("reference");
    const Matrix a = test::small_integers(n, p, 2, 1, DType::f32),
                 x = test::small_integers(n, d, 2, 2, DType::f32),
                 v = test::small_integers(n, 1, 2, 3, DType::f32);
    Matrix have(p, d, DType::f32), want(p, d, DType::f32), along(n, 1, DType::f32),
        expected(n, 1, DType::f32);
    cpu.ops().moment(a, v, x, {}, 1, have);
    reference.ops().moment(a, v, x, {}, 1, want);
    EXPECT_TRUE(same_bits(have, want));
    cpu.ops().along_moment(a, x, {}, want, along);
    reference.ops().along_moment(a, x, {}, want, expected);
    EXPECT_TRUE(same_bits(along, expected));
}

Matrix row_of(const std::vector<double>& numbers) {
    Matrix row(1, static_cast<std::int64_t>(numbers.size()), DType::f64);
    std::copy(numbers.begin(), numbers.end(), row.row<double>(0));
    return row;
}
std::vector<double> numbers_of(ConstMatrixView row) {
    return {row.row<double>(0), row.row<double>(0) + row.cols};
}

TEST(Operations, ColumnsHaveInnerProductsAndFactorsOfTheirOwn) {
    for (const auto& [name, device] : host_devices())
        for (const DType type : {DType::f32, DType::f64})
            for (const std::int64_t n : {0, 1, 65, 9001})
                for (const std::int64_t s : {1, 3}) {
                    SCOPED_TRACE(name + (", n " + std::to_string(n)) + ", s " + std::to_string(s));
                    const Matrix a = test::small_integers(n, s, 3, 1, type);
                    Strided b(n, s, type), y(n, s, type);
                    device.ops().copy(test::small_integers(n, s, 3, 2, type), b.view());
                    std::vector<double> sums(static_cast<std::size_t>(s)),
                        squares(static_cast<std::size_t>(s));
                    for (std::int64_t i = 0; i < n; ++i)
                        for (std::int64_t j = 0; j < s; ++j) {
                            sums[static_cast<std::size_t>(j)] += value(a, i, j) * value(b.view(), i, j);
                            squares[static_cast<std::size_t>(j)] += value(a, i, j) * value(a, i, j);
                        }
                    Matrix found = row_of(std::vector<double>(static_cast<std::size_t>(s), -1));
                    device.ops().column_dots(a, b.view(), found);
                    EXPECT_EQ(numbers_of(found), sums);
                    device.ops().column_dots(a, a, found);
                    EXPECT_EQ(numbers_of(found), squares);

                    const Matrix alpha = row_of({0.5, -2, 4}), beta = row_of({-1, 3, 0.25});
                    const ConstMatrixView factors = alpha.view().col_block(0, s),
                                          weights = beta.view().col_block(0, s);
                    for (const double scale : {0.0, 1.0, -3.0})
                        for (const bool bare : {false, true}) {
                            const double before = scale == 0 ? std::numeric_limits<double>::quiet_NaN() : 1;
                            for (std::int64_t i = 0; i < n; ++i)
                                for (std::int64_t j = 0; j < s; ++j) set(y.view(), i, j, before);
                            device.ops().combine_columns(2, bare ? ConstMatrixView{} : factors, b.view(),
                                                         scale, bare ? ConstMatrixView{} : weights,
                                                         y.view());
                            for (std::int64_t i = 0; i < n; ++i)
                                for (std::int64_t j = 0; j < s; ++j)
                                    ASSERT_EQ(value(y.view(), i, j),
                                              2 * (bare ? 1 : value(alpha, 0, j)) * value(b.view(), i, j) +
                                                  scale * (bare ? 1 : value(beta, 0, j)));
                        }
                    for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(value(y.owner, i, s), 0);
                    device.ops().combine_columns(3, factors, b.view(), 0, {}, b.view());  // in place
                    device.ops().column_dots(a, b.view(), found);
                    for (std::int64_t j = 0; j < s; ++j)
                        EXPECT_EQ(value(found, 0, j),
                                  3 * value(alpha, 0, j) * sums[static_cast<std::size_t>(j)]);
                }
}

TEST(Operations, NumbersOfColumnsAreDividedAndCounted) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    for (const auto& [name, device] : host_devices()) {
        SCOPED_TRACE(name);
        backend::Ops& ops = device.ops();
        Matrix roots = row_of({0, 4, 2.25});
        ops.square_roots(roots);
        EXPECT_EQ(numbers_of(roots), (std::vector<double>{0, 2, 1.5}));

        const Matrix a = row_of({6, 0, 1, -3, 1, 1, 2}), b = row_of({2, -1, 0, 4, nan, -5, -9});
        Matrix quotients = row_of({9, 9, 9, 9, 9, 9, 9}), least = row_of({7, 7, 7, 1, 7, nan, -1});
        ops.divide(a, b, quotients, least);
        EXPECT_EQ(numbers_of(quotients), (std::vector<double>{3, 0, 0, -0.75, 0, 0, 0}));
        const std::vector<double> found = numbers_of(least);
        EXPECT_EQ((std::vector<double>{found.begin(), found.begin() + 4}),
                  (std::vector<double>{2, 7, 0, 1}));
        EXPECT_TRUE(std::isnan(found[4]) && std::isnan(found[5]));
        EXPECT_EQ(found[6], -1);
        Matrix in_place = row_of({6, 0, 1, -3, 1, 1, 2});
        ops.divide(in_place, b, in_place, {});
        EXPECT_EQ(numbers_of(in_place), numbers_of(quotients));

        Matrix kept = row_of({1, 2, 3, 4}), count = row_of({0, 5, 0, 0});
        ops.keep_above(row_of({2, 1, 1, nan}), row_of({1, 1, 2, 0}), kept, count);
        EXPECT_EQ(numbers_of(kept), (std::vector<double>{1, 0, 0, 0}));
        EXPECT_EQ(numbers_of(count), (std::vector<double>{1, 5, 0, 0}));
    }
}

TEST(Operations, SlopeRowsWeighGatesByTheReadout) {
    for (const std::int64_t m : {1, 63, 64, 65, 200})
        for (const DType type : {DType::f32, DType::f64}) {
            BitMatrix gates(7, m);
            for (std::int64_t i = 0; i < 7; ++i)
                for (std::int64_t r = 0; r < m; ++r)
                    if ((i * 5 + r * r) % 3 == 0)
                        gates.view().row(i)[r / 64] |= std::uint64_t{1} << (r % 64);
            const Matrix a = normals(m, 3, 6, type);
            for (const Readout& readout : {Readout{m, 3, 9, {}}, Readout{m, 3, 9, a}})
                for (const auto& [name, device] : host_devices()) {
                    Matrix weights(m, 3, type);
                    device.ops().readout_rows(readout, 0, weights);
                    Strided out(4, m, type);
                    device.ops().slope_rows(gates, 2, readout, 1, 0.3, -0.2, 1, out.view());
                    for (std::int64_t i = 0; i < 4; ++i)
                        for (std::int64_t r = 0; r < m; ++r) {
                            double slope = 0.3 * (gates.view().get(2 + i, r) ? 1 : -0.2);
                            if (type == DType::f32) slope = static_cast<float>(slope);
                            const double product = slope * value(weights, r, 1);
                            ASSERT_EQ(value(out.view(), i, r),
                                      type == DType::f32 ? static_cast<float>(product) : product)
                                << name << ' ' << m;
                        }
                }
        }
}

TEST(Operations, NormIsTheRootOfTheSumOfSquaresAtAnyScale) {
    const auto devices = host_devices();
    for (const std::int64_t rows : sizes)
        for (const std::int64_t cols : {0, 1, 9, 257})
            for (const double scale : {1.0, 0x1p-1040, 0x1p-600, 0x1p600, 0x1p1000}) {
                Matrix a = normals(rows, cols, 7);
                double squares = 0;
                for (std::int64_t i = 0; i < rows; ++i)
                    for (std::int64_t j = 0; j < cols; ++j)
                        squares += a.at<double>(i, j) * a.at<double>(i, j), a.at<double>(i, j) *= scale;
                // subnormal entries carry 2^-1074 of absolute error each
                const double want = std::sqrt(squares) * scale;
                const double bound =
                    1e-14 * want + std::sqrt(static_cast<double>(a.rows() * a.cols())) * 0x1p-1074;
                for (const auto& [name, device] : devices)
                    ASSERT_NEAR(device.ops().norm(a), want, bound) << name << ' ' << scale;
                for (std::size_t i = 2; i < devices.size(); ++i)
                    ASSERT_EQ(devices[i].device.ops().norm(a), devices[1].device.ops().norm(a))
                        << "threads";
            }
    for (const auto& [name, device] : devices) {
        const Matrix three_four = test::rows_of({{3, 0}, {0, 4}});
        EXPECT_EQ(device.ops().norm(three_four), 5);
        EXPECT_EQ(device.ops().norm(test::narrowed(three_four)), 5);
        EXPECT_EQ(device.ops().norm(normals(5, 8, 8).view().col_block(0, 0)), 0);
    }
}

TEST(Operations, NormShowsWhatIsNotFinite) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    for (const auto& [name, device] : host_devices())
        for (const DType type : {DType::f32, DType::f64})
            for (const double bad : {nan, -nan, HUGE_VAL, -HUGE_VAL})
                for (const double rest : {0.0, 1.0})
                    for (std::int64_t at = 0; at < 3 * 19; ++at) {
                        const Matrix a = test::filled(
                            3, 19, type, [&](auto i, auto j) { return i * 19 + j == at ? bad : rest; });
                        ASSERT_FALSE(std::isfinite(device.ops().norm(a)))
                            << name << ' ' << bad << ' ' << at;
                    }
}

TEST(Operations, SolveSpdLeavesTheFactorInTheLowerTriangle) {
    for (const auto& [name, device] : host_devices())
        for (const std::int64_t n : {1, 33, 65}) {
            SCOPED_TRACE(name);
            const Matrix entries = normals(n, n, 1);  // L, with a diagonal of 1 to 2
            const Matrix l = test::filled(n, n, DType::f64, [&](auto i, auto j) {
                return i == j  ? 1.5 + 0.5 * std::sin(static_cast<double>(i))
                       : i > j ? value(entries, i, j) / static_cast<double>(n)
                               : 0.0;
            });
            Strided k(n, n, DType::f64), b(n, 1, DType::f64);
            device.ops().copy(test::times(l, test::transposed(l)), k.view());
            EXPECT_EQ(device.ops().solve_spd(k.view(), b.view()), 0);
            for (std::int64_t i = 0; i < n; ++i)
                for (std::int64_t j = 0; j <= i; ++j)
                    EXPECT_NEAR(value(k.view(), i, j), value(l, i, j), 1e-13);
        }
}

}  // namespace
}  // namespace fntk

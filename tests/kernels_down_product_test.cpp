// X into fixed point and the digit products back (kernels/down_product.hpp), to the last bit.
#include "kernel_matrices.hpp"

#include <backend/ops.hpp>
#include <backend/simd/digits.hpp>

#include <down_product.hpp>

namespace fntk {
namespace {

using test::Padded;
using test::run_on_host;

const Device& reference() {
    static const Device device = Device::open("reference");
    return device;
}

/// Rows of every kind: random, small integers, zero, huge, tiny, powers of two, and one entry far below the
/// others.
template <class T>
Padded<T> rows_of_all_kinds(std::int64_t n, std::int64_t d) {
    Padded<T> x(test::normals(n, d, 1));
    const double huge = sizeof(T) == 4 ? 0x1p100 : 0x1p1000, tiny = 1 / huge;
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < d; ++j) {
            T& v = x.at(i, j);
            const double old = v;
            switch (i % 7) {
                case 1:
                    v = static_cast<T>(std::round(4 * old));
                    break;
                case 2:
                    v = 0;
                    break;
                case 3:
                    v = static_cast<T>(old * huge);
                    break;
                case 4:
                    v = static_cast<T>(old * tiny);
                    break;
                case 5:
                    v = j % 2 == 0 ? T(1) : T(-0.5);
                    break;
                case 6:
                    v = j == 0 ? static_cast<T>(old * 0x1p-40) : v;
                    break;
                default:
                    break;
            }
        }
    return x;
}

TEST(KernelsDownProduct, IdentityGivesTheRowsScaledToOne) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        for (const auto [n, d] : test::shapes) {
            Padded<T> x = rows_of_all_kinds<T>(n, d);
            Padded<double> v(n, d, -1), expected(n, d);
            Padded<std::int32_t> exponents(n, 1, -1), expected_exponents(n, 1);
            run_on_host(kernels::ScaleRows<T>{x.rows_in(), v.rows(), exponents.rows()});
            reference().ops().down_product(x, {}, 1, expected, expected_exponents);
            EXPECT_TRUE(test::same_bits(v.view(), expected.view())) << n << " x " << d;
            EXPECT_TRUE(test::same_bits(exponents.view(), expected_exponents.view())) << n << " x " << d;
            EXPECT_TRUE(v.intact() && exponents.intact());
        }
    });
}

TEST(KernelsDownProduct, DigitsAreThoseOfTheCpu) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        using Split = kernels::SplitRows<T>;
        const std::int32_t down_exponent = 5;
        for (const auto [n, d] : test::shapes) {
            Padded<T> x = rows_of_all_kinds<T>(n, d);
            std::vector<Padded<double>> digits;
            for (int a = 0; a < Split::places; ++a) digits.emplace_back(n, d, 0.5);
            Padded<std::int32_t> exponents(n, 1);
            Split split{x.rows_in(), &down_exponent, {}, exponents.rows()};
            for (int a = 0; a < Split::places; ++a) split.digits[a] = digits[a].rows();
            run_on_host(split);

            std::vector<Padded<double>> expected;
            for (int a = 0; a < Split::places; ++a) expected.emplace_back(n, d);
            for (std::int64_t i = 0; i < n; ++i) {
                const T* row = x.view().template row<T>(i);
                const int exponent = kernels::exponent_of(backend::largest_magnitude(row, d));
                double* to[3] = {};
                for (int a = 0; a < Split::places; ++a) to[a] = &expected[a].at(i, 0);
                backend::split_digits(row, d, exponent, to, Split::places);
                EXPECT_EQ(exponents.at(i, 0), exponent + down_exponent) << i;
            }
            for (int a = 0; a < Split::places; ++a) {
                EXPECT_TRUE(test::same_values(digits[a], expected[a])) << n << " x " << d << " digit " << a;
                EXPECT_TRUE(digits[a].intact());
            }
        }
    });
}

/// Split, multiply in chunks by a plain loop, accumulate.
template <class T>
void expect_reference_product(std::int64_t n, std::int64_t d, std::int64_t p) {
    using Split = kernels::SplitRows<T>;
    Padded<T> x = rows_of_all_kinds<T>(n, d);
    Matrix down = test::normals(p, d, 2);
    Matrix u_digits(Split::places * p, d, DType::i32), u_exponent(1, 1, DType::i32);
    reference().ops().fix_down(down, u_digits, u_exponent);
    const FixedPoint u{u_digits, u_exponent, p};
    const double scale = 1 / std::sqrt(3.0);
    const std::int32_t exponent = u_exponent.at<std::int32_t>(0, 0);

    std::vector<Padded<double>> digits;
    for (int a = 0; a < Split::places; ++a) digits.emplace_back(n, d);
    Padded<std::int32_t> exponents(n, 1), expected_exponents(n, 1);
    Split split{x.rows_in(), &exponent, {}, exponents.rows()};
    for (int a = 0; a < Split::places; ++a) split.digits[a] = digits[a].rows();
    run_on_host(split);

    const auto nan = std::numeric_limits<double>::quiet_NaN();
    Padded<double> partial(n, p), v(n, p, nan), expected(n, p);
    Padded<std::int64_t> total(n, p, -1);
    const int last = Split::places - 1, last_u = u.count() - 1;
    for (int a = last; a >= 0; --a)
        for (int b = last_u; b >= 0; --b)
            for (std::int64_t j0 = 0; j0 < d; j0 += kernels::exact_columns) {
                const std::int64_t end = std::min(d, j0 + kernels::exact_columns);
                for (std::int64_t i = 0; i < n; ++i)
                    for (std::int64_t q = 0; q < p; ++q) {
                        partial.at(i, q) = 0;
                        for (std::int64_t j = j0; j < end; ++j)
                            partial.at(i, q) += digits[a].at(i, j) * u.digit(b).at<std::int32_t>(q, j);
                    }
                run_on_host(kernels::AddDigitProduct{partial.rows_in(), total.rows(), v.rows(), a, b,
                                                     j0 == 0, end == d, a == last && b == last_u, scale});
            }
    reference().ops().down_product(x, u, scale, expected, expected_exponents);
    EXPECT_TRUE(test::same_bits(v.view(), expected.view())) << n << ' ' << d << ' ' << p;
    EXPECT_TRUE(test::same_bits(exponents.view(), expected_exponents.view()));
    EXPECT_TRUE(v.intact() && total.intact());
}

TEST(KernelsDownProduct, DigitProductsAddUpToTheReference) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        expect_reference_product<T>(9, 33, 5);                               // one chunk
        expect_reference_product<T>(7, 2 * kernels::exact_columns + 57, 3);  // three
    });
    expect_reference_product<float>(8, 2 * kernels::exact_columns, 1);  // two whole ones
}

TEST(KernelsDownProduct, AnyNumberOfBlocksGivesTheSame) {
    Padded<double> x = rows_of_all_kinds<double>(70, 5);
    Padded<double> one(70, 5), many(70, 5);
    Padded<std::int32_t> exponents(70, 1);
    run_on_host(kernels::ScaleRows<double>{x.rows_in(), one.rows(), exponents.rows()}, {.blocks = 1});
    run_on_host(kernels::ScaleRows<double>{x.rows_in(), many.rows(), exponents.rows()}, {.blocks = 5});
    EXPECT_TRUE(test::same_bits(one.view(), many.view()));
    EXPECT_EQ(one.at(0, 0), std::ldexp(x.at(0, 0), -exponents.at(0, 0)));
}

}  // namespace
}  // namespace fntk

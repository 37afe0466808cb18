// Rounding to the integers of the exact path and back: quantise_rows.hpp, dequantise.hpp, fix_down.hpp.
#include "kernel_matrices.hpp"

#include <backend/ops.hpp>

#include <dequantise.hpp>
#include <fix_down.hpp>
#include <quantise_rows.hpp>

namespace fntk {
namespace {

using test::Padded;
using test::run_on_host;

const Device& reference() {
    static const Device device = Device::open("reference");
    return device;
}

/// Rows of v: random, exact ties at `bits` bits, zero, huge, subnormal, and a largest entry that rounds up
/// to 2^bits.
Padded<double> rows_to_round(std::int64_t n, std::int64_t p, int bits) {
    Padded<double> v(test::normals(n, p, 3));
    const double unit = std::ldexp(1.0, -bits);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t q = 0; q < p; ++q) {
            double& x = v.at(i, q);
            switch (i % 6) {
                case 1:
                    x = q == 0 ? 0.75 : (std::round(9 * x) + 0.5) * unit;
                    break;
                case 2:
                    x = 0;
                    break;
                case 3:
                    x *= 0x1p1000;
                    break;
                case 4:
                    x *= 0x1p-1060;
                    break;
                case 5:
                    x = q == 0 ? -std::nextafter(1.0, 0.0) : x * unit;
                    break;
                default:
                    break;
            }
        }
    return v;
}

template <class Z, class Shapes>
void expect_quantised(int bits, const Shapes& shapes) {
    for (const auto [n, p] : shapes) {
        Padded<double> v = rows_to_round(n, p, bits);
        Padded<Z> h(n, p, -1), expected(n, p);
        Padded<std::int32_t> exponents(test::small_integers(n, 1, 40, 4, DType::f64)),
            expected_exponents(exponents.view());
        run_on_host(kernels::QuantiseRows<Z>{v.rows_in(), bits, h.rows(), exponents.rows()});
        reference().ops().quantise_rows(v, bits, expected, expected_exponents);
        EXPECT_TRUE(test::same_bits(h.view(), expected.view())) << n << " x " << p << ", " << bits;
        EXPECT_TRUE(test::same_bits(exponents.view(), expected_exponents.view())) << n << " x " << p;
        EXPECT_TRUE(h.intact() && exponents.intact());
    }
}

TEST(KernelsQuantise, RowsAreThoseOfTheReference) {
    expect_quantised<std::int32_t>(22, test::shapes);
    expect_quantised<std::int32_t>(7, test::few_shapes);
    expect_quantised<std::int64_t>(52, test::shapes);
    expect_quantised<std::int64_t>(43, test::few_shapes);
}

/// Roundings of a dequantised number, in units of its type.
constexpr double slack = 4;

template <class In, class Out>
void expect_dequantised(double closed, double open) {
    const double tolerance = slack * std::numeric_limits<Out>::epsilon();
    for (const auto [n, p] : {test::Extents{0, 5}, {33, 31}, {3, 257}}) {
        Padded<In> in(test::small_integers(n, p, 1 << 20, 5, DType::f64));
        Padded<std::int32_t> exponents(test::small_integers(n, 1, 30, 6, DType::f64)),
            offset(test::small_integers(1, p, 1 << 20, 7, DType::f64));
        for (const bool with_exponents : {true, false})
            for (const bool with_offset : {true, false}) {
                Padded<Out> out(n, p, Out(-1)), expected(n, p);
                run_on_host(kernels::Dequantise<In, Out>{
                    in.rows_in(),
                    with_exponents ? exponents.rows_in() : kernels::Rows<const std::int32_t>{}, 0.3, closed,
                    open, with_offset ? offset.rows_in().data : nullptr, out.rows()});
                reference().ops().dequantise(
                    in, with_exponents ? ConstMatrixView(exponents) : ConstMatrixView{}, 0.3, closed, open,
                    with_offset ? ConstMatrixView(offset) : ConstMatrixView{}, expected);
                for (std::int64_t i = 0; i < n; ++i)
                    EXPECT_TRUE(test::near_values(out.view().row_block(i, 1),
                                                  expected.view().row_block(i, 1), tolerance));
                EXPECT_TRUE(out.intact());
            }
    }
}

TEST(KernelsQuantise, DequantisedNumbersAreThoseOfTheReference) {
    expect_dequantised<std::int32_t, float>(0.25, 1);
    expect_dequantised<std::int32_t, double>(-1, 1);
    expect_dequantised<std::int64_t, float>(0, 1);
    expect_dequantised<double, float>(0.25, 1);
    expect_dequantised<std::int64_t, double>(0.25, 1);
    expect_dequantised<double, double>(0, 1);
}

template <class Digit, int places>
void expect_fixed(Padded<double> u) {
    const std::int64_t p = u.view().rows, d = u.view().cols;
    Matrix host = Matrix::copy_of(u);
    Matrix expected(places * p, d, DType::i32), expected_exponent(1, 1, DType::i32);
    reference().ops().fix_down(host, expected, expected_exponent);

    std::vector<double> slots(kernels::reduction_slots(p, d), -1);
    run_on_host(kernels::ReduceElements<kernels::Magnitude<double>>{{u.rows_in()}, p, d, slots.data()});
    std::vector<Padded<Digit>> digits;
    for (int a = 0; a < places; ++a) digits.emplace_back(p, d, Digit(-1));
    std::int32_t exponent = -1;
    kernels::FixDown<Digit, places> fix{
        slots.data(), static_cast<std::int64_t>(slots.size()), u.rows(), {}, &exponent};
    for (int a = 0; a < places; ++a) fix.digits[a] = digits[a].rows();
    run_on_host(fix, {.blocks = 3});

    EXPECT_EQ(exponent, expected_exponent.at<std::int32_t>(0, 0));
    EXPECT_TRUE(test::same_bits(u.view(), host.view())) << p << " x " << d;
    for (int a = 0; a < places; ++a) {
        const ConstMatrixView plane = expected.view().row_block(a * p, p);
        EXPECT_TRUE(test::same_values(digits[a], plane)) << p << " x " << d << " digit " << a;
        EXPECT_TRUE(digits[a].intact());
    }
    EXPECT_TRUE(u.intact());
}

TEST(KernelsQuantise, DownFactorIsRoundedAsOnTheHost) {
    for (const auto [p, d] : test::few_shapes) {
        if (p * d == 0) continue;
        const Matrix u = test::normals(p, d, 8);
        expect_fixed<std::int32_t, 1>(Padded<double>(u));
        expect_fixed<double, 3>(Padded<double>(u));
    }
    for (const double largest : {std::nextafter(2.0, 0.0), 0x1p-1000, 0x1p1000, 0.0}) {
        Padded<double> u(3, 4);  // the first rounds up to the next exponent
        u.at(1, 2) = -largest;
        u.at(2, 3) = 0.3 * largest;
        expect_fixed<double, 1>(Padded<double>(u.view()));
        expect_fixed<std::int32_t, 3>(Padded<double>(u.view()));
        u.at(0, 3) = -HUGE_VAL;  // it becomes 0
        expect_fixed<std::int32_t, 1>(Padded<double>(u.view()));
        expect_fixed<double, 3>(Padded<double>(u.view()));
    }
}

}  // namespace
}  // namespace fntk

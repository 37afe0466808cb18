// U in fixed point on every backend of host memory and number of threads: the same integers, rounding that
// stays within half a unit, and what becomes of numbers that are not finite.
#include "support.hpp"

#include <backend/ops.hpp>

#include <limits>

namespace fntk {
namespace {

using test::host_devices;
using test::normals;
using test::same_bits;

TEST(FixDown, TakesWhatIsNotFiniteForZero) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    for (const auto& [name, device] : host_devices())
        for (const int count : {1, 3})
            for (const double bad : {nan, HUGE_VAL, -HUGE_VAL})
                for (const double rest : {1.5, std::numeric_limits<double>::max(), 0.0}) {
                    Matrix u = test::filled(5, 19, DType::f64, [&](auto q, auto j) {
                        return (q * 19 + j) % 7 == 3 ? bad : q + j == 0 ? 1e300 : rest;
                    });
                    Matrix digits(count * 5, 19, DType::i32), exponent(1, 1, DType::i32);
                    device.ops().fix_down(u, digits, exponent);
                    for (std::int64_t q = 0; q < 5; ++q)
                        for (std::int64_t j = 0; j < 19; ++j) {
                            if ((q * 19 + j) % 7 == 3) {
                                ASSERT_EQ(u.at<double>(q, j), 0) << name << ' ' << bad;
                            }
                            for (int d = 0; d < count; ++d)
                                ASSERT_LE(std::abs(digits.at<std::int32_t>(d * 5 + q, j)), 1 << 21);
                        }
                }
}

TEST(FixDown, IsOneIntegerMatrixEverywhere) {
    const auto devices = host_devices();
    for (const int count : {1, 3})
        for (const std::int64_t p : {1, 5, 33})
            for (const double scale : {1.0, 0x1p-40, 0x1p900, 0.0}) {
                Matrix start = normals(p, 70, 2);
                for (std::int64_t i = 0; i < p * 70; ++i) start.row<double>(0)[i] *= scale;
                start.at<double>(0, 3) = (1 - 0x1p-40) * scale;  // it rounds up with one digit
                Matrix first_digits, first_exponent, first_u;
                for (const auto& [name, device] : devices) {
                    Matrix u = start.copy(), digits(count * p, 70, DType::i32), exponent(1, 1, DType::i32);
                    device.ops().fix_down(u, digits, exponent);
                    const FixedPoint fixed{digits, exponent, p};
                    ASSERT_EQ(fixed.count(), count);
                    const int e = exponent.at<std::int32_t>(0, 0);
                    for (std::int64_t q = 0; q < p; ++q)
                        for (std::int64_t j = 0; j < 70; ++j) {
                            double sum = 0;
                            for (int d = 0; d < count; ++d) {
                                const std::int32_t digit = fixed.digit(d).at<std::int32_t>(q, j);
                                ASSERT_LT(std::abs(digit), d == 0 ? (1 << 21) : (1 << 20) + 1);
                                sum += std::ldexp(digit, e - 21 * (d + 1));
                            }
                            ASSERT_EQ(u.at<double>(q, j), sum);
                            ASSERT_LE(std::abs(sum - start.at<double>(q, j)),
                                      std::ldexp(0.5, e - 21 * count));
                        }
                    Matrix again = u.copy(), digits_again(count * p, 70, DType::i32),
                           exponent_again(1, 1, DType::i32);
                    device.ops().fix_down(again, digits_again, exponent_again);
                    EXPECT_TRUE(same_bits(again, u) && same_bits(digits_again, digits) &&
                                same_bits(exponent_again, exponent))
                        << "rounding twice";
                    if (first_u.empty()) {
                        first_u = std::move(u);
                        first_digits = std::move(digits);
                        first_exponent = std::move(exponent);
                        continue;
                    }
                    EXPECT_TRUE(same_bits(u, first_u)) << name << ' ' << scale;
                    EXPECT_TRUE(same_bits(digits, first_digits)) << name << ' ' << scale;
                    EXPECT_TRUE(same_bits(exponent, first_exponent)) << name << ' ' << scale;
                }
            }
}

}  // namespace
}  // namespace fntk

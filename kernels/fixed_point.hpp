// Fixed point: how real numbers enter the exact path, and how its integers are rounded. Every function here
// is a handful of IEEE double operations in a fixed order, so that all backends agree to the last bit.
//     digits      x·2^−E = Σ_j digit_j·2^(−bits(j+1)), |x| < 2^E, each digit the remainder rounded half to
//     even product     x·u·2^−(Ex+Eu) = Σ_ij P_ij·2^(−22(i+1)−21(j+1)), P_ij exact int64, summed from the
//     last pair to the first quantise    ĥ = rint(v·2^(bits−E)), |ĥ| ≤ 2^bits
#pragma once

#include "host_device.hpp"

#include <cmath>
#include <cstdint>
#include <type_traits>

namespace fntk::kernels {

inline constexpr int input_digit_bits = 22;  // of X, scaled row by row
inline constexpr int down_digit_bits = 21;   // of U, one scale for the matrix
inline constexpr std::int64_t exact_columns =
    1024;  // 22 + 21 + 10 ≤ 53: sums over so many columns are exact in double
inline constexpr std::int64_t max_columns = std::int64_t{1} << 20;  // 22 + 21 + 20 ≤ 63: and in int64

/// x − x is NaN for infinity and NaN.
FNTK_HD inline bool is_finite(double x) { return x - x == 0; }

/// The E with 2^(E−1) ≤ |x| < 2^E; 0 for x = 0.
FNTK_HD inline int exponent_of(double x) {
    int exponent = 0;
    std::frexp(x, &exponent);
    return x == 0.0 ? 0 : exponent;
}

/// e such that 2^−e is finite and brings `largest` near 1, so that squares neither over- nor underflow; 0
/// for 0.
FNTK_HD inline int norm_exponent(double largest) {
    const int exponent = exponent_of(largest) - 1;
    return largest > 0 ? (exponent < -1022 ? -1022 : exponent) : 0;
}

/// 2^exponent as two factors, |exponent| ≤ 2044: x·first·second is exact wherever the product is a normal
/// double, and costs two multiplications.
struct PowerOfTwo {
    double first, second;

    FNTK_HD explicit PowerOfTwo(int exponent)
        : first(std::ldexp(1.0, exponent / 2)), second(std::ldexp(1.0, exponent - exponent / 2)) {}
    FNTK_HD double times(double x) const { return x * first * second; }
};

/// Takes the next digit off `rest` (scaled to |rest| ≤ 1), leaving the remainder scaled for the digit after
/// it.
FNTK_HD inline std::int32_t take_digit(double& rest, int bits) {
    const double scaled = rest * static_cast<double>(std::int64_t{1} << bits);
    const double digit = std::nearbyint(scaled);
    rest = scaled - digit;
    return static_cast<std::int32_t>(digit);
}

/// The exponent of a U whose largest entry is |u|: that of u, or the next where u rounds up to it, so that
/// rounding twice changes nothing. Where u is not finite, that which any double keeps to.
FNTK_HD inline int down_exponent(double largest) {
    if (!is_finite(largest)) return 1025;
    const int exponent = exponent_of(largest);
    double scaled = std::ldexp(largest, -exponent);
    return take_digit(scaled, down_digit_bits) == 1 << down_digit_bits ? exponent + 1 : exponent;
}

/// One term of the digit product: P_ij at its weight.
FNTK_HD inline double digit_term(std::int64_t product, int i, int j) {
    return std::ldexp(static_cast<double>(product),
                      -input_digit_bits * (i + 1) - down_digit_bits * (j + 1));
}

/// v·2^shift rounded half to even.
FNTK_HD inline std::int64_t quantise(double v, int shift) {
    return static_cast<std::int64_t>(std::nearbyint(std::ldexp(v, shift)));
}

FNTK_HD inline std::int64_t quantise(double v, const PowerOfTwo& shift) {
    return static_cast<std::int64_t>(std::nearbyint(shift.times(v)));
}

/// Bits of ĥ so that p·2^bits stays within 2^30 (int32 sums) or 2^62 (int64 sums).
FNTK_HD constexpr int hidden_bits(int ceil_log2_rank, bool wide) {
    const int room = (wide ? 62 : 30) - ceil_log2_rank;
    const int most = wide ? 52 : 22;
    return room < most ? room : most;
}
inline constexpr int fast_hidden_bits = 14;  // two digits

/// Digits −128 to 127 to the base 256 that |ĥ| ≤ 2^bits has: 2 up to 14 bits, 3 up to 22.
FNTK_HD constexpr int byte_digits(int bits) { return (bits + 9) / 8; }

/// f(digits), an integral_constant, with the digits of |ĥ| ≤ 2^bits: 2 or 3.
template <class F>
void with_digits(int bits, F&& f) {
    byte_digits(bits) <= 2 ? f(std::integral_constant<int, 2>{}) : f(std::integral_constant<int, 3>{});
}

/// Byte i of the result is byte s_i of the eight bytes of a, then b; s_i: hexadecimal digit i of
/// `selector`.
FNTK_DEVICE std::uint32_t pick_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
#ifdef __CUDA_ARCH__
    return __byte_perm(a, b, selector);
#else
    const std::uint64_t all = static_cast<std::uint64_t>(b) << 32 | a;
    std::uint32_t picked = 0;
    for (int i = 0; i < 4; ++i)
        picked |= static_cast<std::uint32_t>(all >> (8 * (selector >> (4 * i) & 7U)) & 255U) << (8 * i);
    return picked;
#endif
}

/// Of four whole numbers, |v| ≤ most, the digits −128 to 127 to the base 256: a word each, the most
/// significant first, byte l of number l. A number is taken as v + 0x808080, whose bytes are its digits
/// plus 128.
struct DigitWord {
    static constexpr std::int32_t most = 127 * 65536 + 127 * 256 + 127;
    std::uint32_t of[3];

    FNTK_DEVICE static std::uint32_t bytes(std::int32_t v) {
        return static_cast<std::uint32_t>(v) + 0x808080U;
    }

    FNTK_DEVICE DigitWord(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
        const std::uint32_t ab = pick_bytes(a, b, 0x5140), cd = pick_bytes(c, d, 0x5140);
        of[0] = pick_bytes(pick_bytes(a, b, 0x0062), pick_bytes(c, d, 0x0062), 0x5410);
        of[1] = pick_bytes(ab, cd, 0x7632);
        of[2] = pick_bytes(ab, cd, 0x5410);
        FNTK_UNROLL
        for (std::uint32_t& word : of) word ^= 0x80808080U;
    }
};

}  // namespace fntk::kernels

// What becomes of products of digits (digit_tiles.hpp). Of <v, w>, v and w whole numbers of three digits,
// six of nine products are kept, in three sums, exact in int32:
//     65536·[ 65536 <v₂, w₂> + 256 (<v₂, w₁> + <v₁, w₂>) + <v₂, w₀> + <v₁, w₁> + <v₀, w₂> ]
// What is left out is below 2^−22 of d·|v|_max |w|_max, as are the roundings of v and w: a float32 product,
// whose errors are relative to the largest entries of the two rows. Every `carry_steps` tiles of 32 columns
// what exceeds a byte moves on to the next sum, so that sums stay within int32.
#pragma once

#include "digit_tiles.hpp"

namespace fntk::kernels {

inline constexpr std::int64_t carry_steps = 1024;  // 2^15 columns: below 2^31 in the last sum

FNTK_DEVICE float float_of(std::uint32_t bits) {
#ifdef __CUDA_ARCH__
    return __uint_as_float(bits);
#else
    return __builtin_bit_cast(float, bits);
#endif
}
FNTK_DEVICE std::uint32_t bits_of(float v) {
#ifdef __CUDA_ARCH__
    return __float_as_uint(v);
#else
    return __builtin_bit_cast(std::uint32_t, v);
#endif
}

/// 2^e, and 2^−126 below that.
FNTK_DEVICE float power_of_two(int e) {
    return float_of(static_cast<std::uint32_t>(larger(e, -126) + 127) << 23);
}

/// Of two such units 2^(16 + u + u') is a product of two normal factors, 2^(16 + u) and 2^u'.
FNTK_DEVICE bool is_plain_unit(std::int32_t u) { return u >= -60 && u <= 60; }

/// The sums of an element, the most significant first, in units of 2^16.
FNTK_DEVICE float digit_sum(std::int32_t high, std::int32_t middle, std::int32_t low) {
    return static_cast<float>(high) * 65536.0F +
           (static_cast<float>(middle) * 256.0F + static_cast<float>(low));
}
FNTK_DEVICE void carry_digit(std::int32_t& higher, std::int32_t& low) {
    const std::int32_t over = low >> 8;
    low -= over * 256;
    higher += over;
}
/// sum·2^(16 + u + u'); NaN where a row is not finite.
FNTK_DEVICE float in_units(float sum, std::int32_t u, std::int32_t other) {
    const std::uint32_t exponent = static_cast<std::uint32_t>(u) + static_cast<std::uint32_t>(other) + 16U;
    if (exponent + 126U < 253U) return sum * power_of_two(static_cast<int>(exponent));
    if (u == DigitTiles::not_finite || other == DigitTiles::not_finite) return float_of(0x7FFFFFFFU);
    const int half = (16 + u + other) / 2;  // below 2^−126 the product is 0 anyhow
    return sum * power_of_two(half) * power_of_two(16 + u + other - half);
}

}  // namespace fntk::kernels

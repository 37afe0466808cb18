// Into the fixed point of kernels/fixed_point.hpp, a row at a time, compiled for every instruction set and
// chosen at run time: multiplications by powers of two and roundings half to even, exact in every lane.
#pragma once

#include <cstdint>

namespace fntk::backend {

/// max |x_j|; 0 for an empty row.
double largest_magnitude(const float* x, std::int64_t count);
double largest_magnitude(const double* x, std::int64_t count);

/// Digits of x·2^−exponent, |x_j| ≤ 2^exponent, most significant first: digits[a][j], a < count of digits.
void split_digits(const float* x, std::int64_t count, int exponent, double* const* digits, int how_many);
void split_digits(const double* x, std::int64_t count, int exponent, double* const* digits, int how_many);

/// out_j = x_j·2^shift rounded half to even, |out_j| ≤ 2^30 (int32) or 2^52 (int64).
void quantise(const double* x, std::int64_t count, int shift, std::int32_t* out);
void quantise(const double* x, std::int64_t count, int shift, std::int64_t* out);

}  // namespace fntk::backend

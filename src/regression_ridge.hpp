// What a ridge that is too small is answered with.
#pragma once

#include <fntk/matrix.hpp>

#include <algorithm>
#include <limits>

namespace fntk {

/// A ridge above the rounding errors of the element type, which shift eigenvalues by about eps·λ_max ≤
/// eps·n·mean(diag K), and twice what is_singular() takes for those of double.
inline double larger_ridge(double ridge, DType dtype, std::int64_t rows) {
    const double least = dtype == DType::f32 ? 4 * std::numeric_limits<float>::epsilon() : 0x1p-45;
    return std::max(10 * ridge, least * static_cast<double>(rows));
}

/// Whether the solution of a system in double, of n rows with a diagonal of that mean, is as large as
/// rounding alone makes it: an eigenvalue of zero is rounded to some multiple of ε·λ_max, and λ_max ≤
/// n·mean.
inline bool is_singular(double norm_of_solution, double norm_of_targets, double mean, std::int64_t rows) {
    return !(norm_of_solution * (static_cast<double>(rows) * 0x1p-46 * mean) <= norm_of_targets);
}

}  // namespace fntk

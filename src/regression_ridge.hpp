// What a ridge that is too small is answered with.
#pragma once

#include <fntk/matrix.hpp>

#include <algorithm>
#include <limits>

namespace fntk {

/// A ridge above the rounding errors of the element type, which shift eigenvalues by about eps·λ_max ≤
/// eps·n·mean(diag K).
inline double larger_ridge(double ridge, DType dtype, std::int64_t rows) {
    const double eps = dtype == DType::f32 ? std::numeric_limits<float>::epsilon()
                                           : std::numeric_limits<double>::epsilon();
    return std::max(10 * ridge, 4 * eps * static_cast<double>(rows));
}

}  // namespace fntk

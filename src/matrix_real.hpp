// What every function that takes numbers from a caller refuses alike.
#pragma once

#include <fntk/error.hpp>
#include <fntk/matrix.hpp>

#include <fmt/format.h>

namespace fntk {

/// Throws ValueError that names `argument` unless the matrix is f32 or f64.
inline void require_real_type(ConstMatrixView matrix, const char* argument) {
    if (matrix.dtype != DType::f32 && matrix.dtype != DType::f64)
        throw ValueError(
            fmt::format("{} holds {}: it must be float32 or float64; convert it with Matrix::converted",
                        argument, name(matrix.dtype)));
}

/// Throws ValueError that names `argument` unless the matrix is f32 or f64 and finite.
inline void require_real(ConstMatrixView matrix, const char* argument) {
    require_real_type(matrix, argument);
    require_finite(matrix, argument);
}

}  // namespace fntk

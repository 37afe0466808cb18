// What functions share that take matrices of host memory or the device's: new ones, what they refuse,
// single numbers, conversions.
#pragma once

#include "matrix_real.hpp"

#include <fntk/device.hpp>

#include <backend/ops.hpp>

#include <cmath>

namespace fntk {

/// Memory of the device for a matrix that is wholly written before it is read: its elements mean nothing.
inline Matrix unwritten(const Device& device, std::int64_t rows, std::int64_t cols, DType dtype) {
    return {device.ops().allocate_unwritten(rows, detail::row_bytes(cols, dtype)), rows, cols, dtype};
}
/// The same for bits; words behind those of a row stay as they are.
inline BitMatrix unwritten_bits(const Device& device, std::int64_t rows, std::int64_t cols) {
    return {device.ops().allocate_unwritten(rows, detail::bit_row_bytes(cols)), rows, cols};
}

/// require_finite of a real matrix in host memory or the device's: there by one number, so that rows and
/// columns are looked at only where one is to be named.
inline void require_finite(const Device& device, ConstMatrixView matrix, const char* argument) {
    if (matrix.place == Place::host) return require_finite(matrix, argument);
    const bool real = matrix.dtype == DType::f32 || matrix.dtype == DType::f64;
    if (real && !std::isfinite(device.ops().norm(device.staged(matrix))))
        require_finite(device.to_host(matrix), argument);
}

/// require_real in the same way.
inline void require_real(const Device& device, ConstMatrixView matrix, const char* argument) {
    require_real_type(matrix, argument);
    require_finite(device, matrix, argument);
}

/// A copy as double in the device's memory.
inline Matrix as_double(const Device& device, ConstMatrixView matrix) {
    if (matrix.place == Place::host) return device.to_device(Matrix::converted(matrix, DType::f64));
    Matrix result = unwritten(device, matrix.rows, matrix.cols, DType::f64);
    device.ops().axpby(1, device.staged(matrix), 0, result);
    return result;
}

/// One number of the device's memory.
inline double read(const Device& device, ConstMatrixView matrix, std::int64_t i, std::int64_t j) {
    return value(device.on_host(matrix.row_block(i, 1).col_block(j, 1)), 0, 0);
}

}  // namespace fntk

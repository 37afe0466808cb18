// The .npy format: magic "\x93NUMPY", version, header length (2 bytes in version 1, 4 in 2 and 3,
// little-endian), a Python dict {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } padded to a
// multiple of 64, then the data.
#pragma once

#include "mapped_file.hpp"

#include <fntk/matrix.hpp>

#include <string>

namespace fntk::detail {

/// A one- or two-dimensional little-endian array inside a mapped file; not necessarily aligned.
struct NpyArray {
    char kind = 'f';        ///< 'f' float, 'i' signed, 'u' unsigned; booleans are unsigned
    std::int64_t item = 4;  ///< bytes of one element: 1, 2, 4 or 8, for 'f' 2, 4 or 8
    std::int64_t rows = 0;
    std::int64_t cols = 0;    ///< 1 for a one-dimensional file
    bool by_columns = false;  ///< Fortran order: one column after the other
    const std::byte* data = nullptr;

    /// Of element (i, j).
    [[nodiscard]] const std::byte* at(std::int64_t i, std::int64_t j) const {
        return data + (by_columns ? j * rows + i : i * cols + j) * item;
    }
};

/// Checks header and length. Throws IoError (no .npy file, truncated, trailing bytes) or ValueError
/// (big-endian, another element type, another number of dimensions).
NpyArray read_npy(const MappedFile& file);

/// f32 or f64; throws ValueError for every other element type.
DType float_dtype(const NpyArray& array, const std::string& path);

/// Row `row` as double, cols values.
void read_row(const NpyArray& array, std::int64_t row, double* out);

/// Everything before the data of a rows × cols file: version 1, a multiple of 64 bytes.
std::string npy_header(std::int64_t rows, std::int64_t cols, DType dtype);

}  // namespace fntk::detail

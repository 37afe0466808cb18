// One shape for the three formats of data files: rows of numbers, read one row at a time as double, so that
// checking, normalising and rounding are written once and no file is held in memory twice.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace fntk::detail {

struct Table {
    std::string path;
    std::int64_t rows = 0;  ///< of the whole file
    std::int64_t cols = 0;
    /// Writes the cols values of a row below both rows and the max_rows it was opened with.
    std::function<void(std::int64_t row, double* out)> read;
};

/// What the numbers are for: inputs are real, and unsigned bytes stand for [0, 1]; labels are of any type.
enum class Content : std::uint8_t { inputs, labels };

/// The file by the ending of its name. `max_rows` > 0: only the first rows will be read, the others are
/// counted. Throws ValueError for an unknown ending, and what the three below throw.
Table open_table(const std::string& path, Content content, std::int64_t max_rows);

/// Comma separated numbers, one row a line; blank lines are skipped; the first line is a header when none
/// of its fields is a number. Throws IoError that names line and column (from 1) for ragged rows and for
/// text that is no number.
Table csv_table(const std::string& path, std::int64_t max_rows);

/// The MNIST family: big-endian bytes 0, 0, type, number of dimensions, then each as 4 bytes, then the
/// data; the first dimension counts rows, the others multiply to columns; plain or compressed by gzip.
/// Throws IoError when truncated, damaged or followed by more bytes.
Table idx_table(const std::string& path, Content content, std::int64_t max_rows);

/// Throws what read_npy throws, and for inputs ValueError unless they are float32 or float64.
Table npy_table(const std::string& path);

}  // namespace fntk::detail

// Data files for tests of load_dataset, and its options and results in the form in which they are compared.
#pragma once

#include "temp_folder.hpp"

#include <fntk/io.hpp>

#include <zlib.h>

#include <string>
#include <vector>

namespace fntk::test {

using Values = std::vector<double>;

/// Numbers as they stand in the file.
inline const LoadOptions raw{.dtype = DType::f64, .normalize = false};

inline LoadOptions with_labels(const std::string& path) {
    LoadOptions options = raw;
    options.labels = path;
    return options;
}

inline Values flat(const Matrix& matrix) {
    Values values;
    for (std::int64_t i = 0; i < matrix.rows(); ++i)
        for (std::int64_t j = 0; j < matrix.cols(); ++j) values.push_back(value(matrix, i, j));
    return values;
}

/// An idx file: type code, extents, data as it is.
inline std::string idx(int type, const std::vector<std::uint32_t>& shape, const std::string& data) {
    std::string bytes{0, 0, static_cast<char>(type), static_cast<char>(shape.size())};
    for (const std::uint32_t extent : shape)
        for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(extent >> shift & 255);
    return bytes + data;
}

/// Writes the bytes compressed and returns the path.
inline std::string write_gz(const TempFolder& folder, const std::string& name, const std::string& bytes) {
    gzFile file = ::gzopen(folder.path(name).c_str(), "wb");
    EXPECT_EQ(::gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())),
              static_cast<int>(bytes.size()));
    EXPECT_EQ(::gzclose(file), Z_OK);
    return folder.path(name);
}

}  // namespace fntk::test

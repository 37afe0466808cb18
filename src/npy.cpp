#include "npy.hpp"

#include "atomic_file.hpp"
#include "binary.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace fntk {
namespace detail {
namespace {

/// IEEE binary16: sign, 5 bits of exponent, 10 bits of fraction.
double from_half(std::uint16_t bits) {
    const int exponent = bits >> 10 & 31;
    const int fraction = bits & 1023;
    const double magnitude = exponent == 31  ? (fraction == 0 ? std::numeric_limits<double>::infinity()
                                                              : std::numeric_limits<double>::quiet_NaN())
                             : exponent == 0 ? std::ldexp(fraction, -24)
                                             : std::ldexp(fraction + 1024, exponent - 25);
    return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

/// Row `row` of elements of T.
template <class T, class Convert>
void widen(const NpyArray& array, std::int64_t row, double* out, const Convert& convert) {
    for (std::int64_t j = 0; j < array.cols; ++j) out[j] = convert(load<T>(array.at(row, j)));
}
template <class T>
void widen(const NpyArray& array, std::int64_t row, double* out) {
    widen<T>(array, row, out, [](T x) { return static_cast<double>(x); });
}

}  // namespace

DType float_dtype(const NpyArray& array, const std::string& path) {
    if (array.kind == 'f' && array.item == 4) return DType::f32;
    if (array.kind == 'f' && array.item == 8) return DType::f64;
    throw ValueError(
        fmt::format("{}: its element type is {}{}, float32 or float64 is wanted; save x.astype('<f4') or "
                    "x.astype('<f8')",
                    path, array.kind, array.item));
}

void read_row(const NpyArray& array, std::int64_t row, double* out) {
    const bool is_signed = array.kind == 'i';
    if (array.kind == 'f') {
        if (array.item == 4) return widen<float>(array, row, out);
        if (array.item == 8) return widen<double>(array, row, out);
        return widen<std::uint16_t>(array, row, out, from_half);
    }
    switch (array.item) {
        case 1:
            return is_signed ? widen<std::int8_t>(array, row, out) : widen<std::uint8_t>(array, row, out);
        case 2:
            return is_signed ? widen<std::int16_t>(array, row, out) : widen<std::uint16_t>(array, row, out);
        case 4:
            return is_signed ? widen<std::int32_t>(array, row, out) : widen<std::uint32_t>(array, row, out);
        default:
            return is_signed ? widen<std::int64_t>(array, row, out) : widen<std::uint64_t>(array, row, out);
    }
}

}  // namespace detail

struct MappedNpy::Mapping {
    explicit Mapping(const std::string& path) : file(path) {
        const detail::NpyArray array = detail::read_npy(file);
        const DType dtype = detail::float_dtype(array, path);
        view = {array.data, array.rows, array.cols, array.cols, dtype};
        // numpy aligns its data; a file of another writer may not, and is copied so that elements can be
        // addressed. So is one in Fortran order.
        if (!array.by_columns && reinterpret_cast<std::uintptr_t>(array.data) % size_of(dtype) == 0) return;
        aligned = Matrix(array.rows, array.cols, dtype);
        if (!array.by_columns && !view.empty())
            std::memcpy(aligned.view().data, array.data, static_cast<std::size_t>(aligned.bytes()));
        for (std::int64_t i = 0; array.by_columns && i < array.rows; ++i)
            for (std::int64_t j = 0; j < array.cols; ++j)
                std::memcpy(aligned.view().row_block(i, 1).col_block(j, 1).data, array.at(i, j),
                            size_of(dtype));
        view = aligned.view();
    }

    detail::MappedFile file;
    Matrix aligned;
    ConstMatrixView view;
};

MappedNpy::MappedNpy(const std::string& path) : mapping_(std::make_unique<Mapping>(path)) {}
MappedNpy::~MappedNpy() = default;
MappedNpy::MappedNpy(MappedNpy&&) noexcept = default;
MappedNpy& MappedNpy::operator=(MappedNpy&&) noexcept = default;

ConstMatrixView MappedNpy::view() const { return mapping_ == nullptr ? ConstMatrixView{} : mapping_->view; }

void save_npy(const std::string& path, ConstMatrixView matrix) {
    if (matrix.place != Place::host)
        throw ValueError(fmt::format(
            "{}: cannot save a matrix that lives on a device; copy it to the host first", path));
    if (matrix.rows < 0 || matrix.cols < 0)
        throw ValueError(
            fmt::format("{}: a matrix of {} × {} cannot be saved; extents must not be negative", path,
                        matrix.rows, matrix.cols));
    matrix.require_memory("the matrix to save");
    detail::AtomicFile file(path);
    file.write(detail::npy_header(matrix.rows, matrix.cols, matrix.dtype));
    const std::size_t row_bytes = static_cast<std::size_t>(matrix.cols) * size_of(matrix.dtype);
    if (!matrix.empty())
        for (std::int64_t i = 0; i < matrix.rows; ++i) file.write(matrix.row_block(i, 1).data, row_bytes);
    file.commit();
}

}  // namespace fntk

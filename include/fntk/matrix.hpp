// Matrices: row-major values of one of four element types. A view is six fields that own nothing; a Matrix
// owns its memory, moves, and copies only when asked. Either may lie in the memory of a device that the
// host cannot read: place() says so, and reading an element there throws.
#pragma once

#include <fntk/export.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace fntk {

enum class DType : std::uint8_t { f32, f64, i32, i64 };

/// Bytes of one element.
FNTK_API std::size_t size_of(DType dtype);
/// "float32", "float64", "int32", "int64".
FNTK_API const char* name(DType dtype);

/// The C++ types of the four. Others, unsigned char say, do not compile.
template <class T>
concept MatrixElement = std::is_same_v<T, float> || std::is_same_v<T, double> ||
    std::is_same_v<T, std::int32_t> || std::is_same_v<T, std::int64_t>;
template <MatrixElement T>
inline constexpr DType dtype_of = std::is_same_v<T, float>          ? DType::f32
                                  : std::is_same_v<T, double>       ? DType::f64
                                  : std::is_same_v<T, std::int32_t> ? DType::i32
                                                                    : DType::i64;

/// Whose memory an element lives in: the host's, or that of one handle of a device, Device::place(), which
/// alone knows when it may be read. Only host memory is read and written by row(), at(), value() and get().
class FNTK_API Place {
  public:
    static const Place host;
    constexpr Place() = default;  ///< host
    /// Of a new handle: like no other of this process.
    static Place unique();
    friend constexpr bool operator==(Place, Place) = default;

  private:
    std::uint32_t handle_ = 0;
};
inline constexpr Place Place::host{};

namespace detail {
/// Throws ValueError when a view of `have` is read as `want`.
FNTK_API void check_dtype(DType have, DType want);
/// The ValueError of a view at `place` that the host reads as `want`.
[[noreturn]] FNTK_API void refuse_read(Place place, DType have, DType want);
[[noreturn]] FNTK_API void refuse_null(const char* argument, std::int64_t rows, std::int64_t cols);
/// The ValueError of an `argument` that has to be in host memory.
[[noreturn]] FNTK_API void refuse_place(const char* argument);
/// Throws ValueError that names `argument` unless the host can read it.
inline void check_host(Place place, const char* argument = "matrix") {
    if (place != Place::host) refuse_place(argument);
}
}  // namespace detail

/// rows × cols elements; element (i, j) stands at data + (i·stride + j)·size_of(dtype). Owns nothing.
/// Byte is `std::byte` (writable) or `const std::byte`. Rows and columns that are asked for are not held to
/// the view's extents.
template <class Byte>
struct BasicMatrixView {
    Byte* data = nullptr;
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    std::int64_t stride = 0;
    DType dtype = DType::f32;
    Place place = Place::host;

    template <class T>
    using Element = std::conditional_t<std::is_const_v<Byte>, const T, T>;

    BasicMatrixView() = default;
    BasicMatrixView(Byte* data_, std::int64_t rows_, std::int64_t cols_, std::int64_t stride_, DType dtype_,
                    Place place_ = Place::host)
        : data(data_), rows(rows_), cols(cols_), stride(stride_), dtype(dtype_), place(place_) {}
    /// Memory of T: the host's, or that of `place`; rows lie `stride` elements apart.
    template <class T>
    BasicMatrixView(T* values, std::int64_t rows_, std::int64_t cols_, std::int64_t stride_,
                    Place place_ = Place::host) requires MatrixElement<std::remove_const_t<T>> &&
        (std::is_const_v<Byte> || !std::is_const_v<T>)
        : BasicMatrixView(reinterpret_cast<Byte*>(values), rows_, cols_, stride_,
                          dtype_of<std::remove_const_t<T>>, place_) {}
    /// Contiguous host memory of T.
    template <class T>
    BasicMatrixView(T* values, std::int64_t rows_,
                    std::int64_t cols_) requires MatrixElement<std::remove_const_t<T>> &&
        (std::is_const_v<Byte> || !std::is_const_v<T>)
        : BasicMatrixView(values, rows_, cols_, cols_) {}
    /// A writable view is a readable one.
    template <class To>
    operator BasicMatrixView<To>() const requires std::is_same_v<To, const Byte> {
        return {data, rows, cols, stride, dtype, place};
    }

    [[nodiscard]] bool empty() const { return rows == 0 || cols == 0; }
    [[nodiscard]] std::int64_t size() const { return rows * cols; }
    /// Throws ValueError that names `argument` when there are elements and no memory.
    void require_memory(const char* argument) const {
        if (data == nullptr && !empty()) detail::refuse_null(argument, rows, cols);
    }

    /// Row i as T; throws ValueError when T is not the element type or the host cannot read it.
    template <class T>
    [[nodiscard]] Element<T>* row(std::int64_t i) const {
        if (dtype != dtype_of<T> || place != Place::host) detail::refuse_read(place, dtype, dtype_of<T>);
        return reinterpret_cast<Element<T>*>(data) + i * stride;
    }
    template <class T>
    [[nodiscard]] Element<T>& at(std::int64_t i, std::int64_t j) const {
        return row<T>(i)[j];
    }
    /// The block of `count` rows from `first`.
    [[nodiscard]] BasicMatrixView row_block(std::int64_t first, std::int64_t count) const {
        return {offset(first * stride), count, cols, stride, dtype, place};
    }
    /// The block of `count` columns from `first`.
    [[nodiscard]] BasicMatrixView col_block(std::int64_t first, std::int64_t count) const {
        return {offset(first), rows, count, stride, dtype, place};
    }
    /// The elements of one row, or of rows that follow each other without a gap, as rows_ × cols_.
    [[nodiscard]] BasicMatrixView reshaped(std::int64_t rows_, std::int64_t cols_) const {
        return {data, rows_, cols_, cols_, dtype, place};
    }

  private:
    Byte* offset(std::int64_t elements) const {
        return data == nullptr ? nullptr : data + elements * static_cast<std::int64_t>(size_of(dtype));
    }
};

using MatrixView = BasicMatrixView<std::byte>;
using ConstMatrixView = BasicMatrixView<const std::byte>;

/// Memory taken by Matrix and BitMatrix in this process at one place, in bytes.
struct MemoryUse {
    std::int64_t current = 0;
    std::int64_t peak = 0;
};
/// What a backend takes for itself, such as workspaces on a GPU, is not in it. All places but the host's are
/// one here.
FNTK_API MemoryUse memory_use(Place place = Place::host);
/// Sets the peak of every place back to its current use.
FNTK_API void reset_memory_peak();

namespace detail {
/// Gives memory back to where it came from: `release`, which keeps the backend alive that it needs, or the
/// host's allocator when it is empty.
struct FreeMemory {
    std::int64_t bytes = 0;
    Place place = Place::host;
    std::function<void(std::byte*)> release;
    FNTK_API void operator()(std::byte* memory) const;
};
using Buffer = std::unique_ptr<std::byte, FreeMemory>;
/// Bytes of a row of `cols` elements, and of a BitMatrix's. Throw ValueError for a negative extent,
/// MemoryError beyond the address space.
FNTK_API std::int64_t row_bytes(std::int64_t cols, DType dtype);
FNTK_API std::int64_t bit_row_bytes(std::int64_t cols);
/// rows · bytes_per_row. Throws as they do.
FNTK_API std::int64_t extent_bytes(std::int64_t rows, std::int64_t bytes_per_row);
/// Zeroed host memory, aligned to 64 bytes. Throws MemoryError.
FNTK_API Buffer allocate(std::int64_t rows, std::int64_t bytes_per_row);
/// An extent, 0 once it has been moved from, as the memory then is.
class Extent {
  public:
    Extent(std::int64_t value = 0) : value_(value) {}
    Extent(Extent&& other) noexcept : value_(std::exchange(other.value_, 0)) {}
    Extent& operator=(Extent&& other) noexcept {
        value_ = std::exchange(other.value_, 0);
        return *this;
    }
    operator std::int64_t() const { return value_; }

  private:
    std::int64_t value_;
};
/// Memory of another place, counted in memory_use(place) until `release` gives it back; null for no bytes.
FNTK_API Buffer adopt(std::byte* memory, std::int64_t bytes, Place place,
                      std::function<void(std::byte*)> release);
}  // namespace detail

/// Owner of rows × cols zero-initialised elements, contiguous and row-major: of host memory aligned to 64
/// bytes, or of a device's (Device::zeros). Empty once it has been moved from.
class FNTK_API Matrix {
  public:
    Matrix() = default;
    /// Host memory. Throws ValueError for a negative extent, MemoryError when the memory cannot be had.
    Matrix(std::int64_t rows, std::int64_t cols, DType dtype);
    /// Owns memory that a backend gave for rows × cols elements.
    Matrix(detail::Buffer memory, std::int64_t rows, std::int64_t cols, DType dtype)
        : memory_(std::move(memory)), rows_(rows), cols_(cols), dtype_(dtype) {}
    /// A copy of any view of host memory, contiguous. Throws ValueError for a device's memory.
    static Matrix copy_of(ConstMatrixView source);
    /// A copy in another element type, from host memory to host memory; float to integer and int64 to int32
    /// are refused by ValueError.
    static Matrix converted(ConstMatrixView source, DType dtype);

    [[nodiscard]] Matrix copy() const { return copy_of(*this); }
    [[nodiscard]] std::int64_t rows() const { return rows_; }
    [[nodiscard]] std::int64_t cols() const { return cols_; }
    [[nodiscard]] DType dtype() const { return dtype_; }
    [[nodiscard]] Place place() const { return memory_.get_deleter().place; }
    [[nodiscard]] bool empty() const { return rows_ == 0 || cols_ == 0; }
    [[nodiscard]] std::int64_t bytes() const {
        return rows_ * cols_ * static_cast<std::int64_t>(size_of(dtype_));
    }

    [[nodiscard]] MatrixView view() { return {memory_.get(), rows_, cols_, cols_, dtype_, place()}; }
    [[nodiscard]] ConstMatrixView view() const {
        return {memory_.get(), rows_, cols_, cols_, dtype_, place()};
    }
    operator MatrixView() { return view(); }
    operator ConstMatrixView() const { return view(); }

    template <class T>
    [[nodiscard]] T* row(std::int64_t i) {
        return view().row<T>(i);
    }
    template <class T>
    [[nodiscard]] const T* row(std::int64_t i) const {
        return view().row<T>(i);
    }
    template <class T>
    [[nodiscard]] T& at(std::int64_t i, std::int64_t j) {
        return view().row<T>(i)[j];
    }
    template <class T>
    [[nodiscard]] const T& at(std::int64_t i, std::int64_t j) const {
        return view().row<T>(i)[j];
    }

  private:
    detail::Buffer memory_;
    detail::Extent rows_, cols_;
    DType dtype_ = DType::f32;
};

/// Element (i, j), which must be within it, of a floating-point or integer view as double.
FNTK_API double value(ConstMatrixView view, std::int64_t i, std::int64_t j);
/// Throws ValueError that names `argument` and the first row and column holding NaN or infinity, or when
/// there is no memory behind its elements.
FNTK_API void require_finite(ConstMatrixView view, const char* argument);

/// rows × cols bits: bit j of a row is bit j % 64 of its word j / 64 (little-endian: bit j % 8 of byte j /
/// 8). The bits behind `cols` in the last word are zero. Word is `std::uint64_t` or `const std::uint64_t`.
template <class Word>
struct BasicBitView {
    Word* words = nullptr;
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    std::int64_t stride = 0;  // words from one row to the next
    Place place = Place::host;

    template <class To>
    operator BasicBitView<To>() const requires std::is_same_v<To, const Word> {
        return {words, rows, cols, stride, place};
    }
    [[nodiscard]] bool empty() const { return words == nullptr || rows == 0 || cols == 0; }
    /// Throws ValueError when the host cannot read it.
    [[nodiscard]] Word* row(std::int64_t i) const {
        detail::check_host(place);
        return words + i * stride;
    }
    /// The block of `count` rows from `first`.
    [[nodiscard]] BasicBitView row_block(std::int64_t first, std::int64_t count) const {
        return {words == nullptr ? nullptr : words + first * stride, count, cols, stride, place};
    }
    [[nodiscard]] bool get(std::int64_t i, std::int64_t j) const {
        return (row(i)[j / 64] >> (j % 64)) & 1U;
    }
};
using BitView = BasicBitView<std::uint64_t>;
using ConstBitView = BasicBitView<const std::uint64_t>;

/// Owner of a BitView, all bits zero at first, in host memory or a device's (Device::zero_bits).
class FNTK_API BitMatrix {
  public:
    BitMatrix() = default;
    BitMatrix(std::int64_t rows, std::int64_t cols);
    /// Owns memory that a backend gave for rows of stride_of(cols) words.
    BitMatrix(detail::Buffer memory, std::int64_t rows, std::int64_t cols)
        : memory_(std::move(memory)), rows_(rows), cols_(cols) {}

    [[nodiscard]] std::int64_t rows() const { return rows_; }
    [[nodiscard]] std::int64_t cols() const { return cols_; }
    [[nodiscard]] Place place() const { return memory_.get_deleter().place; }
    [[nodiscard]] bool empty() const { return rows_ == 0 || cols_ == 0; }
    /// Words from row to row: ⌈cols/64⌉, and eight more where rows would lie a multiple of 2 KiB apart,
    /// which would keep a block of them to few sets of a cache.
    [[nodiscard]] static constexpr std::int64_t stride_of(std::int64_t cols) {
        const std::int64_t words = (cols + 63) / 64;
        return words + (words % 256 == 0 ? 8 : 0);
    }
    [[nodiscard]] std::int64_t words_per_row() const { return (cols_ + 63) / 64; }
    [[nodiscard]] std::int64_t bytes() const { return rows_ * stride_of(cols_) * 8; }
    [[nodiscard]] BitView view() {
        return {reinterpret_cast<std::uint64_t*>(memory_.get()), rows_, cols_, stride_of(cols_), place()};
    }
    [[nodiscard]] ConstBitView view() const {
        return {reinterpret_cast<const std::uint64_t*>(memory_.get()), rows_, cols_, stride_of(cols_),
                place()};
    }
    operator BitView() { return view(); }
    operator ConstBitView() const { return view(); }

  private:
    detail::Buffer memory_;
    detail::Extent rows_, cols_;
};

}  // namespace fntk

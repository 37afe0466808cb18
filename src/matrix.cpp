#include "matrix_finite.hpp"

#include <fntk/error.hpp>
#include <fntk/matrix.hpp>

#include <fmt/format.h>

#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace fntk {

std::size_t size_of(DType dtype) { return dtype == DType::f32 || dtype == DType::i32 ? 4 : 8; }

const char* name(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return "float32";
        case DType::f64:
            return "float64";
        case DType::i32:
            return "int32";
        case DType::i64:
            return "int64";
    }
    return "";
}

Place Place::unique() {
    static std::atomic<std::uint32_t> last{0};
    Place place;
    place.handle_ = ++last;
    return place;
}

namespace detail {
namespace {

struct Account {
    std::atomic<std::int64_t> current{0}, peak{0};

    void take(std::int64_t bytes) {
        const std::int64_t now = current += bytes;
        std::int64_t most = peak;
        while (now > most && !peak.compare_exchange_weak(most, now)) {
        }
    }
};
Account g_accounts[2];  // of the host, of all devices

Account& account(Place place) { return g_accounts[place == Place::host ? 0 : 1]; }

}  // namespace

void check_dtype(DType have, DType want) {
    if (have != want) refuse_read(Place::host, have, want);
}

void refuse_place(const char* argument) {
    throw ValueError(fmt::format("{} lies in a device's memory; copy it with Device::to_host", argument));
}

void refuse_null(const char* argument, std::int64_t rows, std::int64_t cols) {
    throw ValueError(fmt::format("{} is {} × {} without memory (a null pointer); give memory that holds it",
                                 argument, rows, cols));
}
void refuse_read(Place place, DType have, DType want) {
    check_host(place);
    throw ValueError(fmt::format("matrix holds {}, read as {}; convert it with Matrix::converted",
                                 name(have), name(want)));
}

void FreeMemory::operator()(std::byte* memory) const {
    if (release)
        release(memory);
    else
        std::free(memory);
    account(place).current -= bytes;
}

namespace {

constexpr std::int64_t address_space = std::int64_t{1} << 60;

void require_columns(std::int64_t cols, std::int64_t most) {
    if (cols < 0)
        throw ValueError(fmt::format("a matrix of {} columns: extents must not be negative", cols));
    if (cols > most)
        throw MemoryError(
            fmt::format("a row of {} columns does not fit the address space; use fewer columns", cols));
}

}  // namespace

std::int64_t row_bytes(std::int64_t cols, DType dtype) {
    const auto element = static_cast<std::int64_t>(size_of(dtype));
    require_columns(cols, address_space / element);
    return cols * element;
}

std::int64_t bit_row_bytes(std::int64_t cols) {
    require_columns(cols, address_space);
    return cols == 0 ? 0 : BitMatrix::stride_of(cols) * 8;
}

std::int64_t extent_bytes(std::int64_t rows, std::int64_t bytes_per_row) {
    if (rows < 0 || bytes_per_row < 0)
        throw ValueError(fmt::format("a matrix of {} rows of {} bytes: extents must not be negative", rows,
                                     bytes_per_row));
    std::int64_t bytes = 0;
    if (__builtin_mul_overflow(rows, bytes_per_row, &bytes) || bytes > address_space)
        throw MemoryError(fmt::format(
            "a matrix of {} rows of {} bytes does not fit the address space; use smaller blocks", rows,
            bytes_per_row));
    return bytes;
}

namespace {

// The address sanitizer sees the ends of what malloc gives, not those of mappings.
#ifdef __SANITIZE_ADDRESS__
constexpr std::int64_t mapped_from = std::numeric_limits<std::int64_t>::max();
#else
constexpr std::int64_t mapped_from = std::int64_t{2} << 20;
#endif
constexpr std::int64_t huge_page = std::int64_t{2} << 20, largest_page = std::int64_t{64} << 10;

/// Pages of the system's zeros, huge ones where it has them: each is zeroed when it is first touched, by
/// the thread that needs it, and given back as soon as it is freed. Null if they cannot be had.
std::byte* map_zeros(std::int64_t bytes) {
    const std::int64_t reserved = bytes + huge_page;
    void* const begin = mmap(nullptr, static_cast<std::size_t>(reserved), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (begin == MAP_FAILED) return nullptr;
    auto* const first = static_cast<std::byte*>(begin);
    const auto before = -reinterpret_cast<std::intptr_t>(first) & (huge_page - 1),
               after = huge_page - before;
    if (before > 0) munmap(first, static_cast<std::size_t>(before));
    if (after > 0) munmap(first + before + bytes, static_cast<std::size_t>(after));
    madvise(first + before, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
    return first + before;
}

}  // namespace

Buffer allocate(std::int64_t rows, std::int64_t bytes_per_row) {
    const std::int64_t bytes = extent_bytes(rows, bytes_per_row);
    if (bytes == 0) return {};
    const bool mapped = bytes >= mapped_from;
    const std::int64_t unit = mapped ? largest_page : 64, rounded = (bytes + unit - 1) / unit * unit;
    const auto size = static_cast<std::size_t>(rounded);
    auto* memory = mapped ? map_zeros(rounded) : static_cast<std::byte*>(std::aligned_alloc(64, size));
    if (memory == nullptr)
        throw MemoryError(fmt::format(
            "{} bytes for a matrix of {} rows cannot be had; use fewer rows at a time", bytes, rows));
    account(Place::host).take(rounded);
    if (mapped)
        return Buffer(memory,
                      FreeMemory{rounded, Place::host, [size](std::byte* zeros) { munmap(zeros, size); }});
    std::memset(memory, 0, size);
    return Buffer(memory, FreeMemory{rounded, Place::host, {}});
}

Buffer adopt(std::byte* memory, std::int64_t bytes, Place place, std::function<void(std::byte*)> release) {
    if (memory != nullptr) account(place).take(bytes);
    return Buffer(memory, FreeMemory{bytes, place, std::move(release)});
}

}  // namespace detail

MemoryUse memory_use(Place place) {
    const detail::Account& account = detail::account(place);
    return {account.current, account.peak};
}
void reset_memory_peak() {
    for (detail::Account& account : detail::g_accounts) account.peak = account.current.load();
}

Matrix::Matrix(std::int64_t rows, std::int64_t cols, DType dtype)
    : memory_(detail::allocate(rows, detail::row_bytes(cols, dtype))),
      rows_(rows),
      cols_(cols),
      dtype_(dtype) {}

Matrix Matrix::copy_of(ConstMatrixView source) {
    detail::check_host(source.place, "Matrix::copy_of reads host memory; its source");
    source.require_memory("the source of Matrix::copy_of");
    Matrix result(source.rows, source.cols, source.dtype);
    const auto element = static_cast<std::int64_t>(size_of(source.dtype));
    if (source.empty()) return result;
    for (std::int64_t i = 0; i < source.rows; ++i)
        std::memcpy(result.memory_.get() + i * result.cols_ * element,
                    source.data + i * source.stride * element,
                    static_cast<std::size_t>(source.cols * element));
    return result;
}

namespace {

template <class F>
void with_type(DType dtype, F&& f) {
    switch (dtype) {
        case DType::f32:
            return f(float{});
        case DType::f64:
            return f(double{});
        case DType::i32:
            return f(std::int32_t{});
        case DType::i64:
            return f(std::int64_t{});
    }
}

}  // namespace

Matrix Matrix::converted(ConstMatrixView source, DType dtype) {
    detail::check_host(source.place, "Matrix::converted reads host memory; its source");
    source.require_memory("the source of Matrix::converted");
    const bool from_real = source.dtype == DType::f32 || source.dtype == DType::f64;
    const bool to_real = dtype == DType::f32 || dtype == DType::f64;
    if (!to_real && (from_real || size_of(dtype) < size_of(source.dtype)))
        throw ValueError(fmt::format("a {} matrix cannot become {}: it would lose its {}",
                                     name(source.dtype), name(dtype),
                                     from_real ? "fractions" : "upper bits"));
    if (source.dtype == dtype) return copy_of(source);
    Matrix result(source.rows, source.cols, dtype);
    if (source.empty()) return result;
    with_type(source.dtype, [&](auto from) {
        with_type(dtype, [&](auto to) {
            using From = decltype(from);
            using To = decltype(to);
            for (std::int64_t i = 0; i < source.rows; ++i) {
                const From* in = source.row<From>(i);
                To* out = result.row<To>(i);
                for (std::int64_t j = 0; j < source.cols; ++j) out[j] = static_cast<To>(in[j]);
            }
        });
    });
    return result;
}

double value(ConstMatrixView view, std::int64_t i, std::int64_t j) {
    double result = 0;
    with_type(view.dtype, [&](auto type) { result = static_cast<double>(view.row<decltype(type)>(i)[j]); });
    return result;
}

void require_finite(ConstMatrixView view, const char* argument) {
    view.require_memory(argument);
    if (view.empty()) return;
    with_type(view.dtype, [&](auto type) {
        using T = decltype(type);
        if constexpr (std::is_floating_point_v<T>) {
            for (std::int64_t i = 0; i < view.rows; ++i) {
                const T* row = view.row<T>(i);
                const std::int64_t j = first_not_finite(row, view.cols);
                if (j >= 0)
                    throw ValueError(
                        fmt::format("{} holds {} at row {}, column {}; every value must be finite: "
                                    "remove or impute it",
                                    argument, row[j], i, j));
            }
        }
    });
}

BitMatrix::BitMatrix(std::int64_t rows, std::int64_t cols)
    : memory_(detail::allocate(rows, detail::bit_row_bytes(cols))), rows_(rows), cols_(cols) {}

}  // namespace fntk

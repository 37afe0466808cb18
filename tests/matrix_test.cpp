// Matrix, BitMatrix and their views: whose memory, which type, how large.
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>

#include <cstdint>
#include <limits>
#include <tuple>
#include <type_traits>

namespace fntk {
namespace {

using namespace test;

constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();

// A type that a view cannot hold is refused by the compiler.
template <class T>
constexpr bool viewable = std::is_constructible_v<ConstMatrixView, const T*, std::int64_t, std::int64_t>;
static_assert(viewable<float> && viewable<double> && viewable<std::int32_t> && viewable<std::int64_t>);
static_assert(!viewable<std::uint8_t> && !viewable<std::uint32_t> && !viewable<std::uint64_t> &&
              !viewable<long double> && !viewable<bool> && !viewable<std::byte>);
static_assert(!std::is_convertible_v<ConstMatrixView, MatrixView>);

TEST(Matrix, IsZeroedAlignedAndEmptyOnceMovedFrom) {
    // 600 × 1024 doubles are mapped pages, the others the allocator's
    for (const auto& [rows, cols] : {std::pair{3, 5}, {1, 1}, {600, 1024}}) {
        Matrix matrix(rows, cols, DType::f64);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(matrix.view().data) % 64, 0U);
        EXPECT_EQ(matrix.bytes(), rows * cols * 8);
        for (std::int64_t i = 0; i < rows; ++i)
            for (std::int64_t j = 0; j < cols; ++j) ASSERT_EQ(matrix.at<double>(i, j), 0);
        matrix.at<double>(rows - 1, cols - 1) = 7;
        const Matrix other = std::move(matrix);
        EXPECT_EQ(other.at<double>(rows - 1, cols - 1), 7);
        EXPECT_TRUE(matrix.empty());  // NOLINT(bugprone-use-after-move)
        EXPECT_EQ(matrix.rows(), 0);
        EXPECT_EQ(matrix.bytes(), 0);
    }
}

TEST(Matrix, WithoutElementsNeedsNoMemory) {
    for (const auto& [rows, cols] : {std::pair{std::int64_t{0}, std::int64_t{5}}, {5, 0}, {0, 0}}) {
        const Matrix matrix(rows, cols, DType::f32);
        EXPECT_TRUE(matrix.empty());
        EXPECT_EQ(Matrix::copy_of(matrix).rows(), rows);
        EXPECT_EQ(Matrix::converted(matrix, DType::f64).cols(), cols);
        EXPECT_NO_THROW(require_finite(matrix, "x"));
        const BitMatrix bits(rows, cols);
        EXPECT_TRUE(bits.empty());
    }
    const Matrix many(std::int64_t{1} << 62, 0, DType::f32);  // rows that nobody walks along
    EXPECT_EQ(Matrix::converted(many, DType::f64).rows(), many.rows());
    EXPECT_NO_THROW(require_finite(many, "x"));
}

TEST(Matrix, RefusesExtentsBelowZeroAndBeyondTheAddressSpace) {
    for (const DType dtype : {DType::f32, DType::f64, DType::i32, DType::i64}) {
        EXPECT_THROW(Matrix(-1, 2, dtype), ValueError);
        EXPECT_THROW(Matrix(2, -1, dtype), ValueError);
        EXPECT_THROW(Matrix(0, -1, dtype), ValueError);
        // 2⁶¹ · 8 and 2⁶² · 4 are 0 in 64 bits
        for (const std::int64_t cols : {std::int64_t{1} << 61, std::int64_t{1} << 62, largest}) {
            EXPECT_THROW(Matrix(2, cols, dtype), MemoryError) << cols;
            EXPECT_THROW(Matrix(cols, 2, dtype), MemoryError) << cols;
        }
        EXPECT_THROW(Matrix(std::int64_t{1} << 31, std::int64_t{1} << 31, dtype), MemoryError);
    }
    EXPECT_THROW(BitMatrix(-1, 2), ValueError);
    EXPECT_THROW(BitMatrix(2, -1), ValueError);
    EXPECT_THROW(BitMatrix(1, largest), MemoryError);
    EXPECT_THROW(BitMatrix(largest, 1), MemoryError);
    for (const char* name : {"cpu", "reference"}) {
        const Device device = Device::open(name, 1);
        EXPECT_THROW((void)device.zeros(2, std::int64_t{1} << 61, DType::f64), MemoryError);
        EXPECT_THROW((void)device.zeros(2, -1, DType::f64), ValueError);
        EXPECT_THROW((void)device.zero_bits(1, largest), MemoryError);
    }
    expect_parts(error_of<MemoryError>([] { Matrix(1, largest, DType::f64); }),
                 {"9223372036854775807 columns", "fewer columns"});
}

TEST(Matrix, IsReadAsWhatItHolds) {
    Matrix matrix(2, 2, DType::f32);
    EXPECT_NO_THROW((void)matrix.row<float>(0));
    expect_parts(error_of<ValueError>([&] { (void)matrix.row<double>(0); }),
                 {"float32", "float64", "Matrix::converted"});
    EXPECT_THROW((void)matrix.at<std::int32_t>(0, 0), ValueError);
    MatrixView elsewhere = matrix.view();
    elsewhere.place = Place::unique();
    expect_parts(error_of<ValueError>([&] { (void)elsewhere.row<float>(0); }),
                 {"device's memory", "to_host"});
    EXPECT_THROW((void)Matrix::copy_of(elsewhere), ValueError);
    EXPECT_THROW((void)Matrix::converted(elsewhere, DType::f64), ValueError);
}

TEST(Matrix, ViewsOfBlocksReachTheSameElements) {
    Matrix matrix(6, 5, DType::i32);
    for (std::int32_t i = 0; i < 6; ++i)
        for (std::int32_t j = 0; j < 5; ++j) matrix.at<std::int32_t>(i, j) = 10 * i + j;
    const MatrixView block = matrix.view().row_block(2, 3).col_block(1, 2);
    EXPECT_EQ(std::tuple(block.rows, block.cols, block.stride), std::tuple(3, 2, 5));
    EXPECT_EQ(block.at<std::int32_t>(2, 1), 42);
    block.at<std::int32_t>(0, 0) = -1;
    EXPECT_EQ(matrix.at<std::int32_t>(2, 1), -1);
    const Matrix copy = Matrix::copy_of(block);
    EXPECT_EQ(value(copy, 0, 0), -1);
    EXPECT_EQ(value(copy, 2, 1), 42);
    const ConstMatrixView flat = matrix.view().reshaped(10, 3);
    EXPECT_EQ(flat.at<std::int32_t>(9, 2), 54);
    EXPECT_EQ(flat.at<std::int32_t>(2, 0), 11);
    const MatrixView none(nullptr, 0, 3, 3, DType::f32);
    EXPECT_EQ(none.row_block(0, 0).data, nullptr);
}

TEST(Matrix, IsConvertedWhereNothingIsLostButDigits) {
    const Matrix reals = rows_of({{0.1, -3}, {1e30, 7}});
    const Matrix narrow = Matrix::converted(reals, DType::f32);
    EXPECT_EQ(narrow.at<float>(0, 0), 0.1F);
    EXPECT_EQ(value(Matrix::converted(narrow, DType::f64), 1, 0), static_cast<double>(1e30F));
    EXPECT_THROW((void)Matrix::converted(reals, DType::i64), ValueError);
    Matrix whole(1, 2, DType::i64);
    whole.at<std::int64_t>(0, 0) = (std::int64_t{1} << 40) + 1;
    EXPECT_EQ(value(Matrix::converted(whole, DType::f64), 0, 0), 0x1p40 + 1);
    expect_parts(error_of<ValueError>([&] { (void)Matrix::converted(whole, DType::i32); }),
                 {"int64", "int32", "upper bits"});
    Matrix small(1, 1, DType::i32);
    small.at<std::int32_t>(0, 0) = -5;
    EXPECT_EQ(Matrix::converted(small, DType::i64).at<std::int64_t>(0, 0), -5);
    const ConstMatrixView nowhere(static_cast<const float*>(nullptr), 2, 2);
    for (const auto& action : {+[](ConstMatrixView x) { (void)Matrix::copy_of(x); },
                               +[](ConstMatrixView x) { (void)Matrix::converted(x, DType::f64); },
                               +[](ConstMatrixView x) { require_finite(x, "x"); }})
        EXPECT_THROW(action(nowhere), ValueError);
}

TEST(Matrix, NamesTheFirstEntryThatIsNotFinite) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN(),
                     infinity = std::numeric_limits<double>::infinity();
    for (const DType dtype : {DType::f32, DType::f64})
        for (const double bad : {nan, infinity, -infinity})
            for (const std::int64_t column : {0, 16, 36}) {  // begin, middle and odd end of a row
                Matrix matrix = Matrix::converted(normals(4, 37, 1), dtype);
                const auto set = [&](std::int64_t i, std::int64_t j) {
                    if (dtype == DType::f32)
                        matrix.at<float>(i, j) = static_cast<float>(bad);
                    else
                        matrix.at<double>(i, j) = bad;
                };
                require_finite(matrix, "x");
                set(3, 5);
                set(2, column);
                expect_parts(error_of<ValueError>([&] { require_finite(matrix, "x"); }),
                             {"x holds", "row 2, column " + std::to_string(column)});
                EXPECT_NO_THROW(require_finite(matrix.view().row_block(0, 2), "x"));
            }
}

TEST(MemoryUse, CountsWhatMatricesTake) {
    const std::int64_t before = memory_use().current;
    reset_memory_peak();
    {
        const Matrix matrix(1000, 100, DType::f64);
        EXPECT_GE(memory_use().current - before, matrix.bytes());
        EXPECT_LT(memory_use().current - before, matrix.bytes() + (64 << 10));
        const BitMatrix bits(100, 6400);
        EXPECT_GE(memory_use().current - before, matrix.bytes() + bits.bytes());
    }
    EXPECT_EQ(memory_use().current, before);
    EXPECT_GE(memory_use().peak - before, 880000);
    reset_memory_peak();
    EXPECT_EQ(memory_use().peak, before);
}

TEST(BitMatrix, HoldsABitAnEntryAndRowsOfWholeWords) {
    for (const std::int64_t cols : {1, 63, 64, 65, 16384}) {
        BitMatrix bits(3, cols);
        EXPECT_EQ(bits.words_per_row(), (cols + 63) / 64);
        EXPECT_EQ(BitMatrix::stride_of(cols) % 256 == 0, false) << "rows a multiple of 2 KiB apart";
        EXPECT_EQ(bits.bytes(), 3 * 8 * BitMatrix::stride_of(cols));
        const BitView view = bits;
        view.row(1)[(cols - 1) / 64] |= std::uint64_t{1} << ((cols - 1) % 64);
        for (std::int64_t i = 0; i < 3; ++i)
            for (std::int64_t j = 0; j < cols; ++j) ASSERT_EQ(view.get(i, j), i == 1 && j == cols - 1);
        EXPECT_TRUE(view.row_block(1, 2).get(0, cols - 1));
        BitView elsewhere = view;
        elsewhere.place = Place::unique();
        EXPECT_THROW((void)elsewhere.get(0, 0), ValueError);
    }
}

}  // namespace
}  // namespace fntk

// Matrices for the tests of kernels: views in the kernels' words, and rows that stand further apart than
// they are wide, with a guard between them.
#pragma once

#include "host_grid.hpp"
#include "support.hpp"

namespace fntk::test {

template <class T>
kernels::Rows<T> kernel_rows(MatrixView view) {
    return {view.row<T>(0), view.rows, view.cols, view.stride};
}
template <class T>
kernels::Rows<const T> kernel_rows_in(ConstMatrixView view) {
    return {view.row<T>(0), view.rows, view.cols, view.stride};
}

/// rows × cols of T in memory with 3 more columns; `intact()` says whether those were left alone.
template <class T>
class Padded {
  public:
    Padded(std::int64_t rows, std::int64_t cols, T fill = T(0)) : all_(rows, cols + gap, dtype_of<T>) {
        for (std::int64_t i = 0; i < rows; ++i)
            for (std::int64_t j = 0; j < cols + gap; ++j) all_.at<T>(i, j) = j < cols ? fill : guard;
    }
    /// A copy of `source`, converted.
    explicit Padded(ConstMatrixView source) : Padded(source.rows, source.cols) {
        for (std::int64_t i = 0; i < source.rows; ++i)
            for (std::int64_t j = 0; j < source.cols; ++j)
                all_.at<T>(i, j) = static_cast<T>(value(source, i, j));
    }

    MatrixView view() { return all_.view().col_block(0, all_.cols() - gap); }
    operator MatrixView() { return view(); }
    operator ConstMatrixView() { return view(); }
    kernels::Rows<T> rows() { return kernel_rows<T>(view()); }
    kernels::Rows<const T> rows_in() { return kernel_rows_in<T>(view()); }
    T& at(std::int64_t i, std::int64_t j) { return all_.at<T>(i, j); }

    [[nodiscard]] bool intact() const {
        for (std::int64_t i = 0; i < all_.rows(); ++i)
            for (std::int64_t j = all_.cols() - gap; j < all_.cols(); ++j)
                if (all_.at<T>(i, j) != guard) return false;
        return true;
    }

  private:
    static constexpr std::int64_t gap = 3;
    static constexpr T guard = T(77);
    Matrix all_;
};

/// Both sides as numbers: equal everywhere (−0 equals 0).
inline ::testing::AssertionResult same_values(ConstMatrixView a, ConstMatrixView b) {
    if (a.rows != b.rows || a.cols != b.cols) return ::testing::AssertionFailure() << "other extents";
    for (std::int64_t i = 0; i < a.rows; ++i)
        for (std::int64_t j = 0; j < a.cols; ++j)
            if (value(a, i, j) != value(b, i, j))
                return ::testing::AssertionFailure()
                       << '(' << i << ", " << j << "): " << value(a, i, j) << " and not " << value(b, i, j);
    return ::testing::AssertionSuccess();
}

/// |a − b| ≤ tolerance·scale elementwise, scale the largest of |b| and 1e-300.
inline ::testing::AssertionResult near_values(ConstMatrixView a, ConstMatrixView b, double tolerance) {
    if (a.rows != b.rows || a.cols != b.cols) return ::testing::AssertionFailure() << "other extents";
    double scale = 1e-300;
    for (std::int64_t i = 0; i < b.rows; ++i)
        for (std::int64_t j = 0; j < b.cols; ++j) scale = std::max(scale, std::abs(value(b, i, j)));
    for (std::int64_t i = 0; i < a.rows; ++i)
        for (std::int64_t j = 0; j < a.cols; ++j)
            if (!(std::abs(value(a, i, j) - value(b, i, j)) <= tolerance * scale))
                return ::testing::AssertionFailure()
                       << '(' << i << ", " << j << "): " << value(a, i, j) << " and not " << value(b, i, j)
                       << " within " << tolerance << " of " << scale;
    return ::testing::AssertionSuccess();
}

/// f(T{}) for T = float and double.
template <class F>
void for_both_reals(const F& f) {
    f(float{});
    f(double{});
}

struct Extents {
    std::int64_t rows, cols;
};
/// Shapes around the sizes of warps and tiles, and empty ones.
inline constexpr Extents shapes[] = {{0, 5},  {3, 0},   {1, 1},   {1, 31},  {31, 1},
                                     {33, 2}, {32, 32}, {31, 33}, {5, 257}, {257, 10}};

/// A few of them, for what takes long.
inline constexpr Extents few_shapes[] = {{0, 5}, {1, 1}, {33, 31}, {3, 257}};

}  // namespace fntk::test

// Columns with numbers of their own: f64, 1 × s. Sums and quotients stay on the device.
//     CombineColumns      y_ij = a·alpha_j·x_ij + b·beta_j·y_ij; no alpha or beta: 1; b = 0: y is not read
//     ColumnDots          slot r, column j: Σ x_ij y_ij over the rows of the slot, in double
//     FinishColumnDots    sums_j = Σ over the slots
//     SquareRoots, Divide, KeepAbove: as in ops.hpp
//
// The trees of the sums depend on the shape alone. A block of ColumnDots has 256 / width rows at a time,
// width the power of two that covers s, 256 at most: neighbouring threads stand on neighbouring columns.
// What threads of one column have found meets in shared memory, halving by halving. FinishColumnDots has a
// warp a column.
#pragma once

#include "elements.hpp"
#include "row_lanes.hpp"

#include <cmath>

namespace fntk::kernels {

template <class T>
struct CombineColumns {
    static constexpr int max_threads = element_threads;

    double a = 1;
    const double* alpha = nullptr;
    Rows<const T> x;
    double b = 0;
    const double* beta = nullptr;
    Rows<T> y;

    Launch launch(const DeviceLimits& limits) const { return element_launch(y.rows, y.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_element(grid, y.rows, y.cols, [&](std::int64_t i, std::int64_t j) {
            double sum = a * (alpha == nullptr ? 1.0 : alpha[j]) * static_cast<double>(x.row(i)[j]);
            T& to = y.row(i)[j];
            if (b != 0) sum += b * (beta == nullptr ? 1.0 : beta[j]) * static_cast<double>(to);
            to = static_cast<T>(sum);
        });
    }
};

/// How a matrix is cut for the sums of its columns.
struct ColumnSlots {
    int width = 1;  // threads that stand side by side
    std::int64_t rows_per_slot = 1, slots = 1;

    FNTK_HD ColumnSlots(std::int64_t rows, std::int64_t cols) {
        while (width < cols && width < element_threads) width *= 2;
        const std::int64_t side = element_threads / width;
        rows_per_slot = larger<std::int64_t>(8 * side, ceil_div(ceil_div(rows, 1024), side) * side);
        slots = larger<std::int64_t>(1, ceil_div(rows, rows_per_slot));
    }
};

template <class T>
struct ColumnDots {
    static constexpr int max_threads = element_threads;

    Rows<const T> x, y;
    double* sums = nullptr;  // slots × s

    Launch launch(const DeviceLimits& limits) const {
        return {smaller<std::int64_t>(ColumnSlots(x.rows, x.cols).slots, 8 * limits.multiprocessors),
                element_threads, shared_size<double>(element_threads)};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        double* found = grid.template shared<double>(element_threads);
        const ColumnSlots cut(x.rows, x.cols);
        const int place = grid.thread() % cut.width, down = grid.thread() / cut.width,
                  side = element_threads / cut.width;
        for (std::int64_t slot = grid.block(); slot < cut.slots; slot += grid.blocks())
            for (std::int64_t first = 0; first < x.cols; first += cut.width) {
                const std::int64_t j = first + place, end = smaller(x.rows, (slot + 1) * cut.rows_per_slot);
                double sum = 0;
                for (std::int64_t i = slot * cut.rows_per_slot + down; i < end && j < x.cols; i += side)
                    sum += static_cast<double>(x.row(i)[j]) * static_cast<double>(y.row(i)[j]);
                found[grid.thread()] = sum;
                grid.sync();
                for (int half = element_threads / 2; half >= cut.width; half /= 2) {
                    if (grid.thread() < half) found[grid.thread()] += found[grid.thread() + half];
                    grid.sync();
                }
                if (down == 0 && j < x.cols) sums[slot * x.cols + j] = found[place];
                grid.sync();  // read, before the next columns are written
            }
    }
};

struct FinishColumnDots {
    static constexpr int max_threads = element_threads;

    const double* sums = nullptr;  // slots × s
    std::int64_t slots = 0, cols = 0;
    double* out = nullptr;  // 1 × s

    Launch launch(const DeviceLimits& limits) const {
        return {smaller<std::int64_t>(ceil_div(cols, warps), 8 * limits.multiprocessors), max_threads, 0};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for (std::int64_t j = grid.block() * warps + grid.warp(); j < cols; j += grid.blocks() * warps) {
            double sum = 0;
            for (std::int64_t slot = grid.lane(); slot < slots; slot += warp_size)
                sum += sums[slot * cols + j];
            sum = reduce_lanes(grid, sum, warp_size, Sum());
            if (grid.lane() == 0) out[j] = sum;
        }
    }

  private:
    static constexpr int warps = max_threads / warp_size;
};

struct SquareRoots {
    static constexpr int max_threads = element_threads;

    double* v = nullptr;
    std::int64_t cols = 0;

    Launch launch(const DeviceLimits& limits) const { return element_launch(1, cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_element(grid, 1, cols, [&](std::int64_t, std::int64_t j) { v[j] = std::sqrt(v[j]); });
    }
};

/// a/b for b > 0, else 0. *least, where there is one and a ≠ 0, becomes the smaller of it and b, until it
/// is not positive or NaN: that stays.
FNTK_HD inline double quotient(double a, double b, double* least) {
    if (least != nullptr && a != 0 && *least > 0 && !(*least <= b)) *least = b;
    return b > 0 ? a / b : 0;
}

struct Divide {
    static constexpr int max_threads = element_threads;

    const double* a = nullptr;
    const double* b = nullptr;
    double* quotients = nullptr;
    double* least = nullptr;  // none: not wanted
    std::int64_t cols = 0;

    Launch launch(const DeviceLimits& limits) const { return element_launch(1, cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_element(grid, 1, cols, [&](std::int64_t, std::int64_t j) {
            quotients[j] = quotient(a[j], b[j], least == nullptr ? nullptr : least + j);
        });
    }
};

struct KeepAbove {
    static constexpr int max_threads = element_threads;

    const double* x = nullptr;
    const double* limit = nullptr;
    double* v = nullptr;
    double* count = nullptr;
    std::int64_t cols = 0;

    Launch launch(const DeviceLimits& limits) const { return element_launch(1, cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_element(grid, 1, cols, [&](std::int64_t, std::int64_t j) {
            if (x[j] > limit[j])
                count[j] += 1;
            else
                v[j] = 0;
        });
    }
};

}  // namespace fntk::kernels

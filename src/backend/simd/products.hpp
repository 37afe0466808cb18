// Products of blocks that stay in a core's cache, compiled for every instruction set and chosen at run
// time. With a hundred columns, BLAS would spend as long on laying out its operands anew as on multiplying
// them.
#pragma once

#include <cstdint>

namespace fntk::backend {

/// Columns that stand side by side in a panel on the instruction set in use: two vectors of T.
template <class T>
std::int64_t panel_width();
template <>
std::int64_t panel_width<float>();
template <>
std::int64_t panel_width<double>();

/// Columns in whole panels.
template <class T>
std::int64_t panelled(std::int64_t cols) {
    const std::int64_t width = panel_width<T>();
    return (cols + width - 1) / width * width;
}

/// B (rows × cols), its rows `stride` apart, in panels of rows × width: panelled(cols)·rows numbers, 0 past
/// the last column. factors: what row l is multiplied by, or null.
void pack_panels(const float* b, std::int64_t stride, std::int64_t rows, std::int64_t cols,
                 const float* factors, float* panels);
void pack_panels(const double* b, std::int64_t stride, std::int64_t rows, std::int64_t cols,
                 const double* factors, double* panels);

/// A, with entry (i, l) at first[i·row + l·step].
template <class T>
struct Strides {
    const T* first = nullptr;
    std::int64_t row = 0, step = 0;
};

/// Memory that is read after a product: a few of its lines are fetched with every tile.
struct Ahead {
    const void* first = nullptr;
    std::int64_t bytes = 0;
};

/// C (rows × panelled cols, rows `stride` apart) = or, to `accumulate`, += A B; A: rows × depth, B: depth ×
/// cols in panels.
template <class T>
struct BlockProduct {
    Strides<T> a;
    std::int64_t rows = 0, depth = 0, cols = 0;
    const T* panels = nullptr;
    bool accumulate = false;
    T* c = nullptr;
    std::int64_t stride = 0;
    Ahead ahead[2];
};
void multiply(const BlockProduct<float>& of);
void multiply(const BlockProduct<double>& of);

/// <a, b>, summed in the lanes of T.
float dot(const float* a, const float* b, std::int64_t count);
double dot(const double* a, const double* b, std::int64_t count);

}  // namespace fntk::backend

// What tiles of kernels and products with operators share: their checks, and vectors brought to the device.
#pragma once

#include <fntk/error.hpp>
#include <fntk/kernel.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

namespace fntk {

/// Throws ShapeError where rows that are written would meet.
inline void require_rows_apart(ConstMatrixView view, const char* argument) {
    if (view.rows > 1 && view.stride < view.cols)
        throw ShapeError(
            fmt::format("{} has {} columns and a stride of {}: its rows would meet; give a "
                        "stride of at least the columns",
                        argument, view.cols, view.stride));
}

/// `count` samples of a batch of `size`, from `first`.
struct SampleRange {
    std::int64_t first = 0, count = 0, size = 0;
};
/// Throws unless the ranges lie in their batches and `out` is a tile of them, k rows a sample, on the
/// device.
inline void check_tile(SampleRange rows, SampleRange cols, ConstMatrixView out, DType precision,
                       const Device& device, std::int64_t k = 1) {
    for (const auto& [range, what] : {std::pair{rows, "rows"}, std::pair{cols, "cols"}})
        if (range.first < 0 || range.count < 0 || range.first > range.size - range.count)
            throw ShapeError(fmt::format("{} from {}, {} of them, leave the batch of {} samples", what,
                                         range.first, range.count, range.size));
    if (out.rows != rows.count * k || out.cols != cols.count * k)
        throw ShapeError(fmt::format("out is {} × {}; the tile is {} × {}", out.rows, out.cols,
                                     rows.count * k, cols.count * k));
    if (out.dtype != precision || out.place != device.place())
        throw ValueError(fmt::format("out holds {}; it must hold {} in the memory of the device",
                                     name(out.dtype), name(precision)));
    out.require_memory("out");
    require_rows_apart(out, "out");
}

/// Whether two views of one place and element type have an element in common.
inline bool overlap(ConstMatrixView a, ConstMatrixView b) {
    if (a.place != b.place || a.empty() || b.empty()) return false;
    const auto size = static_cast<std::int64_t>(size_of(a.dtype));
    const auto begin = [](ConstMatrixView x) { return reinterpret_cast<std::intptr_t>(x.data); };
    const auto end = [&](ConstMatrixView x) {
        return begin(x) + ((x.rows - 1) * x.stride + x.cols) * size;
    };
    if (end(a) <= begin(b) || end(b) <= begin(a)) return false;
    if (a.rows == 1 || b.rows == 1 || a.stride != b.stride) return true;
    // Columns of one matrix: from those of a to those of b.
    const std::int64_t apart = (begin(b) - begin(a)) / size,
                       shift = (apart % a.stride + a.stride) % a.stride;
    return shift < a.cols || shift + b.cols > a.stride;
}

/// Throws unless out = op·v is a product.
inline void check_product(const LinearOperator& op, ConstMatrixView v, ConstMatrixView out) {
    if (v.rows != op.cols() || out.rows != op.rows() || v.cols != out.cols)
        throw ShapeError(
            fmt::format("operator ({} × {}) times v ({} × {}) into out ({} × {}): the extents do not fit",
                        op.rows(), op.cols(), v.rows, v.cols, out.rows, out.cols));
    if (v.dtype != op.dtype() || out.dtype != op.dtype())
        throw ValueError(fmt::format("v is {} and out is {}; the operator works in {}", name(v.dtype),
                                     name(out.dtype), name(op.dtype())));
    v.require_memory("v");
    out.require_memory("out");
    require_rows_apart(v, "v");
    require_rows_apart(out, "out");
    if (overlap(v, out))
        throw ValueError(
            "v and out overlap; a product cannot take the place of what it reads: give out memory of its "
            "own");
}

/// body(v, out) with both in the device's memory.
template <class Body>
void with_vectors_on_device(const Device& device, ConstMatrixView v, MatrixView out, Body&& body) {
    const Staged from = device.staged(v);
    if (out.place == device.place()) return body(from.view(), out);
    Matrix to = device.zeros(out.rows, out.cols, out.dtype);
    body(from.view(), to.view());
    device.ops().copy(to, out);
}

}  // namespace fntk

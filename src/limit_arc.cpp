// Blocks of 1024 rows in polar form (limit_pairs.hpp); one of columns at a time meets each of rows, and the
// blocks of a symmetric kernel above the diagonal are copied from those below.
#include "limit_arc.hpp"
#include "limit_pairs.hpp"

#include <backend/ops.hpp>

#include <algorithm>
#include <cmath>

namespace fntk {
namespace {

constexpr std::int64_t block_rows = 1024;
constexpr int largest_exponent = 400;

/// Unit rows and norms (n × 1), f64, where products are taken.
struct Block {
    Matrix unit, norms;
};

Block block_of(const Device& device, ConstMatrixView rows, std::int64_t first) {
    Polar polar = polar_form(rows.row_block(first, std::min(block_rows, rows.rows - first)));
    Matrix norms(polar.unit.rows(), 1, DType::f64);
    for (std::int64_t i = 0; i < norms.rows(); ++i) {
        const Norm& norm = polar.norm[static_cast<std::size_t>(i)];
        norms.at<double>(i, 0) = std::ldexp(norm.value, norm.exponent);
    }
    return {device.to_device(std::move(polar.unit)), device.to_device(std::move(norms))};
}

bool in_range(ConstMatrixView rows) {
    const std::vector<Norm> norms = row_norms(rows);
    return std::all_of(norms.begin(), norms.end(), [](const Norm& norm) {
        return norm.value == 0 || std::abs(norm.exponent) < largest_exponent;
    });
}

/// Rounds a block to the kernel's type, and its transpose where `mirrored` is not empty.
template <class T>
void store(ConstMatrixView block, MatrixView to, MatrixView mirrored) {
    for (std::int64_t i = 0; i < block.rows; ++i) {
        const double* from = block.row<double>(i);
        T* row = to.row<T>(i);
        for (std::int64_t j = 0; j < block.cols; ++j) row[j] = static_cast<T>(from[j]);
    }
    constexpr std::int64_t tile = 16;  // lines of the nearest cache on both sides
    for (std::int64_t i0 = 0; i0 < mirrored.cols; i0 += tile)
        for (std::int64_t j = 0; j < mirrored.rows; ++j)
            for (std::int64_t i = i0; i < std::min(i0 + tile, mirrored.cols); ++i)
                mirrored.at<T>(j, i) = to.at<T>(i, j);
}

}  // namespace

bool arc_limit(const Device& device, double alpha, Train train, ConstMatrixView inputs,
               const ConstMatrixView* others, MatrixView kernel) {
    if (!in_range(inputs) || (others != nullptr && !in_range(*others))) return false;
    const double derivative = (train.down ? 1 : 0) + (train.up ? 1 : 0), product = train.readout ? 1 : 0;
    Matrix values =
        device.zeros(std::min(kernel.rows, block_rows), std::min(kernel.cols, block_rows), DType::f64);
    for (std::int64_t i0 = 0; i0 < kernel.rows; i0 += block_rows) {
        const Block rows = block_of(device, inputs, i0);
        const auto fill = [&](const Block& cols, std::int64_t j0) {
            const std::int64_t count = rows.unit.rows(), count_cols = cols.unit.rows();
            const MatrixView part = values.view().row_block(0, count).col_block(0, count_cols);
            device.ops().arc_gram(rows.unit, rows.norms, cols.unit, cols.norms, alpha, derivative, product,
                                  part);
            const Staged block = device.on_host(part);
            const MatrixView to = kernel.row_block(i0, count).col_block(j0, count_cols);
            const MatrixView mirrored = others == nullptr && j0 < i0
                                            ? kernel.row_block(j0, count_cols).col_block(i0, count)
                                            : MatrixView{};
            if (kernel.dtype == DType::f32)
                store<float>(block, to, mirrored);
            else
                store<double>(block, to, mirrored);
        };
        const std::int64_t end = others != nullptr ? kernel.cols : i0;
        for (std::int64_t j0 = 0; j0 < end; j0 += block_rows)
            fill(block_of(device, others != nullptr ? *others : inputs, j0), j0);
        if (others == nullptr) fill(rows, i0);
    }
    return true;
}

}  // namespace fntk

#include "spectrum_scaled.hpp"

#include <fntk/error.hpp>

#include <philox.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace fntk {

namespace {

double largest_magnitude(ConstMatrixView matrix) {
    double largest = 0;
    for (std::int64_t i = 0; i < matrix.rows; ++i) {
        const double* row = matrix.row<double>(i);
        for (std::int64_t j = 0; j < matrix.cols; ++j) largest = std::max(largest, std::abs(row[j]));
    }
    return largest;
}

}  // namespace

int scale_exponent(double largest) { return largest > 0 ? std::max(std::ilogb(largest), -1022) : 0; }

Matrix scaled_symmetric(ConstMatrixView kernel, int& exponent) {
    Matrix k = Matrix::converted(kernel, DType::f64);
    exponent = scale_exponent(largest_magnitude(k));
    const double scale = std::ldexp(1.0, -exponent);
    for (std::int64_t i = 0; i < k.rows(); ++i)
        for (std::int64_t j = 0; j <= i; ++j) {
            const double mean = 0.5 * (scale * k.at<double>(i, j) + scale * k.at<double>(j, i));
            k.at<double>(i, j) = k.at<double>(j, i) = mean;
        }
    return k;
}

void scale_to_unit(backend::Ops& ops, ConstMatrixView from, double length, MatrixView to) {
    const int exponent = scale_exponent(length);
    ops.axpby(std::ldexp(1.0, -exponent), from, 0, to);
    ops.axpby(1 / std::ldexp(length, -exponent), to, 0, to);
}

Matrix unit_start(const Device& device, std::int64_t n, std::uint64_t seed) {
    Matrix start(1, n, DType::f64);
    for (std::int64_t j = 0; j < n; ++j)
        start.at<double>(0, j) =
            kernels::random_normal(seed, kernels::Stream::probes, static_cast<std::uint64_t>(j));
    start = device.to_device(std::move(start));
    scale_to_unit(device.ops(), start, device.ops().norm(start), start);
    return start;
}

void require_square(const LinearOperator& op) {
    if (op.rows() != op.cols() || op.rows() < 1)
        throw ShapeError(fmt::format(
            "op is {} × {}: it must be square with at least one row; pass the kernel of one batch",
            op.rows(), op.cols()));
}

void apply_in_double(const LinearOperator& op, ConstMatrixView v, MatrixView out) {
    const Device& device = op.device();
    if (op.dtype() == DType::f64) {
        op.apply(v, out);
    } else {
        Matrix in = device.zeros(v.rows, v.cols, op.dtype()),
               product = device.zeros(out.rows, out.cols, op.dtype());
        device.ops().axpby(1, v, 0, in);
        op.apply(in, product);
        device.ops().axpby(1, product, 0, out);
    }
}

void apply_finite(const LinearOperator& op, ConstMatrixView v, MatrixView out) {
    apply_in_double(op, v, out);
    const Device& device = op.device();
    if (std::isfinite(device.ops().norm(out))) return;
    const Staged values = device.on_host(out);
    for (std::int64_t i = 0; i < out.rows; ++i)
        for (std::int64_t j = 0; j < out.cols; ++j)
            if (const double value = values.view().row<double>(i)[j]; !std::isfinite(value))
                throw Error(
                    fmt::format("the operator's product holds {} at row {}: its values overflow {}; "
                                "scale the data down",
                                value, i, name(op.dtype())));
}

}  // namespace fntk

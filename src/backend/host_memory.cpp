// Rows of host memory, as bytes, and the few numbers that columns have.
#include <backend/host_memory.hpp>

#include <columns.hpp>

#include <cmath>
#include <cstring>

namespace fntk::backend {

namespace {

std::size_t row_bytes(ConstMatrixView view) {
    return static_cast<std::size_t>(view.cols) * size_of(view.dtype);
}

}  // namespace

void HostMemory::copy(ConstMatrixView from, MatrixView to) {
    detail::check_host(from.place);
    detail::check_host(to.place);
    for (std::int64_t i = 0; i < from.rows && from.cols > 0; ++i)
        std::memcpy(to.row_block(i, 1).data, from.row_block(i, 1).data, row_bytes(from));
}

void HostMemory::copy(ConstBitView from, BitView to) {
    for (std::int64_t i = 0; i < from.rows && from.cols > 0; ++i)
        std::memcpy(to.row(i), from.row(i), static_cast<std::size_t>((from.cols + 63) / 64) * 8);
}

void HostMemory::zero(MatrixView matrix) {
    detail::check_host(matrix.place);
    for (std::int64_t i = 0; i < matrix.rows && matrix.cols > 0; ++i)
        std::memset(matrix.row_block(i, 1).data, 0, row_bytes(matrix));
}

void HostMemory::gather_rows(ConstMatrixView from, ConstMatrixView indices, MatrixView out) {
    detail::check_host(from.place);
    detail::check_host(out.place);
    for (std::int64_t i = 0; i < out.rows && out.cols > 0; ++i)
        std::memcpy(out.row_block(i, 1).data, from.row_block(indices.at<std::int64_t>(0, i), 1).data,
                    row_bytes(out));
}

void HostMemory::square_roots(MatrixView v) {
    for (std::int64_t j = 0; j < v.cols; ++j) v.at<double>(0, j) = std::sqrt(v.at<double>(0, j));
}

void HostMemory::divide(ConstMatrixView a, ConstMatrixView b, MatrixView quotients, MatrixView least) {
    for (std::int64_t j = 0; j < a.cols; ++j)
        quotients.at<double>(0, j) =
            kernels::quotient(a.at<double>(0, j), b.at<double>(0, j),
                              least.data == nullptr ? nullptr : &least.at<double>(0, j));
}

void HostMemory::keep_above(ConstMatrixView x, ConstMatrixView limit, MatrixView v, MatrixView count) {
    for (std::int64_t j = 0; j < x.cols; ++j)
        if (x.at<double>(0, j) > limit.at<double>(0, j))
            ++count.at<double>(0, j);
        else
            v.at<double>(0, j) = 0;
}

}  // namespace fntk::backend

// Operations made of others, for backends that have no better way.
#include <backend/ops.hpp>

#include <algorithm>
#include <utility>

namespace fntk::backend {

namespace {

/// It is written before it is read.
Matrix matrix_of(Ops& ops, std::int64_t rows, std::int64_t cols, DType dtype) {
    return {ops.allocate_unwritten(rows, detail::row_bytes(cols, dtype)), rows, cols, dtype};
}

}  // namespace

detail::Buffer Ops::allocate_unwritten(std::int64_t rows, std::int64_t bytes_per_row) {
    return allocate(rows, bytes_per_row);
}

void Ops::hidden_rows(ConstMatrixView x, const FixedPoint& u, double scale, int bits, MatrixView h,
                      MatrixView row_exponents, MatrixView hidden) {
    {
        Matrix v = matrix_of(*this, h.rows, h.cols, DType::f64);
        down_product(x, u, scale, v, row_exponents);
        quantise_rows(v, bits, h, row_exponents);
    }
    dequantise(h, row_exponents, 1, 0, 1, {}, hidden);
}

void Ops::wide_pass_scaled(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                           const WideSums& out, const RealSums& real) {
    wide_pass_exact(up, readout, h, bits, out);
    if (real.values.data != nullptr)
        dequantise(out.values, real.exponents, real.values_scale, real.closed, real.open, {}, real.values);
    if (real.gradients.data != nullptr)
        dequantise(out.gradients, {}, real.gradients_scale, real.closed, real.open,
                   real.open_sum.reshaped(1, real.open_sum.size()), real.gradients);
}

void Ops::moment(ConstMatrixView a, ConstMatrixView v, ConstMatrixView x, ConstMatrixView /*scales*/,
                 double alpha, MatrixView m) {
    const std::int64_t block = std::min(moment_block(m.rows), x.rows);
    Matrix owner = matrix_of(*this, block, m.rows, m.dtype);
    if (x.rows == 0) zero(m);
    for (std::int64_t i = 0; i < x.rows; i += block) {
        const std::int64_t count = std::min(block, x.rows - i);
        const MatrixView weighted = owner.view().row_block(0, count);
        row_combine(a.row_block(i, count), v.row_block(i, count), weighted);
        gemm(true, false, alpha, weighted, x.row_block(i, count), i == 0 ? 0 : 1, m);
    }
}

void Ops::along_moment(ConstMatrixView a, ConstMatrixView x, ConstMatrixView /*scales*/, ConstMatrixView m,
                       MatrixView out) {
    const std::int64_t block = std::min(moment_block(m.rows), x.rows);
    Matrix owner = matrix_of(*this, block, m.rows, m.dtype);
    for (std::int64_t i = 0; i < x.rows; i += block) {
        const std::int64_t count = std::min(block, x.rows - i);
        const MatrixView moved = owner.view().row_block(0, count);
        gemm(false, true, 1, x.row_block(i, count), m, 0, moved);
        row_dot(a.row_block(i, count), moved, out.row_block(i, count));
    }
}

double Ops::norm(ConstMatrixView a) {
    Matrix found = matrix_of(*this, 1, 1, DType::f64), number(1, 1, DType::f64);
    norm(a, found);
    copy(found, number);
    return number.at<double>(0, 0);
}

std::unique_ptr<Repeated> Ops::repeated(std::function<void()> work) {
    class Calls final : public Repeated {
      public:
        explicit Calls(std::function<void()> work) : work_(std::move(work)) {}
        void run() override { work_(); }

      private:
        std::function<void()> work_;
    };
    return std::make_unique<Calls>(std::move(work));
}

}  // namespace fntk::backend

// What fitting and predicting share: dense kernels in double, tile by tile, and the moments of a batch.
#pragma once

#include "moments.hpp"
#include "output_reduction.hpp"

#include <fntk/kernel_model.hpp>

#include <backend/ops.hpp>

#include <algorithm>
#include <cmath>

namespace fntk {

/// K + shift·I on the device: the diagonal of a square matrix there.
inline void add_to_diagonal(const Device& device, MatrixView matrix, double shift) {
    if (shift == 0) return;
    constexpr std::int64_t block = 256;
    for (std::int64_t i = 0; i < matrix.rows; i += block) {
        const std::int64_t count = std::min(block, matrix.rows - i);
        Matrix identity(count, count, DType::f64);
        for (std::int64_t j = 0; j < count; ++j) identity.at<double>(j, j) = shift;
        device.ops().axpby(1, device.staged(Matrix::converted(identity, matrix.dtype)), 1,
                           matrix.row_block(i, count).col_block(i, count));
    }
}

/// K(X, X) into `out` (N × N, f32 or f64, device): one triangle made, the other mirrored.
template <class Report>
void fill_kernel(const KernelBatch& batch, std::int64_t step, MatrixView out, Report&& report) {
    const Device& device = batch.device();
    const std::int64_t k = batch.function().outputs(), n = batch.size();
    step = std::min(step, n);
    Matrix owner = device.zeros(step * k, step * k, batch.function().precision());
    for (std::int64_t i = 0; i < n; i += step) {
        const std::int64_t count = std::min(step, n - i);
        for (std::int64_t j = 0; j <= i; j += step) {
            // square, so that it can be turned in place; a ragged one stands in its corner
            const std::int64_t cols = std::min(step, n - j);
            const MatrixView tile = owner.view().row_block(0, count * k).col_block(0, cols * k);
            batch.tile(i, count, batch, j, cols, tile);
            device.ops().axpby(1, tile, 0, out.row_block(i * k, count * k).col_block(j * k, cols * k));
            if (i == j) continue;
            device.ops().transpose(owner);
            device.ops().axpby(1,
                               std::as_const(owner).view().row_block(0, cols * k).col_block(0, count * k),
                               0, out.row_block(j * k, cols * k).col_block(i * k, count * k));
        }
        report(std::pow(static_cast<double>(i + count) / static_cast<double>(n), 2));
    }
}

template <class Report>
Matrix dense_kernel(const KernelBatch& batch, std::int64_t step, double shift, Report&& report) {
    Matrix kernel = batch.device().zeros(batch.rows(), batch.rows(), DType::f64);
    fill_kernel(batch, step, kernel, report);
    add_to_diagonal(batch.device(), kernel, shift);
    return kernel;
}

/// The closed form of a batch of train = down, one column of α or of predictions after the other.
class BatchMoments {
  public:
    explicit BatchMoments(const KernelBatch& batch) : batch_(&batch) {
        const Tangent& tangent = batch.tangent();
        if (batch.function().output() == KernelOutput::sum_of_logits)
            summed_ = summed_gradients(batch.device(), tangent.gradients(), tangent.outputs());
    }
    [[nodiscard]] DownForm form(ConstMatrixView scales = {}) const {
        return down_form(batch_->tangent(), batch_->function().output(), summed_, scales);
    }

    /// dual: N × s (real), to s·P × d in the kernel's precision, on the device.
    [[nodiscard]] Matrix moments(ConstMatrixView dual) const {
        const Matrix scales = moment_scales(form());
        const DownForm form = this->form(scales.view());
        const Device& device = batch_->device();
        const std::int64_t k = batch_->function().outputs();
        Matrix result = device.zeros(dual.cols * form.rank, form.inputs.cols, form.gradients.dtype),
               v = device.zeros(dual.rows, 1, form.gradients.dtype);
        for (std::int64_t c = 0; c < dual.cols; ++c) {
            device.ops().axpby(1, dual.col_block(c, 1), 0, v);
            moment(form, std::as_const(v).view().reshaped(batch_->size(), k),
                   result.view().row_block(c * form.rank, form.rank));
        }
        return result;
    }
    /// f (n × targets, f64, device) of these moments (device).
    void along(ConstMatrixView moments, MatrixView out) const {
        const Matrix scales = moment_scales(form());
        const DownForm form = this->form(scales.view());
        const Device& device = batch_->device();
        const std::int64_t k = batch_->function().outputs();
        Matrix column = device.zeros(batch_->size(), k, form.gradients.dtype);
        for (std::int64_t c = 0; c < moments.rows / form.rank; ++c) {
            along_moment(form, moments.row_block(c * form.rank, form.rank), column);
            device.ops().axpby(1, column, 0, out.col_block(c * k, k));
        }
    }

  private:
    const KernelBatch* batch_;
    Matrix summed_;
};

}  // namespace fntk

// Kernel times vectors without the kernel. With k' effective outputs (k for the full kernel, one for the
// reductions):
//     down             W_i = Σ_c v_ic G'^c_i,  M = Wᵀ X' (p × d),  (K v)_ic = <G^c_i, M x_i>
//     up and readout   (1/m)·J (J'ᵀ v), block by block of the width, J the Jacobian in V and A
#include <fntk/error.hpp>
#include <fntk/kernel.hpp>

#include "device_memory.hpp"
#include "moments.hpp"
#include "output_reduction.hpp"
#include "tiles.hpp"

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace fntk {

LinearOperator::~LinearOperator() = default;

KernelOperator::KernelOperator(const Tangent& rows, const Tangent& cols, KernelOutput output, Train train)
    : rows_(&rows), cols_(&cols), output_(output), train_(train) {
    check_pair(rows, cols, train);
    const NetworkSpec& spec = rows.network().spec();
    if (output == KernelOutput::sum_of_logits && train.down) {
        summed_rows_ = summed_gradients(rows.device(), rows.gradients(), spec.outputs);
        if (rows_ != cols_) summed_cols_ = summed_gradients(rows.device(), cols.gradients(), spec.outputs);
    }
    if (train.down) {
        scales_rows_ = moment_scales(down_form(rows, output, summed_rows_));
        if (rows_ != cols_) scales_cols_ = moment_scales(down_form(cols, output, summed_cols_));
    }
    if (output != KernelOutput::full && (train.up || train.readout))
        readout_ =
            rows.device().to_device(Matrix::converted(effective_readout(rows, output), spec.precision));
}

KernelOperator::KernelOperator(const Tangent& tangent, KernelOutput output, Train train)
    : KernelOperator(tangent, tangent, output, train) {}
KernelOperator::KernelOperator(const Tangent& tangent, KernelOutput output)
    : KernelOperator(tangent, output, tangent.network().spec().train) {}

std::int64_t KernelOperator::effective_outputs() const {
    return output_ == KernelOutput::full ? rows_->outputs() : 1;
}
std::int64_t KernelOperator::rows() const { return rows_->size() * effective_outputs(); }
std::int64_t KernelOperator::cols() const { return cols_->size() * effective_outputs(); }
DType KernelOperator::dtype() const { return rows_->network().spec().precision; }
const Device& KernelOperator::device() const { return rows_->device(); }

void KernelOperator::apply(ConstMatrixView v, MatrixView out) const {
    check_product(*this, v, out);
    with_vectors_on_device(device(), v, out,
                           [&](ConstMatrixView in, MatrixView to) { apply_on_device(in, to); });
}

void KernelOperator::apply_on_device(ConstMatrixView v, MatrixView out) const {
    backend::Ops& ops = device().ops();
    const std::int64_t k = effective_outputs();
    const NetworkSpec& spec = rows_->network().spec();
    Matrix from = unwritten(device(), cols(), 1, dtype());
    for (std::int64_t r = 0; r < v.cols; ++r) {
        Matrix to = device().zeros(rows(), 1, dtype());
        ops.axpby(1, v.col_block(r, 1), 0, from);
        // sample by sample, output by output
        const ConstMatrixView vector = std::as_const(from).view().reshaped(cols_->size(), k);
        const MatrixView result = to.view().reshaped(rows_->size(), k);
        if (train_.down) apply_down(vector, result);
        if (train_.up || train_.readout) {
            Matrix wide = device().zeros(rows_->size(), k, dtype());
            Readout readout = rows_->network().readout();
            if (!readout_.empty()) {
                readout.outputs = 1;
                readout.values = readout_;
            }
            ops.wide_apply(rows_->network().up(), readout, spec.activation, {train_.up, train_.readout},
                           rows_->hidden(), cols_->hidden(), vector, wide);
            ops.axpby(1.0 / static_cast<double>(spec.width), wide, 1, result);
        }
        ops.axpby(1, to, 0, out.col_block(r, 1));
    }
}

void KernelOperator::apply_down(ConstMatrixView v, MatrixView out) const {
    const DownForm rows = down_form(*rows_, output_, summed_rows_, scales_rows_.view()),
                   cols = rows_ == cols_ ? rows
                                         : down_form(*cols_, output_, summed_cols_, scales_cols_.view());
    Matrix sum = unwritten(device(), cols.rank, cols.inputs.cols, dtype());
    moment(cols, v, sum);
    along_moment(rows, sum, out);
}

DenseOperator::DenseOperator(const Device& device, ConstMatrixView matrix)
    : device_(device), matrix_(device_.staged(matrix)) {}
DenseOperator::DenseOperator(const Device& device, Matrix&& matrix)
    : device_(device), matrix_(device_.to_device(std::move(matrix))) {}

void DenseOperator::apply(ConstMatrixView v, MatrixView out) const {
    check_product(*this, v, out);
    with_vectors_on_device(device_, v, out, [&](ConstMatrixView in, MatrixView to) {
        device_.ops().gemm(false, false, 1, matrix_, in, 0, to);
    });
}

Matrix to_dense(const LinearOperator& op) {
    constexpr std::int64_t block = 64;
    const Device& device = op.device();
    Matrix result = device.zeros(op.rows(), op.cols(), op.dtype());
    for (std::int64_t j0 = 0; j0 < op.cols(); j0 += block) {
        const std::int64_t count = std::min(block, op.cols() - j0);
        Matrix ones(op.cols(), count, DType::i32);
        for (std::int64_t j = 0; j < count; ++j) ones.at<std::int32_t>(j0 + j, j) = 1;
        op.apply(device.to_device(Matrix::converted(ones, op.dtype())), result.view().col_block(j0, count));
    }
    return result;
}

}  // namespace fntk

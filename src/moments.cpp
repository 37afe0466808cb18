#include "moments.hpp"

#include <backend/ops.hpp>

#include <algorithm>

namespace fntk {
namespace {

constexpr std::int64_t block_rows = 8192;  // of the batch at a time, so that memory does not grow with it

/// body(first, count) over the batch.
template <class Body>
void over_blocks(const DownForm& form, Body&& body) {
    for (std::int64_t i = 0; i < form.inputs.rows; i += block_rows)
        body(i, std::min(block_rows, form.inputs.rows - i));
}

Matrix scratch(const DownForm& form) {
    return form.device->zeros(std::min(block_rows, form.inputs.rows), form.rank, form.gradients.dtype);
}

}  // namespace

DownForm down_form(const Tangent& tangent, KernelOutput output, const Matrix& summed) {
    const NetworkSpec& spec = tangent.network().spec();
    const ConstMatrixView gradients =
        output == KernelOutput::sum_of_logits ? summed.view() : tangent.gradients();
    return {&tangent.device(), gradients, tangent.inputs(),
            output == KernelOutput::full ? spec.rank : gradients.cols,
            output == KernelOutput::trace ? 1.0 / static_cast<double>(spec.outputs) : 1.0};
}

void moment(const DownForm& form, ConstMatrixView v, MatrixView out) {
    backend::Ops& ops = form.device->ops();
    Matrix owner = scratch(form);
    if (form.inputs.rows == 0) ops.zero(out);
    over_blocks(form, [&](std::int64_t first, std::int64_t count) {
        const MatrixView weighted = owner.view().row_block(0, count);
        ops.row_combine(form.gradients.row_block(first, count), v.row_block(first, count), weighted);
        ops.gemm(true, false, form.scale, weighted, form.inputs.row_block(first, count), first == 0 ? 0 : 1,
                 out);
    });
}

void along_moment(const DownForm& form, ConstMatrixView moment, MatrixView out) {
    backend::Ops& ops = form.device->ops();
    Matrix owner = scratch(form);
    over_blocks(form, [&](std::int64_t first, std::int64_t count) {
        const MatrixView moved = owner.view().row_block(0, count);
        ops.gemm(false, true, 1, form.inputs.row_block(first, count), moment, 0, moved);
        ops.row_dot(form.gradients.row_block(first, count), moved, out.row_block(first, count));
    });
}

}  // namespace fntk

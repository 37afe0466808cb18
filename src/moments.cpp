#include "moments.hpp"

#include <backend/ops.hpp>

namespace fntk {
DownForm down_form(const Tangent& tangent, KernelOutput output, const Matrix& summed,
                   ConstMatrixView scales) {
    const NetworkSpec& spec = tangent.network().spec();
    const ConstMatrixView gradients =
        output == KernelOutput::sum_of_logits ? summed.view() : tangent.gradients();
    return {&tangent.device(),
            gradients,
            tangent.inputs(),
            scales,
            output == KernelOutput::full ? spec.rank : gradients.cols,
            output == KernelOutput::trace ? 1.0 / static_cast<double>(spec.outputs) : 1.0};
}

Matrix moment_scales(const DownForm& form) {
    return form.device->ops().moment_scales(form.inputs, form.rank);
}

void moment(const DownForm& form, ConstMatrixView v, MatrixView out) {
    form.device->ops().moment(form.gradients, v, form.inputs, form.scales, form.scale, out);
}

void along_moment(const DownForm& form, ConstMatrixView moment, MatrixView out) {
    form.device->ops().along_moment(form.gradients, form.inputs, form.scales, moment, out);
}

}  // namespace fntk

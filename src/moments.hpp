// The closed form of the kernel of U. With P columns of gradients for each of k' effective outputs (trace:
// one output with k·p columns, scale 1/k; sum-of-logits: one with p, Σ_c G^c/√k; full: k with p):
//     moment   M = scale·Σ_i (Σ_c v_ic G^c_i) x_iᵀ (P × d)        along it   f_ic = <G^c_i, M x_i>
// so that K v = along(moment(v)).
#pragma once

#include <fntk/kernel.hpp>

namespace fntk {

struct DownForm {
    const Device* device = nullptr;
    ConstMatrixView gradients;  // n × (k'·P), device
    ConstMatrixView inputs;     // n × d, device
    ConstMatrixView scales;     // moment_scales() of the inputs
    std::int64_t rank = 0;      // P
    double scale = 1;
};
/// summed: summed_gradients of the tangent, read for sum-of-logits; scales: moment_scales of the form
/// without them. It refers to all of them.
DownForm down_form(const Tangent& tangent, KernelOutput output, const Matrix& summed,
                   ConstMatrixView scales = {});
/// Once for many moments and products along them.
Matrix moment_scales(const DownForm& form);
/// v: n × k', out: P × d, in the gradients' type and the device's memory.
void moment(const DownForm& form, ConstMatrixView v, MatrixView out);
/// out: n × k'.
void along_moment(const DownForm& form, ConstMatrixView moment, MatrixView out);

}  // namespace fntk

// U, drawn on the host in double and rounded to fixed point: the same matrix for every backend.
#pragma once

#include <fntk/network.hpp>

namespace fntk {

/// U (f64, p × d) before rounding; empty for the identity. `data` is read by pca only.
Matrix draw_down(const NetworkSpec& spec, ConstMatrixView data);

/// Replaces U by its rounding to one (float32) or three (float64) digits of 21 bits, and returns those
/// digits.
FixedPoint round_to_fixed_point(Matrix& down, DType precision);

}  // namespace fntk

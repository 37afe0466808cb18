// U, drawn on the host in double: the same matrix for every backend.
#pragma once

#include <fntk/network.hpp>

namespace fntk {

/// U (f64, p × d) before rounding; empty for the identity. `data` is read by pca only.
Matrix draw_down(const NetworkSpec& spec, ConstMatrixView data);

}  // namespace fntk

// All eigenvalues of a kernel, with the vectors that checked them.
#pragma once

#include <fntk/spectrum.hpp>

namespace fntk {

/// spectrum(), and in the columns of `vectors` (n × n, f64, the device's memory) the eigenvectors.
Spectrum eigenpairs(const Device& device, ConstMatrixView kernel, std::int64_t memory, Matrix& vectors);

}  // namespace fntk

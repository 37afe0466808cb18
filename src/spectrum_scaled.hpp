// What the eigensolvers share: matrices and vectors scaled by powers of two, so that any scale is legal,
// and products that have to be finite.
#pragma once

#include <fntk/kernel.hpp>

#include <backend/ops.hpp>

namespace fntk {

/// e such that 2^−e is finite and brings `largest` near 1; 0 for 0.
int scale_exponent(double largest);

/// 2^−e·(K + Kᵀ)/2 in double, the largest entry near 1; both in host memory.
Matrix scaled_symmetric(ConstMatrixView kernel, int& exponent);

/// to = from/length, by a power of two first, so that no reciprocal overflows.
void scale_to_unit(backend::Ops& ops, ConstMatrixView from, double length, MatrixView to);

/// 1 × n, f64, of length one, in the device's memory: a pure function of (seed, n).
Matrix unit_start(const Device& device, std::int64_t n, std::uint64_t seed);

/// Throws ShapeError unless the operator is square with at least one row.
void require_square(const LinearOperator& op);

/// out (n × r, f64) = K v, whatever the operator's type; both contiguous in the device's memory.
void apply_in_double(const LinearOperator& op, ConstMatrixView v, MatrixView out);
/// The same. Throws Error that names the row of what is not finite.
void apply_finite(const LinearOperator& op, ConstMatrixView v, MatrixView out);

}  // namespace fntk

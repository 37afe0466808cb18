// That the Ritz values found are the largest eigenvalues: a proof by Cholesky, rounding errors included.
#pragma once

#include <fntk/device.hpp>

#include <string>
#include <vector>

namespace fntk {

/// γ_n = n·u/(1 − n·u), u = 2^−53: the relative error of n operations in a row.
inline double rounding_of(double operations) { return operations * 0x1p-53 / (1 - operations * 0x1p-53); }

/// Approximate eigenvectors of symmetric M and what is known of them: k eigenvalues of M, counted with
/// multiplicity, lie within `radius` of `values`.
struct RitzPairs {
    Matrix vectors;              // n × k, f64, in the device's memory
    std::vector<double> values;  // one per column, in any order
    double radius = 0;
};

struct RestBound {
    /// Every eigenvalue of M is ≤ bound, but for as many as there are values with value − radius > bound.
    double bound = 0;
    std::string reason;  // why nothing was proved; empty where the bound holds
};

/// Tries to prove it for a bound just above the smallest value. M (f64, n × n, exactly symmetric, ‖M‖ of
/// the order of 1 or 0) in the device's memory; takes n² doubles.
RestBound bound_rest(const Device& device, ConstMatrixView m, const RitzPairs& pairs);

}  // namespace fntk

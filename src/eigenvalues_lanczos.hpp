// Implicitly restarted Lanczos by Spectra, out of sight: no other file includes Spectra or Eigen.
#pragma once

#include <fntk/matrix.hpp>

#include <functional>

namespace fntk {

struct LanczosBasis {
    Matrix
        vectors;  // n × k, f64, host: Ritz vectors of the k largest Ritz values, whether converged or not
    std::int64_t products = 0;
    bool converged = false;
};

/// y = M x, both n doubles of host memory; M symmetric with 1 ≲ ‖M‖₂ ≲ 2.
using HostProduct = std::function<void(const double* x, double* y)>;

/// The k largest Ritz values of M in a Krylov space of dimension `subspace`, k < subspace < n, restarted at
/// most max_restarts times or until each residual is below tolerance. start: n values, not all zero.
/// Throws what `product` throws, Error when the small eigenproblem fails.
LanczosBasis largest_ritz_vectors(const HostProduct& product, std::int64_t n, std::int64_t k,
                                  std::int64_t subspace, int max_restarts, double tolerance,
                                  const double* start);

}  // namespace fntk

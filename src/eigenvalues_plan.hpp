// What eigenvalues and their plans agree on.
#pragma once

#include <fntk/eigenvalues.hpp>

namespace fntk {

/// Lanczos sees one vector of each eigenspace, so that it may miss copies of a multiple eigenvalue. Up to
/// this order all eigenvectors are computed when the certificate fails.
inline constexpr std::int64_t all_eigenvectors_again = 2048;

/// Lanczos vectors of a kernel of order n, n at most. Throws ValueError for options out of range.
std::int64_t subspace_of(std::int64_t n, const ExtremalOptions& options);

}  // namespace fntk

// Which LAPACK routine finds eigenvectors, by the workspace that its 32-bit integers can describe.
#pragma once

#include <fntk/matrix.hpp>

#include <vector>

namespace fntk::backend {

enum class Eigensolver : std::uint8_t {
    divide_and_conquer,  ///< dsyevd: the faster one; 1 + 6n + 2n² doubles of workspace
    robust,  ///< dsyevr, relatively robust representations: workspace linear in n, n² for vectors
};

/// dsyevd as long as 1 + 6n + 2n² < 2^31, which is n ≤ 32 766.
Eigensolver eigensolver_for(std::int64_t n);

/// Ops::eigh by one of them.
bool symmetric_eigenvalues(Eigensolver solver, ConstMatrixView k, std::vector<double>& eigenvalues,
                           MatrixView vectors);

}  // namespace fntk::backend

// K is symmetric, so that its rows are LAPACK's columns; eigenvectors come as the rows of LAPACK's array.
#include <backend/eigensolver.hpp>

#include <lapacke.h>

#include <climits>
#include <utility>

namespace fntk::backend {

Eigensolver eigensolver_for(std::int64_t n) {
    // the first comparison keeps the second from overflowing
    const bool fits = n < 1 << 16 && 1 + 6 * n + 2 * n * n <= INT_MAX;
    return fits ? Eigensolver::divide_and_conquer : Eigensolver::robust;
}

bool symmetric_eigenvalues(Eigensolver solver, ConstMatrixView k, std::vector<double>& eigenvalues,
                           MatrixView vectors) {
    const auto n = static_cast<lapack_int>(k.rows);
    eigenvalues.resize(static_cast<std::size_t>(k.rows));
    if (n == 0) return true;
    const bool want = vectors.data != nullptr;
    const char job = want ? 'V' : 'N';
    Matrix work = Matrix::copy_of(k), found;
    double* const values = eigenvalues.data();
    if (solver == Eigensolver::divide_and_conquer) {
        if (LAPACKE_dsyevd(LAPACK_COL_MAJOR, job, 'L', n, work.row<double>(0), n, values) != 0)
            return false;
        found = std::move(work);
    } else {
        if (want) found = Matrix(k.rows, k.rows, DType::f64);
        std::vector<lapack_int> support(2 * eigenvalues.size());
        lapack_int count = 0;
        if (LAPACKE_dsyevr(LAPACK_COL_MAJOR, job, 'A', 'L', n, work.row<double>(0), n, 0, 0, 0, 0, 0,
                           &count, values, want ? found.row<double>(0) : nullptr, n, support.data()) != 0 ||
            count != n)
            return false;
    }
    for (std::int64_t j = 0; want && j < k.rows; ++j)
        for (std::int64_t i = 0; i < k.rows; ++i) vectors.row<double>(i)[j] = found.row<double>(j)[i];
    return true;
}

}  // namespace fntk::backend

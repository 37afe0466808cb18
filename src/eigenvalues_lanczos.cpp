// Spectra works on M + 4I, whose wanted eigenvalues are of the order of 1 wherever those of M are: its test
// ‖residual‖ < tol·max(ε^(2/3), |θ|) then means the same for every M, and a start vector is never in the
// null space.
#include "eigenvalues_lanczos.hpp"

#include <fntk/error.hpp>

#define EIGEN_DONT_VECTORIZE  // one order of sums for every instruction set; time goes into the products
#define EIGEN_MPL2_ONLY
#include <Spectra/SymEigsSolver.h>

#include <fmt/format.h>

#include <new>
#include <stdexcept>

namespace fntk {

namespace {

constexpr double shift = 4;

/// M + shift·I in the words of Spectra.
class ShiftedOperator {
  public:
    using Scalar = double;
    ShiftedOperator(const HostProduct& product, std::int64_t n) : product_(&product), n_(n) {}
    [[nodiscard]] Eigen::Index rows() const { return n_; }
    [[nodiscard]] Eigen::Index cols() const { return n_; }
    void perform_op(const double* x, double* y) const {
        (*product_)(x, y);
        for (Eigen::Index i = 0; i < n_; ++i) y[i] += shift * x[i];
    }

  private:
    const HostProduct* product_;
    Eigen::Index n_;
};

/// With its factorisation (M + 4I) V = V H + f eᵀ in reach: Spectra gives out converged vectors only.
class Solver final : public Spectra::SymEigsSolver<ShiftedOperator> {
  public:
    using SymEigsSolver::SymEigsSolver;
    /// V S, S the eigenvectors of the k largest eigenvalues of H.
    [[nodiscard]] fntk::Matrix ritz_vectors(std::int64_t k) const {
        using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
        const Eigen::MatrixXd& v = m_fac.matrix_V();
        const Spectra::TridiagEigen<double> small(m_fac.matrix_H());
        const auto order = Spectra::argsort(Spectra::SortRule::LargestAlge, small.eigenvalues(), v.cols());
        Eigen::MatrixXd s(v.cols(), k);
        for (Eigen::Index c = 0; c < k; ++c)
            s.col(c) = small.eigenvectors().col(order[static_cast<std::size_t>(c)]);
        fntk::Matrix result(v.rows(), k, DType::f64);  // Spectra has a Matrix of its own
        Eigen::Map<RowMajor>(result.row<double>(0), v.rows(), k).noalias() = v * s;
        return result;
    }
};

}  // namespace

LanczosBasis largest_ritz_vectors(const HostProduct& product, std::int64_t n, std::int64_t k,
                                  std::int64_t subspace, int max_restarts, double tolerance,
                                  const double* start) {
    ShiftedOperator shifted(product, n);
    Solver solver(shifted, k, subspace);
    try {
        solver.init(start);
        solver.compute(Spectra::SortRule::LargestAlge, max_restarts, tolerance / (2 * shift));
        return {solver.ritz_vectors(k), solver.num_operations(),
                solver.info() == Spectra::CompInfo::Successful};
    } catch (const Error&) {
        throw;  // the product's own
    } catch (const std::bad_alloc&) {
        throw MemoryError(
            fmt::format("{} Lanczos vectors of {} doubles could not be had; set a smaller "
                        "subspace, above the {} eigenvalues",
                        subspace, n, k));
    } catch (const std::runtime_error& error) {
        throw Error(fmt::format(
            "Lanczos failed on {} of {} eigenvalues in {} vectors ({}); try another seed or subspace", k, n,
            subspace, error.what()));
    }
}

}  // namespace fntk

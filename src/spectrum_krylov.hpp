// The Krylov space of a symmetric M = 2^−e·factor·K in the device's memory, restarted from Ritz vectors
// (thick-restart Lanczos; Wu, Simon 2000).
//     V      orthonormal rows v_0 … v_s; each new one is made orthogonal to all before it three times
//     H      the s × s matrix V M Vᵀ of the first s rows: row j holds <v_i, M v_j>, i ≤ j
//     β      the length of what M v_(s−1) has beyond v_0 … v_(s−1), along v_s
//     M V_sᵀ = V_sᵀ H + β v_sᵀ e_(s−1)ᵀ, so that a Ritz pair (θ, V_sᵀ y) of H y = θ y has the residual
//     β|y_(s−1)|
// Steps leave nothing to the host; it looks at lengths after several of them. Those from one restart to the
// next are the same every time (Ops::repeated): a GPU replays them as one graph.
#pragma once

#include <fntk/kernel.hpp>

#include <backend/ops.hpp>

#include <memory>
#include <vector>

namespace fntk {

class Krylov {
  public:
    /// Room for `most` < 2^31 steps, from a start that is a pure function of (seed, n). Refers to the
    /// operator.
    Krylov(const LinearOperator& op, double factor, std::int64_t most, std::uint64_t seed);

    /// Steps up to s = `size`, at most `most`. False when M maps the span of the first s rows into itself,
    /// as far as rounding lets one see: s then is their number, at most what was asked for, and β is 0.
    /// Throws Error for a product that is not finite.
    bool extend(std::int64_t size);
    /// After extend() said false: another direction for v_s, orthogonal to the others. s < n.
    void renew();

    struct Ritz {
        std::vector<double> values;     // descending
        std::vector<double> residuals;  // of the same pairs
        Matrix y;  // s × s in the device's memory; the pairs' columns, the last one first
        [[nodiscard]] ConstMatrixView largest(std::int64_t count) const {
            return y.view().col_block(y.cols() - count, count);
        }
    };
    /// Throws Error when the small eigensolver fails.
    [[nodiscard]] Ritz ritz() const;
    /// The first `count` Ritz vectors, n × count, in the device's memory.
    [[nodiscard]] Matrix vectors(const Ritz& ritz, std::int64_t count) const;
    /// The space of the first `count` < s Ritz vectors and v_s: s becomes `count`. β > 0: else all
    /// residuals are 0.
    void restart(const Ritz& ritz, std::int64_t count);

    [[nodiscard]] std::int64_t size() const { return size_; }
    /// Of M with a vector, so far.
    [[nodiscard]] std::int64_t products() const { return products_; }
    [[nodiscard]] int exponent() const { return exponent_; }  ///< e
    /// β.
    [[nodiscard]] double coupling() const { return coupling_; }

  private:
    void step(std::int64_t j);
    void steps(std::int64_t from, std::int64_t to);
    /// w −= Σ <v_i, w> v_i over the first `count` rows; the overlaps go to `overlaps` (1 × count).
    void make_orthogonal(MatrixView w, std::int64_t count, MatrixView overlaps);
    /// w/|w|, and |w| to `length`; 0 stays 0.
    void make_unit(MatrixView w, MatrixView length);
    [[nodiscard]] Matrix projected() const;

    const LinearOperator* op_;
    double factor_;  // with 2^−e in it
    int exponent_ = 0;
    std::int64_t n_, size_ = 0, products_ = 0;
    std::uint64_t seed_;
    double coupling_ = 0;
    Matrix basis_;    // (most + 1) × n
    Matrix h_;        // most × most, rows to the diagonal
    Matrix seen_;     // the first s rows of H as extend() last saw them, in host memory
    Matrix lengths_;  // 2 × (most + 1): |w| of step j, and |v_(j+1)| after it was made orthogonal once more
    Matrix overlaps_;  // 1 × (most + 1)
    Matrix one_, inverse_;
    std::unique_ptr<backend::Repeated> round_;  // steps round_from_ to round_to_, the last that were taken
    std::int64_t round_from_ = 0, round_to_ = 0;
};

/// The columns of vectors (n × k, the device's memory) belong to the k largest Ritz values, converged or
/// not.
struct LanczosBasis {
    Matrix vectors;
    std::int64_t products = 0;
    bool converged = false;
};
/// Of factor·K, whose norm is of the order of 1: from spaces of `subspace` vectors, k < subspace < n,
/// restarted at most max_restarts times or until each residual is at most `tolerance`.
LanczosBasis largest_ritz_vectors(const LinearOperator& op, double factor, std::int64_t k,
                                  std::int64_t subspace, int max_restarts, double tolerance,
                                  std::uint64_t seed);

}  // namespace fntk

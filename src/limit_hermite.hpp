// Limits of smooth activations: gelu, tanh, softplus. With h_k the Hermite polynomials that are orthonormal
// under g ~ N(0, 1), s = |h| and θ the angle of two rows (Mehler 1866):
//     a_k(s) = E σ(s g) h_k(g)                b_k(s) = E σ'(s g) h_k(g)
//     E σσ   = Σ_k a_k(s) a_k(s') cos^k θ     E σ'σ' = Σ_k b_k(s) b_k(s') cos^k θ
// Of the terms those are kept that count for the longest row. They fall like e^(−c√k/s), for gelu like
// (s²/(1 + s²))^(k/2): for rows of unit length 60 do, for tanh 230, and they grow with s².
#pragma once

#include "limit_check.hpp"
#include "limit_pairs.hpp"

#include <fntk/network.hpp>

#include <vector>

namespace fntk {

/// The coefficients of two batches, as many of all rows.
class HermiteSeries {
  public:
    /// Norms |h| of rows and of columns, `cols` null for those of one batch. Throws ValueError, by its
    /// number, for a row so long that it takes more than hermite_terms terms.
    HermiteSeries(const Device& device, const ActivationSpec& activation, Train train,
                  const std::vector<Norm>& rows, const std::vector<Norm>* cols);

    [[nodiscard]] double kernel(Train train, std::int64_t i, std::int64_t j, const Pair& pair) const;
    [[nodiscard]] std::int64_t terms() const { return terms_; }

  private:
    /// n × terms each, f64, in host memory; empty where no trained factor needs them.
    struct Coefficients {
        Matrix values, slopes;
    };
    std::int64_t terms_ = 0;
    Coefficients rows_, cols_;
    bool symmetric_ = false;
};

}  // namespace fntk

// Kernel ridge regression with a dense Gram matrix: (K + λ·mean(diag K)·I) α = Y, prediction K(X', X) α. In double.
#pragma once

#include <fntk/kernel.hpp>

#include <vector>

namespace fntk {

struct RidgeModel {
    Matrix dual;        ///< α, n × k, float64
    double ridge = 0;   ///< λ, relative to the mean of the diagonal
    double jitter = 0;  ///< what was added to the diagonal, λ·mean(diag K)
};

/// kernel n × n, targets n × k (f32 or f64), ridge ≥ 0 relative to mean(diag K) (neural-tangents' diag_reg).
/// Throws ShapeError, ValueError (negative ridge; NaN), and Error when K + jitter·I is not positive definite,
/// naming the ridge and a larger one to try.
FNTK_API RidgeModel fit_ridge(const Device& device, ConstMatrixView kernel, ConstMatrixView targets, double ridge);
/// K(X', X) α: n' × k, float64.
FNTK_API Matrix predict(const Device& device, const RidgeModel& model, ConstMatrixView cross_kernel);

/// One-hot targets n × k of class indices, float64: 1 − 1/k in the column of the class, −1/k elsewhere.
/// k = 1 (two classes): ±1/2.
FNTK_API Matrix one_hot(const std::vector<std::int64_t>& classes, std::int64_t outputs);
/// Share of rows whose largest column (k = 1: whose sign) is the class.
FNTK_API double accuracy(ConstMatrixView scores, const std::vector<std::int64_t>& classes);

}  // namespace fntk

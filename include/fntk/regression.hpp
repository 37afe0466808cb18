// Kernel ridge regression with a dense Gram matrix: (K + λ·mean(diag K)·I) α = Y, prediction K(X', X) α.
// In double. λ is relative, so that it means the same for a kernel and its multiples. Arguments lie in host
// memory or the device's, results in host memory.
#pragma once

#include <fntk/kernel.hpp>

#include <vector>

namespace fntk {

struct RidgeModel {
    Matrix dual;        ///< α, n × k, float64
    double ridge = 0;   ///< λ, relative to the mean of the diagonal
    double jitter = 0;  ///< what was added to the diagonal, λ·mean(diag K)
};

/// kernel n × n, targets n × k (f32 or f64), ridge ≥ 0 relative to mean(diag K) (neural-tangents'
/// diag_reg). One Cholesky factorisation of a double copy, n³/3 + 2n²k flop. Throws as require_symmetric
/// does for the kernel, ShapeError when the targets have another number of rows, ValueError for a ridge
/// that is negative or not finite and for NaN and infinity, and Error when K + jitter·I is not positive
/// definite, or singular to working precision, naming the ridge and a larger one to try.
FNTK_API RidgeModel fit_ridge(const Device& device, ConstMatrixView kernel, ConstMatrixView targets,
                              double ridge);
/// K(X', X) α: n' × k, float64. Throws ShapeError unless cross_kernel (f32 or f64) has n columns,
/// ValueError for NaN and infinity.
FNTK_API Matrix predict(const Device& device, const RidgeModel& model, ConstMatrixView cross_kernel);
/// Of α alone, n × k in double, in host memory or the device's. Throws the same, and ValueError for an α of
/// another type.
FNTK_API Matrix predict(const Device& device, ConstMatrixView dual, ConstMatrixView cross_kernel);

/// One-hot targets n × k of class indices, float64: 1 − 1/k in the column of the class, −1/k elsewhere.
/// k = 1 (two classes): +1/2 for class 1, −1/2 for class 0. Throws ValueError for k < 1 and for a class
/// outside [0, max(k, 2)), naming its index.
FNTK_API Matrix one_hot(const std::vector<std::int64_t>& classes, std::int64_t outputs);
/// Share of rows whose largest column is the class; of equal columns the first counts. k = 1: class 1 where
/// the score is positive, else class 0. Throws ShapeError for no rows or another number of classes,
/// ValueError for a class that no column stands for and for NaN.
FNTK_API double accuracy(ConstMatrixView scores, const std::vector<std::int64_t>& classes);

}  // namespace fntk

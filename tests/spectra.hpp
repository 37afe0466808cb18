// Symmetric matrices with a spectrum that is known, or of a known kind.
#pragma once

#include <fntk/matrix.hpp>

#include <cmath>
#include <functional>
#include <random>
#include <vector>

namespace fntk::test {

inline Matrix matrix_of(std::int64_t n, const std::function<double(std::int64_t, std::int64_t)>& entry) {
    Matrix matrix(n, n, DType::f64);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) matrix.at<double>(i, j) = entry(i, j);
    return matrix;
}

/// B Bᵀ/r, B n × r normal: positive semidefinite, of rank min(n, r).
inline Matrix random_psd(std::int64_t n, std::int64_t r, std::uint64_t seed) {
    std::mt19937_64 engine(seed);
    std::normal_distribution<double> normal;
    std::vector<double> b(static_cast<std::size_t>(n * r));
    for (double& entry : b) entry = normal(engine);
    return matrix_of(n, [&](std::int64_t i, std::int64_t j) {
        double sum = 0;
        for (std::int64_t q = 0; q < r; ++q) sum += b[i * r + q] * b[j * r + q];
        return sum / static_cast<double>(r);
    });
}

inline Matrix laplacian(std::int64_t n) {
    return matrix_of(n, [](std::int64_t i, std::int64_t j) {
        return i == j ? 2.0 : std::abs(i - j) == 1 ? -1.0 : 0.0;
    });
}

/// Orthogonal similarity of a diagonal: two reflections.
inline Matrix with_eigenvalues(const std::vector<double>& eigenvalues, std::uint64_t seed) {
    const auto n = static_cast<std::int64_t>(eigenvalues.size());
    std::mt19937_64 engine(seed);
    std::normal_distribution<double> normal;
    Matrix k = matrix_of(n, [&](std::int64_t i, std::int64_t j) { return i == j ? eigenvalues[i] : 0.0; });
    for (int turn = 0; turn < 2; ++turn) {
        std::vector<double> w(n);
        double square = 0;
        for (double& entry : w) entry = normal(engine), square += entry * entry;
        std::vector<double> kw(n);
        double wkw = 0;
        for (std::int64_t i = 0; i < n; ++i) {
            for (std::int64_t j = 0; j < n; ++j) kw[i] += k.at<double>(i, j) * w[j];
            wkw += w[i] * kw[i];
        }
        k = matrix_of(n, [&](std::int64_t i, std::int64_t j) {  // (I − 2wwᵀ/w²) K (I − 2wwᵀ/w²)
            return k.at<double>(i, j) - 2 * (w[i] * kw[j] + kw[i] * w[j]) / square +
                   4 * wkw * w[i] * w[j] / (square * square);
        });
    }
    return matrix_of(
        n, [&](std::int64_t i, std::int64_t j) { return 0.5 * (k.at<double>(i, j) + k.at<double>(j, i)); });
}

/// H diag(eigenvalues) H/n, H the Hadamard matrix of order n, a power of two: exact for whole eigenvalues.
inline Matrix with_whole_eigenvalues(const std::vector<int>& eigenvalues) {
    const auto n = static_cast<std::int64_t>(eigenvalues.size());
    return matrix_of(n, [&](std::int64_t i, std::int64_t j) {
        double sum = 0;
        for (std::int64_t l = 0; l < n; ++l)
            sum += (__builtin_popcountll(l & (i ^ j)) % 2 == 0 ? 1 : -1) * eigenvalues[l];
        return sum / static_cast<double>(n);
    });
}

}  // namespace fntk::test

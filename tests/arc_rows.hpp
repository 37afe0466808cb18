// Unit rows at every kind of angle for the tests of arc_gram, and how its results are compared.
#pragma once

#include "support.hpp"

#include <cmath>

namespace fntk::test {

/// n unit rows of length d (rounded to `dtype`) and their norms, n × 1.
struct ArcRows {
    Matrix u, norms;
};

/// In turn: any direction, the same row again, its opposite, zero with norm 0, and rows at an angle of
/// 10⁻⁷, ..., 10⁻¹, 0.15 (cos θ just below 0.99) to the first and to its opposite. d ≥ 2 where n > 1.
inline ArcRows arc_rows(std::int64_t n, std::int64_t d, std::uint64_t seed, DType dtype) {
    const Matrix base = on_sphere(n, d, seed), side = on_sphere(n, d, seed + 1);
    Matrix u(n, d, DType::f64);
    for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t first = i - i % 6, kind = i % 6;
        const double *b = base.row<double>(first), *s = side.row<double>(first);
        double along = 0, across = 0;
        for (std::int64_t q = 0; q < d; ++q) along += b[q] * s[q];
        for (std::int64_t q = 0; q < d; ++q) across += (s[q] - along * b[q]) * (s[q] - along * b[q]);
        const std::int64_t decade = i / 6 % 8;
        const double angle = decade == 7 ? 0.15 : std::pow(10.0, static_cast<double>(decade) - 7);
        for (std::int64_t q = 0; q < d; ++q) {
            const double near = std::cos(angle) * b[q],
                         off = std::sin(angle) * (s[q] - along * b[q]) / std::sqrt(across);
            const double values[] = {b[q], b[q], -b[q], 0, near + off, -near - off};
            u.at<double>(i, q) = values[kind];
        }
    }
    return {Matrix::converted(u, dtype), filled(n, 1, dtype, [](std::int64_t i, auto) {
                return i % 6 == 3 ? 0.0 : 0.3 + 0.7 * static_cast<double>(i % 5);
            })};
}

/// (α, derivative, product) of relu, leaky_relu and abs, and of every kind of trained factors.
struct ArcCase {
    double alpha, derivative, product;
};
inline constexpr ArcCase arc_cases[] = {{0, 1, 0}, {0, 0, 1}, {0.2, 2, 1}, {-1, 1, 0}, {-1, 0, 1}};

/// |have − want| ≤ tolerance·(derivative + product)·|x_i||x'_j| everywhere.
inline ::testing::AssertionResult near_kernel(ConstMatrixView have, ConstMatrixView want, const ArcRows& a,
                                              const ArcRows& b, const ArcCase& c, double tolerance) {
    if (have.rows != want.rows || have.cols != want.cols)
        return ::testing::AssertionFailure() << "other extents";
    for (std::int64_t i = 0; i < want.rows; ++i)
        for (std::int64_t j = 0; j < want.cols; ++j) {
            const double scale = (c.derivative + c.product) * value(a.norms, i, 0) * value(b.norms, j, 0);
            if (!(std::abs(value(have, i, j) - value(want, i, j)) <= tolerance * scale))
                return ::testing::AssertionFailure()
                       << '(' << i << ", " << j << "): " << value(have, i, j) << " and not "
                       << value(want, i, j) << " within " << tolerance << " of " << scale;
        }
    return ::testing::AssertionSuccess();
}

inline ::testing::AssertionResult symmetric(ConstMatrixView k) {
    for (std::int64_t i = 0; i < k.rows; ++i)
        for (std::int64_t j = 0; j < i; ++j)
            if (value(k, i, j) != value(k, j, i)) return ::testing::AssertionFailure() << i << ", " << j;
    return ::testing::AssertionSuccess();
}

}  // namespace fntk::test

// Kernels to fit, and regression by elimination in long double.
#pragma once

#include "support.hpp"

#include <fntk/kernel_model.hpp>

namespace fntk::test {

inline KernelFunction of_network(Train train, KernelOutput output, DType precision = DType::f64,
                                 std::int64_t outputs = 2) {
    return KernelFunction::of_network(Network::create({.dim = 6,
                                                       .width = 96,
                                                       .rank = 4,
                                                       .outputs = outputs,
                                                       .train = train,
                                                       .precision = precision,
                                                       .seed = 5}),
                                      output);
}
inline const KernelFunction& limit() {
    static const KernelFunction function = KernelFunction::limit({}, {.up = true}, 6, DType::f64);
    return function;
}

inline std::vector<KernelFunction> functions() {
    std::vector<KernelFunction> result{limit()};
    for (const Train train : {Train{.down = true}, {.up = true}, {.down = true, .up = true}})
        for (const KernelOutput output :
             {KernelOutput::full, KernelOutput::trace, KernelOutput::sum_of_logits})
            result.push_back(of_network(train, output));
    return result;
}

inline std::string label(const KernelFunction& f) {
    return f.is_limit() ? "limit" : to_string(f.train()) + ", " + name(f.output());
}

/// K(X, X') of the kernel in double, by the functions for whole matrices.
inline Matrix kernel(const KernelFunction& f, ConstMatrixView x, ConstMatrixView y) {
    if (f.is_limit()) return limit_kernel(cpu(), f.activation(), f.train(), x, y);
    return cross_gram(tangent(cpu(), f.network(), x), tangent(cpu(), f.network(), y), f.output());
}

/// The inverse of a small matrix by elimination in long double; log det beside it.
struct Inverse {
    std::vector<std::vector<long double>> a;
    long double log_det = 0;
    Inverse(const Matrix& k, double shift) : a(k.rows(), std::vector<long double>(k.rows())) {
        const auto n = static_cast<std::size_t>(k.rows());
        std::vector<std::vector<long double>> left(n, std::vector<long double>(n));
        for (std::size_t i = 0; i < n; ++i) {
            a[i][i] = 1;
            for (std::size_t j = 0; j < n; ++j)
                left[i][j] = value(k, static_cast<std::int64_t>(i), static_cast<std::int64_t>(j)) +
                             (i == j ? shift : 0);
        }
        for (std::size_t p = 0; p < n; ++p) {  // positive definite: no pivoting
            log_det += std::log(left[p][p]);
            const long double pivot = left[p][p];
            for (std::size_t j = 0; j < n; ++j) left[p][j] /= pivot, a[p][j] /= pivot;
            for (std::size_t i = 0; i < n; ++i) {
                if (i == p) continue;
                const long double factor = left[i][p];
                for (std::size_t j = 0; j < n; ++j)
                    left[i][j] -= factor * left[p][j], a[i][j] -= factor * a[p][j];
            }
        }
    }
    [[nodiscard]] Matrix matrix() const {
        const auto n = static_cast<std::int64_t>(a.size());
        return test::filled(n, n, DType::f64, [&](auto i, auto j) { return double(a[i][j]); });
    }
};

/// K(X', X)(K + μI)⁻¹Y; Y n × t, for the full kernel row by row as one vector.
inline Matrix answer(const KernelFunction& f, ConstMatrixView x, ConstMatrixView y, ConstMatrixView at,
                     double jitter) {
    const Matrix inverse = Inverse(kernel(f, x, x), jitter).matrix();
    const bool full = f.output() == KernelOutput::full;
    const Matrix mean = times(kernel(f, at, x), times(inverse, full ? y.reshaped(x.rows * y.cols, 1) : y));
    return full ? Matrix::copy_of(mean.view().reshaped(at.rows, y.cols)) : mean.copy();
}

}  // namespace fntk::test

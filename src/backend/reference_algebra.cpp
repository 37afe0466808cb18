// The oracle's kernels and linear algebra; eigenvalues by cyclic Jacobi rotations, systems by Cholesky.
#include <backend/reference.hpp>
#include <backend/scalar.hpp>

#include <arc.hpp>
#include <fixed_point.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace fntk::backend {

namespace {

double dot(ConstMatrixView a, std::int64_t i, ConstMatrixView b, std::int64_t j) {
    double sum = 0;
    for (std::int64_t q = 0; q < a.cols; ++q) sum += value(a, i, q) * value(b, j, q);
    return sum;
}

/// x + beta·old, where old is not read when beta = 0.
void blend(MatrixView c, std::int64_t i, std::int64_t j, double x, double beta) {
    store(c, i, j, beta == 0 ? x : x + beta * value(c, i, j));
}

/// kernel(θ) of unit rows.
double arc_kernel(const kernels::ArcKernel& kernel, ConstMatrixView u, std::int64_t i,
                  ConstMatrixView u_cols, std::int64_t j) {
    const double cos = dot(u, i, u_cols, j);
    if (std::abs(cos) < kernels::well_conditioned) {
        const double open = std::acos(-cos);
        return kernel.at(cos, open, std::sqrt(1 - cos * cos) + open * cos);
    }
    double minus = 0, plus = 0;
    for (std::int64_t q = 0; q < u.cols; ++q) {
        const double a = value(u, i, q), b = value(u_cols, j, q);
        minus += (a - b) * (a - b);
        plus += (a + b) * (a + b);
    }
    minus = std::sqrt(minus);
    plus = std::sqrt(plus);
    const double angle = 2 * std::atan2(minus, plus);
    if (cos > 0) {
        const double open = std::numbers::pi - angle;
        return kernel.at(std::cos(angle), open, std::sin(angle) + open * std::cos(angle));
    }
    const double open = 2 * std::atan2(plus, minus);
    return kernel.at(-std::cos(open), open, kernels::small_arc(open));
}

}  // namespace

void Reference::hadamard_gram(ConstMatrixView x, ConstMatrixView x_cols, ConstMatrixView g,
                              ConstMatrixView g_cols, double alpha, MatrixView k) {
    for (std::int64_t i = 0; i < k.rows; ++i)
        for (std::int64_t j = 0; j < k.cols; ++j)
            store(k, i, j, alpha * (dot(x, i, x_cols, j) * dot(g, i, g_cols, j)));
}

void Reference::affine_hadamard(ConstMatrixView counts, ConstMatrixView s, ConstMatrixView t, double alpha,
                                double beta, double gamma, MatrixView k) {
    for (std::int64_t i = 0; i < k.rows; ++i)
        for (std::int64_t j = 0; j < k.cols; ++j)
            store(k, i, j,
                  value(k, i, j) *
                      (alpha + beta * (value(s, i, 0) + value(t, j, 0)) + gamma * value(counts, i, j)));
}

void Reference::arc_gram(ConstMatrixView u, ConstMatrixView norms, ConstMatrixView u_cols,
                         ConstMatrixView norms_cols, double alpha, double derivative, double product,
                         MatrixView out) {
    const kernels::ArcKernel kernel(alpha, derivative, product);
    for (std::int64_t i = 0; i < out.rows; ++i)
        for (std::int64_t j = 0; j < out.cols; ++j)
            store(out, i, j,
                  arc_kernel(kernel, u, i, u_cols, j) * (value(norms, i, 0) * value(norms_cols, j, 0)));
}

void Reference::multiply(ConstMatrixView a, MatrixView k) {
    for (std::int64_t i = 0; i < k.rows; ++i)
        for (std::int64_t j = 0; j < k.cols; ++j) store(k, i, j, value(a, i, j) * value(k, i, j));
}

void Reference::add_output_block(ConstMatrixView block, std::int64_t outputs, std::int64_t c,
                                 std::int64_t c_col, MatrixView k) {
    for (std::int64_t i = 0; i < block.rows; ++i)
        for (std::int64_t j = 0; j < block.cols; ++j)
            store(k, i * outputs + c, j * outputs + c_col,
                  value(k, i * outputs + c, j * outputs + c_col) + value(block, i, j));
}

void Reference::transpose(MatrixView k) {
    for (std::int64_t i = 0; i < k.rows; ++i)
        for (std::int64_t j = 0; j < i; ++j) {
            const double below = value(k, i, j);
            store(k, i, j, value(k, j, i));
            store(k, j, i, below);
        }
}

void Reference::gemm(bool transpose_a, bool transpose_b, double alpha, ConstMatrixView a, ConstMatrixView b,
                     double beta, MatrixView c) {
    const std::int64_t depth = transpose_a ? a.rows : a.cols;
    for (std::int64_t i = 0; i < c.rows; ++i)
        for (std::int64_t j = 0; j < c.cols; ++j) {
            double sum = 0;
            for (std::int64_t q = 0; q < depth; ++q)
                sum += (transpose_a ? value(a, q, i) : value(a, i, q)) *
                       (transpose_b ? value(b, j, q) : value(b, q, j));
            blend(c, i, j, alpha * sum, beta);
        }
}

void Reference::inner(double alpha, ConstMatrixView a, ConstMatrixView b, double beta, MatrixView c) {
    for (std::int64_t i = 0; i < c.rows; ++i)
        for (std::int64_t j = 0; j < c.cols; ++j) blend(c, i, j, alpha * dot(a, i, b, j), beta);
}

void Reference::row_dot(ConstMatrixView a, ConstMatrixView b, MatrixView out) {
    for (std::int64_t c = 0; c < out.cols; ++c)
        for (std::int64_t i = 0; i < out.rows; ++i)
            store(out, i, c, dot(a.col_block(c * b.cols, b.cols), i, b, i));
}

void Reference::row_combine(ConstMatrixView a, ConstMatrixView v, MatrixView out) {
    for (std::int64_t i = 0; i < out.rows; ++i)
        for (std::int64_t q = 0; q < out.cols; ++q) {
            double sum = 0;
            for (std::int64_t c = 0; c < v.cols; ++c) sum += value(v, i, c) * value(a, i, c * out.cols + q);
            store(out, i, q, sum);
        }
}

void Reference::outer_rows(ConstMatrixView left, ConstMatrixView right, MatrixView out) {
    for (std::int64_t i = 0; i < out.rows; ++i)
        for (std::int64_t q = 0; q < left.cols; ++q)
            for (std::int64_t j = 0; j < right.cols; ++j)
                store(out, i, q * right.cols + j, value(left, i, q) * value(right, i, j));
}

void Reference::norm(ConstMatrixView a, MatrixView out) {
    double largest = 0, sum = 0;
    double& result = out.at<double>(0, 0);
    for (std::int64_t i = 0; i < a.rows; ++i)
        for (std::int64_t j = 0; j < a.cols; ++j) largest = std::max(largest, std::abs(value(a, i, j)));
    result = largest;
    if (!std::isfinite(largest)) return;
    const int exponent = kernels::norm_exponent(largest);
    const double scale = std::ldexp(1.0, -exponent);
    for (std::int64_t i = 0; i < a.rows; ++i)  // a NaN has passed the maximum and ends in the sum
        for (std::int64_t j = 0; j < a.cols; ++j) sum += scale * value(a, i, j) * (scale * value(a, i, j));
    result = std::ldexp(std::sqrt(sum), exponent);
}

void Reference::axpby(double alpha, ConstMatrixView x, double beta, MatrixView y) {
    for (std::int64_t i = 0; i < y.rows; ++i)
        for (std::int64_t j = 0; j < y.cols; ++j) blend(y, i, j, alpha * value(x, i, j), beta);
}

void Reference::combine_columns(double a, ConstMatrixView alpha, ConstMatrixView x, double b,
                                ConstMatrixView beta, MatrixView y) {
    for (std::int64_t i = 0; i < y.rows; ++i)
        for (std::int64_t j = 0; j < y.cols; ++j) {
            double sum = a * (alpha.data == nullptr ? 1 : value(alpha, 0, j)) * value(x, i, j);
            if (b != 0) sum += b * (beta.data == nullptr ? 1 : value(beta, 0, j)) * value(y, i, j);
            store(y, i, j, sum);
        }
}

void Reference::column_dots(ConstMatrixView a, ConstMatrixView b, MatrixView sums) {
    for (std::int64_t j = 0; j < a.cols; ++j) {
        double sum = 0;
        for (std::int64_t i = 0; i < a.rows; ++i) sum += value(a, i, j) * value(b, i, j);
        store(sums, 0, j, sum);
    }
}

void Reference::residual(Residual loss, ConstMatrixView f, ConstMatrixView y, MatrixView e,
                         MatrixView total) {
    double& sum_of_losses = total.at<double>(0, 0);
    sum_of_losses = 0;
    for (std::int64_t i = 0; i < f.rows; ++i) {
        double largest = -HUGE_VAL, sum = 0;
        for (std::int64_t c = 0; c < f.cols; ++c) largest = std::max(largest, value(f, i, c));
        for (std::int64_t c = 0; c < f.cols; ++c) sum += std::exp(value(f, i, c) - largest);
        for (std::int64_t c = 0; c < f.cols; ++c) {
            const double fc = value(f, i, c), yc = value(y, i, c);
            if (loss == Residual::squared) {
                store(e, i, c, fc - yc);
                sum_of_losses += 0.5 * (fc - yc) * (fc - yc);
            } else {
                store(e, i, c, std::exp(fc - largest) / sum - yc);
                sum_of_losses -= yc * (fc - largest - std::log(sum));
            }
        }
    }
}

bool Reference::eigh(ConstMatrixView k, std::vector<double>& eigenvalues, MatrixView vectors) {
    const std::int64_t n = k.rows;
    Matrix a_owner = Matrix::copy_of(k), q_owner(n, n, DType::f64);
    const MatrixView a = a_owner, q = q_owner;
    for (std::int64_t i = 0; i < n; ++i) q.at<double>(i, i) = 1;
    double norm = 0;
    for (std::int64_t i = 0; i < n; ++i) norm += dot(a, i, a, i);
    bool converged = false;
    for (int sweep = 0; sweep < 60 && !converged; ++sweep) {
        double off = 0;
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < i; ++j) off += 2 * a.at<double>(i, j) * a.at<double>(i, j);
        converged = off <= 1e-30 * norm;
        for (std::int64_t i = 0; i < n && !converged; ++i)
            for (std::int64_t j = 0; j < i; ++j) {  // the rotation in the plane (j, i) that zeroes a_ij
                const double aij = a.at<double>(i, j);
                if (aij == 0) continue;
                const double tau = (a.at<double>(i, i) - a.at<double>(j, j)) / (2 * aij);
                const double t = (tau >= 0 ? 1 : -1) / (std::abs(tau) + std::sqrt(1 + tau * tau));
                const double c = 1 / std::sqrt(1 + t * t), s = t * c;
                const auto rotate = [c, s](double& xj, double& xi) {
                    const double old = xj;
                    xj = c * old - s * xi;
                    xi = s * old + c * xi;
                };
                for (std::int64_t l = 0; l < n; ++l) rotate(a.at<double>(l, j), a.at<double>(l, i));
                for (std::int64_t l = 0; l < n; ++l) rotate(a.at<double>(j, l), a.at<double>(i, l));
                for (std::int64_t l = 0; l < n; ++l) rotate(q.at<double>(l, j), q.at<double>(l, i));
            }
    }
    std::vector<std::int64_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(),
              [&](auto l, auto r) { return a.at<double>(l, l) < a.at<double>(r, r); });
    eigenvalues.resize(n);
    for (std::int64_t j = 0; j < n; ++j) {
        eigenvalues[j] = a.at<double>(order[j], order[j]);
        if (vectors.data != nullptr)
            for (std::int64_t i = 0; i < n; ++i) vectors.at<double>(i, j) = q.at<double>(i, order[j]);
    }
    return converged;
}

std::int64_t Reference::solve_spd(MatrixView k, MatrixView b) {
    const std::int64_t n = k.rows;
    for (std::int64_t j = 0; j < n; ++j)  // K = L Lᵀ, L in the lower triangle
        for (std::int64_t i = j; i < n; ++i) {
            double sum = k.at<double>(i, j);
            for (std::int64_t l = 0; l < j; ++l) sum -= k.at<double>(i, l) * k.at<double>(j, l);
            if (i == j && !(sum > 0)) return j + 1;
            k.at<double>(i, j) = i == j ? std::sqrt(sum) : sum / k.at<double>(j, j);
        }
    for (std::int64_t c = 0; c < b.cols; ++c) {
        for (std::int64_t i = 0; i < n; ++i) {
            for (std::int64_t l = 0; l < i; ++l)
                b.at<double>(i, c) -= k.at<double>(i, l) * b.at<double>(l, c);
            b.at<double>(i, c) /= k.at<double>(i, i);
        }
        for (std::int64_t i = n - 1; i >= 0; --i) {
            for (std::int64_t l = i + 1; l < n; ++l)
                b.at<double>(i, c) -= k.at<double>(l, i) * b.at<double>(l, c);
            b.at<double>(i, c) /= k.at<double>(i, i);
        }
    }
    return 0;
}

std::unique_ptr<Ops> make_reference() { return std::make_unique<Reference>(); }

}  // namespace fntk::backend

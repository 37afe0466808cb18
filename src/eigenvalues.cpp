// M = ±2^−e K, ‖M‖₂ of the order of 1: its k largest eigenvalues are wanted, whichever end of K they are.
//     Q      n × k, Ritz vectors by Lanczos, or eigenvectors where the Krylov space would be all of R^n
//     θ_i    = q_iᵀ M q_i/q_iᵀ q_i,  R = M Q − Q Θ by one product with all of Q
//     r      = ‖R‖_F/σ_min(Q): there are k eigenvalues of M, counted with multiplicity, within r of the k
//            values θ in order (Cao, Xie, Li 1996, who proved Kahan's conjecture; Q need not be
//            orthonormal)
// Hence λ_i ≥ θ_i − r in any case, λ and θ descending. bound_rest proves that at most j eigenvalues exceed
// β, where θ_i − r > β for i ≤ j: then those are λ_1 … λ_j, so that λ_i ≤ θ_i + r, and λ_i ≤ β for i > j.
// Rounding. |fl(M Q) − M Q| ≤ γ_n |M||Q| for products in any order; R and (K + Kᵀ)/2 take a few more.
#include "device_memory.hpp"
#include "eigenvalues_certificate.hpp"
#include "eigenvalues_plan.hpp"
#include "spectrum_krylov.hpp"
#include "spectrum_scaled.hpp"

#include <fntk/eigenvalues.hpp>
#include <fntk/error.hpp>
#include <fntk/spectrum.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace fntk {

namespace {

/// Y = factor·K X in double, X and Y (n × r) in the device's memory; counts the columns.
class Product {
  public:
    explicit Product(const LinearOperator& op) : op_(&op) {}
    void scale(double factor) { factor_ = factor; }
    void operator()(ConstMatrixView x, MatrixView y) {
        apply_finite(*op_, x, y);
        if (factor_ != 1) op_->device().ops().axpby(factor_, y, 0, y);
        count_ += x.cols;
    }
    void add(std::int64_t products) { count_ += products; }
    [[nodiscard]] double factor() const { return factor_; }
    [[nodiscard]] const LinearOperator& op() const { return *op_; }
    [[nodiscard]] const Device& device() const { return op_->device(); }
    [[nodiscard]] std::int64_t count() const { return count_; }

  private:
    const LinearOperator* op_;
    double factor_ = 1;
    std::int64_t count_ = 0;
};

/// A lower bound of ‖K‖₂ that is seldom half of it, by four steps of the power method; 0 where K q = 0.
double rough_norm(Product& product, std::uint64_t seed) {
    const Device& device = product.device();
    const std::int64_t n = product.op().rows();
    Matrix q = unit_start(device, n, seed), next = device.zeros(1, n, DType::f64);
    double norm = 0;
    for (int step = 0; step < 4; ++step) {
        product(q.view().reshaped(n, 1), next.view().reshaped(n, 1));
        const double length = device.ops().norm(next);
        if (length == 0) break;
        norm = std::max(norm, length);
        scale_to_unit(device.ops(), next, length, q);
    }
    return norm;
}

/// The k largest eigenvectors of (M + Mᵀ)/2, n × k, from its n products.
Matrix all_eigenvectors(Product& product, std::int64_t k) {
    const Device& device = product.device();
    const std::int64_t n = product.op().rows();
    Matrix unit(n, n, DType::f64);
    for (std::int64_t i = 0; i < n; ++i) unit.at<double>(i, i) = 1;
    Matrix m = device.to_device(std::move(unit)), vectors = device.zeros(n, n, DType::f64);
    product(m, vectors);
    int exponent = 0;
    m = device.to_device(scaled_symmetric(device.on_host(vectors), exponent));
    std::vector<double> eigenvalues;
    if (!device.ops().eigh(m, eigenvalues, vectors))
        throw Error(
            fmt::format("the eigensolver did not converge on {} × {}; try device \"reference\"", n, n));
    return device.to_device(std::as_const(vectors).view().col_block(n - k, k));
}

/// Q in the device's memory; fills `products` and `converged`.
Matrix ritz_vectors(Product& product, std::int64_t subspace, const ExtremalOptions& options,
                    ExtremalEigenvalues& result) {
    result.converged = true;
    if (subspace == product.op().rows()) return all_eigenvectors(product, options.count);
    LanczosBasis basis = largest_ritz_vectors(product.op(), product.factor(), options.count, subspace,
                                              options.max_restarts, options.tolerance, options.seed);
    product.add(basis.products);
    result.converged = basis.converged;
    return std::move(basis.vectors);
}

/// θ and r of the columns of Q. matrix_norm: ‖M‖_F where M Q is n inner products in double; 0 where M is
/// known by its products alone.
RitzPairs measured(Product& product, Matrix vectors, double matrix_norm) {
    const Device& device = product.device();
    const std::int64_t n = vectors.rows(), k = vectors.cols();
    if (product.op().dtype() == DType::f32) {  // so that products are of these vectors, not of rounded ones
        Matrix narrow = device.zeros(n, k, DType::f32);
        device.ops().axpby(1, vectors, 0, narrow);
        device.ops().axpby(1, narrow, 0, vectors);
    }
    Matrix images = device.zeros(n, k, DType::f64), overlaps = device.zeros(k, k, DType::f64);
    product(vectors, images);
    device.ops().gemm(true, false, 1, vectors, vectors, 0, overlaps);

    RitzPairs pairs;
    pairs.values.resize(static_cast<std::size_t>(k));
    const Staged q = device.on_host(vectors), mq = device.on_host(images), qq = device.on_host(overlaps);
    double residual = 0, length = 0, from_identity = 0, largest = 0;  // squares, but for the last
    for (std::int64_t c = 0; c < k; ++c) {
        const double square = qq.view().at<double>(c, c);
        double& theta = pairs.values[static_cast<std::size_t>(c)];
        for (std::int64_t i = 0; i < n; ++i)
            theta += q.view().at<double>(i, c) * mq.view().at<double>(i, c);
        theta /= square;
        length += square;
        largest = std::max(largest, std::abs(theta));
        for (std::int64_t i = 0; i < n; ++i) {
            const double difference = mq.view().at<double>(i, c) - theta * q.view().at<double>(i, c);
            residual += difference * difference;
        }
        for (std::int64_t d = 0; d < k; ++d) {
            const double difference = qq.view().at<double>(c, d) - (c == d ? 1 : 0);
            from_identity += difference * difference;
        }
    }
    const auto order = static_cast<double>(n);
    const double loss = 1.01 * std::sqrt(from_identity) + rounding_of(order + 4) * length;
    if (!(loss < 0.5))
        throw Error(fmt::format(
            "the {} Ritz vectors are not orthonormal: |QᵀQ − I| = {:.2g}; set another subspace", k, loss));
    const double rounding =
        matrix_norm > 0 ? rounding_of(order + 12) * matrix_norm : rounding_of(12) * largest;
    pairs.radius = 1.01 * (std::sqrt(residual) + rounding * std::sqrt(length)) / std::sqrt(1 - loss);
    pairs.vectors = std::move(vectors);
    return pairs;
}

/// Intervals of M as those of K = ±2^e M. The ends are moved outward by one rounding.
void fill(ExtremalEigenvalues& result, const RitzPairs& pairs, const RestBound& rest, SpectrumEnd end,
          int exponent) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    std::vector<double> values = pairs.values;
    std::sort(values.begin(), values.end(), std::greater<>());
    const auto outward = [&](double value, double direction) {
        return std::nextafter(std::ldexp(std::nextafter(value, direction), exponent), direction);
    };
    for (const double value : values) {
        const bool certified = rest.reason.empty(),
                   in_rest = certified && value - pairs.radius <= rest.bound;
        const double above = in_rest ? std::max(rest.bound, value) : value + pairs.radius;
        EigenvalueInterval interval{std::ldexp(value, exponent), outward(value - pairs.radius, -infinity),
                                    outward(above, infinity), certified, rest.reason};
        if (end == SpectrumEnd::smallest) {
            interval.value = -interval.value;
            std::swap(interval.lower, interval.upper);
            interval.lower = -interval.lower, interval.upper = -interval.upper;
        }
        result.intervals.push_back(std::move(interval));
    }
    result.residual = std::ldexp(pairs.radius, exponent);
}

/// ±2^−exponent.
double factor_of(SpectrumEnd end, int exponent) {
    return end == SpectrumEnd::largest ? std::ldexp(1.0, -exponent) : -std::ldexp(1.0, -exponent);
}

}  // namespace

ExtremalEigenvalues extremal(const Device& device, ConstMatrixView kernel, const ExtremalOptions& options) {
    if (options.memory != 0) (void)plan_extremal(kernel.rows, options);
    int exponent = 0;
    Matrix m = [&] {
        const Staged host = device.on_host(kernel);
        require_symmetric(host, "kernel");
        return device.to_device(scaled_symmetric(host, exponent));
    }();
    const std::int64_t subspace = subspace_of(m.rows(), options);
    const DenseOperator op(device, m);  // refers to m
    Product product(op);
    const int further = scale_exponent(rough_norm(product, options.seed));
    device.ops().axpby(factor_of(options.end, further), m, 0, m);

    ExtremalEigenvalues result;
    const double norm = device.ops().norm(m);
    RitzPairs pairs = measured(product, ritz_vectors(product, subspace, options, result), norm);
    RestBound rest{0, "no certificate was asked for: set certify"};
    if (options.certify) rest = bound_rest(device, m, pairs);
    if (options.certify && !rest.reason.empty() && subspace < m.rows() &&
        m.rows() <= all_eigenvectors_again) {
        pairs = measured(product, all_eigenvectors(product, options.count), norm);
        rest = bound_rest(device, m, pairs);
        result.converged = true;
    }
    fill(result, pairs, rest, options.end, exponent + further);
    result.products = product.count();
    return result;
}

ExtremalEigenvalues extremal(const LinearOperator& op, const ExtremalOptions& options) {
    require_square(op);
    if (options.memory != 0) (void)plan_extremal(op.rows(), op.dtype(), options);
    const std::int64_t subspace = subspace_of(op.rows(), options);
    Product product(op);
    const int exponent = scale_exponent(rough_norm(product, options.seed));
    product.scale(factor_of(options.end, exponent));
    ExtremalEigenvalues result;
    const RitzPairs pairs = measured(product, ritz_vectors(product, subspace, options, result), 0);
    const RestBound rest{0,
                         "the operator is known by its products alone: that no eigenvalue lies further out "
                         "takes the dense matrix, extremal(device, kernel)"};
    fill(result, pairs, rest, options.end, exponent);
    result.products = product.count();
    return result;
}

}  // namespace fntk

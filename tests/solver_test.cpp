// Conjugate gradients and their preconditioner: against a dense solve, the residuals against a product in
// double, the low-rank factor against K, the preconditioner against its definition.
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/regression.hpp>
#include <fntk/solver.hpp>
#include <fntk/spectrum.hpp>

#include <backend/ops.hpp>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_parts;
using test::normals;
using test::on_sphere;
using test::relative_error;
using test::times;
using test::transposed;

const KernelFunction& limit() {
    static const KernelFunction function = KernelFunction::limit({}, {.up = true}, 6, DType::f64);
    return function;
}

Matrix shifted(const Matrix& k, double shift) {
    return test::filled(k.rows(), k.cols(), DType::f64,
                        [&](auto i, auto j) { return value(k, i, j) + (i == j ? shift : 0); });
}

/// Largest ‖B_j − (K + μI) X_j‖/‖B_j‖, by plain loops in double.
double worst_residual(const Matrix& k, double shift, ConstMatrixView b, ConstMatrixView x) {
    const Matrix product = times(shifted(k, shift), x);
    double worst = 0;
    for (std::int64_t j = 0; j < b.cols; ++j) {
        double off = 0, norm = 0;
        for (std::int64_t i = 0; i < b.rows; ++i) {
            off += std::pow(value(b, i, j) - value(product, i, j), 2);
            norm += std::pow(value(b, i, j), 2);
        }
        worst = std::max(worst, std::sqrt(off / norm));
    }
    return worst;
}

TEST(ConjugateGradient, SolvesAsTheDenseFactorisationDoes) {
    const Matrix x = on_sphere(80, 6, 1), b = normals(80, 3, 2);
    const Matrix k = limit_kernel(cpu(), {}, {.up = true}, x);
    const KernelBatch batch(cpu(), limit(), x);
    const TiledOperator tiles(batch, batch, 32);
    for (const double shift : {1e-3, 1.0}) {
        const CgResult result = conjugate_gradient(tiles, shift, b, nullptr, {.tolerance = 1e-11});
        EXPECT_TRUE(result.converged);
        EXPECT_FALSE(result.stagnated);
        EXPECT_LT(worst_residual(k, shift, b, result.solution), 2e-11);
        const RidgeModel dense =
            fit_ridge(cpu(), k, b, shift / value(k, 0, 0));  // unit rows: a constant diagonal
        EXPECT_LT(relative_error(result.solution, dense.dual), 1e-7);
        EXPECT_GT(result.iterations, 1);
    }
}

TEST(ConjugateGradient, ReportsTheTrueResidual) {
    const Matrix x = on_sphere(60, 6, 1), b = normals(60, 2, 2);
    const Matrix k = limit_kernel(cpu(), {}, {.up = true}, x);
    const CgResult result = conjugate_gradient(DenseOperator(cpu(), k), 1e-6, b, nullptr,
                                               {.tolerance = 1e-12, .max_iterations = 5});
    EXPECT_FALSE(result.converged);
    EXPECT_EQ(result.iterations, 5);
    const double worst = worst_residual(k, 1e-6, b, result.solution);
    EXPECT_GT(worst, 1e-6);
    EXPECT_NEAR(std::max(result.residuals[0], result.residuals[1]), worst, 1e-9 * worst);
}

TEST(ConjugateGradient, KnowsWhereFloat32Ends) {
    const Matrix x = on_sphere(200, 6, 1), b = test::narrowed(normals(200, 2, 2));
    const Matrix k = limit_kernel(cpu(), {}, {.up = true}, test::narrowed(x));
    const CgResult result = conjugate_gradient(DenseOperator(cpu(), k), 1e-2, b, nullptr,
                                               {.tolerance = 1e-14, .max_iterations = 4000});
    EXPECT_FALSE(result.converged);
    EXPECT_TRUE(result.stagnated);
    const double worst = worst_residual(k, 1e-2, b, result.solution);
    EXPECT_LT(worst, 1e-3);
    EXPECT_NEAR(std::max(result.residuals[0], result.residuals[1]), worst, 0.2 * worst + 1e-6);
}

TEST(ConjugateGradient, ZeroAndEasyColumnsStandStill) {
    const Matrix k =
        test::filled(5, 5, DType::f64, [](auto i, auto j) { return i == j ? 1.0 + double(i) : 0.0; });
    Matrix b(5, 3, DType::f64);
    b.at<double>(2, 1) = 1;                                       // an eigenvector: one iteration
    for (std::int64_t i = 0; i < 5; ++i) b.at<double>(i, 2) = 1;  // five
    const CgResult result =
        conjugate_gradient(DenseOperator(cpu(), k), 0, b, nullptr, {.tolerance = 1e-12});
    EXPECT_TRUE(result.converged);
    EXPECT_EQ(result.residuals[0], 0);
    for (std::int64_t i = 0; i < 5; ++i) {
        EXPECT_EQ(value(result.solution, i, 0), 0);
        EXPECT_NEAR(value(result.solution, i, 1), i == 2 ? 1.0 / 3 : 0, 1e-14);
        EXPECT_NEAR(value(result.solution, i, 2), 1.0 / (1.0 + double(i)), 1e-12);
    }
}

TEST(ConjugateGradient, CanBeCancelled) {
    const Matrix k = limit_kernel(cpu(), {}, {.up = true}, on_sphere(60, 6, 1));
    int calls = 0;
    const CgResult result = conjugate_gradient(DenseOperator(cpu(), k), 1e-6, normals(60, 1, 2), nullptr,
                                               {.tolerance = 1e-12, .progress = [&](double share) {
                                                    EXPECT_GE(share, 0);
                                                    EXPECT_LE(share, 1);
                                                    return ++calls < 4;
                                                }});
    EXPECT_TRUE(result.cancelled);
    EXPECT_FALSE(result.converged);
    EXPECT_EQ(result.iterations, 3);
}

TEST(ConjugateGradient, RefusesAPreconditionerThatForgetsResiduals) {
    class Nothing final : public Preconditioner {
      public:
        void apply(ConstMatrixView, MatrixView out) const override { cpu().ops().zero(out); }
    };
    const Matrix k = limit_kernel(cpu(), {}, {.up = true}, on_sphere(20, 6, 1));
    const Nothing nothing;
    const std::string error = error_of<Error>(
        [&] { (void)conjugate_gradient(DenseOperator(cpu(), k), 1e-3, normals(20, 2, 2), &nothing); });
    expect_parts(error, {"preconditioner", "positive definite"});
}

TEST(ConjugateGradient, NamesWhatDoesNotFit) {
    const Matrix k =
        test::filled(4, 4, DType::f64, [](auto i, auto j) { return i == j ? (i == 0 ? -1.0 : 1.0) : 0.0; });
    const DenseOperator op(cpu(), k), oblong(cpu(), k.view().row_block(0, 3));
    const Matrix b = normals(4, 1, 1);
    EXPECT_THROW((void)conjugate_gradient(oblong, 1, b), ShapeError);
    EXPECT_THROW((void)conjugate_gradient(op, 1, normals(3, 1, 1)), ShapeError);
    EXPECT_THROW((void)conjugate_gradient(op, -1, b), ValueError);
    EXPECT_THROW((void)conjugate_gradient(op, 1, b, nullptr, {.tolerance = 0}), ValueError);
    EXPECT_THROW((void)conjugate_gradient(op, 1, b, nullptr, {.max_iterations = 0}), ValueError);
    Matrix nan = normals(4, 1, 1);
    nan.at<double>(2, 0) = NAN;
    expect_parts(error_of<ValueError>([&] { (void)conjugate_gradient(op, 1, nan); }), {"rhs", "2"});
    Matrix first(4, 1, DType::f64);
    first.at<double>(0, 0) = 1;
    expect_parts(error_of<Error>([&] { (void)conjugate_gradient(op, 0.5, first); }),
                 {"0.5", "not positive definite", "larger ridge"});
}

TEST(PivotedCholesky, ApproximatesFromBelowAndEndsExact) {
    const Matrix x = on_sphere(150, 6, 1);
    const Matrix k = limit_kernel(cpu(), {}, {.up = true}, x);
    const KernelBatch batch(cpu(), limit(), x);
    double previous = HUGE_VAL;
    for (const std::int64_t rank : {1, 20, 60, 150}) {
        const Matrix f = pivoted_cholesky(batch, rank, 3);
        EXPECT_EQ(f.rows(), 150);
        EXPECT_LE(f.cols(), rank);
        const Matrix product = test::times_transposed(f, f);
        const Matrix rest = test::filled(
            150, 150, DType::f64, [&](auto i, auto j) { return value(k, i, j) - value(product, i, j); });
        const Spectrum s = spectrum(cpu(), rest);
        EXPECT_GT(s.min(), -1e-9);  // K − F Fᵀ is a Schur complement
        double trace = 0;
        for (std::int64_t i = 0; i < 150; ++i) trace += value(rest, i, i);
        EXPECT_LT(trace, previous);
        previous = trace;
        EXPECT_TRUE(test::same_bits(f, pivoted_cholesky(batch, rank, 3)));
    }
    EXPECT_LT(previous, 1e-6);
}

TEST(PivotedCholesky, NearTheBestApproximationOfItsRank) {
    const Matrix x = on_sphere(300, 6, 1);
    const Matrix k = limit_kernel(cpu(), {}, {.up = true}, x);
    const Spectrum s = spectrum(cpu(), k);
    double best = 0;  // Σ of the eigenvalues behind the first 60
    for (std::size_t i = 0; i + 60 < s.eigenvalues.size(); ++i) best += s.eigenvalues[i];
    const Matrix f = pivoted_cholesky(KernelBatch(cpu(), limit(), x), 60, 1);
    double trace = 0;
    for (std::int64_t i = 0; i < 300; ++i) {
        trace += value(k, i, i);
        for (std::int64_t j = 0; j < f.cols(); ++j) trace -= value(f, i, j) * value(f, i, j);
    }
    EXPECT_GE(trace, best);
    EXPECT_LT(trace, 4 * best);
}

TEST(PivotedCholesky, EveryKindOfKernelAndDuplicatedRows) {
    Matrix x = on_sphere(40, 6, 1);
    for (std::int64_t j = 0; j < 6; ++j) x.at<double>(7, j) = x.at<double>(3, j);
    for (const Train train : test::all_trains)
        for (const KernelOutput output : {KernelOutput::full, KernelOutput::trace}) {
            const Network net = Network::create(
                {.dim = 6, .width = 64, .rank = 4, .outputs = 2, .train = train, .precision = DType::f64});
            const KernelFunction function = KernelFunction::of_network(net, output);
            const KernelBatch batch(cpu(), function, x);
            const Matrix f = pivoted_cholesky(batch, batch.rows());
            const Matrix k = gram(tangent(cpu(), net, x), output);
            EXPECT_LT(relative_error(test::times_transposed(f, f), k), 1e-6)
                << to_string(train) << name(output);
        }
    EXPECT_THROW((void)pivoted_cholesky(KernelBatch(cpu(), limit(), x), 0), ValueError);
}

TEST(LowRankPreconditioner, IsItsDefinition) {
    const Matrix f = normals(30, 4, 1), r = normals(30, 2, 2);
    const LowRankPreconditioner preconditioner(cpu(), f.copy(), 0.5);
    Matrix out(30, 2, DType::f64);
    preconditioner.apply(r, out);
    // (F Fᵀ + μI)·out = (λ + μ)·r on the range of F, = μ·r beside it
    const Matrix product = times(shifted(test::times_transposed(f, f), 0.5), out);
    const double least = preconditioner.eigenvalues().back();
    const Matrix projected = test::filled(30, 2, DType::f64, [&](auto i, auto j) {
        return (value(product, i, j) - 0.5 * value(r, i, j)) / least;  // U Uᵀ r
    });
    const Matrix range = times(transposed(f), projected), wanted = times(transposed(f), r);
    EXPECT_LT(relative_error(range, wanted), 1e-12);
    EXPECT_LT(relative_error(test::times_transposed(transposed(projected), transposed(r)),
                             test::times_transposed(transposed(projected), transposed(projected))),
              1e-12);  // a projection
    EXPECT_EQ(preconditioner.eigenvalues().size(), 4U);
    EXPECT_THROW((void)LowRankPreconditioner(cpu(), f.copy(), 0), ValueError);
    for (const std::int64_t order : {6, 5000}) {
        Matrix of_order(order, 1, DType::f64);
        expect_parts(error_of<ShapeError>([&] { preconditioner.apply(normals(order, 1, 3), of_order); }),
                     {"order 30", std::to_string(order) + " × 1"});
    }
}

TEST(LowRankPreconditioner, SavesIterations) {
    const Matrix x = on_sphere(400, 6, 1), b = normals(400, 2, 2);
    const KernelBatch batch(cpu(), limit(), x);
    const TiledOperator op(batch, batch, 128);
    const double shift = 1e-3;
    const CgOptions options{.tolerance = 1e-8};
    const LowRankPreconditioner preconditioner(cpu(), pivoted_cholesky(batch, 200), shift);
    const CgResult plain = conjugate_gradient(op, shift, b, nullptr, options),
                   helped = conjugate_gradient(op, shift, b, &preconditioner, options);
    EXPECT_TRUE(plain.converged);
    EXPECT_TRUE(helped.converged);
    EXPECT_LT(3 * helped.iterations, plain.iterations);
    EXPECT_LT(relative_error(helped.solution, plain.solution), 1e-4);
}

}  // namespace
}  // namespace fntk

// Spectra, regression, limits and plans on a device whose memory the host cannot read, as in
// remote_test.cpp.
#include "remote_case.hpp"
#include "temp_folder.hpp"

#include <fntk/eigenvalues.hpp>
#include <fntk/error.hpp>
#include <fntk/limit.hpp>
#include <fntk/planner.hpp>
#include <fntk/regression.hpp>
#include <fntk/solver.hpp>
#include <fntk/spectrum.hpp>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_parts;
using test::normals;
using test::RemoteTest;
using test::same_bits;
using test::various_networks;

TEST_F(RemoteTest, SpectraAreEqual) {
    for (const DType type : {DType::f32, DType::f64}) {
        const Network network = Network::create(
            {.dim = 6, .width = 128, .rank = 8, .outputs = 2, .precision = type, .seed = 2});
        const Matrix x = normals(9, 6, 3, type);
        const Tangent here = tangent(device_, network, x), host = tangent(cpu(), network, x);
        const Matrix kernel = gram(host), there = gram(here);
        const Spectrum want = spectrum(cpu(), kernel);
        for (const ConstMatrixView k : {kernel.view(), there.view()}) {
            const Spectrum have = spectrum(device_, k);
            EXPECT_EQ(have.eigenvalues, want.eigenvalues);
            EXPECT_EQ(have.residual, want.residual);
            EXPECT_EQ(have.orthogonality, want.orthogonality);
        }
        const auto expect_equal = [](const ExtremalEigenvalue& a, const ExtremalEigenvalue& b) {
            EXPECT_EQ(a.value, b.value);
            EXPECT_EQ(a.residual, b.residual);
            EXPECT_EQ(a.iterations, b.iterations);
            EXPECT_EQ(a.converged, b.converged);
        };
        expect_equal(lambda_max(KernelOperator(here)), lambda_max(KernelOperator(host)));
        const ExtremalEigenvalue dense = lambda_max(DenseOperator(cpu(), kernel));
        expect_equal(lambda_max(DenseOperator(device_, there)), dense);
        expect_equal(lambda_max(DenseOperator(device_, kernel)), dense);
        EXPECT_EQ(numerical_rank(device_, x), numerical_rank(cpu(), x));
        EXPECT_EQ(numerical_rank(device_, device_.to_device(x)), numerical_rank(cpu(), x));
    }
}

TEST_F(RemoteTest, ExtremalEigenvaluesAreEqual) {
    const auto expect_equal = [](const ExtremalEigenvalues& a, const ExtremalEigenvalues& b) {
        ASSERT_EQ(a.intervals.size(), b.intervals.size());
        for (std::size_t i = 0; i < a.intervals.size(); ++i) {
            EXPECT_EQ(a.intervals[i].lower, b.intervals[i].lower);
            EXPECT_EQ(a.intervals[i].upper, b.intervals[i].upper);
            EXPECT_EQ(a.intervals[i].certified, b.intervals[i].certified);
        }
        EXPECT_EQ(a.residual, b.residual);
        EXPECT_EQ(a.products, b.products);
    };
    for (const DType type : {DType::f32, DType::f64}) {
        const Network network =
            Network::create({.dim = 6, .width = 128, .rank = 8, .precision = type, .seed = 2});
        const Matrix x = normals(40, 6, 3, type);
        const Tangent here = tangent(device_, network, x), host = tangent(cpu(), network, x);
        const Matrix kernel = gram(host), there = gram(here);
        for (const SpectrumEnd end : {SpectrumEnd::largest, SpectrumEnd::smallest})
            for (const std::int64_t count : {2, 30}) {  // by Lanczos, by all eigenvectors
                const ExtremalOptions options{.end = end, .count = count};
                const ExtremalEigenvalues want = extremal(cpu(), kernel, options);
                EXPECT_TRUE(want.intervals[0].certified);
                expect_equal(extremal(device_, kernel, options), want);
                expect_equal(extremal(device_, there, options), want);
                expect_equal(extremal(KernelOperator(here), options),
                             extremal(KernelOperator(host), options));
            }
    }
}

TEST_F(RemoteTest, LanczosBringsOnlyNumbersToTheHost) {
    const Matrix a = normals(300, 300, 4);
    const Matrix k = test::times_transposed(a, a);
    const DenseOperator op(device_, k);
    const std::int64_t before = remote_.ops->elements_to_host();
    const ExtremalEigenvalue top = lambda_max(op, {.max_iterations = 12, .tolerance = 0});
    EXPECT_EQ(top.iterations, 12);
    // for each order up to 12: the projected matrix, two rows of lengths, the last row of its eigenvectors;
    // and a norm for each product
    EXPECT_LE(remote_.ops->elements_to_host() - before, 12 * 13 * 25 / 6 + 3 * 12 * 13 / 2 + 12);
}

TEST_F(RemoteTest, RestartedLanczosBringsOnlyNumbersToTheHost) {
    const std::int64_t n = 300, subspace = 20;
    const Matrix a = normals(n, n, 4);
    const Matrix k = test::times_transposed(a, a);
    const DenseOperator op(device_, k);
    std::int64_t elements[2], products[2];
    for (const int restarts : {0, 5}) {
        const std::int64_t before = remote_.ops->elements_to_host();
        const ExtremalEigenvalues found =
            extremal(op, {.count = 2, .subspace = subspace, .max_restarts = restarts, .tolerance = 0});
        elements[restarts > 0] = remote_.ops->elements_to_host() - before;
        products[restarts > 0] = found.products;
    }
    EXPECT_GT(products[1] - products[0], 5 * 5);
    EXPECT_LE(elements[1] - elements[0], 5 * (subspace * subspace + 3 * subspace));
}

TEST_F(RemoteTest, ConjugateGradientsAreEqualAndLookSeldom) {
    const std::int64_t n = 200, s = 3;
    const Matrix a = normals(n, n, 4), b = normals(n, s, 5);
    const Matrix k = test::times_transposed(a, a);
    for (const bool preconditioned : {false, true}) {
        std::int64_t copies[2];
        for (const int iterations : {1, 33}) {
            const CgOptions options{.tolerance = 1e-14, .max_iterations = iterations};
            const LowRankPreconditioner here(cpu(), normals(n, 4, 6), 1.0),
                there(device_, device_.to_device(normals(n, 4, 6)), 1.0);
            const CgResult want = conjugate_gradient(DenseOperator(cpu(), k), 1.0, b,
                                                     preconditioned ? &here : nullptr, options);
            const std::int64_t before = remote_.ops->copies_to_host();
            const CgResult have = conjugate_gradient(DenseOperator(device_, k), 1.0, b,
                                                     preconditioned ? &there : nullptr, options);
            copies[iterations > 1] = remote_.ops->copies_to_host() - before;
            EXPECT_TRUE(same_bits(device_.to_host(have.solution), want.solution));
            EXPECT_EQ(have.iterations, want.iterations);
            EXPECT_EQ(have.residuals, want.residuals);
        }
        EXPECT_EQ(copies[1] - copies[0], 4);  // 8 iterations a look
    }
}

TEST_F(RemoteTest, ConjugateGradientsStopWhereTheyWouldWithALookAnIteration) {
    const std::int64_t n = 60;
    const Matrix a = normals(n, n, 4);
    Matrix b = normals(n, 3, 5);
    for (std::int64_t i = 0; i < n; ++i) b.at<double>(i, 1) = 0;
    const Matrix k = test::times_transposed(a, a);
    for (const double shift : {1.0, 1e3, 1e5}) {  // columns that converge within a look, and all at once
        const CgResult want = conjugate_gradient(DenseOperator(cpu(), k), shift, b, nullptr, {}),
                       have = conjugate_gradient(DenseOperator(device_, k), shift, b, nullptr, {});
        EXPECT_TRUE(have.converged);
        EXPECT_EQ(have.iterations, want.iterations) << shift;
        EXPECT_TRUE(same_bits(device_.to_host(have.solution), want.solution)) << shift;
    }
    Matrix indefinite = test::times_transposed(a, a);
    indefinite.at<double>(3, 3) = -1e4;
    EXPECT_EQ(error_of<Error>([&] { conjugate_gradient(DenseOperator(device_, indefinite), 0, b); }),
              error_of<Error>([&] { conjugate_gradient(DenseOperator(cpu(), indefinite), 0, b); }));
}

TEST_F(RemoteTest, RidgeRegressionIsEqual) {
    for (const DType type : {DType::f32, DType::f64}) {
        const Network network =
            Network::create({.dim = 6, .width = 128, .rank = 8, .precision = type, .seed = 2});
        const Matrix x = normals(9, 6, 3, type), x_new = normals(5, 6, 4, type), y = normals(9, 2, 5, type);
        const Tangent here = tangent(device_, network, x), here_new = tangent(device_, network, x_new),
                      host = tangent(cpu(), network, x), host_new = tangent(cpu(), network, x_new);
        const RidgeModel have = fit_ridge(device_, gram(here), device_.to_device(y), 1e-3),
                         have_too = fit_ridge(device_, gram(host), y, 1e-3),
                         want = fit_ridge(cpu(), gram(host), y, 1e-3);
        EXPECT_TRUE(same_bits(have.dual, want.dual));
        EXPECT_TRUE(same_bits(have_too.dual, want.dual));
        EXPECT_EQ(have.jitter, want.jitter);
        const Matrix cross = cross_gram(host_new, host), prediction = predict(cpu(), want, cross);
        EXPECT_TRUE(same_bits(predict(device_, have, cross_gram(here_new, here)), prediction));
        EXPECT_TRUE(same_bits(predict(device_, have, cross), prediction));
    }
}

TEST_F(RemoteTest, LimitsAreEqual) {
    for (const DType type : {DType::f32, DType::f64}) {
        const Matrix x = normals(9, 6, 3, type), y = normals(5, 6, 4, type), there = device_.to_device(x);
        for (const Activation kind : {Activation::relu, Activation::erf})
            for (const Train train : test::all_trains) {
                const Matrix want = limit_kernel(cpu(), {kind}, train, x);
                EXPECT_TRUE(same_bits(limit_kernel(device_, {kind}, train, x), want));
                EXPECT_TRUE(same_bits(limit_kernel(device_, {kind}, train, there), want));
                EXPECT_TRUE(same_bits(limit_kernel(device_, {kind}, train, there, y),
                                      limit_kernel(cpu(), {kind}, train, x, y)));
            }
        for (const Network& network : various_networks(6, 1)) {
            if (network.spec().precision != type) continue;
            const Matrix want = fixed_down_limit(cpu(), network, x, y);
            EXPECT_TRUE(same_bits(fixed_down_limit(device_, network, there, y), want));
            EXPECT_TRUE(same_bits(fixed_down_limit(device_, network.on(device_), x, y), want));
        }
        const ErrorLaw have = error_law(device_, there), want = error_law(cpu(), x);
        EXPECT_EQ(have.rank_term, want.rank_term);
        EXPECT_EQ(have.width_term, want.width_term);
    }
}

TEST_F(RemoteTest, PlansAreEqual) {
    const Matrix x = test::on_sphere(12, 10, 3, DType::f32), there = device_.to_device(x);
    for (const PlanCriterion criterion : {PlanCriterion::lambda_min, PlanCriterion::frobenius})
        for (const Down down : {Down::gaussian, Down::pca}) {
            PlannerOptions options{.target_error = 0.5, .criterion = criterion, .down = down, .seeds = 1};
            options.train = {.down = down == Down::gaussian, .up = down == Down::pca};
            options.up = down == Down::pca ? Up::gaussian : Up::srht;
            options.pilot_rank = 8;
            options.pilot_samples = 9;
            const NetworkPlan want = plan_network(cpu(), x, options);
            for (const ConstMatrixView inputs : {x.view(), there.view()}) {
                const NetworkPlan have = plan_network(device_, inputs, options);
                EXPECT_EQ(have.spec, want.spec);
                EXPECT_EQ(have.evidence.back().error, want.evidence.back().error);
                EXPECT_EQ(have.evidence.back().frobenius, want.evidence.back().frobenius);
                EXPECT_EQ(have.rank_constant, want.rank_constant);
                EXPECT_EQ(have.width_constant, want.width_constant);
                EXPECT_EQ(have.theory.rank, want.theory.rank);
                EXPECT_EQ(have.theory.width, want.theory.width);
                EXPECT_EQ(have.rank_loss, want.rank_loss);
            }
        }
}

}  // namespace
}  // namespace fntk

// The CUDA backend against the cpu backend in what follows from the exact integers and in floating passes:
// within a few roundings of its precision.
#include "arc_rows.hpp"
#include "cuda_case.hpp"
#include "exact_networks.hpp"
#include "temp_folder.hpp"
#include "training_by_hand.hpp"

#include <fntk/eigenvalues.hpp>
#include <fntk/error.hpp>
#include <fntk/kernel_descent.hpp>
#include <fntk/regression.hpp>
#include <fntk/spectrum.hpp>

#include <backend/ops.hpp>

#include <cmath>

namespace fntk {
namespace {

using test::CudaTest;
using test::error_of;
using test::keep_all;
using test::normals;
using test::relative_error;
using test::tolerance;

/// Each way through the wide pass: exact by transform and by product, floating, stored factors, smooth σ.
std::vector<Network> various_networks() {
    std::vector<Network> result;
    for (const DType precision : {DType::f32, DType::f64}) {
        for (const auto& [kind, up] : {std::pair{Activation::relu, Up::srht},
                                       {Activation::leaky_relu, Up::rademacher},
                                       {Activation::abs, Up::gaussian},
                                       {Activation::erf, Up::srht},
                                       {Activation::gelu, Up::gaussian}})
            result.push_back(Network::create({.dim = 12,
                                              .width = 203,
                                              .rank = 8,
                                              .outputs = 2,
                                              .down = Down::gaussian,
                                              .up = up,
                                              .activation = {kind, 0.2},
                                              .precision = precision,
                                              .seed = 5}));
        const Network first = result.back();
        result.push_back(first.with_up(std::make_shared<const Matrix>(normals(203, 8, 6, precision))));
        result.push_back(first.with_readout(std::make_shared<const Matrix>(normals(203, 2, 7, precision))));
    }
    return result;
}

std::string described(const Network& network, Train train) {
    return test::described(network, 0) + ", " + name(network.spec().activation.kind) + ", train " +
           to_string(train);
}

// --- kernels

TEST_F(CudaTest, GramMatricesAreThoseOfTheCpu) {
    for (const Network& network : various_networks()) {
        const DType precision = network.spec().precision;
        const Matrix x = normals(23, 12, 1, precision), y = normals(9, 12, 2, precision);
        const Tangent there = tangent(gpu(), network, x, keep_all),
                      here = tangent(host(), network, x, keep_all),
                      there_cols = tangent(gpu(), network, y, keep_all),
                      here_cols = tangent(host(), network, y, keep_all);
        for (const Train train : test::all_trains)
            for (const KernelOutput output :
                 {KernelOutput::trace, KernelOutput::full, KernelOutput::sum_of_logits}) {
                SCOPED_TRACE(described(network, train) + ", " + name(output));
                const Matrix k = gram(there, output, train);
                EXPECT_EQ(k.place(), gpu().place());
                EXPECT_LT(error(k, gram(here, output, train)), tolerance(precision));
                const Matrix symmetric = gpu().to_host(k.view());
                for (std::int64_t i = 0; i < symmetric.rows(); ++i)
                    for (std::int64_t j = 0; j < i; ++j)
                        ASSERT_EQ(value(symmetric, i, j), value(symmetric, j, i)) << "exactly symmetric";
                EXPECT_LT(error(cross_gram(there, there_cols, output, train),
                                cross_gram(here, here_cols, output, train)),
                          tolerance(precision));
            }
    }
}

TEST_F(CudaTest, OperatorsAreTheirGramMatrices) {
    for (const Network& network : various_networks()) {
        const DType precision = network.spec().precision;
        const Matrix x = normals(test::extent(23, 9), 12, 1, precision),
                     y = normals(test::extent(9, 5), 12, 2, precision);
        const Tangent rows = tangent(gpu(), network, x, keep_all),
                      cols = tangent(gpu(), network, y, keep_all);
        for (const Train train : test::all_trains)
            for (const KernelOutput output :
                 {KernelOutput::trace, KernelOutput::full, KernelOutput::sum_of_logits}) {
                SCOPED_TRACE(described(network, train) + ", " + name(output));
                EXPECT_LT(relative_error(gpu().on_host(to_dense(KernelOperator(rows, output, train))),
                                         gpu().on_host(gram(rows, output, train))),
                          2 * tolerance(precision));
                EXPECT_LT(relative_error(gpu().on_host(to_dense(KernelOperator(rows, cols, output, train))),
                                         gpu().on_host(cross_gram(rows, cols, output, train))),
                          2 * tolerance(precision));
            }
    }
}

TEST_F(CudaTest, ArcKernelsAreThoseOfTheCpu) {
    for (const DType dtype : {DType::f32, DType::f64})
        for (const auto& [n, n_cols] : {std::pair{1, 1}, {33, 70}, {300, 257}}) {
            const test::ArcRows a = test::arc_rows(n, 200, 1, dtype),
                                b = test::arc_rows(n_cols, 200, 7, dtype);
            const Matrix u = gpu().to_device(a.u.view()), norms = gpu().to_device(a.norms.view()),
                         u_cols = gpu().to_device(b.u.view()), norms_cols = gpu().to_device(b.norms.view());
            for (const test::ArcCase& c : test::arc_cases) {
                Matrix there = gpu().zeros(n, n_cols, dtype), square = gpu().zeros(n, n, dtype),
                       here(n, n_cols, dtype);
                gpu().ops().arc_gram(u, norms, u_cols, norms_cols, c.alpha, c.derivative, c.product, there);
                gpu().ops().arc_gram(u, norms, u, norms, c.alpha, c.derivative, c.product, square);
                host().ops().arc_gram(a.u, a.norms, b.u, b.norms, c.alpha, c.derivative, c.product, here);
                EXPECT_TRUE(test::near_kernel(gpu().on_host(there.view()), here, a, b, c,
                                              dtype == DType::f32 ? 3e-6 : 1e-13));
                EXPECT_TRUE(test::symmetric(gpu().on_host(square.view())));
            }
        }
}

TEST_F(CudaTest, PerSampleGradientsAreThoseOfTheCpu) {
    for (const Network& network : various_networks()) {
        const DType precision = network.spec().precision;
        const Matrix x = normals(9, 12, 1, precision);
        const Tangent there = tangent(gpu(), network, x, keep_all),
                      here = tangent(host(), network, x, keep_all);
        for (const Train train : test::all_trains) {
            SCOPED_TRACE(described(network, train));
            EXPECT_LT(
                error(per_sample_gradients(there, train, 2, 5), per_sample_gradients(here, train, 2, 5)),
                tolerance(precision));
        }
    }
}

// --- linear algebra

TEST_F(CudaTest, SpectraAreThoseOfTheCpu) {
    for (const std::int64_t n : {1, 2, 33, 200}) {
        const Matrix b = normals(n, n + 5, 1);
        const Matrix k = test::times_transposed(b, b);
        const Spectrum there = spectrum(gpu(), k), here = spectrum(host(), k);
        ASSERT_EQ(there.eigenvalues.size(), here.eigenvalues.size());
        for (std::size_t i = 0; i < here.eigenvalues.size(); ++i)
            EXPECT_NEAR(there.eigenvalues[i], here.eigenvalues[i],
                        1e-13 * static_cast<double>(n) * here.max())
                << i;
        const ExtremalEigenvalue largest =
            lambda_max(DenseOperator(gpu(), k), {.max_iterations = 200, .tolerance = 1e-12});
        EXPECT_NEAR(largest.value, here.max(), 1e-10 * here.max());
        EXPECT_EQ(numerical_rank(gpu(), b), numerical_rank(host(), b));
    }
}

TEST_F(CudaTest, ExtremalEigenvaluesAreCertifiedAsOnTheCpu) {
    for (const DType precision : {DType::f32, DType::f64}) {
        const Network network =
            Network::create({.dim = 12, .width = 512, .rank = 8, .precision = precision});
        const Matrix x = normals(test::extent(150, 60), 12, 3, precision);
        const Tangent there = tangent(gpu(), network, x);
        const Matrix kernel = gram(there);
        std::vector<double> truth = spectrum(host(), gpu().to_host(kernel)).eigenvalues;
        for (const SpectrumEnd end : {SpectrumEnd::smallest, SpectrumEnd::largest}) {
            if (end == SpectrumEnd::largest) std::reverse(truth.begin(), truth.end());
            const ExtremalEigenvalues found = extremal(gpu(), kernel, {.end = end, .count = 3});
            const ExtremalEigenvalues free = extremal(KernelOperator(there), {.end = end, .count = 3});
            for (std::size_t i = 0; i < 3; ++i) {
                EXPECT_TRUE(found.intervals[i].certified) << found.intervals[i].reason;
                EXPECT_LE(found.intervals[i].lower, truth[i]);
                EXPECT_GE(found.intervals[i].upper, truth[i]);
                EXPECT_FALSE(free.intervals[i].certified);
            }
        }
        const Tangent here = tangent(host(), network, x);
        const TraceEstimates near = estimate_trace(KernelOperator(here));
        const TraceEstimates far = estimate_trace(KernelOperator(there));
        EXPECT_NEAR(far.trace.value, near.trace.value, 100 * tolerance(precision) * near.trace.value);
    }
}

TEST_F(CudaTest, RidgeRegressionIsThatOfTheCpu) {
    const Matrix b = normals(60, 80, 1), y = normals(60, 3, 2);
    const Matrix k = test::times_transposed(b, b), cross = normals(7, 60, 3);
    for (const double ridge : {0.0, 1e-3, 1.0}) {
        const RidgeModel there = fit_ridge(gpu(), k, y, ridge), here = fit_ridge(host(), k, y, ridge);
        EXPECT_NEAR(there.jitter, here.jitter, 1e-12 * here.jitter);
        EXPECT_LT(relative_error(there.dual, here.dual), 1e-9);
        EXPECT_LT(relative_error(predict(gpu(), here, cross), predict(host(), here, cross)), 1e-12);
    }
    Matrix indefinite = k.copy();
    indefinite.at<double>(40, 40) = -1;
    EXPECT_EQ(error_of<Error>([&] { (void)fit_ridge(gpu(), indefinite, y, 0); }),
              error_of<Error>([&] { (void)fit_ridge(host(), indefinite, y, 0); }));
}

// --- training

TEST_F(CudaTest, DescentUnderAKernelIsThatOfTheCpu) {
    const std::int64_t n = test::extent(700, 40);
    const Matrix features = normals(n, 9, 1), fresh = normals(30, 9, 2), y = normals(n, 2, 3),
                 f0 = normals(n, 2, 4);
    const Matrix kernel = test::times_transposed(features, features),
                 cross = test::times_transposed(fresh, features);
    const KernelDescent here(host(), kernel, y, f0),
        there(gpu(), gpu().to_device(kernel), gpu().to_device(y), gpu().to_device(f0));
    EXPECT_NEAR(there.step_limit() / here.step_limit(), 1, 1e-12);
    const DescentState found = there.after(30, 0.4 * here.step_limit()),
                       expected = here.after(30, 0.4 * here.step_limit());
    EXPECT_LT(relative_error(found.outputs, expected.outputs), 1e-11);
    EXPECT_LT(relative_error(predict(gpu(), found.dual, gpu().to_device(cross)),
                             predict(host(), expected.dual, cross)),
              1e-11);
    EXPECT_LT(relative_error(there.at(0.1).outputs, here.at(0.1).outputs), 1e-11);
}

TEST_F(CudaTest, TrainingTakesTheStepsOfTheCpu) {
    const Matrix x = normals(13, 5, 1);
    const Matrix y = test::filled(13, 2, DType::f64, [](auto i, auto c) { return i % 2 == c ? 1 : 0; });
    for (const Activation activation : {Activation::relu, Activation::tanh})
        for (const Train train_these : test::all_trains)
            for (const Loss loss : {Loss::squared, Loss::cross_entropy})
                for (const std::int64_t batch : {0, 4})
                    for (const double momentum : {0.0, 0.5}) {
                        const Network network = test::small_network(train_these, 2, activation);
                        SCOPED_TRACE(described(network, train_these) + ", batch " + std::to_string(batch) +
                                     ", momentum " + std::to_string(momentum));
                        TrainingOptions options{.steps = 19,  // over two looks
                                                .loss = loss,
                                                .momentum = momentum,
                                                .batch = batch,
                                                .seed = 3,
                                                .kernel_drift = true};
                        const TrainingResult here = train(host(), network, x, y, options);
                        options.rule = StepRule::given;
                        options.step = here.step;
                        const TrainingResult there = train(gpu(), network, x, y, options);
                        EXPECT_EQ(there.network.place(), gpu().place());
                        ASSERT_EQ(there.history.size(), here.history.size());
                        for (std::size_t i = 0; i < here.history.size(); ++i)
                            EXPECT_NEAR(there.history[i].loss, here.history[i].loss,
                                        1e-10 * here.history[0].loss)
                                << i;
                        EXPECT_NEAR(there.history.back().drift, here.history.back().drift, 1e-9);
                        EXPECT_EQ(there.history.back().flips, here.history.back().flips);
                        EXPECT_LT(relative_error(test::parameters(there.network.on_host()),
                                                 test::parameters(here.network)),
                                  1e-10);
                    }
}

TEST_F(CudaTest, TrainingChoosesTheStepSizeOfTheCpu) {
    const Matrix x = normals(13, 5, 1), y = normals(13, 2, 2);
    for (const StepRule rule : {StepRule::lambda_max, StepRule::lambda_max_min}) {
        const TrainingOptions options{.steps = 2, .rule = rule};
        const Network network = test::small_network({.down = true, .up = true});
        const TrainingResult there = train(gpu(), network, x, y, options),
                             here = train(host(), network, x, y, options);
        EXPECT_NEAR(there.step, here.step, 1e-3 * here.step);
    }
}

TEST_F(CudaTest, TrainingResumesOnTheOtherDevice) {
    const test::TempFolder folder;
    const Matrix x = normals(13, 5, 1), y = normals(13, 2, 2);
    const Network network = test::small_network({.down = true, .up = true, .readout = true});
    TrainingOptions options{.steps = 6, .momentum = 0.5, .batch = 4, .seed = 3};
    const TrainingResult whole = train(host(), network, x, y, options);
    options.steps = 3;
    options.checkpoint = folder.path("host.safetensors");
    (void)train(host(), network, x, y, options);
    const TrainingResult rest = resume(gpu(), options.checkpoint, x, y, {.steps = 6});
    EXPECT_LT(relative_error(test::parameters(rest.network.on_host()), test::parameters(whole.network)),
              1e-10);
}

}  // namespace
}  // namespace fntk

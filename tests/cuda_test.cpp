// The CUDA backend against the cpu backend in what follows from the exact integers and in floating passes:
// within a few roundings of its precision.
#include "arc_rows.hpp"
#include "cuda_case.hpp"
#include "exact_networks.hpp"
#include "temp_folder.hpp"
#include "training_by_hand.hpp"

#include <fntk/eigenvalues.hpp>
#include <fntk/error.hpp>
#include <fntk/regression.hpp>
#include <fntk/solver.hpp>
#include <fntk/spectrum.hpp>

#include <backend/cuda/wide_way.hpp>
#include <backend/ops.hpp>

#include <algorithm>
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

/// The kernels for compute capability 9.0 and the portable ones: more tiles than multiprocessors, whole and
/// ragged ones, rows whose scales leave the range of float factors, and strides that part pairs of floats.
TEST_F(CudaTest, GramMatricesOfBothKernelsHaveTheSameBits) {
    backend::Ops& ops = gpu().ops();
    const std::int64_t n = test::extent(2200, 140), n_cols = test::extent(1111, 70), d = 300, p = 70;
    Matrix x = normals(n, d, 1, DType::f32);
    const Matrix g = normals(n, p, 2, DType::f32);
    for (std::int64_t i = 0; i < n; i += 97)
        for (std::int64_t j = 0; j < d; ++j)
            x.at<float>(i, j) = std::ldexp(x.at<float>(i, j), i % 2 == 0 ? 45 : -70);
    const Matrix there = gpu().to_device(x), g_there = gpu().to_device(g);
    for (const std::int64_t cols : {n, n_cols, n_cols + 1})
        for (const std::int64_t stride : {cols + cols % 2, cols + 1 - cols % 2}) {
            SCOPED_TRACE(std::to_string(cols) + " columns, stride " + std::to_string(stride));
            Matrix found[2];
            for (const bool allowed : {false, true}) {
                backend::cuda::allow_wgmma(ops, allowed);
                Matrix k = gpu().zeros(n, stride, DType::f32);
                ops.hadamard_gram(there, there.view().row_block(0, cols), g_there,
                                  g_there.view().row_block(0, cols), 0.5, k.view().col_block(0, cols));
                found[allowed] = gpu().to_host(k);
            }
            EXPECT_TRUE(test::same_bits(found[0], found[1]));
        }
    backend::cuda::allow_wgmma(ops, true);
}

/// Of bits, the same: more tiles than multiprocessors, whole and ragged ones, rows that are aligned to 16
/// bytes, and not; and few rows (which overlap), whose width goes in slices.
TEST_F(CudaTest, GateCountsOfBothKernelsAreEqual) {
    backend::Ops& ops = gpu().ops();
    const std::int64_t n = test::extent(3000, 200), n_cols = test::extent(1300, 150), words = 36;
    Matrix bits(n, 2 * words, DType::i32);
    std::mt19937 engine(5);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < 2 * words; ++j)
            bits.at<std::int32_t>(i, j) = static_cast<std::int32_t>(engine());
    const Matrix there = gpu().to_device(bits);
    auto* first = static_cast<const std::uint64_t*>(static_cast<const void*>(there.view().data));
    struct Case {
        std::int64_t rows, cols, used, stride;
    };
    for (const auto& [rows, cols, used, stride] :
         {Case{n, n, words, words}, Case{n, n, words - 1, words - 1}, Case{n, n_cols, words, words},
          Case{n_cols, n, words - 1, words - 1}, Case{140, 140, 270, words}, Case{70, 135, 270, words}}) {
        SCOPED_TRACE(std::to_string(rows) + " by " + std::to_string(cols) + ", " + std::to_string(used) +
                     " words");
        const auto view = [&, used = used, stride = stride](std::int64_t count) {
            return ConstBitView{first, count, 64 * used, stride, gpu().place()};
        };
        Matrix found[2];
        for (const bool allowed : {false, true}) {
            backend::cuda::allow_wgmma(ops, allowed);
            Matrix counts = gpu().zeros(rows, cols, DType::i32);
            ops.gate_gram(view(rows), view(cols), {}, counts);
            found[allowed] = gpu().to_host(counts);
        }
        EXPECT_TRUE(test::same_bits(found[0], found[1]));
    }
    backend::cuda::allow_wgmma(ops, true);
}

/// By digits where the GPU has compute capability 9.0, and by cuBLAS: columns of a wider X, whose rows are
/// not aligned, several outputs. A term's error is relative to the largest of a column: of normals, and of
/// products of two, that is 5 and 15 times the root of their mean square.
TEST_F(CudaTest, MomentsAreThoseOfTheReference) {
    const Device reference = Device::open("reference");
    const std::int64_t n = test::extent(600, 150), p = test::extent(300, 40), d = test::extent(401, 45),
                       k = 2;
    const Matrix a = normals(n, k * p, 1, DType::f32), v = normals(n, k, 2, DType::f32),
                 x = normals(n, d + 3, 3, DType::f32), m = normals(p, d, 4, DType::f32);
    const auto some = [&](const Matrix& all) { return all.view().col_block(1, d); };
    Matrix sum(p, d, DType::f64), along(n, k, DType::f64);
    const Matrix a64 = Matrix::converted(a, DType::f64), x64 = Matrix::converted(x, DType::f64);
    reference.ops().moment(a64, Matrix::converted(v, DType::f64), some(x64), {}, 0.5, sum);
    reference.ops().along_moment(a64, some(x64), {}, Matrix::converted(m, DType::f64), along);
    backend::Ops& ops = gpu().ops();
    backend::cuda::take_digits_from(ops, 0);
    const Matrix a_there = gpu().to_device(a), v_there = gpu().to_device(v), x_there = gpu().to_device(x),
                 m_there = gpu().to_device(m), scales = ops.moment_scales(some(x_there), p);
    EXPECT_EQ(scales.empty(), !backend::cuda::uses_wgmma(ops));
    Matrix sum_there = gpu().zeros(p, d, DType::f32), along_there = gpu().zeros(n, k, DType::f32);
    for (const ConstMatrixView with : {ConstMatrixView(), scales.view()}) {
        ops.moment(a_there, v_there, some(x_there), with, 0.5, sum_there);
        ops.along_moment(a_there, some(x_there), with, m_there, along_there);
        EXPECT_LT(error(sum_there, sum), 5e-6);
        EXPECT_LT(error(along_there, along), 2e-6);
    }
}

/// As they are issued, and recorded in an iteration of conjugate gradients; of a kernel of a tangent with
/// itself and with another.
TEST_F(CudaTest, ProductsByDigitsAreThoseOfTheGram) {
    backend::cuda::take_digits_from(gpu().ops(), 0);
    const Network network = Network::create({.dim = 40,
                                             .width = 203,
                                             .rank = 33,
                                             .outputs = 2,
                                             .down = Down::gaussian,
                                             .up = Up::rademacher,
                                             .seed = 5});
    const Matrix x = normals(test::extent(150, 50), 40, 1, DType::f32), y = normals(20, 40, 2, DType::f32);
    const Tangent rows = tangent(gpu(), network, x, keep_all), cols = tangent(gpu(), network, y, keep_all);
    for (const KernelOutput output :
         {KernelOutput::trace, KernelOutput::full, KernelOutput::sum_of_logits}) {
        SCOPED_TRACE(name(output));
        const KernelOperator k(rows, output, {.down = true});
        EXPECT_LT(
            relative_error(gpu().on_host(to_dense(k)), gpu().on_host(gram(rows, output, {.down = true}))),
            1e-5);
        EXPECT_LT(
            relative_error(gpu().on_host(to_dense(KernelOperator(rows, cols, output, {.down = true}))),
                           gpu().on_host(cross_gram(rows, cols, output, {.down = true}))),
            1e-5);
        const Matrix b = normals(k.rows(), 2, 3, DType::f32);
        const CgResult solved = conjugate_gradient(k, 1, gpu().to_device(b), nullptr, {.tolerance = 1e-4});
        EXPECT_TRUE(solved.converged);
        EXPECT_LT(*std::max_element(solved.residuals.begin(), solved.residuals.end()), 1e-4);
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

// Descent under a kernel that stays, against the steps themselves, an integrator of the flow, and networks
// that are trained.
#include "kernel_matrices.hpp"
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/kernel_descent.hpp>
#include <fntk/regression.hpp>
#include <fntk/training.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

namespace fntk {
namespace {

using test::error_of;
using test::normals;
using test::relative_error;
using test::times;
using test::times_transposed;

/// y ← y + a·x.
void add(double a, const Matrix& x, Matrix& y) {
    for (std::int64_t i = 0; i < y.rows(); ++i)
        for (std::int64_t c = 0; c < y.cols(); ++c) y.at<double>(i, c) += a * x.at<double>(i, c);
}

/// K (f − y).
Matrix slope(const Matrix& kernel, const Matrix& f, const Matrix& y) {
    Matrix e = f.copy();
    add(-1, y, e);
    return times(kernel, e);
}

class KernelDescentTest : public ::testing::TestWithParam<const char*> {
  protected:
    Device device = Device::open(GetParam(), std::string(GetParam()) == "cpu" ? 2 : 0);
    // Of rank 9 and 17 rows: eight eigenvalues are 0 but for rounding.
    Matrix features = normals(17, 9, 1), kernel = times_transposed(features, features),
           y = normals(17, 3, 2), f0 = normals(17, 3, 3);
};
INSTANTIATE_TEST_SUITE_P(Devices, KernelDescentTest, ::testing::Values("reference", "cpu"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST_P(KernelDescentTest, TakesTheStepsOfGradientDescent) {
    const KernelDescent descent(device, kernel, y, f0);
    const Matrix fresh = normals(5, 9, 4), cross = times_transposed(fresh, features);
    for (const double share : {0.01, 0.5, 0.93}) {  // above 0.5 the largest components change their signs
        const double step = share * descent.step_limit();
        for (const std::int64_t steps : {0, 1, 2, 7, 40}) {
            SCOPED_TRACE(std::to_string(share) + ", " + std::to_string(steps) + " steps");
            Matrix f = f0.copy(), elsewhere(5, 3, DType::f64);
            for (std::int64_t t = 0; t < steps; ++t) {
                Matrix e = f.copy();
                add(-1, y, e);
                add(-step, times(cross, e), elsewhere);
                add(-step, times(kernel, e), f);
            }
            const DescentState found = descent.after(steps, step);
            EXPECT_LT(relative_error(found.outputs, f), 1e-12);
            EXPECT_LT(relative_error(predict(device, found.dual, cross), elsewhere), 1e-11);
            double loss = 0;
            for (std::int64_t i = 0; i < 17; ++i)
                for (std::int64_t c = 0; c < 3; ++c)
                    loss += 0.5 * std::pow(f.at<double>(i, c) - y.at<double>(i, c), 2);
            EXPECT_NEAR(found.loss / loss, 1, 1e-11);
        }
    }
}

/// The classical Runge–Kutta method: its error is of the fourth power of the step.
TEST_P(KernelDescentTest, IsTheGradientFlow) {
    const KernelDescent descent(device, kernel, y, f0);
    const double h = 0.02 * descent.step_limit();
    Matrix f = f0.copy();
    for (int t = 0; t < 200; ++t) {
        const auto shifted = [&](double by, const Matrix& k) {
            Matrix g = f.copy();
            add(-by * h, k, g);
            return slope(kernel, g, y);
        };
        const Matrix a = slope(kernel, f, y), b = shifted(0.5, a), c = shifted(0.5, b), d = shifted(1, c);
        add(-h / 6, a, f);
        add(-h / 3, b, f);
        add(-h / 3, c, f);
        add(-h / 6, d, f);
    }
    const DescentState found = descent.at(200 * h);
    EXPECT_LT(relative_error(found.outputs, f), 1e-6);
    Matrix through_dual = f0.copy();
    add(1, times(kernel, found.dual), through_dual);
    EXPECT_LT(relative_error(through_dual, found.outputs), 1e-12);
    EXPECT_TRUE(test::near_values(descent.at(0).outputs, f0, 1e-13));
}

TEST_P(KernelDescentTest, GoesToTheSolutionWithoutARidge) {
    Matrix full = kernel.copy();
    for (std::int64_t i = 0; i < 17; ++i) full.at<double>(i, i) += 1;
    const KernelDescent descent(device, full, y);
    EXPECT_LT(relative_error(descent.at(100).dual, fit_ridge(device, full, y, 0).dual), 1e-12);
    EXPECT_LT(descent.at(100).loss, 1e-60);
}

/// What of Y no product with K reaches: Y less its part in the range of the features, by their normal equations.
TEST_P(KernelDescentTest, LearnsNothingOutsideOfTheRangeAtAnyTime) {
    Matrix square = test::times(test::transposed(features), features),
           right = test::times(test::transposed(features), y);
    const Matrix weights = fit_ridge(device, square, right, 0).dual, reached = times(features, weights);
    const KernelDescent descent(device, kernel, y);
    for (const DescentState& state : {descent.at(1e3), descent.at(1e200),
                                      descent.after(std::int64_t{1} << 60, 0.4 * descent.step_limit())}) {
        EXPECT_LT(relative_error(state.outputs, reached), 1e-12);
        EXPECT_LT(relative_error(predict(device, state.dual, kernel), reached), 1e-11);
    }
}

/// A kernel in float32, whose rounding makes eigenvalues of either sign where those of K are 0.
TEST_P(KernelDescentTest, TakesKernelsOfFloatsShortOfFullRank) {
    const Matrix rounded = test::narrowed(kernel);
    const Spectrum found = spectrum(device, rounded);
    ASSERT_LT(found.min(), -17 * std::numeric_limits<double>::epsilon() * found.max());
    const KernelDescent descent(device, rounded, y), exact(device, kernel, y);
    for (std::size_t j = 0; j < 8; ++j) EXPECT_EQ(descent.eigenvalues()[j], 0) << j;
    for (const double time : {1.0, 1e4, 1e9})
        EXPECT_LT(relative_error(descent.at(time).outputs, exact.at(time).outputs), 1e-5) << time;
}

/// α = t (Y − f₀) to first order: what cancels in 1 − e^(−λt) would be all of it.
TEST_P(KernelDescentTest, KnowsTheFirstMoment) {
    Matrix full = kernel.copy();
    for (std::int64_t i = 0; i < 17; ++i) full.at<double>(i, i) += 1e-3;
    const KernelDescent descent(device, full, y, f0);
    const double time = 1e-14 * descent.step_limit();
    Matrix expected(17, 3, DType::f64);
    add(time, y, expected);
    add(-time, f0, expected);
    EXPECT_LT(relative_error(descent.at(time).dual, expected), 1e-11);
    EXPECT_LT(relative_error(descent.after(1, time).dual, expected), 1e-11);
    EXPECT_LT(relative_error(descent.after(10, time / 10).dual, expected), 1e-11);
}

TEST_P(KernelDescentTest, TakesKernelsOfRankZeroAndOfOneRow) {
    const Matrix zero(4, 4, DType::f32);
    const Matrix target = normals(4, 2, 1, DType::f32);
    const KernelDescent still(device, zero, target);
    EXPECT_EQ(still.step_limit(), std::numeric_limits<double>::infinity());
    EXPECT_EQ(test::relative_error(still.after(10, 3).outputs, Matrix(4, 2, DType::f64)), 0);
    EXPECT_EQ(test::relative_error(still.after(10, 3).dual, Matrix(4, 2, DType::f64)), 0);
    const auto one = [](double value) {
        return test::filled(1, 1, DType::f64, [=](auto, auto) { return value; });
    };
    const DescentState state = KernelDescent(device, one(4), one(3), one(1)).at(0.25);  // 3 − 2/e
    EXPECT_NEAR(state.outputs.at<double>(0, 0), 3 - 2 / std::exp(1), 1e-15);
    EXPECT_NEAR(state.dual.at<double>(0, 0), (2 - 2 / std::exp(1)) / 4, 1e-15);
}

/// f is linear in A: the kernel stays, and the network ends where it says, on other inputs too.
TEST_P(KernelDescentTest, TrainedReadoutsEndWhereItSays) {
    for (const Activation activation : {Activation::relu, Activation::tanh}) {
        const Network network = Network::create({.dim = 6,
                                                 .width = 60,
                                                 .rank = 4,
                                                 .outputs = 3,
                                                 .down = Down::gaussian,
                                                 .train = {.readout = true},
                                                 .activation = {activation},
                                                 .precision = DType::f64});
        const Matrix x = normals(12, 6, 1), fresh = normals(8, 6, 2), targets = normals(12, 3, 3);
        const Tangent t = tangent(device, network, x, test::keep_all),
                      of_fresh = tangent(device, network, fresh, test::keep_all);
        const KernelDescent descent(device, gram(t), targets, t.values());
        const double step = 0.4 * descent.step_limit();
        const TrainingResult trained =
            train(device, network, x, targets, {.steps = 25, .rule = StepRule::given, .step = step});
        const DescentState state = descent.after(25, step);
        const auto outputs = [&](const Matrix& of) {
            return Matrix::copy_of(tangent(device, trained.network, of, {.only_these = true}).values());
        };
        EXPECT_LT(relative_error(state.outputs, outputs(x)), 1e-12);
        EXPECT_NEAR(state.loss / trained.history.back().loss, 1, 1e-12);
        Matrix elsewhere = predict(device, state.dual, cross_gram(of_fresh, t));
        add(1, Matrix::copy_of(of_fresh.values()), elsewhere);
        EXPECT_LT(relative_error(elsewhere, outputs(fresh)), 1e-12);
    }
}

/// The full kernel, whose outputs are trained together: a wide network strays from it by about 1/√m.
TEST_P(KernelDescentTest, WideNetworksTrainAsTheirKernelSays) {
    const Matrix x = normals(10, 6, 1), targets = normals(10, 2, 2);
    const auto strays = [&](std::int64_t width) {
        const Network network = Network::create({.dim = 6,
                                                 .width = width,
                                                 .outputs = 2,
                                                 .down = Down::identity,
                                                 .up = Up::gaussian,
                                                 .train = {.up = true},
                                                 .precision = DType::f64});
        const Tangent t = tangent(device, network, x, test::keep_all);
        const auto column = [](ConstMatrixView of) {
            const Matrix whole = Matrix::copy_of(of);
            return Matrix::copy_of(ConstMatrixView(whole.row<double>(0), 20, 1));
        };
        const KernelDescent descent(device, gram(t, KernelOutput::full), column(targets),
                                    column(t.values()));
        const double step = 0.5 * descent.step_limit();
        const TrainingResult trained =
            train(device, network, x, targets, {.steps = 20, .rule = StepRule::given, .step = step});
        return relative_error(column(tangent(device, trained.network, x, {.only_these = true}).values()),
                              descent.after(20, step).outputs);
    };
    const double narrow = strays(100), wide = strays(10000);
    EXPECT_LT(wide, 0.02);
    EXPECT_LT(wide, narrow / 4);
    EXPECT_GT(narrow, 0.02);
}

/// Of few rows and rank one, whose entries' rounding is more than the eigensolver's. The reference's plain sums
/// over the width round by more than is allowed for.
TEST(KernelDescent, TakesGramMatricesOfFewRows) {
    const Device& device = test::cpu();
    for (const DType precision : {DType::f32, DType::f64})
        for (const std::int64_t width : {4096, 65536})
            for (std::uint64_t seed = 0; seed < 6; ++seed) {
                const Network network = Network::create({.dim = 1,
                                                         .width = width,
                                                         .rank = 1,
                                                         .down = Down::gaussian,
                                                         .train = {.readout = true},
                                                         .precision = precision,
                                                         .seed = seed});
                const Matrix x = test::filled(3, 1, precision, [](auto i, auto) { return i + 1; });
                const Matrix k = gram(tangent(device, network, x, test::keep_all));
                EXPECT_NO_THROW(KernelDescent(device, k, normals(3, 1, 1))) << width << ' ' << seed;
            }
}

TEST_P(KernelDescentTest, RefusesByNameWhatDoesNotFit) {
    const auto refused = [&](const Matrix& k, const Matrix& targets, ConstMatrixView initial,
                             const std::string& text) {
        std::string said;
        try {
            const KernelDescent descent(device, k, targets, initial);
        } catch (const Error& error) {
            said = error.what();
        }
        EXPECT_NE(said.find(text), std::string::npos) << said;
    };
    refused(kernel, normals(16, 3, 1), {}, "targets is 16 × 3: it must be 17 × 3");
    refused(kernel, y, normals(17, 2, 1), "initial is 17 × 2: it must be 17 × 3");
    Matrix broken = y.copy();
    broken.at<double>(4, 1) = std::nan("");
    refused(kernel, broken, {}, "targets");
    refused(kernel, y, broken, "initial");
    refused(normals(17, 17, 1), y, {}, "not symmetric");
    Matrix indefinite = kernel.copy();
    indefinite.at<double>(3, 3) -= 40;
    refused(indefinite, y, {}, "kernel has the eigenvalue -");
    const double slightly = 2e-5 * spectrum(device, kernel).max();  // three times what floats explain
    Matrix lowered = kernel.copy();
    for (std::int64_t i = 0; i < 17; ++i) lowered.at<double>(i, i) -= slightly;
    refused(lowered, y, {}, "kernel has the eigenvalue -");
    refused(test::narrowed(lowered), y, {}, "kernel has the eigenvalue -");
    const Matrix huge =
        test::filled(100, 100, DType::f64, [](auto i, auto j) { return i == j ? 1.2e307 : 1e307; });
    refused(huge, normals(100, 1, 1), {}, "beyond the range of double");
    EXPECT_THROW(KernelDescent(device, kernel, y, {}, 1000), MemoryError);

    const KernelDescent descent(device, kernel, y);
    EXPECT_NE(error_of<ValueError>([&] { (void)descent.after(-1, 1e-3); }).find("steps = -1"),
              std::string::npos);
    for (const double step : {0.0, -1.0, descent.step_limit(), std::nan("")})
        EXPECT_NE(error_of<ValueError>([&] { (void)descent.after(3, step); }).find("2/λ_max"),
                  std::string::npos);
    for (const double time : {-1.0, std::nan(""), std::numeric_limits<double>::infinity()})
        EXPECT_NE(error_of<ValueError>([&] { (void)descent.at(time); }).find("time = "), std::string::npos);
    const Matrix floats = test::narrowed(descent.at(1).dual);
    EXPECT_NE(error_of<ValueError>([&] { (void)predict(device, floats, kernel); }).find("dual is float32"),
              std::string::npos);
}

}  // namespace
}  // namespace fntk

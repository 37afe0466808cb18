// Whole runs of training: the step size chosen, the linearised dynamics, the certificate, what is measured,
// and what is refused. One step is in training_step_test.cpp, checkpoints in training_resume_test.cpp.
#include "temp_folder.hpp"
#include "training_by_hand.hpp"

#include <fntk/error.hpp>
#include <fntk/spectrum.hpp>

#include <cmath>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_parts;
using test::loss_by_hand;
using test::normals;
using test::prediction;
using test::probabilities;
using test::relative_error;
using test::small_network;

TEST(Training, LowersTheLossWithTheStepSizeItChooses) {
    const Matrix x = test::on_sphere(12, 8, 1, DType::f32), y = normals(12, 2, 2),
                 classes = probabilities(12, 2);
    for (const Train train : test::all_trains)
        for (const StepRule rule : {StepRule::lambda_max, StepRule::lambda_max_min}) {
            const Network start = Network::create(
                {.dim = 8, .width = 512, .rank = 8, .outputs = 2, .train = train, .seed = 1});
            const TrainingResult result =
                fntk::train(cpu(), start, x, y, {.steps = 60, .rule = rule, .kernel_drift = true});
            ASSERT_EQ(result.history.size(), 61U);
            const std::size_t last = result.history.size() - 1;
            for (std::size_t t = 0; t <= last; ++t) {
                EXPECT_EQ(result.history[t].step, static_cast<std::int64_t>(t));
                if (t == 0 || rule != StepRule::lambda_max) continue;
                EXPECT_LT(result.history[t].loss, result.history[t - 1].loss) << to_string(train);
            }
            EXPECT_LT(result.history[last].loss, 0.7 * result.history[0].loss) << to_string(train);
            const double largest =
                spectrum(cpu(), gram(tangent(cpu(), start, x), KernelOutput::full)).max();
            EXPECT_NEAR(result.lambda_max, largest, 0.03 * largest);
            EXPECT_DOUBLE_EQ(result.step, rule == StepRule::lambda_max
                                              ? 1 / result.lambda_max
                                              : 2 / (result.lambda_max + result.lambda_min));
            EXPECT_GT(result.history[last].drift, 0);
            EXPECT_LT(result.history[last].drift, 1);
            EXPECT_GE(result.history[last].flips, 0);
            EXPECT_LE(result.history[last].flips, 1);
            EXPECT_EQ(result.history[0].drift, -1) << "not asked for at the start";
            EXPECT_GT(result.seconds_per_step, 0);
            EXPECT_FALSE(result.cancelled);
            const TrainingResult cross =
                fntk::train(cpu(), start, x, classes, {.steps = 20, .loss = Loss::cross_entropy});
            EXPECT_LT(cross.history.back().loss, cross.history.front().loss);
            const TrainingResult batches = fntk::train(cpu(), start, x, y, {.steps = 60, .batch = 5});
            EXPECT_LE(batches.step, result.step * 1.01);
            EXPECT_LT(loss_by_hand(batches.network, x, y, Loss::squared), result.history[0].loss);
        }
}

TEST(Training, FollowsTheLinearisedDynamicsWhenTheNetworkIsWide) {
    const std::int64_t n = 6, steps = 20;
    const Matrix x = test::on_sphere(n, 6, 1), y = normals(n, 1, 2);
    const NetworkSpec wide_up{.dim = 6,
                              .width = 1 << 15,
                              .down = Down::identity,
                              .up = Up::rademacher,
                              .train = {.up = true},
                              .precision = DType::f64,
                              .seed = 1};
    const NetworkSpec wide_down{.dim = 6,
                                .width = 1 << 12,
                                .rank = 1 << 10,
                                .down = Down::gaussian,
                                .train = {.down = true},
                                .precision = DType::f64,
                                .seed = 1};
    for (const NetworkSpec& spec : {wide_up, wide_down}) {
        const Network start = Network::create(spec);
        const TrainingResult result = fntk::train(cpu(), start, x, y, {.steps = steps});
        const Tangent t = tangent(cpu(), start, x);
        const Matrix kernel = gram(t);
        const auto error_of_values = [&](ConstMatrixView f) {
            return test::filled(1, n, DType::f64,
                                [&](auto, auto j) { return value(f, j, 0) - value(y, j, 0); });
        };
        const auto norm = [&](const Matrix& row) {
            return std::sqrt(test::times_transposed(row, row).at<double>(0, 0));
        };
        Matrix e = error_of_values(t.values());
        const double at_start = norm(e);
        for (std::int64_t step = 0; step <= steps; ++step) {
            EXPECT_NEAR(std::sqrt(2 * result.history[step].loss), norm(e), 0.03 * at_start)
                << to_string(spec.train) << ", step " << step;
            if (step == steps) break;
            const Matrix ke = test::times_transposed(e, kernel);  // e ← (I − ηK) e
            for (std::int64_t i = 0; i < n; ++i) e.at<double>(0, i) -= result.step * ke.at<double>(0, i);
        }
        EXPECT_LT(norm(e), 0.7 * at_start) << "there is something to follow";
        const Matrix found = error_of_values(prediction(result.network, x, Loss::squared));
        for (std::int64_t i = 0; i < n; ++i)
            EXPECT_NEAR(found.at<double>(0, i), e.at<double>(0, i), 0.03 * at_start);
    }
}

TEST(TrainingCertificate, HoldsForAWideNetworkAndTheBoundIsItsFormula) {
    const Matrix x = test::on_sphere(8, 8, 1), y = normals(8, 1, 2);
    const Network start = Network::create({.dim = 8,
                                           .width = 4096,
                                           .down = Down::identity,
                                           .train = {.up = true},
                                           .precision = DType::f64,
                                           .seed = 1});
    const TrainingResult result = fntk::train(cpu(), start, x, y, {.steps = 40, .certificate = true});
    EXPECT_TRUE(result.certificate_checked);
    EXPECT_TRUE(result.certificate_held);
    const double lambda = spectrum(cpu(), gram(tangent(cpu(), start, x))).min();
    EXPECT_GT(lambda, 0);
    EXPECT_NEAR(result.lambda_min, lambda, 1e-10);
    for (const TrainingRecord& row : result.history) {
        const double bound = std::pow(1 - result.step * lambda / 2, static_cast<double>(row.step)) * 2 *
                             result.history[0].loss;
        EXPECT_NEAR(row.bound, bound, 1e-9 * bound);
        EXPECT_LE(2 * row.loss, row.bound * (1 + 1e-9));
    }
    EXPECT_LT(result.history.back().bound, result.history.front().bound);
    const TrainingResult none = fntk::train(cpu(), start, x, y, {.steps = 2});
    EXPECT_FALSE(none.certificate_checked || none.certificate_held);
    EXPECT_EQ(none.history[1].bound, -1);
}

TEST(TrainingCertificate, IsNoneWhereTheKernelIsSingular) {
    const Matrix once = test::on_sphere(6, 8, 1), y = normals(12, 1, 2);
    Matrix twice(12, 8, DType::f64);
    for (std::int64_t i = 0; i < 12; ++i)
        for (std::int64_t j = 0; j < 8; ++j) twice.at<double>(i, j) = once.at<double>(i % 6, j);
    const Network start = Network::create(
        {.dim = 8, .width = 512, .down = Down::identity, .train = {.up = true}, .precision = DType::f64});
    for (const double known : {-1.0, 0.0}) {
        const TrainingResult result = fntk::train(
            cpu(), start, twice, y, {.steps = 3, .certificate = true, .known_lambda_min = known});
        EXPECT_FALSE(result.certificate_checked || result.certificate_held);
        EXPECT_LT(std::abs(result.lambda_min), 1e-12);
        for (const TrainingRecord& row : result.history) EXPECT_EQ(row.bound, -1);
    }
}

TEST(TrainingCertificate, IsReportedBrokenWhenTheStepIsTooLarge) {
    const Matrix x = test::on_sphere(8, 8, 1), y = normals(8, 1, 2);
    const Network start = Network::create({.dim = 8,
                                           .width = 512,
                                           .down = Down::identity,
                                           .train = {.up = true},
                                           .precision = DType::f64,
                                           .seed = 1});
    const double largest = spectrum(cpu(), gram(tangent(cpu(), start, x))).max();
    const TrainingResult result =
        fntk::train(cpu(), start, x, y,
                    {.steps = 10, .rule = StepRule::given, .step = 2.5 / largest, .certificate = true});
    EXPECT_TRUE(result.certificate_checked);
    EXPECT_FALSE(result.certificate_held);
}

TEST(Training, NamesTheStepWhereTheLossIsNoLongerFinite) {
    const Matrix x = normals(9, 5, 1, DType::f32), y = normals(9, 2, 2);
    for (const Train train : test::all_trains)
        for (const double step : {1e8, 1e18, 1e34, 1e36, 1e37, 3e37, 1e38, 1e60, 1e300}) {
            const Network start = Network::create(
                {.dim = 5, .width = 40, .rank = 4, .outputs = 2, .train = train, .seed = 3});
            const std::string text = error_of<Error>([&] {
                (void)fntk::train(cpu(), start, x, y, {.steps = 60, .rule = StepRule::given, .step = step});
            });
            expect_parts(text, {"step", "too large"});
        }
}

TEST(Training, MeasuresDriftFlipsAndTheSpectrumAsOftenAsAsked) {
    const Matrix x = test::on_sphere(10, 8, 1, DType::f32), y = normals(10, 1, 2);
    for (const Train train : {Train{.down = true}, Train{.up = true}, Train{.readout = true}}) {
        const Network start =
            Network::create({.dim = 8, .width = 256, .rank = 8, .train = train, .seed = 1});
        const TrainingResult result = fntk::train(cpu(), start, x, y, {.steps = 8, .spectrum_every = 3});
        for (const TrainingRecord& row : result.history) {
            const bool measured = row.step % 3 == 0 || row.step == 8;
            EXPECT_EQ(row.drift >= 0, measured) << row.step;
            EXPECT_EQ(row.flips >= 0, measured) << row.step;
            EXPECT_EQ(row.lambda_min > -1, measured) << row.step;
        }
        EXPECT_LT(result.history[0].drift, 1e-5);
        EXPECT_LT(result.history[0].flips, 1e-3);
        if (train.readout) {
            EXPECT_LT(result.history[8].drift, 1e-5) << "the kernel of the readout does not see A";
        } else {
            EXPECT_GT(result.history[8].drift, 1e-4) << to_string(train);
            EXPECT_GT(result.history[8].flips, 0) << to_string(train);
            const Tangent before = tangent(cpu(), start, x), after = tangent(cpu(), result.network, x);
            EXPECT_NEAR(result.history[8].drift, relative_error(gram(after), gram(before)), 1e-5);
            EXPECT_NEAR(result.history[8].lambda_min, spectrum(cpu(), gram(after)).min(), 1e-6);
        }
        const TrainingResult plain = fntk::train(cpu(), start, x, y, {.steps = 8});
        EXPECT_TRUE(test::same_factors(plain.network, result.network)) << "measuring changes nothing";
    }
    const Network smooth =
        Network::create({.dim = 8, .width = 256, .rank = 8, .activation = {Activation::tanh}, .seed = 1});
    const TrainingResult result = fntk::train(cpu(), smooth, x, y, {.steps = 2, .kernel_drift = true});
    EXPECT_GT(result.history[2].drift, 0);
    EXPECT_EQ(result.history[2].flips, -1) << "a smooth activation has no gates";
}

TEST(Training, OfNoStepsReportsTheStart) {
    const Matrix x = normals(7, 5, 1), y = normals(7, 2, 2);
    const Network start = small_network({.down = true});
    const TrainingResult result = fntk::train(cpu(), start, x, y, {.steps = 0});
    ASSERT_EQ(result.history.size(), 1U);
    EXPECT_NEAR(result.history[0].loss, loss_by_hand(start, x, y, Loss::squared), 1e-12);
    EXPECT_TRUE(test::same_factors(result.network, start));
}

TEST(Training, RefusesDataAndOptionsThatDoNotFit) {
    const Network network = small_network({.down = true});
    const Matrix x = normals(7, 5, 1), y = normals(7, 2, 2), p = probabilities(7, 2);
    const auto refused = [&]<class Expected>(Expected*, const Matrix& inputs, const Matrix& targets,
                                             const TrainingOptions& options) {
        return error_of<Expected>([&] { (void)fntk::train(cpu(), network, inputs, targets, options); });
    };
    ShapeError* const shape = nullptr;
    ValueError* const bad_value = nullptr;
    expect_parts(refused(shape, Matrix(0, 5, DType::f64), Matrix(0, 2, DType::f64), {}),
                 {"inputs", "0 rows"});
    expect_parts(refused(shape, x, normals(6, 2, 1), {}), {"targets", "6 × 2", "7 × 2"});
    expect_parts(refused(shape, x, normals(7, 3, 1), {}), {"targets", "7 × 3"});
    expect_parts(refused(shape, normals(7, 4, 1), y, {}), {"4 columns"});
    expect_parts(refused(bad_value, Matrix::converted(x, DType::f32), y, {}), {"float32"});
    Matrix holes = y.copy();
    holes.at<double>(3, 1) = std::nan("");
    expect_parts(refused(bad_value, x, holes, {}), {"targets", "row 3", "column 1"});
    Matrix infinite = x.copy();
    infinite.at<double>(2, 4) = HUGE_VAL;
    expect_parts(refused(bad_value, infinite, y, {}), {"inputs", "row 2", "column 4"});

    expect_parts(refused(bad_value, x, y, {.steps = -1}), {"steps", "-1"});
    for (const double momentum : {-0.1, 1.0, 2.0, std::nan("")})
        expect_parts(refused(bad_value, x, y, {.momentum = momentum}), {"momentum", "[0, 1)"});
    expect_parts(refused(bad_value, x, y, {.batch = -2}), {"batch", "-2"});
    for (const double known : {-7.0, HUGE_VAL, std::nan("")})
        expect_parts(refused(bad_value, x, y, {.certificate = true, .known_lambda_min = known}),
                     {"known_lambda_min", "-1"});
    bool begun = false;
    const TrainingOptions nowhere{.checkpoint = "/nonexistent/c.safetensors", .progress = [&](double) {
                                      begun = true;
                                      return true;
                                  }};
    EXPECT_THROW((void)fntk::train(cpu(), network, x, y, nowhere), IoError);
    EXPECT_FALSE(begun);  // known before the first step
    for (const double step : {0.0, -1.0, HUGE_VAL, std::nan("")})
        expect_parts(refused(bad_value, x, y, {.rule = StepRule::given, .step = step}),
                     {"step size", "lambda_max"});
    expect_parts(refused(bad_value, x, y, {.loss = Loss::cross_entropy}),
                 {"cross-entropy", "probabilities"});
    Matrix negative = p.copy();
    negative.at<double>(5, 0) = -0.5, negative.at<double>(5, 1) = 1.5;
    expect_parts(refused(bad_value, x, negative, {.loss = Loss::cross_entropy}),
                 {"row 5", "probabilities"});
    expect_parts(error_of<ValueError>([&] {
                     (void)fntk::train(cpu(), small_network({.down = true}, 1), x, normals(7, 1, 1),
                                       {.loss = Loss::cross_entropy});
                 }),
                 {"outputs", "1", "squared"});
    expect_parts(refused(bad_value, x, y, {.spectrum_every = -1}), {"spectrum_every is -1", "0 for never"});
    expect_parts(refused(bad_value, x, y, {.checkpoint_every = -2}),
                 {"checkpoint_every is -2", "0 for never"});
    expect_parts(refused(bad_value, x, y, {.batch = 3, .certificate = true}), {"certificate", "batch"});
    expect_parts(refused(bad_value, x, y, {.momentum = 0.5, .certificate = true}), {"certificate"});
    expect_parts(refused(bad_value, x, p, {.loss = Loss::cross_entropy, .certificate = true}),
                 {"certificate"});
    expect_parts(refused(bad_value, Matrix(7, 5, DType::f64), y, {}), {"λ_max", "zero"});
}

}  // namespace
}  // namespace fntk

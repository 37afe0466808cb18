// Estimates of the seconds of eigenvalues and of training beside the clock, and the memory that estimating
// takes.
#include "estimates.hpp"

#include <fntk/eigenvalues.hpp>
#include <fntk/error.hpp>

#include <algorithm>
#include <optional>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_near;
using test::expect_parts;
using test::filled;
using test::normals;
using test::of_network;
using test::on_sphere;
using test::seconds;

/// What `fntk spectrum` does; the products of Lanczos.
std::int64_t eigenvalues(const KernelFunction& function, ConstMatrixView x,
                         const KernelSpectrumOptions& options) {
    std::int64_t products = 0;
    std::optional<Tangent> at;
    std::optional<KernelBatch> batch;
    std::unique_ptr<LinearOperator> op;
    Matrix kernel;
    if (function.is_limit()) {
        batch.emplace(cpu(), function, x);
        op = make_operator(*batch, *batch);
        if (options.dense()) kernel = limit_kernel(cpu(), function.activation(), function.train(), x);
    } else {
        at = tangent(cpu(), function.network(), x);
        op = std::make_unique<KernelOperator>(*at, function.output());
        if (options.dense()) kernel = gram(*at, function.output());
    }
    if (options.all()) (void)spectrum(cpu(), kernel);
    for (const auto& [count, end] : {std::pair{options.largest, SpectrumEnd::largest},
                                     std::pair{options.smallest, SpectrumEnd::smallest}}) {
        if (count == 0) continue;
        const ExtremalOptions how{.end = end, .count = count, .max_restarts = 4};
        products += (options.matrix_free ? extremal(*op, how) : extremal(cpu(), kernel, how)).products;
    }
    if (options.probes > 0) (void)estimate_trace(*op, {.probes = options.probes});
    return products;
}

TEST(SlowEstimatedSeconds, OfEigenvaluesIsNearTheClock) {
    const KernelFunction limit = KernelFunction::limit({}, {.up = true}, 64),
                         down = of_network({.down = true}, 64), up = of_network({.up = true}, 64);
    struct Case {
        const char* what;
        KernelFunction function;
        std::int64_t samples;
        KernelSpectrumOptions options;
    };
    for (const Case& c : {Case{"all", limit, 1500, {}}, Case{"all of down", down, 1500, {}},
                          Case{"certified", down, 3000, {.largest = 3}},
                          Case{"products of down", down, 6000, {.largest = 2, .matrix_free = true}},
                          Case{"products of up", up, 400, {.largest = 2, .matrix_free = true}},
                          Case{"products of tiles", limit, 1500, {.largest = 1, .matrix_free = true}},
                          Case{"probes of up", up, 1000, {.probes = 40}},
                          Case{"probes of tiles", limit, 4000, {.probes = 40}}}) {
        const Matrix x = on_sphere(c.samples, 64, 3, DType::f32);
        expect_near(c.what, [&] {
            const SpectrumEstimate estimate = estimate_spectrum(cpu(), c.function, x, c.options);
            std::int64_t products = 0;
            const double measured = seconds([&] { products = eigenvalues(c.function, x, c.options); });
            EXPECT_EQ(products > 0, estimate.product_seconds > 0) << c.what;
            return std::pair{
                estimate.setup_seconds + static_cast<double>(products) * estimate.product_seconds,
                measured};
        });
    }
}

TEST(SlowEstimatedSeconds, OfTrainingIsNearTheClock) {
    struct Case {
        const char* what;
        Train train;
        std::int64_t samples;
        TrainingOptions options;
    };
    const TrainingOptions given{.steps = 12, .rule = StepRule::given, .step = 1e-9};
    TrainingOptions batches = given, searched = given, monitored = given;
    batches.steps = 100;
    batches.batch = 500;
    batches.momentum = 0.5;
    searched.rule = StepRule::lambda_max, searched.step = 0;
    searched.steps = 2;
    monitored.steps = 5;
    monitored.kernel_drift = monitored.certificate = true;
    monitored.spectrum_every = 2;
    for (const Case& c :
         {Case{"steps of down", {.down = true}, 10000, given},
          Case{"steps of up", {.up = true}, 3000, given},
          Case{"mini-batches", {.down = true}, 20000, batches},
          Case{"step size", {.down = true}, 6000, searched},
          Case{"step size of batches", {.up = true}, 2500, searched},
          Case{"kernels", {.down = true}, 900, monitored},
          Case{"kernel at the start and the end",
               {.up = true},
               4000,
               {.steps = 1, .rule = StepRule::given, .step = 1e-9, .kernel_drift = true}}}) {
        const Network network = of_network(c.train, 64).network();
        const Matrix x = on_sphere(c.samples, 64, 3, DType::f32), y = normals(c.samples, 2, 4, DType::f32);
        const TrainingPlan plan = plan_training(network, c.samples, c.options);
        expect_near(c.what, [&] {
            const TrainingEstimate estimate = estimate_training(cpu(), network, x, y, c.options, plan);
            return std::pair{
                estimate.setup_seconds + static_cast<double>(c.options.steps) * estimate.step_seconds,
                seconds([&] { (void)train(cpu(), network, x, y, c.options); })};
        });
    }
}

TEST(SlowEstimatedSeconds, OfEigenvaluesTakesNoMoreMemoryThanThePlan) {
    const Matrix x = on_sphere(1500, 24, 3, DType::f32);
    for (const KernelFunction& function :
         {KernelFunction::limit({}, {.up = true}, 24), of_network({.down = true}, 24),
          of_network({.up = true}, 24), of_network({.down = true}, 24, KernelOutput::full)})
        for (const KernelSpectrumOptions& options :
             {KernelSpectrumOptions{}, KernelSpectrumOptions{.largest = 2, .smallest = 1},
              KernelSpectrumOptions{.largest = 2, .matrix_free = true},
              KernelSpectrumOptions{.probes = 32}}) {
            const SpectrumPlan plan = plan_spectrum(function, x.rows(), options);
            EXPECT_LE(test::taken_by([&] { (void)estimate_spectrum(cpu(), function, x, options); }),
                      plan.peak_bytes)
                << plan.reason;
        }
}

TEST(SlowEstimatedSeconds, OfTrainingTakesNoMoreMemoryThanThePlan) {
    const Matrix x = on_sphere(1000, 24, 3, DType::f32), y = normals(1000, 2, 4, DType::f32);
    for (const Train factors : {Train{.down = true}, Train{.up = true}, Train{true, true, true}})
        for (const TrainingOptions& options :
             {TrainingOptions{.rule = StepRule::given, .step = 1e-9, .batch = 100},
              TrainingOptions{.batch = 900}, TrainingOptions{.kernel_drift = true, .certificate = true}}) {
            const Network network = of_network(factors, 24).network();
            const TrainingPlan plan = plan_training(network, x.rows(), options);
            EXPECT_LE(test::taken_by([&] { (void)estimate_training(cpu(), network, x, y, options, plan); }),
                      plan.peak_bytes)
                << plan.reason;
        }
}

TEST(EstimatedSeconds, OfEigenvaluesAndTrainingOnFewSamples) {
    const KernelFunction function = of_network({.down = true}, 6);
    for (const std::int64_t n : {1, 2, 3}) {
        const Matrix x = on_sphere(n, 6, 3, DType::f32), y = normals(n, 2, 4, DType::f32);
        for (const KernelSpectrumOptions& options :
             {KernelSpectrumOptions{}, KernelSpectrumOptions{.smallest = 1},
              KernelSpectrumOptions{.largest = 1, .probes = 2, .matrix_free = true}}) {
            const SpectrumEstimate estimate = estimate_spectrum(cpu(), function, x, options);
            EXPECT_GT(estimate.setup_seconds, 0);
            EXPECT_LT(estimate.setup_seconds, 1);
            EXPECT_EQ(estimate.product_seconds > 0, options.matrix_free);
        }
        const TrainingOptions options{.batch = 1};
        const TrainingEstimate estimate = estimate_training(cpu(), function.network(), x, y, options,
                                                            plan_training(function.network(), n, options));
        EXPECT_GT(estimate.setup_seconds, 0);
        EXPECT_GT(estimate.step_seconds, 0);
        EXPECT_LT(estimate.step_seconds, 1);
    }
}

TEST(EstimatedSeconds, RefusesWhatCannotBeDone) {
    const KernelFunction function = of_network({.down = true}, 6);
    expect_parts(error_of<ValueError>(
                     [&] { (void)estimate_spectrum(cpu(), function, Matrix(0, 6, DType::f32), {}); }),
                 {"0 samples"});
    expect_parts(error_of<ShapeError>([&] {
                     (void)estimate_training(cpu(), function.network(), on_sphere(4, 6, 1, DType::f32),
                                             normals(4, 3, 1, DType::f32), {},
                                             plan_training(function.network(), 4));
                 }),
                 {"4 × 3", "4 × 2"});
    for (const KernelSpectrumOptions& options :
         {KernelSpectrumOptions{.probes = -5}, KernelSpectrumOptions{.probes = 1},
          KernelSpectrumOptions{.largest = 5, .matrix_free = true}, KernelSpectrumOptions{.smallest = -1}})
        EXPECT_EQ(error_of<ValueError>([&] {
                      (void)estimate_spectrum(cpu(), function, on_sphere(4, 6, 1, DType::f32), options);
                  }),
                  error_of<ValueError>([&] { (void)plan_spectrum(function, 4, options); }));
}

TEST(EstimatedSeconds, RefusesATrainingOfOtherExtents) {
    const Network network = of_network({.down = true}, 6).network();
    const Matrix x = on_sphere(40, 6, 1, DType::f32), y = normals(40, 2, 1, DType::f32);
    const auto estimate = [&](ConstMatrixView targets, const TrainingOptions& options,
                              const TrainingPlan& plan) {
        (void)estimate_training(cpu(), network, x, targets, options, plan);
    };
    const TrainingPlan plan = plan_training(network, 40);
    expect_parts(error_of<ShapeError>([&] { estimate(y.view().row_block(0, 3), {}, plan); }),
                 {"3 × 2", "40 × 2"});
    expect_parts(error_of<ShapeError>([&] { estimate(y, {}, plan_training(network, 1000)); }),
                 {"plan.batch = 1000", "40"});
    expect_parts(error_of<ShapeError>([&] { estimate(y, {.batch = 7}, plan); }), {"plan.batch = 40", "7"});
    expect_parts(error_of<ValueError>([&] { estimate(y, {}, {}); }), {"plan.batch = 0", "plan_training"});
    expect_parts(error_of<ValueError>([&] { estimate(y, {.momentum = 7}, plan); }), {"momentum is 7"});
}

}  // namespace
}  // namespace fntk

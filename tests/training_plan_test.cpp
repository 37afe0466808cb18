// Plans of training against the memory that is really taken.
#include "plans.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/plan.hpp>
#include <fntk/training.hpp>

#include <cmath>
#include <set>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_parts;
using test::mib;
using test::normals;

TEST(SlowTrainingPlan, KeepsItsPromise) {
    test::Between between(5);
    std::set<std::string> ways;
    for (int run = 0; run < 90; ++run) {
        const bool wide = run % 3 == 0;
        const std::int64_t n = wide ? between(20, 100) : between(50, 700),
                           d = wide ? between(3000, 9000) : between(4, 60), k = between(1, 3);
        const std::int64_t factors = between(1, 7);
        const bool dense = !wide && between(0, 5) == 0;  // the identity
        const NetworkSpec spec{
            .dim = d,
            .width = 64 * between(1, 64),
            .rank = dense ? 0 : between(4, 64),
            .outputs = k,
            .down = dense ? Down::identity : Down::gaussian,
            .up = Up::rademacher,
            .train = {.down = (factors & 1) != 0, .up = (factors & 2) != 0, .readout = (factors & 4) != 0},
            .activation = {between(0, 3) == 0 ? Activation::tanh : Activation::relu},
            .precision = between(0, 1) == 0 ? DType::f32 : DType::f64};
        const Network network = Network::create(spec);
        const bool batches = between(0, 2) == 0;
        const bool given = between(0, 2) != 0;
        const TrainingOptions options{.steps = 2,
                                      .rule = given ? StepRule::given : StepRule::lambda_max,
                                      .step = given ? 1e-6 : 0,
                                      .momentum = between(0, 1) == 0 ? 0.5 : 0,
                                      .batch = batches ? between(1, n) : 0,
                                      .kernel_drift = between(0, 2) == 0,
                                      .spectrum_every = between(0, 3) == 0 ? 1 : 0};
        const TrainingPlan plan = plan_training(network, n, options);
        SCOPED_TRACE(std::to_string(run) + ": n " + std::to_string(n) + ", d " + std::to_string(d) +
                     ", m " + std::to_string(spec.width) + ", p " + std::to_string(spec.rank) + ", k " +
                     std::to_string(k) + ", " + to_string(spec.train) + ", " + name(spec.precision) +
                     (options.momentum > 0 ? ", momentum" : "") + ": " + plan.reason);
        const Matrix x = normals(n, d, 1, spec.precision), y = normals(n, k, 2, spec.precision);
        TrainingOptions limited = options;
        limited.memory = plan.peak_bytes;
        const std::int64_t taken = test::taken_by([&] { (void)train(cpu(), network, x, y, limited); });
        EXPECT_LE(taken, plan.peak_bytes - test::spare);
        // what no Matrix is: LAPACK's 2n² doubles
        const std::int64_t beside = test::workspaces + (options.spectrum_every > 0 ? 16 * n * n : 0);
        EXPECT_GE(2 * taken, plan.peak_bytes - beside);
        ways.insert(std::string(plan.kernel ? "kernel" : "no kernel") +
                    (plan.batch < n ? ", batches" : ""));
    }
    EXPECT_EQ(ways,
              (std::set<std::string>{"kernel", "kernel, batches", "no kernel", "no kernel, batches"}));
}

TEST(TrainingPlan, RefusesBeforeTheWorkAndNamesTheRemedy) {
    const Network network = Network::create(
        {.dim = 20, .width = 4096, .rank = 16, .down = Down::gaussian, .train = {.down = true}});
    const Matrix x = normals(3000, 20, 1, DType::f32), y = normals(3000, 1, 2, DType::f32);
    const auto refusal = [&](TrainingOptions options) {
        options.memory = mib;
        bool begun = false;
        options.progress = [&](double) { return begun = true; };
        const std::string text = error_of<MemoryError>([&] { (void)train(cpu(), network, x, y, options); });
        EXPECT_FALSE(begun);
        const std::int64_t least = test::least_named(text);
        options.memory = least;
        EXPECT_NO_THROW((void)plan_training(network, 3000, options));
        options.memory = least - mib;
        EXPECT_THROW((void)plan_training(network, 3000, options), MemoryError);
        return text;
    };
    expect_parts(refusal({.certificate = true}),
                 {"memory = 1 MiB", "3000 samples", "certificate", "--no-kernel"});
    expect_parts(refusal({.kernel_drift = true}), {"--no-kernel"});
    expect_parts(refusal({}), {"give the step size"});
    expect_parts(refusal({.rule = StepRule::given, .step = 1e-3}), {"smaller batch"});
    expect_parts(error_of<ValueError>([&] { (void)plan_training(network, 0); }), {"0 samples"});
    expect_parts(error_of<ValueError>([&] { (void)plan_training(network, 3, {.memory = -2}); }),
                 {"memory = -2"});
}

TEST(TrainingPlan, CountsTheKernelAndTheFlops) {
    const Network network = Network::create(
        {.dim = 20, .width = 4096, .rank = 16, .down = Down::gaussian, .train = {.down = true}});
    const TrainingPlan bare = plan_training(network, 3000, {.steps = 7}),
                       kernel = plan_training(network, 3000, {.steps = 7, .certificate = true}),
                       known = plan_training(network, 3000,
                                             {.steps = 7, .certificate = true, .known_lambda_min = 1}),
                       parts = plan_training(network, 3000, {.steps = 7, .batch = 100});
    EXPECT_FALSE(bare.kernel);
    EXPECT_TRUE(kernel.kernel);
    EXPECT_FALSE(known.kernel);
    EXPECT_EQ(parts.batch, 100);
    EXPECT_DOUBLE_EQ(bare.flops, 7.0 * static_cast<double>(cost(network.spec(), 3000).flops_step));
    EXPECT_DOUBLE_EQ(parts.flops, 7.0 * static_cast<double>(cost(network.spec(), 100).flops_step));
    EXPECT_NEAR(static_cast<double>(kernel.peak_bytes), 44.0 * 3000 * 3000, 0.1 * 44 * 3000 * 3000);
    const NetworkSpec widest{
        .dim = 1024, .width = (std::int64_t{1} << 31) - 1, .rank = 1024, .train = {.down = true}};
    const double one = static_cast<double>(cost(widest, 1).flops_step);
    EXPECT_DOUBLE_EQ(plan_training(Network::create(widest), 1'000'000'000'000, {.steps = 1}).flops,
                     1e12 * one);
}

TEST(TrainingPlan, RefusesOptionsOutOfRange) {
    const Network network = Network::create(
        {.dim = 20, .width = 64, .rank = 16, .down = Down::gaussian, .train = {.down = true}});
    const auto refused = [&](const TrainingOptions& options, std::initializer_list<std::string> parts) {
        expect_parts(error_of<ValueError>([&] { (void)plan_training(network, 30, options); }), parts);
    };
    for (const double momentum : {-3.0, 1.0, 7.0, std::nan("")})
        refused({.momentum = momentum}, {"momentum is", "[0, 1)"});
    for (const double step : {0.0, -1.0, HUGE_VAL, std::nan("")})
        refused({.rule = StepRule::given, .step = step}, {"step size is", "positive"});
    refused({.step = 0.125}, {"step is 0.125", "StepRule::given"});
    for (const double known : {-2.0, HUGE_VAL, std::nan("")})
        refused({.known_lambda_min = known}, {"known_lambda_min is"});
    refused({.steps = -1}, {"steps is -1"});
    refused({.batch = -1}, {"batch is -1"});
    refused({.spectrum_every = -1}, {"spectrum_every is -1"});
    refused({.checkpoint_every = -1}, {"checkpoint_every is -1"});
    refused({.loss = Loss::cross_entropy}, {"outputs is 1", "cross-entropy"});
    refused({.momentum = 0.5, .certificate = true}, {"certificate", "momentum"});
    refused({.batch = 29, .certificate = true}, {"certificate", "batch"});
    EXPECT_NO_THROW((void)plan_training(network, 30, {.batch = 30, .certificate = true}));
}

}  // namespace
}  // namespace fntk

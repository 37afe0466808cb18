// Plans of predictions against the memory that is really taken, and predictions inside small budgets.
#include "plans.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/kernel_model.hpp>

#include <cmath>
#include <set>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_parts;
using test::mib;
using test::normals;
using test::relative_error;

/// A model of n samples that no fit has made: α, X and M of the right shapes, and a μ that makes K + μI
/// positive definite.
KernelModel model_of(const KernelFunction& f, std::int64_t n, std::int64_t targets, bool keep_inputs) {
    KernelModel model{.function = f, .ridge = 1, .jitter = 10, .targets = targets};
    const std::int64_t rhs = f.output() == KernelOutput::full ? 1 : targets;
    if (f.has_moments()) {
        const NetworkSpec& spec = f.network().spec();
        const std::int64_t gradients = spec.rank * (f.output() == KernelOutput::trace ? spec.outputs : 1);
        model.moment = normals(rhs * gradients, f.dim(), 1, f.precision());
    }
    if (!f.has_moments() || keep_inputs) {
        model.inputs = normals(n, f.dim(), 2, f.precision());
        model.dual = normals(n * f.outputs(), rhs, 3);
    }
    return model;
}

/// The smallest budget that works, as the refusal of a smaller one names it.
std::int64_t least_budget(const KernelModel& model, std::int64_t rows, PredictOptions options) {
    options.memory = 1;
    return test::least_named(error_of<MemoryError>([&] { (void)plan_predict(model, rows, options); }));
}

TEST(SlowKernelModelPredictPlan, KeepsItsPromise) {
    test::Between between(11);
    std::set<std::string> ways;
    for (int run = 0; run < 120; ++run) {
        const bool wide = run % 3 == 0;
        const std::int64_t n = wide ? between(50, 200) : between(50, 900),
                           d = wide ? between(3000, 9000) : between(4, 40),
                           rows = wide ? between(1, 400) : between(1, 1500), s = between(1, 4),
                           rank = between(0, 3) == 0 ? 4 : between(4, 96);
        const DType precision = between(0, 1) == 0 ? DType::f32 : DType::f64;
        const std::int64_t factors = between(0, 1) == 0 ? 1 : between(2, 7);
        const Train train{
            .down = (factors & 1) != 0, .up = (factors & 2) != 0, .readout = (factors & 4) != 0};
        const auto output = static_cast<KernelOutput>(between(0, 2));
        const std::int64_t outputs = output == KernelOutput::full ? s : between(1, 3);
        const KernelFunction f =
            between(0, 4) == 0
                ? KernelFunction::limit({between(0, 1) == 0 ? Activation::relu : Activation::erf}, train, d,
                                        precision)
                : KernelFunction::of_network(
                      Network::create(
                          {.dim = d,
                           .width = 64 * between(1, 32),
                           .rank = rank,
                           .outputs = outputs,
                           .down = rank == 4 ? Down::srht : Down::gaussian,
                           .up = Up::rademacher,
                           .train = train,
                           .activation = {between(0, 3) == 0 ? Activation::tanh : Activation::relu},
                           .precision = precision}),
                      output);
        PredictOptions options{.variance = n * f.outputs() < 2000 && between(0, 1) == 0};
        const KernelModel model = model_of(f, n, s, options.variance);
        const std::int64_t least = least_budget(model, rows, options);
        options.memory = between(0, 1) == 0 ? least : least + between(0, least);
        const PredictPlan plan = plan_predict(model, rows, options);
        SCOPED_TRACE(std::to_string(run) + ": n " + std::to_string(n) + ", d " + std::to_string(d) +
                     (f.is_limit() ? ", limit" : ", p " + std::to_string(rank)) + ", " + to_string(train) +
                     ", " + name(output) + ", " + name(precision) + ", k " + std::to_string(outputs) +
                     ": " + plan.reason);
        EXPECT_LE(plan.peak_bytes, options.memory);
        const Matrix x = normals(rows, d, 4, precision);
        Prediction prediction;
        const std::int64_t taken =
            test::taken_by([&] { prediction = predict_kernel(cpu(), model, x, options); });
        EXPECT_EQ(prediction.plan.peak_bytes, plan.peak_bytes);
        EXPECT_LE(taken, plan.peak_bytes - test::spare);
        EXPECT_GE(2 * taken, plan.peak_bytes - test::workspaces);
        ways.insert(std::string(f.has_moments() ? "moment"
                                : f.is_limit()  ? "limit"
                                                : "tiles") +
                    (plan.variance ? ", variances" : "") + (plan.block < 1024 ? ", small blocks" : ""));
    }
    EXPECT_EQ(ways,
              (std::set<std::string>{
                  "limit", "limit, small blocks", "limit, variances", "limit, variances, small blocks",
                  "moment", "moment, small blocks", "moment, variances", "moment, variances, small blocks",
                  "tiles", "tiles, small blocks", "tiles, variances", "tiles, variances, small blocks"}));
}

TEST(KernelModelPredictPlan, SmallBudgetsPredictTheSame) {
    for (const DType precision : {DType::f32, DType::f64})
        for (const KernelOutput output :
             {KernelOutput::full, KernelOutput::trace, KernelOutput::sum_of_logits})
            for (const Train train :
                 {Train{.down = true}, Train{.up = true}, Train{.up = true, .readout = true}}) {
                const KernelFunction f =
                    KernelFunction::of_network(Network::create({.dim = 20,
                                                                .width = 256,
                                                                .rank = 8,
                                                                .outputs = 2,
                                                                .train = train,
                                                                .precision = precision}),
                                               output);
                const KernelModel model = model_of(f, 300, 2, true);
                const Matrix x = normals(1100, 20, 4, precision);
                PredictOptions options{.variance = true};
                const Prediction free = predict_kernel(cpu(), model, x, options);
                options.memory = least_budget(model, x.rows(), options);
                const Prediction small = predict_kernel(cpu(), model, x, options);
                EXPECT_GT(free.plan.block, small.plan.block);
                const double rounding = precision == DType::f32 ? 1e-5 : 1e-13;
                EXPECT_LT(relative_error(small.mean, free.mean), rounding);
                EXPECT_LT(relative_error(small.variance, free.variance), rounding);
            }
}

TEST(KernelModelPredictPlan, RefusesWhatCannotBe) {
    const KernelFunction f = KernelFunction::limit({}, {.up = true}, 20);
    const KernelModel model = model_of(f, 3000, 1, true);
    for (const bool variance : {false, true}) {
        const std::int64_t least = least_budget(model, 500, {.variance = variance});
        expect_parts(error_of<MemoryError>([&] {
                         (void)predict_kernel(cpu(), model, normals(500, 20, 1, DType::f32),
                                              {.variance = variance, .memory = least - mib});
                     }),
                     {"memory = ", "500 rows", std::to_string(least / mib) + " MiB at least",
                      variance ? "leave out the variances" : "fewer rows"});
        EXPECT_NO_THROW((void)plan_predict(model, 500, {.variance = variance, .memory = least}));
        EXPECT_EQ(least > 16 * 3000 * 3000, variance);
    }
    expect_parts(error_of<ValueError>([&] { (void)plan_predict(model, -1); }), {"-1 rows"});
    expect_parts(error_of<ValueError>([&] { (void)plan_predict(model, 1, {.memory = -5}); }),
                 {"memory = -5"});
}

TEST(KernelModelPredictPlan, CountsWhatGrowsWithTheRows) {
    const KernelFunction f = KernelFunction::limit({}, {.up = true}, 20);
    const PredictPlan one = plan_predict(f, 5000, 3, 100'000), two = plan_predict(f, 5000, 3, 200'000),
                      varied = plan_predict(f, 5000, 3, 100'000, {.variance = true});
    EXPECT_EQ(two.peak_bytes - one.peak_bytes, 100'000 * 3 * 8);
    EXPECT_DOUBLE_EQ(two.flops, 2 * one.flops);
    // of one row: n pairs of 2d flops, n products for each of 3 targets
    EXPECT_DOUBLE_EQ(one.flops, 1e5 * 5000 * (2 * 20 + 2 * 3));
    EXPECT_NEAR(static_cast<double>(varied.peak_bytes), 16.0 * 5000 * 5000, 0.3 * 16 * 5000 * 5000);
    // kernel and inverse of n², a product with the inverse for every row
    EXPECT_DOUBLE_EQ(varied.flops, one.flops + 1e5 * 2 * 5000.0 * 5000 + 5000.0 * 5000 * 20 +
                                       7.0 / 3 * std::pow(5000.0, 3));
}

}  // namespace
}  // namespace fntk

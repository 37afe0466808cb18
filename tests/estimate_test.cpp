// Estimates of seconds beside the clock, and the memory that estimating takes.
#include "estimates.hpp"

#include <fntk/error.hpp>
#include <fntk/estimate.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_near;
using test::expect_parts;
using test::normals;
using test::of_network;
using test::on_sphere;
using test::seconds;

struct Case {
    const char* what;
    KernelFunction function;
    std::int64_t samples;
    FitOptions options;
};

TEST(SlowEstimatedSeconds, IsNearTheClock) {
    const FitOptions iterations{.solver = Solver::cg, .tolerance = 1e-20, .max_iterations = 4};
    FitOptions plain = iterations, small = iterations;
    plain.preconditioner_rank = 0;
    small.preconditioner_rank = 0;
    small.memory = std::int64_t{80} << 20;  // K does not fit
    const std::vector<Case> cases = {
        {"cholesky",
         KernelFunction::limit({}, {.up = true}, 64),
         3000,
         {.solver = Solver::cholesky, .diagnose_up_to = 0}},
        {"eigenvalues", KernelFunction::limit({}, {.up = true}, 64), 1500, {.solver = Solver::cholesky}},
        {"primal", of_network({.down = true}, 8), 20000, {.solver = Solver::primal}},
        {"stored", KernelFunction::limit({}, {.up = true}, 64), 6000, plain},
        {"preconditioned", of_network({.down = true}, 64), 6000, iterations},
        {"tiles", of_network({.up = true}, 64), 5000, small},
        {"closed form", of_network({.down = true}, 64), 20000, small}};
    for (const Case& c : cases) {
        const Matrix x = on_sphere(c.samples, c.function.dim(), 3, DType::f32),
                     y = normals(c.samples, 4, 4, DType::f32);
        const FitPlan plan = plan_fit(c.function, c.samples, 4, c.options);
        expect_near(c.what, [&] {
            const FitEstimate estimate = estimate_fit(cpu(), c.function, x, 4, plan);
            int done = 0;
            const double measured = seconds(
                [&] { done = fit_kernel(cpu(), c.function, x, y, c.options).diagnostics.iterations; });
            // true residuals, at the end and where they stagnate, take a product each
            return std::pair{estimate.setup_seconds + std::max(done, 0) * 1.2 * estimate.iteration_seconds,
                             measured};
        });
    }
}

TEST(SlowEstimatedSeconds, OfAGramMatrixIsNearTheClock) {
    for (const KernelFunction& function :
         {KernelFunction::limit({}, {.up = true}, 64), of_network({.down = true}, 64),
          of_network({.up = true}, 64), of_network({.down = true}, 64, KernelOutput::full)}) {
        const std::int64_t n = function.outputs() > 1 ? 3000 : 5000;
        const Matrix x = on_sphere(n, 64, 3, DType::f32), other = on_sphere(n / 2, 64, 4, DType::f32);
        const KernelBatch rows(cpu(), function, x), cols(cpu(), function, other);
        for (const bool symmetric : {true, false}) {
            const KernelBatch& right = symmetric ? rows : cols;
            const GramFilePlan plan =
                plan_gram_file(function, n, symmetric ? std::nullopt : std::optional(right.size()));
            Matrix tile(plan.tile * function.outputs(), plan.tile * function.outputs(), DType::f32);
            expect_near("tiles", [&] {
                return std::pair{estimate_gram_file(cpu(), function, x,
                                                    symmetric ? ConstMatrixView{} : other.view(), plan),
                                 seconds([&] {
                                     for (std::int64_t i = 0; i < n; i += plan.tile)
                                         for (std::int64_t j = 0; j < (symmetric ? i + 1 : right.size());
                                              j += plan.tile) {
                                             const std::int64_t r = std::min(plan.tile, n - i),
                                                                c = std::min(plan.tile, right.size() - j),
                                                                k = function.outputs();
                                             rows.tile(i, r, right, j, c,
                                                       tile.view().row_block(0, r * k).col_block(0, c * k));
                                         }
                                 })};
            });
        }
    }
}

TEST(SlowEstimatedSeconds, OfPredictionsIsNearTheClock) {
    for (const KernelFunction& function : {KernelFunction::limit({}, {.up = true}, 64),
                                           of_network({.down = true}, 64), of_network({.up = true}, 64)})
        for (const bool variance : {false, true}) {
            const std::int64_t n = 2000, rows = variance ? 1500 : 9000;
            const KernelModel model =
                fit_kernel(cpu(), function, on_sphere(n, 64, 3, DType::f32), normals(n, 4, 4, DType::f32),
                           {.ridges = {1e-1}, .diagnose_up_to = 0}, true);
            const Matrix x = on_sphere(rows, 64, 5, DType::f32);
            const PredictPlan plan = plan_predict(model, rows, {.variance = variance});
            expect_near(variance ? "variances" : "means", [&] {
                return std::pair{estimate_predict(cpu(), model, x, plan), seconds([&] {
                                     (void)predict_kernel(cpu(), model, x, {.variance = variance});
                                 })};
            });
        }
}

TEST(SlowEstimatedSeconds, OfPredictionsTakesNoMoreMemoryThanThePlan) {
    const Matrix x = on_sphere(1500, 24, 3, DType::f32), others = on_sphere(3000, 24, 5, DType::f32);
    for (const KernelFunction& function :
         {KernelFunction::limit({}, {.up = true}, 24), of_network({.down = true}, 24),
          of_network({.up = true}, 24), of_network({.down = true}, 24, KernelOutput::full)}) {
        const KernelModel model =
            fit_kernel(cpu(), function, x, normals(1500, 2, 4),
                       {.ridges = {1e-1}, .solver = Solver::cg, .max_iterations = 2}, true);
        for (const bool variance : {false, true})
            for (const std::int64_t mib : {34, 40, 300}) {
                PredictPlan plan;
                try {
                    plan = plan_predict(model, others.rows(), {.variance = variance, .memory = mib << 20});
                } catch (const MemoryError&) {
                    continue;
                }
                double seconds = 0;
                const std::int64_t taken =
                    test::taken_by([&] { seconds = estimate_predict(cpu(), model, others, plan); });
                EXPECT_GT(seconds, 0);
                EXPECT_LE(taken, plan.peak_bytes) << mib << ", " << plan.reason;
            }
    }
}

TEST(SlowEstimatedSeconds, TakesNoMoreMemoryThanThePlan) {
    const Matrix x = on_sphere(2500, 24, 3, DType::f32);
    for (const KernelFunction& function :
         {KernelFunction::limit({}, {.up = true}, 24), of_network({.down = true}, 24),
          of_network({.up = true}, 24), of_network({.down = true}, 24, KernelOutput::full)})
        for (const std::int64_t mib : {44, 52, 512}) {
            const FitPlan plan = plan_fit(function, x.rows(), 4, {.memory = mib << 20});
            EXPECT_LE(test::taken_by([&] { (void)estimate_fit(cpu(), function, x, 4, plan); }),
                      plan.peak_bytes)
                << mib << ", " << plan.reason;
        }
}

TEST(EstimatedSeconds, OfFewSamples) {
    for (const std::int64_t n : {1, 2, 3}) {
        const Matrix x = on_sphere(n, 6, 3, DType::f32);
        const KernelFunction function = KernelFunction::limit({}, {.up = true}, 6);
        const FitEstimate estimate = estimate_fit(cpu(), function, x, 1, plan_fit(function, n, 1));
        EXPECT_GT(estimate.setup_seconds, 0);
        EXPECT_LT(estimate.setup_seconds, 1);
        EXPECT_EQ(estimate.iteration_seconds, 0);
        EXPECT_GT(estimate_gram_file(cpu(), function, x, {}, plan_gram_file(function, n, {})), 0);
    }
}

TEST(EstimatedSeconds, RefusesWhatIsNoFit) {
    const KernelFunction function = KernelFunction::limit({}, {.up = true}, 6);
    const FitPlan plan = plan_fit(function, 10, 1);
    expect_parts(error_of<ValueError>(
                     [&] { (void)estimate_fit(cpu(), function, Matrix(0, 6, DType::f32), 1, plan); }),
                 {"0 samples"});
    expect_parts(error_of<ValueError>(
                     [&] { (void)estimate_fit(cpu(), function, on_sphere(4, 6, 1, DType::f32), 0, plan); }),
                 {"0 targets"});
    expect_parts(error_of<ShapeError>(
                     [&] { (void)estimate_fit(cpu(), function, on_sphere(4, 5, 1, DType::f32), 1, plan); }),
                 {"5", "6"});
}

TEST(EstimatedSeconds, RefusesWhatIsNoPlan) {
    const KernelFunction function = KernelFunction::limit({}, {.up = true}, 6);
    const Matrix x = on_sphere(4, 6, 1, DType::f32);
    const KernelModel model = fit_kernel(cpu(), function, x, normals(4, 1, 1, DType::f32));
    FitPlan fit = plan_fit(function, 4, 1);
    fit.preconditioner_rank = -1;
    expect_parts(error_of<ValueError>([&] { (void)estimate_fit(cpu(), function, x, 1, FitPlan{}); }),
                 {"plan.tile = 0", "plan_fit"});
    expect_parts(error_of<ValueError>([&] { (void)estimate_fit(cpu(), function, x, 1, fit); }),
                 {"plan.preconditioner_rank = -1"});
    expect_parts(error_of<ValueError>([&] { (void)estimate_gram_file(cpu(), function, x, {}, {}); }),
                 {"plan.tile = 0", "plan_gram_file"});
    expect_parts(error_of<ValueError>([&] { (void)estimate_predict(cpu(), model, x, {}); }),
                 {"plan.block = 0", "plan_predict"});
    expect_parts(error_of<ValueError>([&] { (void)estimate_predict(cpu(), model, x, {.block = 4}); }),
                 {"plan.tile = 0", "plan_predict"});
}

}  // namespace
}  // namespace fntk

// What the planner refuses, the bounds of theory, its memory and its progress.
#include "planner_by_hand.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>

#include <planner_parts.hpp>

#include <cmath>
#include <limits>

namespace fntk {
namespace {

using namespace test;

TEST(PlannerLimits, HardConditionsOfLowRank) {
    const Matrix x = times_transposed(on_sphere(20, 2, 5), normals(8, 2, 6));  // rank 2 in 8 columns
    PlannerOptions options = small_plan(PlanCriterion::lambda_min, {.down = true});
    expect_parts(error_of<ValueError>([&] { (void)plan_network(cpu(), x, options); }),
                 {"20 rows of rank 2 need p ≥ 10", "p ≤ 8", "down = gaussian"});
    options.down = Down::gaussian;
    options.target_error = 0.999;
    options.safety = 1e-9;  // nothing but the condition asks for a rank
    const NetworkPlan plan = plan_network(cpu(), x, options);
    EXPECT_EQ(plan.hard.least, 10);
    EXPECT_EQ(plan.practical_rank, 16);  // the next power of two
    EXPECT_TRUE(plan.hard.met);

    options.criterion = PlanCriterion::frobenius;
    const NetworkPlan loose = plan_network(cpu(), x, options);
    EXPECT_FALSE(loose.hard.applied);
    EXPECT_EQ(loose.practical_rank, 1);
    EXPECT_EQ(loose.hard.met, loose.spec.rank >= 10);

    options = small_plan(PlanCriterion::lambda_min, {.up = true});
    options.down = Down::pca;
    options.max_width = 9;
    expect_parts(error_of<ValueError>([&] { (void)plan_network(cpu(), x, options); }),
                 {"20 rows of rank 2", "need m ≥ 10", "max_width = 9"});
}

TEST(PlannerLimits, RefusesWhatNoNetworkCanMeet) {
    Matrix x = on_sphere(9, 6, 10);
    PlannerOptions options = small_plan(PlanCriterion::frobenius, {.down = true});
    options.target_error = 0.01;
    expect_parts(error_of<ValueError>([&] { (void)plan_network(cpu(), x, options); }),
                 {"target_error = 0.01", "p = 8", "admit no larger rank at dim 6", "down = gaussian"});
    options = small_plan(PlanCriterion::frobenius, {.up = true});
    options.down = Down::identity;
    options.target_error = 0.01;
    options.max_width = 128;
    expect_parts(error_of<ValueError>([&] { (void)plan_network(cpu(), x, options); }),
                 {"m = 128", "max_width = 128 allows no larger width"});

    for (std::int64_t j = 0; j < 6; ++j) x.at<double>(7, j) = x.at<double>(3, j);
    for (const PlanCriterion criterion : {PlanCriterion::lambda_min, PlanCriterion::condition})
        expect_parts(error_of<ValueError>(
                         [&] { (void)plan_network(cpu(), x, small_plan(criterion, {.down = true})); }),
                     {"rows 3 and 7 are equal", "frobenius"});
    EXPECT_LE(
        plan_network(cpu(), x, small_plan(PlanCriterion::frobenius, {.up = true})).evidence.back().error,
        0.5);
    for (std::int64_t j = 0; j < 6; ++j) x.at<double>(7, j) *= 2;
    expect_parts(error_of<ValueError>([&] {
                     (void)plan_network(cpu(), x, small_plan(PlanCriterion::lambda_min, {.down = true}));
                 }),
                 {"rows 3 and 7", "multiples"});
    for (std::int64_t j = 0; j < 6; ++j) x.at<double>(7, j) = 0;
    expect_parts(error_of<ValueError>([&] {
                     (void)plan_network(cpu(), x, small_plan(PlanCriterion::lambda_min, {.down = true}));
                 }),
                 {"row 7 is zero"});
    EXPECT_LE(
        plan_network(cpu(), x, small_plan(PlanCriterion::frobenius, {.up = true})).evidence.back().error,
        0.5);
    x.at<double>(4, 2) = std::nan("");
    expect_parts(error_of<ValueError>([&] { (void)plan_network(cpu(), x, options); }),
                 {"inputs", "row 4", "column 2"});
    EXPECT_THROW((void)plan_network(cpu(), Matrix(3, 4, DType::f64), options), ValueError);
    EXPECT_THROW((void)plan_network(cpu(), Matrix(3, 4, DType::i32), options), ValueError);
    EXPECT_THROW((void)plan_network(cpu(), Matrix(0, 4, DType::f64), options), ShapeError);
    EXPECT_THROW((void)plan_network(cpu(), Matrix(4, 0, DType::f64), options), ShapeError);
}

TEST(PlannerLimits, RefusesOptionsOutOfRange) {
    const Matrix x = on_sphere(5, 6, 10);
    const auto refused = [&](auto&& change, std::initializer_list<std::string> parts) {
        PlannerOptions options = small_plan(PlanCriterion::lambda_min, {.down = true});
        change(options);
        expect_parts(error_of<ValueError>([&] { (void)plan_network(cpu(), x, options); }), parts);
    };
    for (const double epsilon : {0.0, -0.1, 1.0, HUGE_VAL, std::nan("")})
        refused([&](PlannerOptions& o) { o.target_error = epsilon; }, {"target_error", "(0, 1)"});
    refused([](PlannerOptions& o) { o.criterion = PlanCriterion::condition, o.target_error = 0; },
            {"target_error = 0", "positive"});
    refused([](PlannerOptions& o) { o.train = {}; }, {"train = nothing"});
    refused([](PlannerOptions& o) { o.train = {.down = true, .up = true}; }, {"train = down+up"});
    refused([](PlannerOptions& o) { o.train = {.up = true, .readout = true}; }, {"train = up+readout"});
    refused([](PlannerOptions& o) { o.seeds = 0; }, {"seeds = 0"});
    refused([](PlannerOptions& o) { o.pilot_samples = 0; }, {"pilot_samples = 0"});
    refused([](PlannerOptions& o) { o.outputs = 0; }, {"outputs = 0"});
    refused([](PlannerOptions& o) { o.pilot_rank = -1; }, {"pilot_rank = -1"});
    refused([](PlannerOptions& o) { o.pilot_width = -1; }, {"pilot_width = -1"});
    refused([](PlannerOptions& o) { o.safety = 0; }, {"safety = 0"});
    refused([](PlannerOptions& o) { o.max_doublings = -1; }, {"max_doublings = -1"});
    refused([](PlannerOptions& o) { o.max_width = 0; }, {"max_width = 0"});
    refused([](PlannerOptions& o) { o.memory_budget = -1; }, {"memory_budget = -1"});
    for (const PlanCriterion criterion : criteria)
        EXPECT_EQ(parse_plan_criterion(name(criterion)), criterion);
    expect_parts(error_of<ValueError>([] { (void)parse_plan_criterion("fog"); }), {"'fog'", "lambda-min"});
}

TEST(PlannerLimits, RefusesATargetWhoseSquareUnderflows) {
    for (const Train train : {Train{.down = true}, Train{.up = true}})
        for (const Down down : {Down::identity, Down::orthonormal}) {
            PlannerOptions options = small_plan(PlanCriterion::frobenius, train);
            options.down = down;
            options.up = Up::gaussian;
            options.target_error = 1e-200;
            options.max_width = 256;
            options.max_doublings = 1;
            expect_parts(
                error_of<ValueError>([&] { (void)plan_network(cpu(), on_sphere(5, 6, 10), options); }),
                {"target_error = 1e-200", "was not met"});
        }
}

TEST(PlannerLimits, MeasuresTheSameAtEveryScale) {
    const Matrix x = on_sphere(12, 24, 10);
    for (const PlanCriterion criterion : criteria)
        for (const Train train : {Train{.down = true}, Train{.up = true}}) {
            const PlannerOptions options = small_plan(criterion, train);
            const NetworkPlan plan = plan_network(cpu(), x, options);
            for (const int exponent : {-490, -400, 332, 490}) {
                SCOPED_TRACE(std::string(name(criterion)) + ", 2^" + std::to_string(exponent));
                Matrix scaled = x.copy();
                for (std::int64_t i = 0; i < x.rows(); ++i)
                    for (std::int64_t j = 0; j < x.cols(); ++j)
                        scaled.at<double>(i, j) = std::ldexp(x.at<double>(i, j), exponent);
                const NetworkPlan other = plan_network(cpu(), scaled, options);
                EXPECT_EQ(other.practical_rank, plan.practical_rank);
                EXPECT_EQ(other.practical_width, plan.practical_width);
                EXPECT_NEAR(other.evidence.back().error, plan.evidence.back().error, 1e-9);
                EXPECT_NEAR(other.evidence.back().frobenius, plan.evidence.back().frobenius, 1e-9);
                const auto size = [&](const TheoryBound& bound) {
                    return train.down ? bound.rank : bound.width;
                };
                EXPECT_NEAR(size(other.theory) / size(plan.theory), 1, 1e-9);
            }
        }
}

TEST(PlannerLimits, RefusesDataWhoseKernelLeavesTheRange) {
    const auto refused = [](DType dtype, double scale, std::initializer_list<std::string> parts) {
        Matrix x = on_sphere(12, 24, 10);
        for (std::int64_t i = 0; i < x.rows(); ++i)
            for (std::int64_t j = 0; j < x.cols(); ++j) x.at<double>(i, j) *= scale;
        expect_parts(error_of<ValueError>([&] {
                         (void)plan_network(cpu(), Matrix::converted(x, dtype),
                                            small_plan(PlanCriterion::frobenius, {.down = true}));
                     }),
                     parts);
    };
    refused(DType::f64, 1e160, {"inputs", "e+159", "float64", "scale the data"});
    refused(DType::f64, 1e-160, {"inputs", "e-161", "[1e-150"});
    refused(DType::f32, 1e20, {"inputs", "e+19", "float32"});
    refused(DType::f32, 1e-25, {"inputs", "[1e-18"});
}

TEST(PlannerLimits, TinySets) {
    for (const std::int64_t n : {1, 2})
        for (const std::int64_t d : {1, 4})
            for (const Train train : {Train{.down = true}, Train{.up = true}}) {
                if (n > d && d == 1) continue;  // two numbers are multiples of each other
                PlannerOptions options = small_plan(PlanCriterion::lambda_min, train);
                options.down = Down::gaussian;
                const Matrix x = on_sphere(n, d, 11, DType::f32);
                const NetworkPlan plan = plan_network(cpu(), x, options);
                EXPECT_LE(plan.evidence.back().error, 0.5);
                EXPECT_EQ(plan.spec.precision, DType::f32);
                EXPECT_EQ(tangent(cpu(), Network::create(plan.spec, x), x).size(), n);
            }
}

/// max over the eigenvalues; ‖X‖₂² by hand.
double squared_norm(const Square& x) {
    Square gram(x.size(), std::vector<double>(x.size()));
    for (std::size_t i = 0; i < x.size(); ++i)
        for (std::size_t j = 0; j < x.size(); ++j) gram[i][j] = dot(x[i], x[j]);
    return eigenvalues(gram).back();
}

TEST(PlannerLimits, TheBoundOfTheoryIsItsFormulaAndHolds) {
    const Matrix x = on_sphere(4, 8, 12);
    const Square rows = rows_in_double(x), limit = limit_of(rows, rows);
    const std::vector<double> k = eigenvalues(limit);
    const double norm = squared_norm(rows), delta = 0.01 / 3, log_n = std::log(4 / delta);
    PlannerOptions options = small_plan(PlanCriterion::lambda_min, {.up = true});
    options.down = Down::identity;
    const TheoryBound up = plan_network(cpu(), x, options).theory;
    EXPECT_EQ(up.rank, 8);
    EXPECT_NEAR(up.width / (2 * norm * log_n / (0.25 * k.front())), 1, 1e-3);
    NetworkSpec spec{.dim = 8,
                     .width = static_cast<std::int64_t>(up.width) + 1,
                     .rank = 8,
                     .down = Down::identity,
                     .up = Up::gaussian,
                     .train = {.up = true},
                     .precision = DType::f64};
    for (spec.seed = 0; spec.seed < 20; ++spec.seed)
        EXPECT_GE(eigenvalues(trace_kernel(Network::create(spec), rows)).front(), 0.5 * k.front());

    options.criterion = PlanCriterion::condition;
    EXPECT_NEAR(plan_network(cpu(), x, options).theory.width /
                    (norm * log_n / 0.04 * std::max(2 / k.front(), 3 / k.back())),
                1, 1e-3);  // η = 0.5/2.5

    options = small_plan(PlanCriterion::lambda_min, {.down = true});
    options.target_error = 0.9;
    options.down = Down::gaussian;
    const NetworkPlan down = plan_network(cpu(), x, options);
    const double p = down.theory.rank;
    EXPECT_TRUE(std::isinf(down.theory.width));
    EXPECT_NEAR(
        p / (2 * norm * log_n * std::log(8 * p / delta) / (0.81 * k.front() * (1 - delta) * (1 - delta))),
        1, 1e-3);
    EXPECT_GT(p, static_cast<double>(down.spec.rank));

    options.criterion = PlanCriterion::frobenius;
    const NetworkPlan frobenius = plan_network(cpu(), x, options);
    EXPECT_NEAR(frobenius.theory.rank, 200 * frobenius.law.rank_term / 0.81, 1e-6);
    EXPECT_NEAR(frobenius.theory.width, 200 * frobenius.law.width_term / 0.81, 1e-6);
}

TEST(PlannerLimits, KeepsItsMemoryBudget) {
    const Matrix x = on_sphere(40, 24, 13);
    for (const Train train : {Train{.down = true}, Train{.up = true}})
        for (const PlanCriterion criterion : {PlanCriterion::lambda_min, PlanCriterion::frobenius}) {
            PlannerOptions options = small_plan(criterion, train);
            options.down = train.up ? Down::pca : Down::gaussian;
            options.target_error = 0.9;
            const std::int64_t before = memory_use().current;
            reset_memory_peak();
            const NetworkPlan plan = plan_network(cpu(), x, options);
            const std::int64_t peak = memory_use().peak - before;
            std::int64_t most = 0;
            for (const auto* draws : {&plan.rank_pilots, &plan.width_pilots, &plan.evidence})
                for (const PlannerDraw& draw : *draws)
                    most = std::max(most, draw_bytes(spec_of(draw, plan), 40));
            EXPECT_LE(peak, most);
            options.memory_budget = most;
            EXPECT_EQ(plan_network(cpu(), x, options).spec, plan.spec);
            options.memory_budget = most - 1;
            expect_parts(
                error_of<MemoryError>([&] { (void)plan_network(cpu(), x, options); }),
                {"memory_budget = " + std::to_string(most - 1), std::to_string(most), "pilot_samples"});
        }
}

TEST(PlannerLimits, AsksForTheLeastMemoryBeforeItTakesAny) {
    const auto refused = [](const Matrix& x, std::int64_t budget,
                            std::initializer_list<std::string> parts) {
        PlannerOptions options = small_plan(PlanCriterion::frobenius, {.down = true});
        options.memory_budget = budget;
        reset_memory_peak();
        const std::int64_t before = memory_use().current;
        expect_parts(error_of<MemoryError>([&] { (void)plan_network(cpu(), x, options); }), parts);
        EXPECT_LE(memory_use().peak - before, budget);
    };
    refused(on_sphere(900, 8, 13), 8 << 20, {"memory_budget = 8388608", "900 rows", "fewer pilot_samples"});
    refused(on_sphere(5000, 600, 13), 1 << 20, {"1000 rows", "fewer pilot_samples"});

    PlannerOptions options = small_plan(PlanCriterion::frobenius, {.down = true});
    options.pilot_samples = 2;
    options.memory_budget = 31 << 20;
    const Matrix x = on_sphere(1200, 1300, 13);
    reset_memory_peak();
    const std::int64_t before = memory_use().current;
    expect_parts(error_of<MemoryError>([&] { (void)plan_network(cpu(), x, options); }),
                 {"rank of the 1200 × 1300 inputs", "32870400 bytes"});
    EXPECT_EQ(memory_use().peak, before);
}

TEST(PlannerLimits, ReportsAShareOfManySeeds) {
    PlannerOptions options = small_plan(PlanCriterion::frobenius, {.down = true});
    options.seeds = std::numeric_limits<int>::max();
    double first = -1;
    options.progress = [&](double share) {
        first = share;
        return false;
    };
    EXPECT_TRUE(plan_network(cpu(), on_sphere(6, 24, 14), options).cancelled);
    EXPECT_GT(first, 0);
    EXPECT_LT(first, 1e-8);
}

TEST(PlannerLimits, ReportsProgressAndStops) {
    const Matrix x = on_sphere(6, 24, 14);
    PlannerOptions options = small_plan(PlanCriterion::frobenius, {.down = true});
    std::vector<double> shares;
    options.progress = [&](double share) {
        shares.push_back(share);
        return true;
    };
    EXPECT_FALSE(plan_network(cpu(), x, options).cancelled);
    EXPECT_EQ(shares.back(), 1);
    EXPECT_TRUE(std::is_sorted(shares.begin(), shares.end()));
    options.progress = [left = 3](double) mutable { return --left > 0; };
    const NetworkPlan plan = plan_network(cpu(), x, options);
    EXPECT_TRUE(plan.cancelled);
    EXPECT_EQ(plan.rank_pilots.size(), 2U);
    EXPECT_TRUE(plan.evidence.empty());
}

}  // namespace
}  // namespace fntk

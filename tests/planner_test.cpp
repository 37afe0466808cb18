// The planner's draws, choices and evidence against kernels computed by hand.
#include "planner_by_hand.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>

#include <set>

namespace fntk {
namespace {

using namespace test;

TEST(Planner, EveryNumberOfADrawIsTheKernelsByHand) {
    const Matrix x = on_sphere(7, 24, 3);
    for (const PlanCriterion criterion : criteria)
        for (const Train train : {Train{.down = true}, Train{.up = true}})
            for (const std::int64_t outputs : {1, 2}) {
                SCOPED_TRACE(std::string(name(criterion)) + " " + to_string(train));
                PlannerOptions options = small_plan(criterion, train);
                options.outputs = outputs;
                if (train.down) options.down = Down::gaussian;
                const NetworkPlan plan = plan_network(cpu(), x, options);
                ASSERT_EQ(plan.rank_pilots.size(), 4U);
                ASSERT_EQ(plan.width_pilots.size(), 4U);
                for (const PlannerDraw& draw : plan.rank_pilots)
                    expect_by_hand(draw, plan, options, x, false);
                for (const PlannerDraw& draw : plan.width_pilots)
                    expect_by_hand(draw, plan, options, x, train.up);
                const PlannerDraw& last = plan.evidence.back();
                expect_by_hand(last, plan, options, x, false);
                EXPECT_LE(last.error, options.target_error);
                EXPECT_EQ(spec_of(last, plan), plan.spec);
                EXPECT_EQ(plan.hard.data_rank, 7);
                const std::vector<double> limit =
                    eigenvalues(limit_of(rows_in_double(x), rows_in_double(x)));
                EXPECT_NEAR(plan.limit_lambda_min, limit.front(), 1e-12);
                EXPECT_NEAR(plan.limit_condition, limit.back() / limit.front(), 1e-9);
            }
}

TEST(Planner, ChoosesByTheFormula) {
    const Matrix x = on_sphere(9, 16, 4);
    for (const PlanCriterion criterion : criteria) {
        SCOPED_TRACE(name(criterion));
        PlannerOptions options = small_plan(criterion, {.down = true});
        options.down = Down::gaussian;
        options.up = Up::rademacher;
        options.target_error = 0.3;
        const auto loss = [&](double error) {
            return criterion == PlanCriterion::lambda_min  ? error
                   : criterion == PlanCriterion::condition ? error / (1 + error)
                                                           : error * error;
        };
        const NetworkPlan plan = plan_network(cpu(), x, options);
        double c_p = 0, wide = 0, mean[2] = {};
        for (const PlannerDraw& draw : plan.rank_pilots) {
            EXPECT_TRUE(draw.rank == 8 || draw.rank == 16);
            EXPECT_EQ(draw.width, 16 * draw.rank);
            c_p = std::max(c_p, loss(draw.error) * static_cast<double>(draw.rank));
            if (draw.rank == 16) wide += loss(draw.error) / 2;
        }
        for (const PlannerDraw& draw : plan.width_pilots) {
            EXPECT_TRUE(draw.width == 32 || draw.width == 64);
            EXPECT_EQ(draw.rank, 16);
            mean[draw.width == 64] += loss(draw.error) / 2;
        }
        const double c_m = std::max({0.0, (mean[0] - wide) * 32, (mean[1] - wide) * 64});
        EXPECT_DOUBLE_EQ(plan.rank_constant, c_p);
        EXPECT_NEAR(plan.width_constant, c_m, 1e-12);
        const double p = std::ceil(1.5 * c_p / loss(0.3));
        EXPECT_EQ(static_cast<double>(plan.practical_rank), p);
        EXPECT_EQ(static_cast<double>(plan.practical_width),
                  64 * std::ceil(std::max(4 * p, c_m / loss(0.1)) / 64));
        const PlannerDraw& last = plan.evidence.back();
        const double by_p = c_p / static_cast<double>(last.rank),
                     by_m = c_m / static_cast<double>(last.width);
        EXPECT_NEAR(loss(plan.rank_loss), loss(last.error) * by_p / (by_p + by_m), 1e-12);
        EXPECT_NEAR(loss(plan.width_loss), loss(last.error) * by_m / (by_p + by_m), 1e-12);
        EXPECT_NEAR(plan.dense_width, plan.law.width_term / (last.frobenius * last.frobenius), 1e-9);
    }
}

TEST(Planner, TrainUpLosesNothingAtAnIsometry) {
    const Matrix x = times_transposed(on_sphere(12, 3, 5), normals(9, 3, 6));  // rank 3
    PlannerOptions options = small_plan(PlanCriterion::lambda_min, {.up = true});
    options.pilot_rank = 1;
    for (const Down down : {Down::pca, Down::identity}) {
        options.down = down;
        const NetworkPlan plan = plan_network(cpu(), x, options);
        EXPECT_EQ(plan.spec.rank, down == Down::pca ? 3 : 9);
        EXPECT_EQ(plan.hard.data_rank, 3);
        EXPECT_EQ(plan.hard.least, 4);
        EXPECT_NEAR(plan.rank_loss, 0, down == Down::pca ? 1e-6 : 0);
        EXPECT_NEAR(plan.width_loss, plan.evidence.back().error, 1e-6);
        double c_m = 0;
        for (const PlannerDraw& draw : plan.width_pilots) {
            EXPECT_EQ(draw.rank, plan.spec.rank);
            c_m = std::max(c_m, draw.error * static_cast<double>(draw.width));
        }
        EXPECT_EQ(static_cast<double>(plan.practical_width), 64 * std::ceil(1.5 * c_m / 0.5 / 64));
        EXPECT_EQ(plan.rank_pilots.size(), down == Down::pca ? 2U : 0U);
        expect_by_hand(plan.evidence.back(), plan, options, x, false);
    }
}

TEST(Planner, TakesTheIsometryWhereTheNetworkIsSmallerWithIt) {
    const Matrix x = on_sphere(9, 16, 15);
    PlannerOptions options = small_plan(PlanCriterion::frobenius, {.up = true});
    options.down = Down::pca;
    options.pilot_rank = 2;
    std::set<std::int64_t> ranks;
    for (const double target : {0.9, 0.7, 0.5, 0.3, 0.2}) {
        options.target_error = target;
        const NetworkPlan plan = plan_network(cpu(), x, options);
        double c_p = 0;
        for (const PlannerDraw& draw : plan.rank_pilots)
            c_p = std::max(c_p, draw.error * draw.error * static_cast<double>(draw.rank));
        const double p =
            1.5 * c_p / (target * target);  // m·p: 9·p with a third of ε, 1.5·9 rows with all of it
        EXPECT_EQ(plan.practical_rank,
                  p >= 9 || 1.5 * 9 <= 9 * p ? 9 : static_cast<std::int64_t>(std::ceil(p)));
        ranks.insert(plan.practical_rank);
    }
    EXPECT_GT(ranks.size(), 1U) << "both ways are taken";
}

TEST(Planner, TellsTheTwoLossesOfTrainUpApart) {
    const Matrix x = on_sphere(8, 24, 7);
    PlannerOptions options = small_plan(PlanCriterion::frobenius, {.up = true});
    const NetworkPlan plan = plan_network(cpu(), x, options);
    const Network network = Network::create(plan.spec);
    const Square rows = rows_in_double(x), h = hidden_of(network, rows), at_u = limit_of(h, h);
    EXPECT_NEAR(plan.rank_loss, frobenius_error(at_u, limit_of(rows, rows)), 1e-9);
    EXPECT_NEAR(plan.width_loss, frobenius_error(trace_kernel(network, rows), at_u), 1e-9);
    EXPECT_GT(plan.rank_loss, plan.width_loss);
}

TEST(Planner, DoublesWhatIsAtFaultUntilTheEvidenceMeetsTheTarget) {
    const Matrix x = on_sphere(10, 24, 8);
    for (const Train train : {Train{.down = true}, Train{.up = true}}) {
        SCOPED_TRACE(to_string(train));
        const PlanCriterion criterion = train.up ? PlanCriterion::frobenius : PlanCriterion::lambda_min;
        PlannerOptions options = small_plan(criterion, train);
        options.down = train.up ? Down::identity : Down::gaussian;
        options.pilot_rank = 0;
        options.target_error = train.up ? 0.05 : 0.25;
        options.safety = 0.05;
        const NetworkPlan plan = plan_network(cpu(), x, options);
        ASSERT_GT(plan.evidence.size(), 1U);
        EXPECT_EQ(plan.evidence.front().rank, plan.practical_rank);
        EXPECT_EQ(plan.evidence.front().width, plan.practical_width);
        std::set<std::uint64_t> seeds{0, 1};  // the pilots'
        for (std::size_t i = 0; i < plan.evidence.size(); ++i) {
            const PlannerDraw& draw = plan.evidence[i];
            EXPECT_TRUE(seeds.insert(draw.seed).second) << "a seed serves twice";
            EXPECT_EQ(draw.error <= options.target_error, i + 1 == plan.evidence.size());
            expect_by_hand(draw, plan, options, x, false);
            if (i == 0) continue;
            const PlannerDraw& before = plan.evidence[i - 1];
            EXPECT_EQ(draw.rank, train.down ? 2 * before.rank : before.rank);
            if (train.up) {
                EXPECT_EQ(draw.width, 2 * before.width);
            }
            EXPECT_GE(draw.width, train.down ? 4 * draw.rank : 0);
        }
        options.max_doublings = static_cast<int>(plan.evidence.size()) - 2;
        expect_parts(error_of<ValueError>([&] { (void)plan_network(cpu(), x, options); }),
                     {"target_error = 0.", name(criterion), "max_doublings", "measured"});
    }
}

TEST(Planner, WidensWhereNoLargerRankIsAdmittedAndNoneIsNeeded) {
    const Matrix x = on_sphere(30, 24, 16);
    PlannerOptions options = small_plan(PlanCriterion::frobenius, {.up = true});
    options.down = Down::pca;
    options.up = Up::srht;  // at dim 24: p ≤ 16, no isometry
    options.safety = 0.2;
    const Network network = Network::create({.dim = 24,
                                             .width = 1,
                                             .rank = 16,
                                             .down = Down::pca,
                                             .train = {.up = true},
                                             .precision = DType::f64},
                                            x);
    const Square rows = rows_in_double(x), h = hidden_of(network, rows);
    const double by_rank = frobenius_error(limit_of(h, h), limit_of(rows, rows));
    options.target_error = 1.03 * by_rank;  // p = 16 and a ±1 V, whatever its m, have 1.025 of it
    const NetworkPlan plan = plan_network(cpu(), x, options);
    EXPECT_EQ(plan.spec.rank, 16);
    EXPECT_NEAR(plan.rank_loss, by_rank, 1e-9);
    EXPECT_LT(plan.width_loss, plan.rank_loss);
    ASSERT_GT(plan.evidence.size(), 1U);
    for (std::size_t i = 1; i < plan.evidence.size(); ++i)
        EXPECT_EQ(plan.evidence[i].width, 2 * plan.evidence[i - 1].width);
    options.target_error = 0.95 * by_rank;
    expect_parts(error_of<ValueError>([&] { (void)plan_network(cpu(), x, options); }),
                 {"p = 16", "admit no larger rank at dim 24"});
}

TEST(Planner, MeasuresEvenlySpacedRowsOfALargeSet) {
    const Matrix x = on_sphere(50, 24, 9);
    PlannerOptions options = small_plan(PlanCriterion::lambda_min, {.down = true});
    options.down = Down::gaussian;
    options.pilot_samples = 7;
    const NetworkPlan plan = plan_network(cpu(), x, options);
    EXPECT_EQ(plan.samples, 50);
    EXPECT_EQ(plan.pilot_samples, 7);
    EXPECT_EQ(plan.hard.data_rank, 24);
    EXPECT_EQ(plan.hard.least, 3);
    const Matrix rows =
        filled(7, 24, DType::f64, [&](auto i, auto j) { return x.at<double>(i * 50 / 7, j); });
    expect_by_hand(plan.evidence.back(), plan, options, rows, false);
    const Cost all = cost(plan.spec, 50), measured = cost(plan.spec, 7);
    EXPECT_EQ(plan.cost.flops_step, all.flops_step);
    EXPECT_EQ(plan.cost.bytes_stored, all.bytes_stored);
    EXPECT_EQ(plan.cost.parameters_trained, all.parameters_trained);
    const PlannerDraw& last = plan.evidence.back();
    const auto ratio = [](std::int64_t a, std::int64_t b) {
        return static_cast<double>(a) / static_cast<double>(b);
    };
    EXPECT_GT(last.tangent_seconds, 0);
    EXPECT_DOUBLE_EQ(plan.tangent_seconds,
                     last.tangent_seconds * ratio(all.flops_tangent, measured.flops_tangent));
    EXPECT_DOUBLE_EQ(plan.step_seconds,
                     last.tangent_seconds * ratio(all.flops_step, measured.flops_tangent));
    EXPECT_DOUBLE_EQ(plan.gram_seconds, last.gram_seconds * ratio(all.flops_gram, measured.flops_gram));
}

}  // namespace
}  // namespace fntk

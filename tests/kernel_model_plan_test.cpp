// Plans of fits against the memory that is really taken, and which way they choose.
#include "plans.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/kernel_model.hpp>

#include <limits>
#include <set>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::normals;
using test::on_sphere;

/// The smallest budget that works, as the refusal of a smaller one names it.
std::int64_t least_budget(const KernelFunction& f, std::int64_t n, std::int64_t s, FitOptions options,
                          bool keep_inputs) {
    options.memory = 1;
    return test::least_named(error_of<MemoryError>([&] { (void)plan_fit(f, n, s, options, keep_inputs); }));
}

std::string way(const KernelFunction& f, const FitPlan& plan) {
    if (plan.solver == Solver::cholesky)
        return plan.eigenvalues ? "eigenvalues" : plan.inverse ? "inverse" : "cholesky";
    if (plan.solver == Solver::primal) return "primal";
    return plan.stored ? "cg, stored" : f.has_moments() ? "cg, closed form" : "cg, tiles";
}

TEST(SlowKernelModelPlan, KeepsItsPromise) {
    test::Between between(7);
    std::set<std::string> ways;
    for (int fit = 0; fit < 80; ++fit) {
        const bool wide = fit % 2 == 0;
        const std::int64_t n = wide ? between(100, 200) : between(50, 1500),
                           d = wide ? between(3000, 20000) : between(4, 40), s = between(1, 6),
                           rank = between(0, 3) == 0 ? 4 : between(4, 96);
        const DType precision = between(0, 1) == 0 ? DType::f32 : DType::f64;
        const Train train = between(0, 1) == 0 ? Train{.down = true} : Train{.up = true};
        const auto output = static_cast<KernelOutput>(between(0, 2));
        const std::int64_t outputs = output == KernelOutput::full ? s : between(1, 3);
        const KernelFunction f = between(0, 2) == 0
                                     ? KernelFunction::limit({}, train, d, precision)
                                     : KernelFunction::of_network(
                                           Network::create({.dim = d,
                                                            .width = 64 * between(1, 64),
                                                            .rank = rank,
                                                            .outputs = outputs,
                                                            .down = rank == 4 ? Down::srht : Down::gaussian,
                                                            .up = Up::rademacher,
                                                            .train = train,
                                                            .precision = precision}),
                                           output);
        FitOptions options{.ridges = {1e-1},
                           .solver = static_cast<Solver>(between(0, 3)),
                           .diagnose_up_to = between(0, 800),
                           .max_iterations = 5};
        const std::int64_t features = f.has_moments() ? f.network().spec().rank * d * outputs : 0;
        const bool primal = features > 0 && features < 2000 && output != KernelOutput::full;
        if (options.solver == Solver::primal && !primal) options.solver = Solver::automatic;
        if (options.solver == Solver::cholesky && n < 700 && between(0, 1) == 0)
            options.ridges = {1e-3, 1e-2, 1e-1};
        const bool keep = options.solver != Solver::primal && between(0, 1) == 0;
        const std::int64_t least = least_budget(f, n, s, options, keep);
        options.memory = between(0, 1) == 0 ? least : least + between(0, least);
        const FitPlan plan = plan_fit(f, n, s, options, keep);
        SCOPED_TRACE(std::to_string(fit) + ": n " + std::to_string(n) + ", d " + std::to_string(d) +
                     (f.is_limit() ? ", limit" : ", p " + std::to_string(f.network().spec().rank)) + ", " +
                     to_string(train) + ", " + name(output) + ", " + name(precision) + ", " + way(f, plan) +
                     ": " + plan.reason);
        EXPECT_LE(plan.peak_bytes, options.memory);
        const Matrix x = normals(n, d, 1, precision), y = normals(n, s, 2);
        const std::int64_t taken = test::taken_by([&] { (void)fit_kernel(cpu(), f, x, y, options, keep); });
        EXPECT_LE(taken, plan.peak_bytes - test::spare);
        // what no Matrix is: LAPACK's 2N² doubles
        const std::int64_t rows = n * f.outputs();
        const std::int64_t beside = test::workspaces + (plan.eigenvalues ? 16 * rows * rows : 0);
        EXPECT_GE(2 * taken, plan.peak_bytes - beside);
        ways.insert(way(f, plan));
    }
    EXPECT_EQ(ways, (std::set<std::string>{"eigenvalues", "inverse", "cholesky", "primal", "cg, stored",
                                           "cg, closed form", "cg, tiles"}));
}

KernelFunction of_down(std::int64_t dim) {
    return KernelFunction::of_network(Network::create(
        {.dim = dim, .width = 64, .rank = 4, .down = Down::gaussian, .train = {.down = true}}));
}
/// Beside the workspaces: too little for 8·3000² bytes of K, enough for 200 features.
const FitOptions small_budget{.memory = std::int64_t{48} << 20};

TEST(KernelModelPlan, TakesFeaturesWhereTheyCostLessThanAHundredProducts) {
    for (const auto& [dim, targets, solver] : {std::tuple{49, 1, Solver::primal},
                                               {50, 1, Solver::cg},
                                               {51, 1, Solver::cg},
                                               {51, 2, Solver::primal},
                                               {99, 2, Solver::primal},
                                               {100, 2, Solver::cg}})
        EXPECT_EQ(plan_fit(of_down(dim), 3000, targets, small_budget).solver, solver)
            << dim << ", " << targets;
    EXPECT_EQ(plan_fit(of_down(49), 3000, 1).solver, Solver::cholesky) << "where it fits";
    EXPECT_EQ(plan_fit(of_down(49), 30000, 1).solver, Solver::primal) << "N³/3 flops are too many";
}

TEST(KernelModelPlan, TakesARankOfTwoToThe63) {
    const std::int64_t most = std::numeric_limits<std::int64_t>::max();
    EXPECT_EQ(plan_fit(of_down(8), most, 10, {.solver = Solver::cg, .preconditioner_rank = most})
                  .preconditioner_rank,
              most);
}

TEST(KernelModelPlan, TakesNoFeaturesWhereTheDataAreKept) {
    const KernelFunction f = of_down(8);
    const Matrix x = on_sphere(2000, 8, 1, DType::f32), y = normals(2000, 1, 2);
    const FitOptions options{.ridges = {1e-1}, .memory = std::int64_t{40} << 20};
    ASSERT_EQ(plan_fit(f, 2000, 1, options).solver, Solver::primal);
    EXPECT_EQ(plan_fit(f, 2000, 1, options, true).solver, Solver::cg);
    const KernelModel model = fit_kernel(cpu(), f, x, y, options, true);
    EXPECT_EQ(model.plan.solver, Solver::cg);
    EXPECT_EQ(model.inputs.rows(), 2000);
    test::expect_parts(
        error_of<ValueError>([&] { (void)plan_fit(f, 2000, 1, {.solver = Solver::primal}, true); }),
        {"solver = primal", "training data", "cg"});
}

}  // namespace
}  // namespace fntk

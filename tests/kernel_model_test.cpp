// Kernel regression inside a budget: every way of solving against a dense solve, variance against its
// definition by elimination, models through their files.
#include "kernel_model_cases.hpp"
#include "remote.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

namespace fntk {
namespace {

using namespace test;

TEST(KernelModel, EverySolverGivesTheDenseAnswer) {
    const Matrix x = on_sphere(40, 6, 1), y = normals(40, 2, 2), at = on_sphere(7, 6, 3);
    for (const KernelFunction& f : functions())
        for (const Solver solver : {Solver::automatic, Solver::cholesky, Solver::cg, Solver::primal}) {
            if (solver == Solver::primal && (!f.has_moments() || f.output() == KernelOutput::full))
                continue;
            for (const std::int64_t diagnose : {0, 1000}) {
                SCOPED_TRACE(label(f) + ", " + name(solver) + ", " + std::to_string(diagnose));
                const KernelModel model = fit_kernel(cpu(), f, x, y,
                                                     {.ridges = {1e-2},
                                                      .solver = solver,
                                                      .diagnose_up_to = diagnose,
                                                      .tolerance = 1e-12,
                                                      .preconditioner_rank = 10});
                const Matrix k = kernel(f, x, x);
                double mean = 0;
                for (std::int64_t i = 0; i < k.rows(); ++i) mean += value(k, i, i) / double(k.rows());
                EXPECT_NEAR(model.jitter, 1e-2 * mean, 1e-14 * mean);
                EXPECT_EQ(model.inputs.empty(),
                          f.has_moments());  // nothing of the training data in a moment
                EXPECT_LT(relative_error(predict_kernel(cpu(), model, at).mean,
                                         answer(f, x, y, at, model.jitter)),
                          1e-8);
            }
        }
}

TEST(KernelModel, TiledAndStoredKernelsGiveTheSame) {
    const Matrix x = on_sphere(700, 6, 1), y = normals(700, 1, 2), at = on_sphere(50, 6, 3);
    const FitOptions base{.ridges = {1e-2}, .solver = Solver::cg, .tolerance = 1e-11};
    for (const KernelFunction& f : functions()) {
        if (f.output() == KernelOutput::full) continue;
        const FitPlan stored = plan_fit(f, 700, 1, base);
        EXPECT_TRUE(stored.stored);
        FitOptions tight = base;  // the smallest budget that the error names
        tight.memory = 1;
        const std::string refusal = error_of<MemoryError>([&] { (void)plan_fit(f, 700, 1, tight); });
        tight.memory = std::stoll(refusal.substr(refusal.find("takes ") + 6)) << 20;
        const FitPlan tiled = plan_fit(f, 700, 1, tight);
        EXPECT_FALSE(tiled.stored);
        EXPECT_LE(tiled.peak_bytes, tight.memory);
        const KernelModel a = fit_kernel(cpu(), f, x, y, base), b = fit_kernel(cpu(), f, x, y, tight);
        EXPECT_LT(relative_error(predict_kernel(cpu(), a, at).mean, predict_kernel(cpu(), b, at).mean),
                  1e-6)
            << label(f);
    }
}

TEST(KernelModel, SecondBlocksAndTilesAreThoseOfTheWholeKernel) {
    constexpr std::int64_t n = 2500;  // more than one tile of the training data and two blocks of the rest
    const Matrix x = on_sphere(n, 6, 1), y = normals(n, 1, 2), at = on_sphere(n, 6, 3);
    for (const KernelFunction& f : {limit(), of_network({.up = true}, KernelOutput::trace),
                                    of_network({.down = true}, KernelOutput::trace)}) {
        const Matrix k = kernel(f, x, x), across = kernel(f, at, x);
        for (const Solver solver : {Solver::cholesky, Solver::cg}) {
            SCOPED_TRACE(label(f) + ", " + name(solver));
            const KernelModel model = fit_kernel(cpu(), f, x, y,
                                                 {.ridges = {1e-1},
                                                  .solver = solver,
                                                  .diagnose_up_to = 0,
                                                  .tolerance = 1e-10,
                                                  .preconditioner_rank = 100},
                                                 true);
            Matrix back = times(k, model.dual);  // (K + μI) α
            for (std::int64_t i = 0; i < n; ++i)
                back.at<double>(i, 0) += model.jitter * value(model.dual, i, 0);
            EXPECT_LT(relative_error(back, y), 1e-9);
            EXPECT_LT(relative_error(predict_kernel(cpu(), model, at).mean, times(across, model.dual)),
                      1e-9);
        }
    }
}

TEST(KernelModel, ASingularKernelWithoutARidgeIsNamed) {
    Matrix twice = on_sphere(40, 6, 1);  // of other targets each, so that no α fits
    for (std::int64_t j = 0; j < 6; ++j) twice.at<double>(25, j) = twice.at<double>(3, j);
    const Matrix y = normals(40, 1, 2);
    const FitOptions bare{.ridges = {0}, .solver = Solver::cg, .tolerance = 1e-10};
    for (const KernelFunction& f : {limit(), of_network({.down = true}, KernelOutput::trace)}) {
        SCOPED_TRACE(label(f));
        std::string text;
        bool converged = true;
        try {
            converged = fit_kernel(cpu(), f, twice, y, bare).diagnostics.converged;
        } catch (const Error& error) {
            text = error.what();
        }
        if (text.empty())
            EXPECT_FALSE(converged);
        else
            expect_parts(text, {"not positive definite", "larger ridge"});
    }
    const KernelFunction f = of_network({.down = true}, KernelOutput::sum_of_logits);  // 24 features
    expect_parts(error_of<Error>([&] {
                     (void)fit_kernel(cpu(), f, on_sphere(20, 6, 1), normals(20, 1, 2),
                                      {.ridges = {0}, .solver = Solver::primal});
                 }),
                 {"not positive definite", "ridge = 0", "ΦᵀΦ", "try ridge"});
}

TEST(KernelModel, ARowThatIsThereTwiceHasNoSolutionWithoutARidge) {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        Matrix twice = on_sphere(12, 6, 2 * seed);
        for (std::int64_t j = 0; j < 6; ++j) twice.at<double>(11, j) = twice.at<double>(4, j);
        const Matrix y = normals(12, 1, 2 * seed + 1);
        for (const std::int64_t diagnose : {0, 1000})
            EXPECT_THROW(
                (void)fit_kernel(cpu(), limit(), twice, y,
                                 {.ridges = {0}, .solver = Solver::cholesky, .diagnose_up_to = diagnose}),
                Error)
                << seed << ' ' << diagnose;
        const KernelModel path = fit_kernel(cpu(), limit(), twice, y, {.ridges = {0, 1e-6, 1e-3}});
        EXPECT_GT(path.ridge, 0) << seed;
    }
}

TEST(KernelModel, VarianceIsThatOfTheGaussianProcess) {
    const Matrix x = on_sphere(30, 6, 1), y = normals(30, 2, 2);
    Matrix at = on_sphere(5, 6, 3);
    for (std::int64_t j = 0; j < 6; ++j) at.at<double>(4, j) = x.at<double>(0, j);  // a training point
    for (const KernelFunction& f : functions()) {
        SCOPED_TRACE(label(f));
        const KernelModel model = fit_kernel(cpu(), f, x, y, {.ridges = {1e-2}}, true);
        const Prediction prediction = predict_kernel(cpu(), model, at, {.variance = true});
        const Matrix cross = kernel(f, at, x), prior = kernel(f, at, at);
        const Matrix explained =
            times(times(cross, Inverse(kernel(f, x, x), model.jitter).matrix()), transposed(cross));
        const std::int64_t k = f.outputs();
        ASSERT_EQ(prediction.variance.cols(), k);
        for (std::int64_t r = 0; r < 5 * k; ++r)
            EXPECT_NEAR(value(prediction.variance, r / k, r % k),
                        value(prior, r, r) - value(explained, r, r), 1e-9 * value(prior, r, r));
        EXPECT_LT(value(prediction.variance, 4, 0), 0.1 * value(prior, 4 * k, 4 * k));
        EXPECT_LT(relative_error(prediction.mean, answer(f, x, y, at, model.jitter)), 1e-8);
    }
}

TEST(KernelModel, GoesThroughItsFile) {
    const test::TempFolder folder;
    const std::string path = folder.path("model.safetensors");
    for (const DType precision : {DType::f32, DType::f64}) {
        const Matrix x = Matrix::converted(on_sphere(30, 6, 1), precision), y = normals(30, 2, 2),
                     at = Matrix::converted(on_sphere(5, 6, 3), precision);
        std::vector<KernelFunction> all{
            KernelFunction::limit({Activation::leaky_relu, 0.2}, {.down = true}, 6, precision)};
        for (const Train train : {Train{.down = true}, {.up = true}})
            for (const KernelOutput output :
                 {KernelOutput::full, KernelOutput::trace, KernelOutput::sum_of_logits})
                all.push_back(of_network(train, output, precision));
        for (const KernelFunction& f : all)
            for (const bool keep : {false, true}) {
                KernelModel model = fit_kernel(cpu(), f, x, y, {.ridges = {1e-2}}, keep);
                model.notes["classes"] = "2";
                save_model(path, model);
                const KernelModel loaded = load_model(path);
                EXPECT_EQ(loaded.ridge, model.ridge);
                EXPECT_EQ(loaded.jitter, model.jitter);
                EXPECT_EQ(loaded.notes, model.notes);
                EXPECT_TRUE(test::same_bits(predict_kernel(cpu(), loaded, at).mean,
                                            predict_kernel(cpu(), model, at).mean));
                if (keep) {
                    EXPECT_TRUE(
                        test::same_bits(predict_kernel(cpu(), loaded, at, {.variance = true}).variance,
                                        predict_kernel(cpu(), model, at, {.variance = true}).variance));
                }
            }
    }
    save_network(path, of_network({.up = true}, KernelOutput::trace).network());
    expect_parts(error_of<IoError>([&] { (void)load_model(path); }), {path, "fntk-network", "fntk-model"});
}

TEST(KernelModel, WorksInADevicesOwnMemory) {
    const Matrix x = on_sphere(40, 6, 1), y = normals(40, 2, 2), at = on_sphere(7, 6, 3);
    const test::RemoteDevice owner;
    const Device remote = owner.device, one = Device::open("cpu", 1);
    for (const KernelFunction& f : functions())
        for (const Solver solver : {Solver::automatic, Solver::cholesky, Solver::cg, Solver::primal}) {
            if (solver == Solver::primal && (!f.has_moments() || f.output() == KernelOutput::full))
                continue;
            SCOPED_TRACE(label(f) + ", " + name(solver));
            const FitOptions options{.ridges = {1e-2}, .solver = solver, .preconditioner_rank = 10};
            const bool keep = solver != Solver::primal;
            const KernelModel a = fit_kernel(one, f, x, y, options, keep),
                              b = fit_kernel(remote, f, remote.to_device(x), y, options, keep);
            const Prediction p = predict_kernel(one, a, at, {.variance = keep}),
                             q = predict_kernel(remote, b, at, {.variance = keep});
            EXPECT_TRUE(test::same_bits(p.mean, q.mean));
            if (keep) {
                EXPECT_TRUE(test::same_bits(p.variance, q.variance));
            }
        }
}

TEST(KernelModel, OfOtherExtentsPredictsNothing) {
    const Matrix x = on_sphere(20, 6, 1), y = normals(20, 2, 2);
    const KernelModel dual = fit_kernel(cpu(), limit(), x, y),
                      moment = fit_kernel(cpu(), of_network({.down = true}, KernelOutput::trace), x, y);
    ASSERT_FALSE(moment.moment.empty());
    const auto refused = [&](KernelModel model, const char* what) {
        expect_parts(error_of<ShapeError>([&] { (void)predict_kernel(cpu(), model, x); }),
                     {what, "fit_kernel or load_model"});
    };
    const auto changed = [](const KernelModel& from, auto&& change) {
        KernelModel model{.function = from.function, .targets = from.targets, .plan = from.plan};
        model.inputs = from.inputs.copy();
        model.dual = from.dual.copy();
        model.moment = from.moment.copy();
        change(model);
        return model;
    };
    for (const std::int64_t targets : {0, 1, 300})
        for (const KernelModel* model : {&dual, &moment})
            refused(changed(*model, [&](KernelModel& m) { m.targets = targets; }), "targets");
    refused(changed(dual, [](KernelModel& m) { m.dual = Matrix(3, 2, DType::f64); }), "alpha");
    refused(changed(dual, [](KernelModel& m) { m.inputs = Matrix(20, 5, DType::f64); }), "X");
    refused(changed(dual, [](KernelModel& m) { m.dual = {}; }), "without M and alpha");
}

TEST(KernelModel, NamesWhatDoesNotFit) {
    const Matrix x = on_sphere(20, 6, 1), y = normals(20, 2, 2);
    const auto fit = [&](const KernelFunction& f, FitOptions options, ConstMatrixView targets) {
        return fit_kernel(cpu(), f, x, targets, options);
    };
    expect_parts(error_of<ShapeError>([&] { (void)fit(limit(), {}, normals(19, 1, 1)); }), {"19", "20"});
    expect_parts(error_of<ShapeError>([&] {
                     (void)fit(of_network({.up = true}, KernelOutput::full), {}, normals(20, 3, 1));
                 }),
                 {"3 columns", "2 outputs"});
    for (const FitOptions& bad : {FitOptions{.ridges = {}},
                                  {.ridges = {-1}},
                                  {.ridges = {NAN}},
                                  {.memory = -1},
                                  {.tolerance = 0},
                                  {.max_iterations = 0},
                                  {.preconditioner_rank = -2},
                                  {.ridges = {1, 2}, .solver = Solver::cg},
                                  {.solver = Solver::primal}})
        EXPECT_THROW((void)fit(limit(), bad, y), ValueError);
    Matrix twice = on_sphere(20, 6, 1);
    for (std::int64_t j = 0; j < 6; ++j) twice.at<double>(5, j) = twice.at<double>(3, j);
    for (const std::int64_t diagnose : {0, 1000})
        expect_parts(error_of<Error>([&] {
                         (void)fit_kernel(
                             cpu(), limit(), twice, y,
                             {.ridges = {0}, .solver = Solver::cholesky, .diagnose_up_to = diagnose});
                     }),
                     {"not positive definite", "ridge = 0", "try ridge", "duplicated"});
    const KernelModel model = fit(of_network({.down = true}, KernelOutput::trace), {}, y);
    expect_parts(error_of<ValueError>([&] { (void)predict_kernel(cpu(), model, x, {.variance = true}); }),
                 {"training data", "keep_inputs"});
    EXPECT_THROW((void)predict_kernel(cpu(), model, normals(3, 5, 1)), ShapeError);
    EXPECT_THROW((void)fit(limit(), {.progress = [](double) { return false; }}, y), Error);
}

}  // namespace
}  // namespace fntk

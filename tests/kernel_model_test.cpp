// Kernel regression inside a budget: every way of solving against a dense solve, leave-one-out against
// refits, evidence and variance against their definitions by elimination, models through their files.
#include "remote.hpp"
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>
#include <fntk/kernel_model.hpp>
#include <fntk/regression.hpp>

#include <numbers>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_parts;
using test::normals;
using test::on_sphere;
using test::relative_error;
using test::times;
using test::transposed;

KernelFunction of_network(Train train, KernelOutput output, DType precision = DType::f64,
                          std::int64_t outputs = 2) {
    return KernelFunction::of_network(Network::create({.dim = 6,
                                                       .width = 96,
                                                       .rank = 4,
                                                       .outputs = outputs,
                                                       .train = train,
                                                       .precision = precision,
                                                       .seed = 5}),
                                      output);
}
const KernelFunction& limit() {
    static const KernelFunction function = KernelFunction::limit({}, {.up = true}, 6, DType::f64);
    return function;
}

std::vector<KernelFunction> functions() {
    std::vector<KernelFunction> result{limit()};
    for (const Train train : {Train{.down = true}, {.up = true}, {.down = true, .up = true}})
        for (const KernelOutput output :
             {KernelOutput::full, KernelOutput::trace, KernelOutput::sum_of_logits})
            result.push_back(of_network(train, output));
    return result;
}

std::string label(const KernelFunction& f) {
    return f.is_limit() ? "limit" : to_string(f.train()) + ", " + name(f.output());
}

/// K(X, X') of the kernel in double, by the functions for whole matrices.
Matrix kernel(const KernelFunction& f, ConstMatrixView x, ConstMatrixView y) {
    if (f.is_limit()) return limit_kernel(cpu(), f.activation(), f.train(), x, y);
    return cross_gram(tangent(cpu(), f.network(), x), tangent(cpu(), f.network(), y), f.output());
}

/// The inverse of a small matrix by elimination in long double; log det beside it.
struct Inverse {
    std::vector<std::vector<long double>> a;
    long double log_det = 0;
    Inverse(const Matrix& k, double shift) : a(k.rows(), std::vector<long double>(k.rows())) {
        const auto n = static_cast<std::size_t>(k.rows());
        std::vector<std::vector<long double>> left(n, std::vector<long double>(n));
        for (std::size_t i = 0; i < n; ++i) {
            a[i][i] = 1;
            for (std::size_t j = 0; j < n; ++j)
                left[i][j] = value(k, static_cast<std::int64_t>(i), static_cast<std::int64_t>(j)) +
                             (i == j ? shift : 0);
        }
        for (std::size_t p = 0; p < n; ++p) {  // positive definite: no pivoting
            log_det += std::log(left[p][p]);
            const long double pivot = left[p][p];
            for (std::size_t j = 0; j < n; ++j) left[p][j] /= pivot, a[p][j] /= pivot;
            for (std::size_t i = 0; i < n; ++i) {
                if (i == p) continue;
                const long double factor = left[i][p];
                for (std::size_t j = 0; j < n; ++j)
                    left[i][j] -= factor * left[p][j], a[i][j] -= factor * a[p][j];
            }
        }
    }
    [[nodiscard]] Matrix matrix() const {
        const auto n = static_cast<std::int64_t>(a.size());
        return test::filled(n, n, DType::f64, [&](auto i, auto j) { return double(a[i][j]); });
    }
};

/// K(X', X)(K + μI)⁻¹Y; Y n × t, for the full kernel row by row as one vector.
Matrix answer(const KernelFunction& f, ConstMatrixView x, ConstMatrixView y, ConstMatrixView at,
              double jitter) {
    const Matrix inverse = Inverse(kernel(f, x, x), jitter).matrix();
    const bool full = f.output() == KernelOutput::full;
    const Matrix mean = times(kernel(f, at, x), times(inverse, full ? y.reshaped(x.rows * y.cols, 1) : y));
    return full ? Matrix::copy_of(mean.view().reshaped(at.rows, y.cols)) : mean.copy();
}

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

/// By the solver; with eigenvalues, by the inverse (whose memory the eigenvectors do not fit), or by the
/// factor alone.
enum class Way { eigenvalues, inverse, factor };
KernelModel fit_by(Way way, const KernelFunction& f, ConstMatrixView x, ConstMatrixView y) {
    FitOptions options{.ridges = {1e-1}, .solver = Solver::cholesky};
    if (way == Way::factor) options.diagnose_up_to = 0;
    for (bool asked = way == Way::inverse; asked; asked = !plan_fit(f, x.rows, y.cols, options).inverse)
        options.memory = plan_fit(f, x.rows, y.cols, options).peak_bytes - 1;
    return fit_kernel(cpu(), f, x, y, options);
}

TEST(KernelModel, LeaveOneOutIsTheErrorOfRefits) {
    const Matrix x = on_sphere(14, 6, 1), y = normals(14, 2, 2);
    for (const KernelFunction& f : functions()) {
        const double jitter = fit_by(Way::factor, f, x, y).jitter;
        double squares = 0;
        for (std::int64_t i = 0; i < 14; ++i) {
            const auto without = [&](const Matrix& all) {
                return test::filled(13, all.cols(), DType::f64,
                                    [&](auto r, auto c) { return value(all, r < i ? r : r + 1, c); });
            };
            const Matrix mean = answer(f, without(x), without(y), x.view().row_block(i, 1), jitter);
            for (std::int64_t c = 0; c < 2; ++c) squares += std::pow(value(mean, 0, c) - value(y, i, c), 2);
        }
        for (const Way way : {Way::eigenvalues, Way::inverse}) {
            const KernelModel model = fit_by(way, f, x, y);
            EXPECT_EQ(model.plan.inverse, way == Way::inverse);
            EXPECT_NEAR(model.diagnostics.leave_one_out.at(0), std::sqrt(squares / 28), 1e-10) << label(f);
        }
        EXPECT_TRUE(fit_by(Way::factor, f, x, y).diagnostics.leave_one_out.empty());
    }
}

TEST(KernelModel, EvidenceIsTheGaussianDensity) {
    const Matrix x = on_sphere(40, 6, 1), y = normals(40, 2, 2);
    for (const KernelFunction& f : functions()) {
        SCOPED_TRACE(label(f));
        const double jitter = fit_by(Way::factor, f, x, y).jitter;
        const Inverse inverse(kernel(f, x, x), jitter);
        const bool full = f.output() == KernelOutput::full;
        const ConstMatrixView targets = full ? y.view().reshaped(80, 1) : y.view();
        const auto n = static_cast<long double>(targets.rows), s = static_cast<long double>(targets.cols);
        long double expected =
            -s / 2 * (inverse.log_det + n * std::log(2 * std::numbers::pi_v<long double>));
        for (std::int64_t i = 0; i < targets.rows; ++i)
            for (std::int64_t j = 0; j < targets.rows; ++j)
                for (std::int64_t c = 0; c < targets.cols; ++c)
                    expected -= 0.5L * value(targets, i, c) * inverse.a[i][j] * value(targets, j, c);
        const auto expect = [&](const KernelModel& model) {
            EXPECT_NEAR(model.diagnostics.log_evidence.at(0), double(expected),
                        1e-8 * std::abs(double(expected)));
        };
        for (const Way way : {Way::eigenvalues, Way::inverse, Way::factor}) expect(fit_by(way, f, x, y));
        if (f.has_moments() && !full)
            expect(fit_kernel(cpu(), f, x, y, {.ridges = {1e-1}, .solver = Solver::primal}));
    }
}

TEST(KernelModel, TakesTheBestRidgeOfAPath) {
    const Matrix x = on_sphere(60, 6, 1);
    const Matrix noise = normals(60, 1, 2);
    const Matrix y = test::filled(60, 1, DType::f64, [&](auto i, auto) {
        return value(x, i, 0) * 2 + value(x, i, 1) * value(x, i, 2) + 0.3 * value(noise, i, 0);
    });
    const std::vector<double> ridges{1e-6, 1e-3, 1e-1, 1, 100};
    for (const Selection selection : {Selection::leave_one_out, Selection::evidence}) {
        const KernelModel model =
            fit_kernel(cpu(), limit(), x, y, {.ridges = ridges, .selection = selection});
        const auto& scores = selection == Selection::evidence ? model.diagnostics.log_evidence
                                                              : model.diagnostics.leave_one_out;
        ASSERT_EQ(scores.size(), ridges.size());
        for (std::size_t r = 0; r < ridges.size(); ++r) {
            const KernelModel alone = fit_kernel(cpu(), limit(), x, y, {.ridges = {ridges[r]}});
            const auto& own = selection == Selection::evidence ? alone.diagnostics.log_evidence
                                                               : alone.diagnostics.leave_one_out;
            EXPECT_NEAR(own.at(0), scores[r], 1e-9 * std::abs(scores[r]));
            if (ridges[r] == model.ridge) {
                EXPECT_TRUE(test::same_bits(alone.dual, model.dual));
            }
        }
        const auto best = selection == Selection::evidence ? std::max_element(scores.begin(), scores.end())
                                                           : std::min_element(scores.begin(), scores.end());
        EXPECT_EQ(model.ridge, ridges[static_cast<std::size_t>(best - scores.begin())]);
        EXPECT_GT(model.ridge, 1e-6);
        EXPECT_LT(model.ridge, 100);
    }
}

TEST(KernelModel, VarianceIsThatOfTheGaussianProcess) {
    const Matrix x = on_sphere(30, 6, 1), y = normals(30, 2, 2);
    Matrix at = on_sphere(5, 6, 3);
    for (std::int64_t j = 0; j < 6; ++j) at.at<double>(4, j) = x.at<double>(0, j);  // a training point
    for (const KernelFunction& f : functions()) {
        SCOPED_TRACE(label(f));
        const KernelModel model = fit_kernel(cpu(), f, x, y, {.ridges = {1e-2}}, true);
        const Prediction prediction = predict_kernel(cpu(), model, at, true);
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
                    EXPECT_TRUE(test::same_bits(predict_kernel(cpu(), loaded, at, true).variance,
                                                predict_kernel(cpu(), model, at, true).variance));
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
            const Prediction p = predict_kernel(one, a, at, keep), q = predict_kernel(remote, b, at, keep);
            EXPECT_TRUE(test::same_bits(p.mean, q.mean));
            if (keep) {
                EXPECT_TRUE(test::same_bits(p.variance, q.variance));
            }
        }
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
    expect_parts(error_of<ValueError>([&] { (void)predict_kernel(cpu(), model, x, true); }),
                 {"training data", "keep_inputs"});
    EXPECT_THROW((void)predict_kernel(cpu(), model, normals(3, 5, 1)), ShapeError);
    EXPECT_THROW((void)fit(limit(), {.progress = [](double) { return false; }}, y), Error);
}

}  // namespace
}  // namespace fntk

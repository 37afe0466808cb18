// Leave-one-out errors against refits, evidence against the Gaussian density, and the ridge that they
// choose.
#include "kernel_model_cases.hpp"

#include <numbers>

namespace fntk {
namespace {

using namespace test;

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

}  // namespace
}  // namespace fntk

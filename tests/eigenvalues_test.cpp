// Intervals of extremal eigenvalues against spectra that are known exactly, against LAPACK, and against
// operators that break.
#include "spectra.hpp"
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/eigenvalues.hpp>
#include <fntk/error.hpp>
#include <fntk/spectrum.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::laplacian;
using test::matrix_of;
using test::narrowed;
using test::normals;
using test::random_psd;
using test::with_eigenvalues;
using test::with_whole_eigenvalues;

/// Outermost first.
std::vector<double> from_the_end(std::vector<double> ascending, SpectrumEnd end) {
    if (end == SpectrumEnd::largest) std::reverse(ascending.begin(), ascending.end());
    return ascending;
}

bool all_certified(const ExtremalEigenvalues& found) {
    return std::all_of(found.intervals.begin(), found.intervals.end(),
                       [](const auto& interval) { return interval.certified; });
}

/// Each interval has its value in it and a reason exactly where it is not certified; a certified one has
/// the true eigenvalue in it, of any other the inner end bounds that.
void expect_true(const ExtremalEigenvalues& found, const std::vector<double>& truth, SpectrumEnd end) {
    for (std::size_t i = 0; i < found.intervals.size(); ++i) {
        const EigenvalueInterval& interval = found.intervals[i];
        EXPECT_LE(interval.lower, interval.value);
        EXPECT_GE(interval.upper, interval.value);
        EXPECT_EQ(interval.certified, interval.reason.empty());
        if (interval.certified || end == SpectrumEnd::largest) {
            EXPECT_LE(interval.lower, truth[i]) << i << " of " << found.intervals.size();
        }
        if (interval.certified || end == SpectrumEnd::smallest) {
            EXPECT_GE(interval.upper, truth[i]) << i << " of " << found.intervals.size();
        }
    }
}

constexpr SpectrumEnd ends[] = {SpectrumEnd::largest, SpectrumEnd::smallest};

TEST(Extremal, ContainsTheEigenvaluesOfMatricesKnownExactly) {
    std::mt19937_64 engine(3);
    for (const int n : {1, 2, 4, 16, 64, 128})
        for (const int distinct : {1, 3, 1000}) {
            std::vector<int> whole(n);
            for (int& value : whole) value = static_cast<int>(engine() % (2 * distinct)) - distinct;
            const Matrix k = with_whole_eigenvalues(whole);
            double square = 0;  // ‖K‖_F² = Σ λ²
            for (const int value : whole) square += static_cast<double>(value) * value;
            const double norm = std::sqrt(square);
            std::vector<double> sorted(whole.begin(), whole.end());
            std::sort(sorted.begin(), sorted.end());
            for (const SpectrumEnd end : ends)
                for (const std::int64_t count : {1, 2, 7, n})
                    for (const char* name : {"cpu", "reference"}) {
                        if (count > n || (n > 16 && std::string(name) == "reference")) continue;
                        const ExtremalEigenvalues found =
                            extremal(Device::open(name), k, {.end = end, .count = count});
                        ASSERT_EQ(static_cast<std::int64_t>(found.intervals.size()), count);
                        expect_true(found, from_the_end(sorted, end), end);
                        if (distinct == 1000) {
                            EXPECT_TRUE(all_certified(found)) << found.intervals[0].reason;
                        }
                        for (const EigenvalueInterval& interval : found.intervals)
                            if (interval.certified) {
                                EXPECT_LE(interval.upper - interval.lower, 1e-8 * distinct);
                                // R has rounding errors of this size, whatever it comes to
                                EXPECT_GE(interval.upper - interval.lower, n * 0x1p-53 * norm);
                            }
                    }
        }
}

struct Trial {
    Matrix kernel;
    bool ordinary = false;  // neither clusters nor multiple eigenvalues
};

Trial random_trial(int kind, std::int64_t n, std::mt19937_64& engine) {
    const std::uint64_t seed = engine();
    std::uniform_real_distribution<double> uniform;
    std::vector<double> values(n);
    switch (kind) {
        case 0:
            return {random_psd(n, n + 5, seed), true};
        case 1: {
            const Matrix a = normals(n, n, seed);
            return {matrix_of(n, [&](auto i, auto j) { return a.at<double>(i, j) + a.at<double>(j, i); }),
                    true};
        }
        case 2:
            return {random_psd(n, std::max<std::int64_t>(1, n / 3), seed)};  // rank deficient
        case 3:                                                              // three eigenvalues
            for (double& value : values) value = static_cast<double>(engine() % 3) - 1;
            return {with_eigenvalues(values, seed)};
        case 4:  // two clusters
            for (double& value : values) value = (engine() % 2 == 0 ? 1 : -2) + 1e-10 * uniform(engine);
            return {with_eigenvalues(values, seed)};
        default:  // all negative, over twelve decades
            for (double& value : values) value = -std::pow(10.0, -12 * uniform(engine));
            return {with_eigenvalues(values, seed)};
    }
}

TEST(Extremal, TwoHundredRandomTrialsAgainstLapack) {
    std::mt19937_64 engine(2024);
    int ordinary = 0, certified_ordinary = 0, certified = 0, all = 0;
    for (int trial = 0; trial < 200; ++trial) {
        const auto n = static_cast<std::int64_t>(1 + engine() % 120);
        const auto k =
            static_cast<std::int64_t>(1 + engine() % (trial % 2 == 0 ? n : std::min<std::int64_t>(n, 8)));
        Trial made = random_trial(trial % 6, n, engine);
        const bool single = engine() % 4 == 0;
        const int decades = single ? 30 : 150;
        const double scale = std::pow(10.0, static_cast<int>(engine() % (2 * decades + 1)) - decades);
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < n; ++j) made.kernel.at<double>(i, j) *= scale;
        const Matrix kernel = single ? narrowed(made.kernel) : std::move(made.kernel);
        const SpectrumEnd end = ends[engine() % 2];
        SCOPED_TRACE(::testing::Message() << "trial " << trial << ", n = " << n << ", k = " << k);
        const ExtremalEigenvalues found =
            extremal(cpu(), kernel, {.end = end, .count = k, .seed = static_cast<std::uint64_t>(trial)});
        expect_true(found, from_the_end(spectrum(cpu(), kernel).eigenvalues, end), end);
        const int count = static_cast<int>(std::count_if(found.intervals.begin(), found.intervals.end(),
                                                         [](const auto& i) { return i.certified; }));
        all += static_cast<int>(k), certified += count;
        if (made.ordinary) ordinary += static_cast<int>(k), certified_ordinary += count;
    }
    EXPECT_GE(certified_ordinary, 0.99 * ordinary);
    EXPECT_GE(certified, 0.9 * all);
}

TEST(Extremal, HoldsWhateverTheSearchCameTo) {
    const Matrix k = laplacian(200);  // crowded at both ends
    const std::vector<double> ascending = spectrum(cpu(), k).eigenvalues;
    for (const SpectrumEnd end : ends)
        for (const int restarts : {0, 1, 5, 300})
            for (const double tolerance : {1e-1, 1e-6, 1e-12}) {
                const ExtremalEigenvalues found = extremal(
                    cpu(), k, {.end = end, .count = 4, .max_restarts = restarts, .tolerance = tolerance});
                expect_true(found, from_the_end(ascending, end), end);
                EXPECT_TRUE(all_certified(found)) << found.intervals[0].reason;
                const ExtremalEigenvalues free =
                    extremal(DenseOperator(cpu(), k),
                             {.end = end, .count = 4, .max_restarts = restarts, .tolerance = tolerance});
                expect_true(free, from_the_end(ascending, end), end);
                if (free.converged) {
                    EXPECT_LE(free.residual, 2.01 * tolerance * 4 + 1e-12);  // 4 residuals, ‖K‖₂ < 4
                } else {
                    EXPECT_LT(restarts, 300);
                }
            }
}

TEST(Extremal, TheRadiusReachesTheNearestEigenvalueWhereKahansBoundIsTight) {
    // Two Lanczos vectors cannot tell 0.9 from 1: q is in both eigenspaces in equal parts, θ ≈ 0.95, and
    // ‖K q − θ q‖ is the distance to either.
    std::vector<double> values(80);
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = (i % 2 == 0 ? 1 : -1) * (i % 4 < 2 ? 1.0 : 0.9);
    const Matrix k = with_eigenvalues(values, 4);
    for (std::uint64_t seed = 0; seed < 10; ++seed)
        for (const SpectrumEnd end : ends) {
            const ExtremalOptions options{.end = end, .subspace = 2, .max_restarts = 0, .seed = seed};
            const EigenvalueInterval found = extremal(DenseOperator(cpu(), k), options).intervals[0];
            const double sign = end == SpectrumEnd::largest ? 1 : -1;
            const auto has = [&](double value) { return found.lower <= value && value <= found.upper; };
            EXPECT_TRUE(has(sign) || has(0.9 * sign)) << found.lower << ' ' << found.upper;
            EXPECT_LE(found.upper - found.lower, 0.2);
            EXPECT_GE(std::min(std::abs(found.value - sign), std::abs(found.value - 0.9 * sign)), 0.01);
        }
}

TEST(Extremal, OfAMatrixOfZerosAndOfOneRow) {
    for (const SpectrumEnd end : ends)
        for (const std::int64_t n : {1, 5, 64}) {
            const ExtremalEigenvalues zero = extremal(cpu(), Matrix(n, n, DType::f32), {.end = end});
            EXPECT_TRUE(all_certified(zero));
            expect_true(zero, {0.0}, end);
            EXPECT_LE(zero.intervals[0].upper - zero.intervals[0].lower, 1e-290);
            const ExtremalEigenvalues free =
                extremal(DenseOperator(cpu(), Matrix(n, n, DType::f64)), {.end = end});
            expect_true(free, {0.0}, end);
        }
    const Matrix one = matrix_of(1, [](auto, auto) { return -2.5; });
    const EigenvalueInterval found = extremal(cpu(), one).intervals[0];
    EXPECT_TRUE(found.certified);
    EXPECT_LE(found.lower, -2.5);
    EXPECT_GE(found.upper, -2.5);
    EXPECT_LE(found.upper - found.lower, 1e-13);
}

TEST(Extremal, KernelsOfTangentsDenseAndByProducts) {
    for (const DType type : {DType::f32, DType::f64})
        for (const SpectrumEnd end : ends) {
            const Network network =
                Network::create({.dim = 10, .width = 512, .rank = 8, .precision = type});
            const Matrix x = test::on_sphere(70, 10, 4, type);
            const Tangent at = tangent(cpu(), network, x);
            const Matrix kernel = gram(at);
            const std::vector<double> truth = from_the_end(spectrum(cpu(), kernel).eigenvalues, end);
            const ExtremalOptions options{.end = end, .count = 3};
            const ExtremalEigenvalues dense = extremal(cpu(), kernel, options);
            EXPECT_TRUE(all_certified(dense));
            expect_true(dense, truth, end);
            const ExtremalEigenvalues free = extremal(KernelOperator(at), options);
            for (std::size_t i = 0; i < 3; ++i) {
                EXPECT_FALSE(free.intervals[i].certified);
                const double allowed = type == DType::f32 ? 2e-6 : 1e-13;  // of the products
                EXPECT_LE(free.intervals[i].lower, truth[i] + allowed * std::abs(truth[0]) + allowed);
                EXPECT_GE(free.intervals[i].upper, truth[i] - allowed * std::abs(truth[0]) - allowed);
                EXPECT_NEAR(free.intervals[i].value, truth[i], 10 * allowed + 1e-9);
            }
        }
}

TEST(Extremal, DependsOnTheSeedAloneAndSaysWhatItTook) {
    const Matrix k = random_psd(80, 90, 6);
    const ExtremalOptions options{.count = 2, .seed = 3};
    const ExtremalEigenvalues one = extremal(cpu(), k, options), two = extremal(cpu(), k, options);
    EXPECT_EQ(one.intervals[1].lower, two.intervals[1].lower);
    EXPECT_EQ(one.products, two.products);
    EXPECT_GE(one.products, 20);
    EXPECT_TRUE(one.converged);
    const ExtremalEigenvalues unproven = extremal(cpu(), k, {.count = 2, .certify = false});
    EXPECT_FALSE(unproven.intervals[0].certified);
    EXPECT_NE(unproven.intervals[0].reason.find("certify"), std::string::npos);
}

/// Twice the identity, but for one product.
class Broken final : public LinearOperator {
  public:
    Broken(std::int64_t n, int good, double bad) : n_(n), good_(good), bad_(bad) {}
    [[nodiscard]] std::int64_t rows() const override { return n_; }
    [[nodiscard]] std::int64_t cols() const override { return n_; }
    [[nodiscard]] DType dtype() const override { return DType::f64; }
    [[nodiscard]] const Device& device() const override { return cpu(); }
    void apply(ConstMatrixView v, MatrixView out) const override {
        for (std::int64_t i = 0; i < n_; ++i)
            for (std::int64_t j = 0; j < v.cols; ++j)
                out.at<double>(i, j) = static_cast<double>(i % 7) * v.at<double>(i, j);
        if (good_-- <= 0) out.at<double>(n_ / 2, 0) = bad_;
    }

  private:
    std::int64_t n_;
    mutable int good_;
    double bad_;
};

TEST(Extremal, RefusesWhatIsNotFiniteAndOptionsOutOfRange) {
    for (const double bad :
         {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
        for (const std::int64_t n : {5, 100})
            for (const int good : {0, 3, 4, 5, 12}) {
                if (n == 5 && good > 5) continue;  // four for the norm, one for all of R^n, one for R
                EXPECT_THROW(extremal(Broken(n, good, bad)), Error) << n << ' ' << good;
            }
    Matrix k = laplacian(30);
    const auto text = [&](const ExtremalOptions& options) {
        const std::string dense = error_of<ValueError>([&] { extremal(cpu(), k, options); });
        EXPECT_EQ(dense, error_of<ValueError>([&] { extremal(DenseOperator(cpu(), k), options); }));
        return dense;
    };
    EXPECT_NE(text({.count = 0}).find("count = 0"), std::string::npos);
    EXPECT_NE(text({.count = 31}).find("[1, 30]"), std::string::npos);
    EXPECT_NE(text({.count = 3, .subspace = 3}).find("subspace = 3"), std::string::npos);
    EXPECT_NE(text({.max_restarts = -1}).find("max_restarts = -1"), std::string::npos);
    EXPECT_NE(text({.tolerance = std::nan("")}).find("tolerance = nan"), std::string::npos);
    EXPECT_THROW(extremal(cpu(), Matrix(2, 3, DType::f64)), ShapeError);
    EXPECT_THROW(extremal(DenseOperator(cpu(), Matrix(2, 3, DType::f64))), ShapeError);
    EXPECT_THROW(extremal(DenseOperator(cpu(), Matrix(0, 0, DType::f64))), ShapeError);
    k.at<double>(2, 3) = std::numeric_limits<double>::quiet_NaN();
    EXPECT_THROW(extremal(cpu(), k), ValueError);
    k.at<double>(2, 3) = 1;
    EXPECT_NE(error_of<ValueError>([&] { extremal(cpu(), k); }).find("not symmetric"), std::string::npos);
}

TEST(Extremal, OperatorsOfAnyScale) {
    const Matrix k = random_psd(60, 70, 3);
    const ExtremalOptions options{.count = 3, .seed = 1};
    const ExtremalEigenvalues want = extremal(DenseOperator(cpu(), k), options);
    EXPECT_TRUE(want.converged);
    for (const int exponent : {-900, -400, 400, 900}) {
        const Matrix scaled =
            matrix_of(60, [&](auto i, auto j) { return std::ldexp(k.at<double>(i, j), exponent); });
        const ExtremalEigenvalues have = extremal(DenseOperator(cpu(), scaled), options);
        EXPECT_TRUE(have.converged);
        EXPECT_EQ(have.products, want.products) << exponent;
        for (std::size_t i = 0; i < 3; ++i) {
            EXPECT_EQ(have.intervals[i].value, std::ldexp(want.intervals[i].value, exponent)) << exponent;
            EXPECT_LT(have.intervals[i].upper - have.intervals[i].lower, 1e-8 * have.intervals[0].value);
        }
    }
}

TEST(Extremal, OperatorsOfLowRankTakeFewProducts) {
    const std::int64_t n = 120, count = 30, subspace = 61;
    for (const int rank : {0, 1, 5, 40}) {
        const Matrix k = with_eigenvalues(
            [&] {
                std::vector<double> values(n);
                for (int i = 0; i < rank; ++i) values[static_cast<std::size_t>(i)] = 1 + i;
                return values;
            }(),
            7);
        const ExtremalEigenvalues found =
            extremal(DenseOperator(cpu(), k), {.count = count, .subspace = subspace, .max_restarts = 0});
        EXPECT_LE(found.products, 3 * subspace + 2 * count) << rank;
        for (int i = 0; i < std::min<int>(rank, count); ++i)
            EXPECT_NEAR(found.intervals[static_cast<std::size_t>(i)].value, rank - i, 1e-9) << rank;
    }
    const Matrix one = matrix_of(n, [](auto i, auto j) { return i == j ? 1.0 : 0.0; });
    const ExtremalEigenvalues found =
        extremal(DenseOperator(cpu(), one), {.count = count, .subspace = subspace, .max_restarts = 0});
    EXPECT_LE(found.products, 3 * subspace + 2 * count);
    for (const EigenvalueInterval& interval : found.intervals) EXPECT_NEAR(interval.value, 1, 1e-12);
}

}  // namespace
}  // namespace fntk

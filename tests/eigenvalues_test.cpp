// Intervals of extremal eigenvalues against spectra that are known exactly, against LAPACK, and against
// operators and Ritz pairs that hide an eigenvalue.
#include "eigenvalues_certificate.hpp"
#include "spectra.hpp"
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/eigenvalues.hpp>
#include <fntk/error.hpp>
#include <fntk/spectrum.hpp>

#include <philox.hpp>

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
        if (!all_certified(found)) std::printf("kind %d n %d k %d res %g %s\n", trial%6, (int)n, (int)k, found.residual/scale, found.intervals[0].reason.c_str());
        const int count = static_cast<int>(std::count_if(found.intervals.begin(), found.intervals.end(),
                                                         [](const auto& i) { return i.certified; }));
        all += static_cast<int>(k), certified += count;
        if (made.ordinary) ordinary += static_cast<int>(k), certified_ordinary += count;
    }
    EXPECT_GE(certified_ordinary, 0.99 * ordinary);
    EXPECT_GE(certified, 0.9 * all);
}

}  // namespace
}  // namespace fntk

// The certificate against Ritz pairs and operators that hide an eigenvalue: it must never be given to them.
#include "eigenvalues_certificate.hpp"
#include "plans.hpp"
#include "spectra.hpp"

#include <fntk/eigenvalues.hpp>
#include <fntk/spectrum.hpp>

#include <backend/ops.hpp>
#include <philox.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace fntk {
namespace {

using test::cpu;
using test::matrix_of;
using test::normals;
using test::with_eigenvalues;

/// The eigenpairs of ascending positions `chosen`, as if Lanczos had found just those.
RitzPairs exact_pairs(ConstMatrixView k, const std::vector<std::int64_t>& chosen, double radius) {
    const std::int64_t n = k.rows;
    Matrix vectors(n, n, DType::f64);
    std::vector<double> eigenvalues;
    EXPECT_TRUE(cpu().ops().eigh(k, eigenvalues, vectors));
    RitzPairs pairs;
    pairs.vectors = Matrix(n, static_cast<std::int64_t>(chosen.size()), DType::f64);
    pairs.radius = radius;
    for (std::size_t c = 0; c < chosen.size(); ++c) {
        pairs.values.push_back(eigenvalues[chosen[c]]);
        for (std::int64_t i = 0; i < n; ++i)
            pairs.vectors.at<double>(i, static_cast<std::int64_t>(c)) = vectors.at<double>(i, chosen[c]);
    }
    return pairs;
}

TEST(Certificate, IsRefusedWhereOneOfTheLargestWasMissed) {
    std::mt19937_64 engine(7);
    int tried = 0;
    for (int trial = 0; trial < 200; ++trial) {
        const auto n = static_cast<std::int64_t>(3 + engine() % 50);
        const auto k = static_cast<std::int64_t>(1 + engine() % (n - 1));
        std::vector<double> values(n);  // at least 1e-6 apart, of which the certificate can tell
        for (std::int64_t i = 0; i < n; ++i)
            values[i] =
                (trial % 2 == 0 ? 1e-6 : 1e-2) * static_cast<double>(engine() % 2 == 0 ? i : i - n / 2);
        const Matrix m = with_eigenvalues(values, engine());
        std::vector<std::int64_t> chosen;
        for (std::int64_t i = n - k; i < n; ++i) chosen.push_back(i);
        const RitzPairs right = exact_pairs(m, chosen, 1e-12);
        EXPECT_EQ(bound_rest(cpu(), m, right).reason, "");
        const auto missed = static_cast<std::int64_t>(engine() % k);
        std::sort(values.begin(), values.end());
        if (values[n - k + missed] - values[n - k - 1] < 1e-7) continue;  // a double one
        ++tried;
        chosen[missed] = n - k - 1;
        const RestBound wrong = bound_rest(cpu(), m, exact_pairs(m, chosen, 1e-12));
        EXPECT_NE(wrong.reason.find("does not exclude"), std::string::npos) << trial;
    }
    EXPECT_GE(tried, 120);
}

TEST(Certificate, CountsTheMultipleOnesThatWereMissed) {
    const Matrix m = with_eigenvalues({0, 0, 1, 1, 3, 3, 3, 5}, 2);
    EXPECT_EQ(bound_rest(cpu(), m, exact_pairs(m, {7, 6, 5, 4}, 1e-13)).reason, "");
    EXPECT_EQ(bound_rest(cpu(), m, exact_pairs(m, {7, 6, 5}, 1e-13)).reason, "");  // λ_4 = 3 too
    EXPECT_NE(bound_rest(cpu(), m, exact_pairs(m, {7, 6, 5, 3}, 1e-13)).reason, "");
    const RestBound wide = bound_rest(cpu(), m, exact_pairs(m, {7, 6, 5, 3}, 2.5));
    EXPECT_EQ(wide.reason, "");  // a radius that covers the one that was missed
    EXPECT_GE(wide.bound, 5);
}

/// P A P + 1.1·h hᵀ, P = I − h hᵀ, h of length one and orthogonal to the start vector of `seed`; A has the
/// eigenvalue 1 and others up to 0.3.
Matrix with_hidden_eigenvalue(std::int64_t n, std::uint64_t seed) {
    std::vector<double> start(n), h(n), ah(n), values(n, 1.0);
    const Matrix other = normals(1, n, 5);
    for (std::int64_t j = 0; j < n; ++j) {
        start[j] = kernels::random_normal(seed, kernels::Stream::probes, static_cast<std::uint64_t>(j));
        h[j] = other.at<double>(0, j);
        if (j > 0) values[j] = 0.3 * static_cast<double>(j) / static_cast<double>(n);
    }
    const auto dot = [n](const std::vector<double>& a, const std::vector<double>& b) {
        double sum = 0;
        for (std::int64_t j = 0; j < n; ++j) sum += a[j] * b[j];
        return sum;
    };
    for (int pass = 0; pass < 2; ++pass) {
        const double along = dot(h, start) / dot(start, start);
        for (std::int64_t j = 0; j < n; ++j) h[j] -= along * start[j];
    }
    const double length = std::sqrt(dot(h, h));
    for (double& entry : h) entry /= length;
    const Matrix a = with_eigenvalues(values, 8);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) ah[i] += a.at<double>(i, j) * h[j];
    const double hah = dot(h, ah);
    return matrix_of(n, [&](std::int64_t i, std::int64_t j) {
        return a.at<double>(i, j) - (h[i] * ah[j] + ah[i] * h[j]) + (hah + 1.1) * (h[i] * h[j]);
    });
}

TEST(Certificate, IsNotGivenToAnEigenvalueBesideAHiddenOne) {
    const std::int64_t n = 2060;  // too large to be tried again with all eigenvectors
    Matrix k(n, n, DType::f64);
    const std::int64_t block = 60;
    const Matrix small = with_hidden_eigenvalue(block, 11);
    const std::vector<double> truth = spectrum(cpu(), small).eigenvalues;
    ASSERT_NEAR(truth[block - 1], 1.1, 1e-12);
    const double visible = truth[block - 2];
    // the start vector of n begins with that of `block`: both are functions of (seed, position)
    for (std::int64_t i = 0; i < block; ++i)
        for (std::int64_t j = 0; j < block; ++j) k.at<double>(i, j) = small.at<double>(i, j);
    // few vectors: rounding errors, through which the hidden one is found, have no time to grow
    const ExtremalOptions options{.count = 1, .subspace = 7, .tolerance = 1e-2, .seed = 11};
    const ExtremalEigenvalues dense = extremal(cpu(), k, options);
    EXPECT_TRUE(dense.converged);
    ASSERT_NEAR(dense.intervals[0].value, visible, 1e-3) << "the hidden eigenvalue was found: no test";
    EXPECT_FALSE(dense.intervals[0].certified);
    EXPECT_NE(dense.intervals[0].reason.find("does not exclude"), std::string::npos);
    const ExtremalEigenvalues free = extremal(DenseOperator(cpu(), k), options);
    EXPECT_FALSE(free.intervals[0].certified);
    EXPECT_NE(free.intervals[0].reason.find("dense"), std::string::npos);
    EXPECT_LE(free.intervals[0].lower, visible);
    EXPECT_GE(free.intervals[0].upper, visible);

    ExtremalEigenvalues again;  // small enough for all eigenvectors
    const std::int64_t taken = test::taken_by([&] { again = extremal(cpu(), small, options); }),
                       planned = plan_extremal(block, options).peak_bytes - test::workspaces;
    EXPECT_LE(taken, planned);
    EXPECT_GE(2 * taken, planned - 16 * block * block) << "LAPACK's 2n² doubles are no Matrix";
    EXPECT_TRUE(again.intervals[0].certified);
    EXPECT_LE(again.intervals[0].lower, truth[block - 1]);
    EXPECT_GE(again.intervals[0].upper, truth[block - 1]);
}

}  // namespace
}  // namespace fntk

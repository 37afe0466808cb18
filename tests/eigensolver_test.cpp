// The choice of the eigensolver, and both of them on the same matrices.
#include "spectra.hpp"
#include "support.hpp"

#include <backend/eigensolver.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace fntk::backend {
namespace {

using test::with_eigenvalues;

TEST(Eigensolver, ChangesWhereTheWorkspaceLeavesTheIntegersOfLapack) {
    for (const std::int64_t n : {0, 1, 1000, 26733, 32766})
        EXPECT_EQ(eigensolver_for(n), Eigensolver::divide_and_conquer) << n;
    for (const std::int64_t n :
         std::vector<std::int64_t>{32767, 46341, 65536, 100000, 1LL << 31, 1LL << 40})
        EXPECT_EQ(eigensolver_for(n), Eigensolver::robust) << n;
    EXPECT_LT(1 + 6 * 32766LL + 2 * 32766LL * 32766LL, 1LL << 31);
    EXPECT_GE(1 + 6 * 32767LL + 2 * 32767LL * 32767LL, 1LL << 31);
}

class EitherEigensolver : public ::testing::TestWithParam<Eigensolver> {};
INSTANTIATE_TEST_SUITE_P(Both, EitherEigensolver,
                         ::testing::Values(Eigensolver::divide_and_conquer, Eigensolver::robust));

TEST_P(EitherEigensolver, FindsKnownSpectraWithOrthonormalVectors) {
    std::vector<std::vector<double>> spectra{{-2}, {3, 3}, std::vector<double>(40, 1.0)};
    std::vector<double> line(100), decades(60), clusters(90);
    for (std::size_t i = 0; i < line.size(); ++i)
        line[i] = 2 - 2 * std::cos(static_cast<double>(i + 1) * std::numbers::pi / 101);
    for (std::size_t i = 0; i < decades.size(); ++i)
        decades[i] = std::pow(10.0, -static_cast<double>(i) / 5);
    for (std::size_t i = 0; i < clusters.size(); ++i)
        clusters[i] = static_cast<double>(i % 3) + 1e-13 * static_cast<double>(i);
    for (const auto& spectrum : {line, decades, clusters}) spectra.push_back(spectrum);
    for (std::vector<double> truth : spectra) {
        const Matrix k = with_eigenvalues(truth, 6);
        const std::int64_t n = k.rows();
        std::sort(truth.begin(), truth.end());
        const double scale = std::max(std::abs(truth.front()), std::abs(truth.back()));
        Matrix frame(n, n + 3, DType::f64);
        const MatrixView vectors = frame.view().col_block(1, n);
        std::vector<double> found, alone;
        ASSERT_TRUE(symmetric_eigenvalues(GetParam(), k, found, vectors));
        ASSERT_TRUE(symmetric_eigenvalues(GetParam(), k, alone, {}));
        for (std::int64_t j = 0; j < n; ++j) {
            EXPECT_NEAR(found[j], truth[j], 1e-13 * scale);
            EXPECT_NEAR(alone[j], truth[j], 1e-13 * scale);
            double residual = 0;
            for (std::int64_t i = 0; i < n; ++i) {
                double product = 0, overlap = 0;
                for (std::int64_t l = 0; l < n; ++l) {
                    product += k.at<double>(i, l) * vectors.at<double>(l, j);
                    overlap += vectors.at<double>(l, i) * vectors.at<double>(l, j);
                }
                residual += std::pow(product - found[j] * vectors.at<double>(i, j), 2);
                EXPECT_NEAR(overlap, i == j ? 1 : 0, 1e-12);
            }
            EXPECT_LE(std::sqrt(residual), 1e-13 * scale);
        }
    }
    std::vector<double> none{1, 2};
    EXPECT_TRUE(symmetric_eigenvalues(GetParam(), Matrix(0, 0, DType::f64), none, {}));
    EXPECT_TRUE(none.empty());
}

}  // namespace
}  // namespace fntk::backend

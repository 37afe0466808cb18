// Estimates by probes against sums over the matrix, and their standard errors against the spread over
// seeds and against the variance of Hutchinson's estimator.
#include "remote.hpp"
#include "spectra.hpp"
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/eigenvalues.hpp>
#include <fntk/error.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <vector>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::matrix_of;
using test::narrowed;
using test::normals;
using test::random_psd;

struct Sums {
    double trace = 0, square = 0, diagonal_square = 0;
    explicit Sums(ConstMatrixView k) {
        for (std::int64_t i = 0; i < k.rows; ++i) {
            trace += value(k, i, i);
            diagonal_square += value(k, i, i) * value(k, i, i);
            for (std::int64_t j = 0; j < k.cols; ++j) square += value(k, i, j) * value(k, i, j);
        }
    }
    [[nodiscard]] double rank() const { return trace * trace / square; }
};

TEST(EstimateTrace, WithinFourStandardErrorsWhichAreCalibrated) {
    constexpr int seeds = 400;
    constexpr std::int64_t probes = 64;
    for (const std::int64_t rank : {5, 60}) {
        const Matrix k = random_psd(50, rank, 3);
        const Sums truth(k);
        const DenseOperator op(cpu(), k);
        double squares[3] = {}, shift[3] = {}, variance = 0;
        for (int seed = 0; seed < seeds; ++seed) {
            const TraceEstimates found =
                estimate_trace(op, {.probes = probes, .seed = static_cast<std::uint64_t>(seed)});
            const double z[3] = {
                (found.trace.value - truth.trace) / found.trace.standard_error,
                (found.squared_norm.value - truth.square) / found.squared_norm.standard_error,
                (found.effective_rank.value - truth.rank()) / found.effective_rank.standard_error};
            for (int which = 0; which < 3; ++which) {
                EXPECT_LE(std::abs(z[which]), 4) << which << " of seed " << seed;
                squares[which] += z[which] * z[which] / seeds;
                shift[which] += z[which] / seeds;
            }
            variance += found.trace.standard_error * found.trace.standard_error * probes / seeds;
        }
        for (int which = 0; which < 3; ++which) {
            // the mean of 400 squares of N(0, 1) has the standard deviation √(2/400) = 0.07
            EXPECT_NEAR(squares[which], 1, 0.35) << which;
            EXPECT_LE(std::abs(shift[which]), which == 0 ? 0.2 : 0.35) << which;
        }
        const double expected = 2 * (truth.square - truth.diagonal_square);
        EXPECT_NEAR(variance / expected, 1, 0.05);
    }
}

TEST(EstimateTrace, ExactWhereProbesAgree) {
    const Matrix diagonal = matrix_of(
        20, [](std::int64_t i, std::int64_t j) { return i == j ? static_cast<double>(i) - 4 : 0.0; });
    const TraceEstimates found = estimate_trace(DenseOperator(cpu(), diagonal), {.probes = 7});
    const Sums truth(diagonal);
    EXPECT_NEAR(found.trace.value, truth.trace, 1e-12);
    EXPECT_NEAR(found.squared_norm.value, truth.square, 1e-10);
    EXPECT_NEAR(found.effective_rank.value, truth.rank(), 1e-11);
    EXPECT_LE(found.trace.standard_error + found.squared_norm.standard_error, 1e-10);
    const TraceEstimates zero = estimate_trace(DenseOperator(cpu(), Matrix(9, 9, DType::f32)));
    EXPECT_EQ(zero.trace.value, 0);
    EXPECT_EQ(zero.squared_norm.value, 0);
    EXPECT_EQ(zero.effective_rank.value, 0);
    EXPECT_EQ(zero.effective_rank.standard_error, 0);
    const TraceEstimates one =
        estimate_trace(DenseOperator(cpu(), matrix_of(1, [](auto, auto) { return -3.0; })));
    EXPECT_EQ(one.trace.value, -3);
    EXPECT_EQ(one.squared_norm.value, 9);
}

TEST(EstimateTrace, DependsOnTheSeedAndNotOnBlocksOrThreads) {
    const Matrix k = random_psd(40, 50, 4);
    std::set<double> seen;
    for (const std::uint64_t seed : {0, 1, 2}) {
        const TraceEstimates want = estimate_trace(DenseOperator(cpu(), k), {.probes = 41, .seed = seed});
        seen.insert(want.trace.value);
        for (const std::int64_t block : {1, 7, 32, 100})
            for (const Device& device : {cpu(), Device::open("reference"), Device::open("cpu", 3)}) {
                const TraceEstimates have =
                    estimate_trace(DenseOperator(device, k), {.probes = 41, .block = block, .seed = seed});
                EXPECT_NEAR(have.trace.value, want.trace.value, 1e-11);
                EXPECT_NEAR(have.effective_rank.standard_error, want.effective_rank.standard_error, 1e-11);
            }
    }
    EXPECT_EQ(seen.size(), 3U);
    // more probes begin with the same ones: two of them, by hand from the first two alone
    const TraceEstimates two = estimate_trace(DenseOperator(cpu(), k), {.probes = 2, .seed = 5});
    const TraceEstimates three = estimate_trace(DenseOperator(cpu(), k), {.probes = 3, .seed = 5});
    const double third = 3 * three.trace.value - 2 * two.trace.value;
    const double half = two.trace.standard_error;  // |t_1 − t_2|/2
    const double t1 = two.trace.value - half, t2 = two.trace.value + half;
    const double m = three.trace.value;
    EXPECT_NEAR(three.trace.standard_error,
                std::sqrt(((t1 - m) * (t1 - m) + (t2 - m) * (t2 - m) + (third - m) * (third - m)) / 6),
                1e-10);
}

TEST(EstimateTrace, KernelsOfTangentsOnEveryDeviceAndAnyScale) {
    const test::RemoteDevice remote;
    for (const DType type : {DType::f32, DType::f64})
        for (const KernelOutput output : {KernelOutput::full, KernelOutput::trace}) {
            const Network network = Network::create(
                {.dim = 8, .width = 256, .rank = 8, .outputs = 2, .precision = type, .seed = 1});
            const Matrix x = test::on_sphere(50, 8, 4, type);
            const Tangent at = tangent(cpu(), network, x), there = tangent(remote.device, network, x);
            const Sums truth(gram(at, output));
            const TraceEstimates found = estimate_trace(KernelOperator(at, output), {.probes = 64});
            EXPECT_LE(std::abs(found.trace.value - truth.trace), 4 * found.trace.standard_error);
            EXPECT_LE(std::abs(found.squared_norm.value - truth.square),
                      4 * found.squared_norm.standard_error);
            EXPECT_LE(std::abs(found.effective_rank.value - truth.rank()),
                      4 * found.effective_rank.standard_error);
            const TraceEstimates far = estimate_trace(KernelOperator(there, output), {.probes = 64});
            EXPECT_EQ(far.trace.value, found.trace.value);
            EXPECT_EQ(far.effective_rank.standard_error, found.effective_rank.standard_error);
        }
    const Matrix k = random_psd(30, 30, 4);
    const TraceEstimates plain = estimate_trace(DenseOperator(cpu(), k));
    for (const int exponent : {-900, 900}) {  // squares leave double, ratios do not
        const Matrix scaled =
            matrix_of(30, [&](auto i, auto j) { return std::ldexp(k.at<double>(i, j), exponent); });
        const TraceEstimates found = estimate_trace(DenseOperator(cpu(), scaled));
        EXPECT_NEAR(std::ldexp(found.trace.value, -exponent), plain.trace.value, 1e-12 * plain.trace.value);
        EXPECT_NEAR(found.effective_rank.value, plain.effective_rank.value, 1e-10);
    }
}

TEST(EstimateTrace, RefusesByName) {
    const Matrix k = random_psd(5, 5, 1);
    const DenseOperator op(cpu(), k);
    EXPECT_NE(error_of<ValueError>([&] { estimate_trace(op, {.probes = 1}); }).find("probes = 1"),
              std::string::npos);
    EXPECT_NE(error_of<ValueError>([&] { estimate_trace(op, {.block = 0}); }).find("block = 0"),
              std::string::npos);
    EXPECT_THROW(estimate_trace(DenseOperator(cpu(), Matrix(2, 3, DType::f64))), ShapeError);
    EXPECT_THROW(estimate_trace(DenseOperator(cpu(), Matrix(0, 0, DType::f64))), ShapeError);
    const Matrix huge =
        narrowed(matrix_of(9, [](std::int64_t i, std::int64_t j) { return i == j ? 1e38 : 3e38; }));
    EXPECT_NE(
        error_of<Error>([&] { estimate_trace(DenseOperator(cpu(), huge), {.probes = 200}); }).find("row"),
        std::string::npos);
}

}  // namespace
}  // namespace fntk

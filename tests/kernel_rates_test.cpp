// What a factorisation loses, on the sphere, averaged over seeds: the squared relative error of K_down
// follows A/p + B/m and stops improving with the width; train = up is lossless behind an isometry and not
// behind a gaussian U. The seeds are fixed, so that each number is one number; the factors around the laws
// cover their neglected terms.
#include "support.hpp"

#include <fntk/kernel.hpp>
#include <fntk/limit.hpp>

namespace fntk {
namespace {

using test::cpu;

constexpr std::int64_t samples = 96, dim = 48, seeds = 20;

const Matrix& data() {
    static const Matrix x = test::on_sphere(samples, dim, 21, DType::f32);
    return x;
}

/// Mean over the seeds of ‖K − K∞‖²_F/‖K∞‖²_F.
double squared_error(NetworkSpec spec) {
    static const Matrix limit = limit_kernel(cpu(), {}, {.down = true}, data());
    double sum = 0;
    for (std::uint64_t seed = 0; seed < seeds; ++seed) {
        spec.dim = dim;
        spec.seed = 1000 + seed;
        const double error =
            test::relative_error(gram(tangent(cpu(), Network::create(spec, data()), data())), limit);
        sum += error * error / seeds;
    }
    return sum;
}

TEST(KernelRates, TheErrorOfDownFollowsItsLawInRankAndWidth) {
    const ErrorLaw law = error_law(cpu(), data());
    for (const Up up : {Up::rademacher, Up::gaussian, Up::srht})
        for (const std::int64_t p : {16, 32})
            for (const std::int64_t m : {8 * p, 64 * p}) {
                const double expected =
                    law.rank_term / static_cast<double>(p) + law.width_term / static_cast<double>(m);
                const double found =
                    squared_error({.width = m, .rank = p, .down = Down::orthonormal, .up = up});
                EXPECT_GT(found, 0.6 * expected) << name(up) << ' ' << p << ' ' << m;
                EXPECT_LT(found, 1.6 * expected) << name(up) << ' ' << p << ' ' << m;
            }
}

TEST(KernelRates, TheErrorOfDownHalvesWithTwiceTheRank) {
    const double narrow = squared_error({.width = 4096, .rank = 16}),
                 wide = squared_error({.width = 4096, .rank = 32});
    EXPECT_NEAR(narrow / wide, 2, 0.5);
}

TEST(KernelRates, TheErrorOfDownHardlyImprovesBeyondFourTimesTheRank) {
    for (const Up up : {Up::rademacher, Up::srht}) {
        const double at_4p = std::sqrt(squared_error({.width = 4 * 32, .rank = 32, .up = up}));
        const double at_64p = std::sqrt(squared_error({.width = 64 * 32, .rank = 32, .up = up}));
        EXPECT_GT(at_64p, 0.75 * at_4p) << name(up);
        EXPECT_LT(at_64p, 1.25 * at_4p) << name(up);
    }
}

TEST(KernelRates, UpBehindAnIsometryFollowsTheLawOfTheDenseNetwork) {
    const ErrorLaw law = error_law(cpu(), data());
    const std::int64_t m = 2048;
    const double dense_law = law.width_term / static_cast<double>(m);
    for (const Down down : {Down::identity, Down::orthonormal, Down::pca})
        for (const Up up : {Up::rademacher, Up::gaussian}) {
            const double found =
                squared_error({.width = m, .rank = dim, .down = down, .up = up, .train = {.up = true}});
            EXPECT_GT(found, 0.6 * dense_law) << name(down) << ' ' << name(up);
            EXPECT_LT(found, 1.6 * dense_law) << name(down) << ' ' << name(up);
        }
}

TEST(KernelRates, UpBehindAGaussianFactorLosesTheAngles) {
    const NetworkSpec isometry{
        .width = 2048, .rank = dim, .down = Down::orthonormal, .up = Up::rademacher, .train = {.up = true}};
    NetworkSpec gaussian = isometry;
    gaussian.down = Down::gaussian;
    EXPECT_GT(squared_error(gaussian), 5 * squared_error(isometry));
}

TEST(KernelRates, TheTraceOfSeveralOutputsAveragesTheirKernels) {
    const NetworkSpec one{.width = 2048, .rank = 32, .outputs = 1};
    NetworkSpec eight = one;
    eight.outputs = 8;
    EXPECT_LT(squared_error(eight), 0.35 * squared_error(one));
}

}  // namespace
}  // namespace fntk

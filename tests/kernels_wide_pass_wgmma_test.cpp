// The wide pass for compute capability 9.0, and the further outputs from its gates, against the reference:
// equal integers for every shape, range of units and number of results wanted.
#include "kernel_rows.hpp"
#include "kernels_wide_pass.hpp"

#include <open_gradients_wgmma.hpp>
#include <wide_pass_rademacher.hpp>
#include <wide_pass_wgmma.hpp>

#include <array>

namespace fntk::test {
namespace {

void expect_exact(std::int64_t n, std::int64_t p, std::int64_t m, const HostOptions& options = hopper(),
                  const Wanted& wanted = {}, int bits = 22, Up family = Up::rademacher) {
    const WideProblem problem({family, DType::i32, n, p, m, 1, bits});
    EXPECT_TRUE(kernels::with_rank_columns(p, [&](auto columns) {
        kernels::with_digits(bits, [&](auto digits) {
            kernels::WidePassWgmma<decltype(columns)::value, decltype(digits)::value> kernel;
            kernel.h = problem.rows<std::int32_t>();
            kernel.srht = family == Up::srht;
            expect_sums(kernel, problem, options, wanted);
        });
    }));
}

TEST(WidePassWgmma, EqualsTheReferenceForRaggedShapes) {
    for (const auto [n, p, m] : {std::array<std::int64_t, 3>{1, 1, 1},
                                 {5, 2, 63},
                                 {130, 31, 65},
                                 {66, 33, 300},
                                 {17, 64, 257},
                                 {128, 65, 129}})
        expect_exact(n, p, m);
}

TEST(WidePassWgmma, EqualsTheReferenceForEveryNumberOfWords) {
    for (const std::int64_t p : {96, 128, 129, 190, 224, 256}) expect_exact(70, p, 140);
}

TEST(WidePassWgmma, TakesTwoDigitsOfUpTo14Bits) {
    for (const auto [n, p, m] : {std::array<std::int64_t, 3>{1, 1, 1},
                                 {130, 31, 65},
                                 {17, 64, 600},
                                 {70, 100, 129},
                                 {66, 256, 300}})
        expect_exact(n, p, m, hopper(), {}, 14);
}

TEST(WidePassWgmma, GoesRoundItsStages) {
    expect_exact(9, 20, 5 * 256 - 30);
    expect_exact(9, 250, 4 * 128 + 5);
}

TEST(WidePassWgmma, SplitsTheWidthOverBlocks) {
    expect_exact(5, 40, 2100, hopper(8));
    expect_exact(5, 130, 1100, hopper(8));
}

TEST(WidePassWgmma, LeavesOutWhatIsNotWanted) {
    for (const Wanted& wanted : {Wanted{true, false}, Wanted{false, true}}) {
        expect_exact(10, 33, 600, hopper(), wanted);
        expect_exact(10, 160, 300, hopper(), wanted);
    }
}

TEST(WidePassWgmma, TakesASrhtV) {
    for (const auto [n, p, m] : {std::array<std::int64_t, 3>{1, 1, 1},
                                 {5, 2, 63},
                                 {130, 16, 65},
                                 {9, 32, 300},
                                 {66, 33, 300},
                                 {17, 64, 700},
                                 {70, 100, 129},
                                 {9, 128, 300},
                                 {20, 256, 300}})
        expect_exact(n, p, m, hopper(), {}, 22, Up::srht);
    expect_exact(5, 40, 2100, hopper(8), {}, 14, Up::srht);
}

/// Outputs from `first` on, from the reference's gates; those before stay as they are.
void expect_further(std::int64_t n, std::int64_t p, std::int64_t m, std::int64_t k, std::int64_t first,
                    const HostOptions& options = hopper(), Up family = Up::rademacher) {
    const UpFactor up = seeded_up(family, m, p);
    const Readout readout = seeded_readout(m, k);
    WideResult expected = reference_wide_pass(up, readout, hidden_integers(n, p, 5));
    Guarded<std::int32_t> gradients(n, k * p, 3, 0, 1 << 30);
    kernels::with_rank_columns(std::min<std::int64_t>(p, 256), [&](auto columns) {
        kernels::OpenGradientsWgmma<decltype(columns)::value> kernel;
        kernel.up_seed = up.seed;
        kernel.readout_seed = readout.seed;
        kernel.m = m;
        kernel.p = p;
        kernel.srht = family == Up::srht;
        kernel.first = first;
        kernel.outputs = k;
        const kernels::Rows<std::uint64_t> gates = rows_in(expected.gates.view());
        kernel.gates = {gates.data, gates.rows, gates.cols, gates.stride};
        kernel.gradients = gradients.view;
        for (kernel.first_column = 0; kernel.first_column < p; kernel.first_column += kernel.columns)
            run_on_host(kernel, options);
    });
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t q = 0; q < k * p; ++q)
            ASSERT_EQ(gradients.view.row(i)[q],
                      q < first * p ? 0 : expected.gradients.at<std::int32_t>(i, q))
                << n << ' ' << p << ' ' << m << ": " << i << ", " << q;
    EXPECT_TRUE(gradients.intact());
}

TEST(WidePassWgmma, FurtherOutputsComeFromTheGates) {
    expect_further(5, 2, 63, 2, 1);
    expect_further(130, 31, 65, 2, 1);
    expect_further(17, 64, 700, 3, 1);
    expect_further(40, 100, 300, 2, 0);
    expect_further(70, 256, 140, 2, 1);
    expect_further(9, 190, 4 * 128 + 5, 2, 1);
    expect_further(5, 40, 2100, 3, 1, hopper(8));
    for (const std::int64_t p : {16, 50, 128}) expect_further(20, p, 300, 2, 1, hopper(), Up::srht);
}

TEST(WidePassWgmma, GradientsComeFromTheGatesInSlicesOfALargeRank) {
    for (const std::int64_t p : {257, 300, 320, 352, 385, 512, 600}) expect_further(20, p, 140, 1, 0);
    expect_further(70, 500, 300, 3, 0);
    expect_further(5, 290, 1100, 2, 1, hopper(8));
}

/// A kernel without memory behind its matrices.
template <int columns>
kernels::WidePassWgmma<columns> launched(std::int64_t n, std::int64_t m) {
    static std::int32_t number = 0;
    kernels::WidePassWgmma<columns> kernel;
    kernel.m = m;
    kernel.p = columns;
    kernel.h = {&number, n, columns, columns};
    kernel.gradients = {&number, n, columns, columns};
    return kernel;
}

TEST(WidePassWgmma, LaunchesWhatFitsAndFillsTheDevice) {
    for (const std::int64_t n : {1, 100, 129, 16384, 50000}) {
        const auto check = [&](const auto& kernel) {
            const kernels::Launch launch = kernel.launch({132, 227 * 1024, 90});
            EXPECT_LE(launch.shared_bytes, 227 * 1024);
            EXPECT_EQ(launch.threads, 384);
            EXPECT_GE(launch.blocks, 120);
            // The last wave leaves at most a fifth of all multiprocessor time unused.
            EXPECT_GE(launch.blocks * 5, kernels::round_up(launch.blocks, 132) * 4) << launch.blocks;
        };
        check(launched<64>(n, 200000));
        check(launched<128>(n, 200000));
        check(launched<256>(n, 200000));
    }
    const kernels::DeviceLimits h100{132, 227 * 1024, 90};
    EXPECT_EQ(launched<256>(512, 4096).launch(h100).blocks, 4 * 32);  // a tile of 128 units each
    EXPECT_EQ(launched<64>(0, 100).launch({}).blocks, 0);
    EXPECT_EQ(launched<64>(100, 0).launch({}).blocks, 0);
}

}  // namespace
}  // namespace fntk::test

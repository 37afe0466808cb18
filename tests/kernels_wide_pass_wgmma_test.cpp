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

/// The signs of `columns` columns from `first_column` on, of steps first_step to first_step + count − 1,
/// with memory beside them that stays as it is.
template <int columns>
void expect_columns(Up family, std::int64_t p, std::int64_t first_column, std::int64_t first_step,
                    std::int64_t count, int multiprocessors = 1) {
    SCOPED_TRACE(std::string(name(family)) + ", columns " + std::to_string(columns) + ", p " +
                 std::to_string(p) + ", from " + std::to_string(first_column));
    using Signs = kernels::SignColumns<columns>;
    const std::int64_t size = count * Signs::step_words;
    std::vector<typename Signs::Words> memory(static_cast<std::size_t>(size + 1));
    for (std::uint32_t& word : memory.back().word) word = 0x1234567;
    const UpFactor up = seeded_up(family, 32 * (first_step + count), p);
    kernels::PackColumns<columns> pack{up.seed, p, first_column, family == Up::srht, first_step, count, {}};
    pack.to = {memory.data()};
    run_on_host(pack, hopper(multiprocessors));
    const auto plus = [&](std::int64_t unit, std::int64_t q) {
        return (family == Up::srht ? kernels::srht_sign(up.seed, unit, q, p)
                                   : kernels::rademacher_sign(up.seed, unit, q, p)) > 0;
    };
    constexpr int together = static_cast<int>(sizeof(memory[0].word) / 4);
    for (std::int64_t i = 0; i < size * together; ++i) {  // word i % together of a lane
        const std::int64_t step = i / together / Signs::step_words, lane = i / together % 32,
                           w = i / together / 32 % Signs::groups * together + i % together,
                           q = first_column + 32 * w + Signs::Tiles::place(static_cast<int>(lane));
        if (q >= p) continue;
        const std::uint32_t word = memory[static_cast<std::size_t>(i / together)].word[i % together];
        for (int l = 0; l < 32; ++l)
            ASSERT_EQ((word >> l & 1) != 0, plus(32 * (first_step + step) + l, q)) << step << ' ' << q;
    }
    for (const std::uint32_t word : memory.back().word) EXPECT_EQ(word, 0x1234567U);
}

TEST(WidePassWgmma, SignsLieInMemoryByColumn) {
    for (const std::int64_t p : {1, 31, 33, 64}) expect_columns<64>(Up::rademacher, p, 0, 0, 5);
    for (const std::int64_t p : {65, 97, 128}) expect_columns<128>(Up::rademacher, p, 0, 7, 3);
    for (const std::int64_t p : {129, 190, 224, 256}) expect_columns<256>(Up::rademacher, p, 0, 40, 9);
    for (const std::int64_t p : {512, 530, 545, 580}) expect_columns<256>(Up::rademacher, p, 256, 3, 2);
    expect_columns<64>(Up::rademacher, 545, 512, 4, 2);
    expect_columns<128>(Up::rademacher, 365, 256, 1, 2);
    expect_columns<64>(Up::rademacher, 20, 0, 0, 300);  // more steps than warps
    for (const std::int64_t p : {1, 32, 33, 64}) expect_columns<64>(Up::srht, p, 0, 2, 4);
    for (const std::int64_t p : {70, 128}) expect_columns<128>(Up::srht, p, 0, 3, 5);
}

/// Outputs from `first` on, from the reference's gates; those before stay as they are. At most `most` tiles
/// of units at a time.
void expect_further(std::int64_t n, std::int64_t p, std::int64_t m, std::int64_t k, std::int64_t first,
                    const HostOptions& options = hopper(), Up family = Up::rademacher,
                    std::int64_t most = 1000) {
    const UpFactor up = seeded_up(family, m, p);
    const Readout readout = seeded_readout(m, k);
    WideResult expected = reference_wide_pass(up, readout, hidden_integers(n, p, 5));
    Guarded<std::int32_t> gradients(n, k * p, 3, 0, 1 << 30);
    for (std::int64_t column = 0; column < p; column += 256) {
        kernels::with_rank_columns(std::min<std::int64_t>(p - column, 256), [&](auto columns) {
            using Kernel = kernels::OpenGradientsWgmma<decltype(columns)::value>;
            using Signs = kernels::SignColumns<Kernel::columns>;
            Kernel kernel;
            kernel.readout_seed = readout.seed;
            kernel.m = m;
            kernel.p = p;
            kernel.first = first;
            kernel.outputs = k;
            kernel.first_column = column;
            const kernels::Rows<std::uint64_t> gates = rows_in(expected.gates.view());
            kernel.gates = {gates.data, gates.rows, gates.cols, gates.stride};
            kernel.gradients = gradients.view;
            const std::int64_t all = (m + Kernel::units - 1) / Kernel::units, steps = Kernel::units / 32;
            std::vector<typename Signs::Words> memory(
                static_cast<std::size_t>(std::min(most, all) * steps * Signs::step_words));
            kernel.signs = {memory.data()};
            for (std::int64_t tile = 0; tile < all; tile += most) {
                kernel.first_unit = tile * Kernel::units;
                kernel.count = std::min(most, all - tile);
                run_on_host(
                    kernels::PackColumns<Kernel::columns>{up.seed, p, column, family == Up::srht,
                                                          tile * steps, kernel.count * steps, kernel.signs},
                    options);
                run_on_host(kernel, options);
            }
        });
    }
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

TEST(WidePassWgmma, FurtherOutputsGoRoundTheStages) {
    expect_further(9, 250, 9 * 128 - 3, 2, 1);
    expect_further(9, 110, 10 * 128 + 5, 2, 1);
    expect_further(9, 20, 9 * 256 + 70, 2, 1);
    expect_further(3, 33, 34 * 256, 2, 1);  // more words of a than lanes
}

TEST(WidePassWgmma, FurtherOutputsAddUpOverChunksOfUnits) {
    expect_further(130, 200, 1100, 3, 1, hopper(), Up::rademacher, 2);
    expect_further(5, 250, 1100, 2, 1, hopper(8), Up::rademacher, 6);
    expect_further(9, 60, 1500, 2, 0, hopper(4), Up::rademacher, 5);
    expect_further(9, 320, 700, 2, 0, hopper(2), Up::rademacher, 3);
    expect_further(20, 100, 900, 2, 1, hopper(), Up::srht, 3);
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

TEST(WidePassWgmma, LaunchesForTheOutputsThatAreLeft) {
    const kernels::DeviceLimits h100{132, 227 * 1024, 90};
    const std::uint64_t word = 0;
    kernels::OpenGradientsWgmma<256> kernel;
    kernel.gates = {&word, 1000, 8, 8};
    kernel.outputs = 1;
    kernel.count = 4;
    EXPECT_EQ(kernel.launch(h100).blocks, 8 * 4);  // a tile of units each
    EXPECT_EQ(kernel.launch(h100).shared_bytes, 128 * 1024);
    kernel.first = 1;
    EXPECT_EQ(kernel.launch(h100).blocks, 0);
    kernel.outputs = 3;
    kernel.count = 1;
    EXPECT_EQ(kernel.launch(h100).blocks, 8 * 2);
    kernel.count = 0;
    EXPECT_EQ(kernel.launch(h100).blocks, 0);
}

}  // namespace
}  // namespace fntk::test

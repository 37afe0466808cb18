#include "kernels_wide_pass.hpp"

#include <wide_pass_srht_long.hpp>

namespace fntk::test {
namespace {

template <int outputs_at_once>
kernels::WidePassSrhtLong<outputs_at_once> pass_of(const WideProblem& problem) {
    kernels::WidePassSrhtLong<outputs_at_once> pass;
    pass.h = problem.rows<std::int32_t>();
    return pass;
}

/// DeviceLimits of a GPU with that many multiprocessors.
kernels::DeviceLimits limits_of(int multiprocessors) {
    return {
        .multiprocessors = multiprocessors, .shared_bytes_per_block = 99 * 1024, .compute_capability = 89};
}

TEST(WidePassSrhtLong, EqualsTheReferenceForEveryRank) {
    const std::int64_t widths[] = {1, 63, 64, 65, 1025, 3000};
    int turn = 0;
    for (const std::int64_t p : {513, 1000, 1024})
        for (int w = 0; w < 3; ++w, ++turn) {
            const WideProblem problem(
                {Up::srht, DType::i32, turn % 4 + 1, p, widths[(turn + 2 * w) % 6], turn % 2 * 2 + 1});
            expect_sums(pass_of<1>(problem), problem, {.limits = limits_of(1)});
        }
}

TEST(WidePassSrhtLong, TakesTwoOutputsAtOnce) {
    for (const std::int64_t k : {1, 2, 3}) {
        const WideProblem problem({Up::srht, DType::i32, 3, 600, 1200, k});
        expect_sums(pass_of<2>(problem), problem, {.limits = limits_of(1)});
    }
}

// From 2048 entries on, several warps hold a sample. After three srht blocks of 8192 rows fields of sums
// are full.
TEST(WidePassSrhtLong, EqualsTheReferenceForRanksOfSeveralWarps) {
    for (const auto& [n, p, m, k] : {std::tuple{2, 1500, 2100, 1}, {2, 4096, 130, 3}, {1, 5000, 70, 1}}) {
        const WideProblem problem({Up::srht, DType::i32, n, p, m, k});
        expect_sums(pass_of<1>(problem), problem, {.limits = limits_of(1)});
    }
}

// More samples than places, several tiles of 8192 rows, and places that share the units of a tile.
TEST(WidePassSrhtLong, DoesNotDependOnTheLaunch) {
    for (const auto& [n, p, m] : {std::tuple{1, 600, 9000}, {18, 1024, 300}, {3, 513, 8200}}) {
        const WideProblem problem({Up::srht, DType::i32, n, p, m, 1});
        expect_sums(pass_of<1>(problem), problem, {.limits = limits_of(1), .blocks_at_once = 2});
        expect_sums(pass_of<1>(problem), problem, {.limits = limits_of(100), .blocks_at_once = 1});
        expect_sums(pass_of<1>(problem), problem,
                    {.limits = limits_of(1), .blocks = 3, .blocks_at_once = 2});
    }
}

TEST(WidePassSrhtLong, GivesItsSumsToMemoryBeforeTheirFieldsAreFull) {
    for (const auto& [n, p, m, k] : {std::tuple{9, 1024, 3100, 1}, {3, 600, 2100, 3}}) {
        const WideProblem problem({Up::srht, DType::i32, n, p, m, k});
        for (const int units : {1, 2}) {
            auto one = pass_of<1>(problem);
            auto two = pass_of<2>(problem);
            one.largest_field = two.largest_field = units * 1024;
            expect_sums(one, problem, {.limits = limits_of(1), .blocks = 1});
            expect_sums(two, problem, {.limits = limits_of(1), .blocks = 1});
        }
    }
}

TEST(WidePassSrhtLong, ComputesWhatIsWanted) {
    const WideProblem problem({Up::srht, DType::i32, 4, 600, 130, 2});
    const auto expect = [&](const auto& pass, Wanted wanted) {
        expect_sums(pass, problem, {.limits = limits_of(1)}, wanted);
    };
    expect(pass_of<1>(problem), {.gates = true, .gradients = false});
    expect(pass_of<1>(problem), {.gates = false, .gradients = true});
    expect(pass_of<2>(problem), {.gates = false, .gradients = false});
}

TEST(WidePassSrhtLong, HasNothingToDoForEmptyExtents) {
    for (const auto& [n, m, k] : {std::tuple{0, 64, 1}, {3, 0, 1}, {3, 64, 0}}) {
        const WideProblem problem({Up::srht, DType::i32, n, 600, m, k});
        kernels::WidePassSrhtLong<1> pass;
        pass.h = {nullptr, n, 600, 600};
        if (n > 0) pass.h = problem.rows<std::int32_t>();
        expect_sums(pass, problem, {.limits = limits_of(1)});
    }
}

TEST(WidePassSrhtLong, NamesTheRanksItLeavesToOthers) {
    using Pass = kernels::WidePassSrhtLong<1>;
    const kernels::DeviceLimits smallest{.shared_bytes_per_block = 99 * 1024};  // of 8.0 and later
    EXPECT_EQ(Pass::unsupported(8192, smallest), nullptr);
    EXPECT_NE(Pass::unsupported(8193, smallest), nullptr);
    EXPECT_NE(Pass::unsupported(512, smallest), nullptr);
    EXPECT_EQ(Pass::unsupported(513, smallest), nullptr);
    EXPECT_NE(Pass::unsupported(1025, {.shared_bytes_per_block = 64 * 1024}), nullptr);
    EXPECT_EQ(Pass::unsupported(1024, {.shared_bytes_per_block = 64 * 1024}), nullptr);
    using Two = kernels::WidePassSrhtLong<2>;
    EXPECT_EQ(Two::unsupported(1024, smallest), nullptr);
    EXPECT_NE(Two::unsupported(1025, smallest), nullptr);
    EXPECT_EQ(Two::unsupported(8192, {.shared_bytes_per_block = 163 * 1024}), nullptr);
}

}  // namespace
}  // namespace fntk::test

// The mistakes that the grid of the tests or a sanitizer must find.
#include "planted.hpp"

#include <quad.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <vector>

#ifdef FNTK_THREAD_SANITIZER
// The first race ends the process: by itself ThreadSanitizer only reports it.
// Visible to the sanitizer, though the project hides its symbols.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() {
    return "halt_on_error=1:exitcode=66";
}
#endif

namespace fntk::test {
namespace {

using kernels::DeviceLimits;
using kernels::Launch;

// --- mistakes that the grid finds ------------------------------------------------------------------------

TEST(HostGridFaults, ThreadsWaitAtDifferentPlaces) {
    const auto two_barriers = [](auto& grid) {
        if (grid.thread() < 32)
            grid.sync();
        else
            grid.sync();
    };
    const auto two_operations = [](auto& grid) {
        if (grid.lane() == 7)
            grid.ballot(true);
        else
            grid.sync_warp();
    };
    EXPECT_TRUE(has(fault_of(Planted{two_barriers}), "waits in sync (host_grid_faults_test.cpp:"));
    EXPECT_TRUE(has(fault_of(Planted{two_operations}), "ballot"));
}

TEST(HostGridFaults, LanesOfOneWarpWaitForTheWarpAndForTheBlock) {
    EXPECT_TRUE(has(fault_of(Planted{[](auto& grid) {
                        if (grid.lane() == 3) grid.sync_warp();
                        grid.sync();
                    }}),
                    "its warp"));
}

TEST(HostGridFaults, AThreadLeavesWhileOthersWait) {
    EXPECT_TRUE(has(fault_of(Planted{[](auto& grid) {
                        if (grid.thread() != 40) grid.sync();
                    }}),
                    "the kernel"));
    EXPECT_TRUE(has(fault_of(Planted{[](auto& grid) {
                        for (int i = 0; i < (grid.lane() == 9 ? 2 : 3); ++i) grid.shuffle(i, 0);
                    }}),
                    "the kernel"));
}

TEST(HostGridFaults, SharedArraysBeyondTheDeclaredBytes) {
    const auto body = [](auto& grid) {
        grid.template shared<std::int32_t>(5);  // 20 bytes, of which 32 are taken
        grid.template shared<std::int8_t>(1);
    };
    EXPECT_TRUE(has(fault_of(Planted{body, 1, 64, 47}), "48 bytes of 47 declared"));
    EXPECT_EQ(fault_of(Planted{body, 1, 64, 48}), "");
}

TEST(HostGridFaults, SharedArraysThatThreadsAskForDifferently) {
    const auto fault = [](auto body) { return fault_of(Planted{body, 1, 64, 1024}); };
    EXPECT_TRUE(
        has(fault([](auto& grid) { grid.template shared<int>(grid.warp() + 1); }), "another shared array"));
    EXPECT_TRUE(has(fault([](auto& grid) {
                        if (grid.thread() == 1)
                            grid.template shared<float>(2);
                        else
                            grid.template shared<int>(2);
                    }),
                    "another shared array"));
    EXPECT_TRUE(has(fault([](auto& grid) {
                        if (grid.thread() != 1) grid.template shared<int>(2);
                    }),
                    "0 shared arrays of 1"));
}

TEST(HostGridFaults, LanesOutsideTheWarp) {
    EXPECT_TRUE(has(fault_of(Planted{[](auto& grid) { grid.shuffle_xor(1, 32); }}), "of 32"));
}

TEST(HostGridFaults, CopiesThatNobodyWaitsForOrThatChangeUnderWay) {
    alignas(16) kernels::Quad from[33] = {};
    kernels::Quad elsewhere{};
    const auto fault = [&](auto body) {
        return fault_of(Planted{[&](auto& grid) {
                                    body(grid, grid.template shared<kernels::Quad>(33) + grid.thread(),
                                         from + grid.thread());
                                },
                                1, 32, 33 * 16});
    };
    const auto wait = [](auto& grid) {
        grid.commit_copies();
        grid.template wait_copies<0>();
    };
    EXPECT_EQ(fault([&](auto& grid, auto* to, const auto* own) {
                  grid.copy_async(to, own, 16);
                  wait(grid);
              }),
              "");
    EXPECT_TRUE(has(fault([](auto& grid, auto* to, const auto* own) {
                        grid.copy_async(to, own, 16);
                        grid.template wait_copies<0>();  // of no group
                    }),
                    "copy_async (host_grid_faults_test.cpp:"));
    EXPECT_TRUE(has(fault([&](auto& grid, auto* to, auto* own) {
                        grid.copy_async(to, own, 16);
                        own->word[3] += 1;
                        wait(grid);
                    }),
                    "copies what changes before its wait"));
    EXPECT_TRUE(
        has(fault([&](auto& grid, auto* /*to*/, const auto* own) { grid.copy_async(&elsewhere, own, 16); }),
            "no shared array"));
    EXPECT_TRUE(has(fault([&](auto& grid, auto* to, const auto* own) {
                        grid.copy_async(reinterpret_cast<kernels::Quad*>(&to->word[2]), own, 16);
                    }),
                    "not aligned"));
    EXPECT_TRUE(has(fault([&](auto& grid, auto* to, const auto* own) { grid.copy_async(to, own, 17); }),
                    "17 bytes"));
}

TEST(HostGridFaults, LaunchesOutsideTheLimits) {
    const auto nothing = [](auto& /*grid*/) {};
    EXPECT_EQ(fault_of(Planted{nothing, 0, 0}), "");
    EXPECT_TRUE(has(fault_of(Planted{nothing, 1, 416}), "at most 384"));
    EXPECT_TRUE(has(fault_of(Planted{nothing, 1, 33}), "whole warps"));
    EXPECT_TRUE(has(fault_of(Planted{nothing, -1, 32}), "-1 blocks"));
    const Planted large{nothing, 1, 32, 65536};
    EXPECT_TRUE(has(fault_of(large), "65536 shared bytes of 49152"));
    EXPECT_EQ(fault_of(large, {.limits = {.shared_bytes_per_block = 65536}}), "");
}

TEST(HostGridFaults, ExceptionsEndTheLaunch) {
    const auto body = [](auto& grid) {
        if (grid.block() == 1 && grid.thread() == 5) throw std::runtime_error("planted");
        for (int i = 0; i < 20; ++i) grid.sync();
    };
    for (const int at_once : {1, 2})
        EXPECT_TRUE(has(fault_of(Planted{body, 5}, {.blocks_at_once = at_once}),
                        "block 1, thread 5 throws: planted"));
}

// --- mistakes that a sanitizer finds ---------------------------------------------------------------------

#ifdef FNTK_ADDRESS_SANITIZER
TEST(HostGridDeathTest, AddressSanitizerFindsAnIndexBehindASharedArray) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(run_on_host(Planted{[](auto& grid) {
                                         auto* x = grid.template shared<std::int8_t>(63);
                                         x[grid.thread()] = 1;
                                     },
                                     1, 64, 64}),
                 "heap-buffer-overflow");
}

TEST(HostGridDeathTest, AddressSanitizerFindsASharedArrayUsedAfterItsBlock) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
            int* kept = nullptr;
            run_on_host(Planted{[&](auto& grid) {
                                    int* x = grid.template shared<int>(64);
                                    if (grid.thread() == 0) kept = x;
                                },
                                1, 64, 256});
            *kept = 1;
        },
        "heap-use-after-free");
}
#endif

#ifdef FNTK_THREAD_SANITIZER
/// out_t = the entry of the next thread, with or without the barrier between.
template <class Wait>
void rotate(int threads, Wait&& wait) {
    std::vector<int> out(static_cast<std::size_t>(threads));
    run_on_host(Planted{[&](auto& grid) {
                            auto* x = grid.template shared<int>(threads);
                            x[grid.thread()] = grid.thread();
                            wait(grid);
                            out[static_cast<std::size_t>(grid.thread())] = x[(grid.thread() + 1) % threads];
                        },
                        1, threads, 1024});
}

TEST(HostGridDeathTest, ThreadSanitizerFindsAMissingBarrier) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    rotate(64, [](auto& grid) { grid.sync(); });
    rotate(32, [](auto& grid) { grid.sync_warp(); });
    EXPECT_DEATH(rotate(64, [](auto& /*grid*/) {}), "data race");
    EXPECT_DEATH(rotate(32, [](auto& /*grid*/) {}), "data race");
    EXPECT_DEATH(rotate(64, [](auto& grid) { grid.sync_warp(); }), "data race");
}

TEST(HostGridDeathTest, ThreadSanitizerFindsACopyThatIsReadWithoutABarrier) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    alignas(16) kernels::Quad from[64] = {};
    std::array<std::uint32_t, 64> out{};
    const auto rotated = [&](bool with_barrier) {
        run_on_host(Planted{[&](auto& grid) {
                                auto* x = grid.template shared<kernels::Quad>(64);
                                grid.copy_async(x + grid.thread(), from + grid.thread(), 16);
                                grid.commit_copies();
                                grid.template wait_copies<0>();
                                if (with_barrier) grid.sync();
                                out[static_cast<std::size_t>(grid.thread())] =
                                    x[(grid.thread() + 1) % 64].word[0];
                            },
                            1, 64, 1024});
    };
    rotated(true);
    EXPECT_DEATH(rotated(false), "data race");
}

TEST(HostGridDeathTest, ThreadSanitizerFindsTwoBlocksThatWriteToOnePlace) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    std::int32_t sum = 0;
    run_on_host(Planted{[&](auto& grid) { grid.atomic_add(&sum, 1); }, 2});
    EXPECT_EQ(sum, 128);
    EXPECT_DEATH(run_on_host(Planted{[&](auto& grid) {
                                         if (grid.thread() == 0) ++sum;
                                     },
                                     2}),
                 "data race");
}
#endif

}  // namespace
}  // namespace fntk::test

// The grid of the tests itself: what a kernel may rely on.
#include "planted.hpp"

#include <quad.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace fntk::test {
namespace {

using kernels::DeviceLimits;
using kernels::Launch;

/// sum = Σ x: strided over the grid, by shuffles in a warp, through shared memory in a block, atomically.
struct BlockSum {
    static constexpr int max_threads = 128;
    const std::int32_t* x;
    std::int64_t count;
    std::int32_t* sum;

    Launch launch(const DeviceLimits& limits) const {
        const std::int64_t blocks =
            kernels::smaller<std::int64_t>(kernels::ceil_div(count, max_threads), limits.multiprocessors);
        return {blocks, max_threads, kernels::shared_size<std::int32_t>(max_threads / 32)};
    }
    template <class Grid>
    void operator()(Grid& grid) const {
        auto* warps = grid.template shared<std::int32_t>(grid.threads() / 32);
        std::int32_t total = 0;
        for (std::int64_t i = grid.block() * grid.threads() + grid.thread(); i < count;
             i += grid.blocks() * grid.threads())
            total += x[i];
        for (int step = 16; step > 0; step /= 2) total += grid.shuffle_xor(total, step);
        if (grid.lane() == 0) warps[grid.warp()] = total;
        grid.sync();
        if (grid.thread() == 0)
            for (int w = 0; w < grid.threads() / 32; ++w) grid.atomic_add(sum, warps[w]);
    }
};

TEST(HostGrid, SumsOverThreadsWarpsAndBlocks) {
    std::vector<std::int32_t> x(1000);
    std::iota(x.begin(), x.end(), 1);
    for (const std::int64_t count : {0, 1, 31, 1000})
        for (const int multiprocessors : {1, 3, 100})
            for (const int at_once : {1, 2})
                for (const std::int64_t blocks : {0, 5}) {
                    std::int32_t sum = 0;
                    run_on_host(BlockSum{x.data(), count, &sum},
                                {.limits = {.multiprocessors = multiprocessors},
                                 .blocks = blocks,
                                 .blocks_at_once = at_once});
                    EXPECT_EQ(sum, count * (count + 1) / 2) << count << ' ' << multiprocessors;
                }
}

TEST(HostGrid, EveryThreadOfEveryBlockRunsOnce) {
    std::vector<int> runs(std::size_t{7} * 96);
    run_on_host(Planted{[&](auto& grid) {
                            EXPECT_EQ(grid.blocks(), 7);
                            EXPECT_EQ(grid.threads(), 96);
                            EXPECT_EQ(grid.warp() * 32 + grid.lane(), grid.thread());
                            ++runs[static_cast<std::size_t>(grid.block() * 96 + grid.thread())];
                        },
                        7, 96},
                {.blocks_at_once = 2});
    EXPECT_EQ(runs, std::vector<int>(runs.size(), 1));
}

TEST(HostGrid, BlocksComeInShuffledOrder) {
    std::vector<std::int64_t> order;
    const Planted kernel{[&](auto& grid) {
                             if (grid.thread() == 0) order.push_back(grid.block());
                         },
                         20, 32};
    run_on_host(kernel, {.blocks_at_once = 1});
    std::vector<std::int64_t> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_NE(order, sorted);
    for (std::int64_t b = 0; b < 20; ++b) EXPECT_EQ(sorted[static_cast<std::size_t>(b)], b);
}

TEST(HostGrid, ASeedRepeatsTheOrderOfTheThreads) {
    const auto order_of = [](std::uint64_t seed) {
        std::vector<int> order(96);
        std::atomic<std::size_t> next{0};
        run_on_host(Planted{[&](auto& grid) {
                                if (grid.warp() == 1) grid.sync_warp();
                                order[next.fetch_add(1, std::memory_order_relaxed)] = grid.thread();
                            },
                            1, 96},
                    {.order = seed});
        return order;
    };
    const std::vector<int> order = order_of(1);
    EXPECT_EQ(order_of(1), order);
    EXPECT_NE(order_of(2), order);
    EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
    std::vector<int> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    for (int t = 0; t < 96; ++t) EXPECT_EQ(sorted[static_cast<std::size_t>(t)], t);
}

TEST(HostGrid, LanesReadOneAnother) {
    run_on_host(Planted{[&](auto& grid) {
        for (int round = 0; round < 8; ++round) {
            const std::int32_t v = 100 * grid.warp() + grid.lane();
            EXPECT_EQ(grid.shuffle(v, (grid.lane() + round) % 32),
                      100 * grid.warp() + (grid.lane() + round) % 32);
            EXPECT_EQ(grid.shuffle_xor(std::uint64_t{1} << grid.lane(), round),
                      std::uint64_t{1} << (grid.lane() ^ round));
            EXPECT_EQ(grid.shuffle(0.5 * grid.lane(), 31), 15.5);
            EXPECT_EQ(grid.ballot(grid.lane() % 3 == round % 3), round % 3 == 0   ? 0x49249249U
                                                                 : round % 3 == 1 ? 0x92492492U
                                                                                  : 0x24924924U);
            if (grid.warp() == 1) grid.sync_warp();  // warps are free of one another
        }
    }});
}

TEST(HostGrid, AtomicsAddInSharedAndGlobalMemory) {
    std::uint32_t words = 0;
    std::uint64_t longs = 0;
    double reals = 0;
    run_on_host(Planted{[&](auto& grid) {
                            auto* total = grid.template shared<std::int32_t>(1);
                            if (grid.thread() == 0) *total = 0;
                            grid.sync();
                            grid.atomic_add(total, grid.thread() - 5);
                            grid.sync();
                            EXPECT_EQ(*total, 96 * 95 / 2 - 5 * 96);
                            grid.atomic_add(&words, 3U);
                            grid.atomic_add(&longs, std::uint64_t{1} << 33);
                            grid.atomic_add(&reals, 0.25);
                        },
                        4, 96, 16},
                {.blocks_at_once = 2});
    EXPECT_EQ(words, 3U * 4 * 96);
    EXPECT_EQ(longs, (std::uint64_t{1} << 33) * 4 * 96);
    EXPECT_EQ(reals, 96.0);
}

TEST(HostGrid, SharedArraysAreFreshInEveryBlock) {
    run_on_host(Planted{[&](auto& grid) {
                            auto* bytes = grid.template shared<std::int8_t>(3);
                            auto* words = grid.template shared<std::uint32_t>(64);
                            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(words) % 16, 0U);
                            EXPECT_NE(static_cast<void*>(bytes), static_cast<void*>(words));
                            EXPECT_EQ(words[grid.thread()], uninitialised);
                            words[grid.thread()] = 1;
                        },
                        3, 64, 16 + 256});
}

TEST(HostGrid, CopiesWhenAGroupIsWaitedForAndFillsWithZeros) {
    alignas(16) std::array<kernels::Quad, 64> from{};
    for (std::uint32_t i = 0; i < 256; ++i) from[i / 4].word[i % 4] = 1000 + i;
    std::array<std::uint32_t, 64> early{}, first{}, second{}, of_others{}, filled{};
    run_on_host(Planted{[&](auto& grid) {
                            const int t = grid.thread();
                            const auto own = static_cast<std::size_t>(t);
                            auto* x = grid.template shared<kernels::Quad>(128);
                            grid.copy_async(x + t, from.data() + t, 16);
                            grid.commit_copies();
                            grid.copy_async(reinterpret_cast<kernels::Pair*>(x + 64 + t),
                                            reinterpret_cast<const kernels::Pair*>(from.data() + t),
                                            t % 3 * 4);
                            grid.commit_copies();
                            early[own] = x[t].word[3];
                            grid.template wait_copies<1>();
                            first[own] = x[t].word[3];
                            second[own] = x[64 + t].word[0];
                            grid.template wait_copies<0>();
                            grid.sync();
                            of_others[own] = x[63 - t].word[1];
                            filled[own] = x[64 + 63 - t].word[1];
                        },
                        1, 64, 128 * 16});
    for (std::uint32_t t = 0; t < 64; ++t) {
        EXPECT_EQ(early[t], uninitialised);
        EXPECT_EQ(first[t], 1003 + 4 * t);
        EXPECT_EQ(second[t], uninitialised);
        EXPECT_EQ(of_others[t], 1001 + 4 * (63 - t));
        EXPECT_EQ(filled[t], (63 - t) % 3 == 2 ? 1001 + 4 * (63 - t) : 0);
    }
}

TEST(HostGrid, MultipliesTilesByTheDocumentedLayout) {
    std::mt19937 engine(5);
    std::int8_t a[16][32], b[32][8];
    std::int32_t c[16][8];
    for (auto& row : a)
        for (auto& x : row) x = static_cast<std::int8_t>(engine());
    for (auto& row : b)
        for (auto& x : row) x = static_cast<std::int8_t>(engine());
    for (auto& row : c)
        for (auto& x : row) x = static_cast<std::int32_t>(engine() % 1000);
    run_on_host(Planted{[&](auto& grid) {
                            const int group = grid.lane() / 4, t = grid.lane() % 4;
                            std::uint32_t as[4] = {}, bs[2] = {};
                            std::int32_t acc[4];
                            for (int i = 0; i < 4; ++i) {
                                acc[i] = c[group + 8 * (i / 2)][2 * t + i % 2];
                                for (int j = 0; j < 4; ++j) {
                                    const std::int8_t x = a[group + 8 * (i % 2)][4 * t + j + 16 * (i / 2)];
                                    as[i] |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(x))
                                             << 8 * j;
                                }
                            }
                            for (int i = 0; i < 2; ++i)
                                for (int j = 0; j < 4; ++j) {
                                    const std::int8_t x = b[4 * t + j + 16 * i][group];
                                    bs[i] |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(x))
                                             << 8 * j;
                                }
                            grid.mma_s8(acc, as, bs);
                            grid.mma_s8(acc, as, bs);
                            for (int i = 0; i < 4; ++i) {
                                const int row = group + 8 * (i / 2), col = 2 * t + i % 2;
                                std::int32_t sum = c[row][col];
                                for (int l = 0; l < 32; ++l) sum += 2 * a[row][l] * b[l][col];
                                EXPECT_EQ(acc[i], sum);
                            }
                        },
                        1, 32});
}

TEST(HostGrid, MultipliesTilesOfBitsByTheDocumentedLayout) {
    std::mt19937 engine(6);
    bool a[16][256], b[256][8];
    for (auto& row : a)
        for (bool& x : row) x = engine() % 2 == 1;
    for (auto& row : b)
        for (bool& x : row) x = engine() % 3 == 1;
    run_on_host(Planted{[&](auto& grid) {
                            const int group = grid.lane() / 4, t = grid.lane() % 4;
                            std::uint32_t as[4] = {}, bs[2] = {};
                            std::int32_t acc[4] = {1, 20, 300, -4000};
                            const std::int32_t before[4] = {1, 20, 300, -4000};
                            for (int j = 0; j < 32; ++j) {
                                for (int i = 0; i < 4; ++i)
                                    if (a[group + 8 * (i % 2)][32 * t + j + 128 * (i / 2)])
                                        as[i] |= 1U << j;
                                for (int i = 0; i < 2; ++i)
                                    if (b[32 * t + j + 128 * i][group]) bs[i] |= 1U << j;
                            }
                            grid.mma_b1(acc, as, bs);
                            for (int i = 0; i < 4; ++i) {
                                const int row = group + 8 * (i / 2), col = 2 * t + i % 2;
                                std::int32_t sum = before[i];
                                for (int l = 0; l < 256; ++l) sum += a[row][l] && b[l][col] ? 1 : 0;
                                EXPECT_EQ(acc[i], sum);
                            }
                        },
                        1, 32});
}

}  // namespace
}  // namespace fntk::test

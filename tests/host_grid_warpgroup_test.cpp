// The warpgroup's operations on the grid of the tests: products against plain loops by the layouts that
// kernels/warpgroup.hpp documents, named barriers, and the mistakes that the grid must find.
#include "planted.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace fntk::test {
namespace {

using kernels::tile_descriptor;

std::int8_t a_entry(int row, int l) { return static_cast<std::int8_t>(row * 37 + l * 11 - 128); }
std::int8_t b_entry(int column, int l) { return static_cast<std::int8_t>(column * 53 - l * 29 + 77); }
std::int32_t product_entry(int row, int column) {
    std::int32_t sum = 0;
    for (int l = 0; l < 32; ++l) sum += a_entry(row, l) * b_entry(column, l);
    return sum;
}

/// Bytes of a tile, with gaps where leading and stride leave them.
template <class Entry>
void fill(std::int8_t* tile, int rows, int leading, int stride, Entry entry) {
    for (int r = 0; r < rows; ++r)
        for (int l = 0; l < 32; ++l)
            tile[r / 8 * stride + l / 16 * leading + 16 * (r % 8) + l % 16] = entry(r, l);
}

/// D = 2·A·B − 3, begun with −3: three products in two groups, the first without what was there.
template <int columns, bool a_in_registers>
void expect_products(int leading, int stride) {
    constexpr int count = columns / 2;
    std::vector<std::int32_t> sums(64 * columns);
    run_on_host(Planted{
        [&](auto& grid) {
            const int bytes = 31 * stride + leading + 128;  // of up to 256 rows
            auto* a = grid.template shared<std::int8_t>(bytes);
            auto* b = grid.template shared<std::int8_t>(bytes);
            if (grid.thread() == 0) fill(a, 64, leading, stride, a_entry);
            if (grid.thread() == 1) fill(b, columns, leading, stride, b_entry);
            grid.proxy_fence();
            grid.sync();
            const auto at = [&](const std::int8_t* tile) {
                return tile_descriptor(grid.shared_address(tile), static_cast<std::uint32_t>(leading),
                                       static_cast<std::uint32_t>(stride));
            };
            const int warp_row = 16 * grid.warp() + grid.lane() / 4, t = grid.lane() % 4;
            std::uint32_t own[4] = {};
            for (int i = 0; i < 4; ++i)
                for (int j = 0; j < 4; ++j)
                    own[i] |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(
                                  a_entry(warp_row + 8 * (i % 2), 4 * t + j + 16 * (i / 2))))
                              << (8 * j);
            std::int32_t acc[count], other[count];
            std::fill_n(acc, count, 12345);
            std::fill_n(other, count, -3);
            grid.wgmma_fence(acc, other, own);
            const auto multiply = [&](auto add, std::int32_t(&into)[count]) {
                if constexpr (a_in_registers)
                    grid.template wgmma<decltype(add)::value>(into, own, at(b));
                else
                    grid.template wgmma<decltype(add)::value>(into, at(a), at(b));
            };
            multiply(std::false_type{}, acc);
            grid.wgmma_commit();
            multiply(std::true_type{}, other);
            grid.wgmma_commit();
            grid.template wgmma_wait<1>(acc);
            for (int i = 0; i < count; ++i)
                EXPECT_EQ(other[i], static_cast<std::int32_t>(uninitialised)) << "under way";
            grid.template wgmma_wait<0>(other, own);
            for (int i = 0; i < count; ++i) {
                const int row = warp_row + 8 * (i / 2 % 2), column = 8 * (i / 4) + 2 * t + i % 2;
                sums[static_cast<std::size_t>(row * columns + column)] = acc[i] + other[i];
            }
        },
        1, 128, 48 * 1024});
    for (int row = 0; row < 64; ++row)
        for (int column = 0; column < columns; ++column)
            ASSERT_EQ(sums[static_cast<std::size_t>(row * columns + column)],
                      2 * product_entry(row, column) - 3)
                << row << ' ' << column << ' ' << columns;
}

TEST(HostGridWarpgroup, ProductsAreThoseOfPlainLoops) {
    expect_products<128, false>(128, 256);
    expect_products<256, false>(144, 512);
    expect_products<64, true>(1024, 128);
    expect_products<128, true>(128, 272);
    expect_products<256, true>(128, 256);
}

TEST(HostGridWarpgroup, CountsCommonBits) {
    constexpr int leading = 272 * 16, stride = 128;  // columns of 16 bytes, a core matrix after the other
    std::vector<std::int32_t> counts(64 * 256);
    run_on_host(Planted{[&](auto& grid) {
                            auto* a = grid.template shared<std::int8_t>(2 * leading);
                            auto* b = grid.template shared<std::int8_t>(2 * leading);
                            if (grid.thread() == 0) fill(a, 64, leading, stride, a_entry);
                            if (grid.thread() == 1) fill(b, 256, leading, stride, b_entry);
                            grid.proxy_fence();
                            grid.sync();
                            std::int32_t acc[128];
                            std::fill_n(acc, 128, 5);
                            grid.wgmma_fence(acc);
                            grid.wgmma_b1(acc, tile_descriptor(grid.shared_address(a), leading, stride),
                                          tile_descriptor(grid.shared_address(b), leading, stride));
                            grid.wgmma_commit();
                            grid.template wgmma_wait<0>(acc);
                            for (int i = 0; i < 128; ++i) {
                                const int row = 16 * grid.warp() + grid.lane() / 4 + 8 * (i / 2 % 2),
                                          column = 8 * (i / 4) + 2 * (grid.lane() % 4) + i % 2;
                                counts[static_cast<std::size_t>(row * 256 + column)] = acc[i];
                            }
                        },
                        1, 128, 48 * 1024});
    for (int row = 0; row < 64; ++row)
        for (int column = 0; column < 256; ++column) {
            std::int32_t common = 5;
            for (int bit = 0; bit < 256; ++bit)
                common += (a_entry(row, bit / 8) >> bit % 8) & (b_entry(column, bit / 8) >> bit % 8) & 1;
            ASSERT_EQ(counts[static_cast<std::size_t>(row * 256 + column)], common) << row << ' ' << column;
        }
}

TEST(HostGridWarpgroup, NamedBarriersHandOver) {
    std::vector<int> seen(64);
    run_on_host(Planted{[&](auto& grid) {
                            auto* x = grid.template shared<int>(2);
                            for (int i = 0; i < 6; ++i) {
                                const int stage = i % 2;
                                if (grid.warp() == 0) {
                                    if (i >= 2) grid.barrier_sync(3 + stage, 96);
                                    if (grid.lane() == 0) x[stage] = i;
                                    grid.barrier_arrive(1 + stage, 96);
                                } else {
                                    grid.barrier_sync(1 + stage, 96);
                                    seen[static_cast<std::size_t>(grid.thread() - 32)] += x[stage]
                                                                                          << (4 * i);
                                    if (i + 2 < 6) grid.barrier_arrive(3 + stage, 96);
                                }
                            }
                        },
                        1, 96, 16});
    for (const int sum : seen) EXPECT_EQ(sum, 0x543210);
}

// --- mistakes

enum class Mistake {
    none,
    overwritten,  // the tile, before the wait
    not_waited,   // accumulators read
    not_committed,
    touched,     // accumulators, before the wait
    changed_a,   // registers of A, before the wait
    not_fenced,  // accumulators
    stores_not_fenced,
    stores_not_fenced_again,
    swizzled,
    out_of_array,
    waited_for_another,
};

/// One product, or two of which the second is of a changed tile; what each thread found to be wrong.
std::string fault_with(Mistake mistake, std::int64_t* wrong = nullptr) {
    std::atomic<std::int64_t> count{0};
    const std::string fault = fault_of(
        Planted{[&](auto& grid) {
                    auto* b = grid.template shared<std::int8_t>(64 * 32);
                    const auto store = [&](int shift) {
                        if (grid.thread() == 0)
                            fill(b, 64, 128, 256, [&](int r, int l) { return b_entry(r + shift, l); });
                    };
                    store(0);
                    if (mistake != Mistake::stores_not_fenced) grid.proxy_fence();
                    grid.sync();
                    std::uint32_t own[4] = {0x01010101, 0x01010101, 0x01010101, 0x01010101};
                    std::int32_t acc[32] = {}, other[32] = {};
                    if (mistake != Mistake::not_fenced) grid.wgmma_fence(acc, own);
                    std::uint64_t d = tile_descriptor(grid.shared_address(b), 128, 256);
                    if (mistake == Mistake::swizzled) d |= std::uint64_t{1} << 62;
                    if (mistake == Mistake::out_of_array) d += 1;
                    grid.template wgmma<false>(acc, own, d);
                    if (mistake != Mistake::not_committed) grid.wgmma_commit();
                    if (mistake == Mistake::overwritten) {
                        grid.sync();
                        store(1);
                        grid.sync();
                    }
                    if (mistake == Mistake::touched) acc[3] = 7;
                    if (mistake == Mistake::changed_a) own[1] = 0;
                    if (mistake == Mistake::waited_for_another)
                        grid.template wgmma_wait<1>(acc);
                    else if (mistake == Mistake::not_committed)
                        grid.template wgmma_wait<0>(other);
                    else if (mistake != Mistake::not_waited)
                        grid.template wgmma_wait<0>(acc, own);
                    for (int i = 0; i < 32; ++i) {
                        std::int32_t sum = 0;
                        for (int l = 0; l < 32; ++l)
                            sum += b_entry(8 * (i / 4) + 2 * (grid.lane() % 4) + i % 2, l);
                        if (acc[i] != sum) ++count;
                    }
                    if (mistake != Mistake::stores_not_fenced_again) return;
                    grid.sync();
                    store(1);
                    grid.sync();
                    grid.wgmma_fence(acc, own);
                    grid.template wgmma<false>(acc, own, d);
                    grid.wgmma_commit();
                    grid.template wgmma_wait<0>(acc);
                },
                1, 128, 64 * 32});
    if (wrong != nullptr) *wrong = count;
    return fault;
}

TEST(HostGridWarpgroup, FindsMistakesAroundAProduct) {
    std::int64_t wrong = 0;
    EXPECT_EQ(fault_with(Mistake::none, &wrong), "");
    EXPECT_EQ(wrong, 0);
    EXPECT_TRUE(has(fault_with(Mistake::overwritten), "operands that change before its wait"));
    EXPECT_TRUE(has(fault_with(Mistake::changed_a), "operands that change before its wait"));
    EXPECT_TRUE(has(fault_with(Mistake::touched), "accumulators that are touched"));
    EXPECT_TRUE(has(fault_with(Mistake::not_fenced), "accumulators that are not fenced"));
    EXPECT_TRUE(has(fault_with(Mistake::stores_not_fenced), "without a proxy_fence"));
    EXPECT_TRUE(has(fault_with(Mistake::stores_not_fenced_again), "without a proxy_fence"));
    EXPECT_TRUE(has(fault_with(Mistake::swizzled), "swizzle"));
    EXPECT_TRUE(has(fault_with(Mistake::out_of_array), "leads out of a shared array: 2048 bytes of 2032"));
    EXPECT_TRUE(has(fault_with(Mistake::waited_for_another), "still under way"));
    for (const Mistake mistake : {Mistake::not_waited, Mistake::not_committed}) {
        EXPECT_TRUE(has(fault_with(mistake, &wrong), "never waited for"));
        EXPECT_GE(wrong, 32) << "poison in all registers of a thread";
    }
}

/// A warpgroup multiplies with a tile that the other overwrites as soon as it is said to be free.
std::string fault_of_hand_over(bool too_early, std::uint64_t seed) {
    return fault_of(
        Planted{[&](auto& grid) {
                    auto* b = grid.template shared<std::int8_t>(64 * 32);
                    const auto store = [&](int shift) {
                        if (grid.thread() == 128)
                            fill(b, 64, 128, 256, [&](int r, int l) { return b_entry(r + shift, l); });
                    };
                    store(0);
                    grid.proxy_fence();
                    grid.sync();
                    if (grid.warp() >= 4) {
                        grid.barrier_sync(1, 256);
                        return store(1);
                    }
                    std::uint32_t own[4] = {0x01010101, 0x01010101, 0x01010101, 0x01010101};
                    std::int32_t acc[32] = {};
                    grid.wgmma_fence(acc, own);
                    grid.template wgmma<false>(acc, own, tile_descriptor(grid.shared_address(b), 128, 256));
                    grid.wgmma_commit();
                    if (too_early) grid.barrier_arrive(1, 256);
                    grid.template wgmma_wait<0>(acc, own);
                    if (!too_early) grid.barrier_arrive(1, 256);
                },
                1, 256, 64 * 32},
        {.order = seed});
}

TEST(HostGridWarpgroup, ATileIsGivenBackAfterItsProduct) {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) EXPECT_EQ(fault_of_hand_over(false, seed), "");
}

#ifndef FNTK_THREAD_SANITIZER  // which ends the process at such a race
TEST(HostGridWarpgroup, FindsATileThatIsGivenBackTooEarly) {
    int found = 0;
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        const std::string fault = fault_of_hand_over(true, seed);
        if (fault.empty()) continue;
        EXPECT_TRUE(has(fault, "operands that change before its wait"));
        ++found;
    }
    EXPECT_GE(found, 4);
}
#endif

TEST(HostGridWarpgroup, FindsMistakesAroundBarriers) {
    EXPECT_TRUE(has(fault_of(Planted{[](auto& grid) {
                        if (grid.warp() == 0) grid.barrier_sync(1, 64);
                    }}),
                    "barrier_sync"));
    EXPECT_TRUE(has(fault_of(Planted{[](auto& grid) { grid.barrier_sync(1 + grid.warp(), 64); }}),
                    "nobody is left to come"));
    EXPECT_EQ(fault_of(Planted{[](auto& grid) { grid.barrier_arrive(1, 96); }, 1, 96}), "");
    EXPECT_TRUE(has(fault_of(Planted{[](auto& grid) {
                        if (grid.warp() == 0) grid.barrier_arrive(1, 64);
                    }}),
                    "barrier 1 is never passed"));
    EXPECT_TRUE(has(fault_of(Planted{[](auto& grid) { grid.barrier_sync(16, 64); }}), "barrier 16"));
    EXPECT_TRUE(
        has(fault_of(Planted{[](auto& grid) { grid.barrier_sync(1, 32 + 32 * grid.warp()); }}), "barrier"));
}

TEST(HostGridWarpgroup, FindsTooManyRegisters) {
    const auto take = [](auto& grid) {
        if (grid.warp() < 4)
            grid.template give_registers<24>();
        else
            grid.template take_registers<240>();
    };
    EXPECT_EQ(fault_of(Planted{take, 1, 256}), "");
    EXPECT_TRUE(has(fault_of(Planted{[&](auto& grid) {
                                         grid.template take_registers<256>();
                                         take(grid);
                                     },
                                     1, 256}),
                    "more than 65536 registers"));
    const auto too_many = [](auto& grid) {
        if (grid.warp() < 4)
            grid.template give_registers<48>();
        else
            grid.template take_registers<232>();
    };
    EXPECT_TRUE(has(fault_of(Planted{too_many, 1, 384}), "more than 64512 registers"));
}

}  // namespace
}  // namespace fntk::test

// The choice of the exact wide pass on a GPU: a pure function, which needs none.
#include "support.hpp"

#include <backend/cuda/wide_way.hpp>

#include <wide_pass_rademacher.hpp>
#include <wide_pass_srht.hpp>
#include <wide_pass_srht_long.hpp>
#include <wide_pass_wgmma.hpp>

namespace fntk {
namespace {

using backend::cuda::WideWay;
using kernels::DeviceLimits;

constexpr std::int64_t largest_rank = 10000;
constexpr std::int64_t kib = 1024;

/// The shared memory of a block on the GPUs there are, one with what none has to ask for, and two with less
/// than any has.
constexpr DeviceLimits various_limits[] = {{108, 163 * kib, 80}, {84, 99 * kib, 86}, {132, 227 * kib, 90},
                                           {1, 48 * kib, 80},    {1, 16 * kib, 80},  {1, 0, 80}};

/// The choice for many samples in a build without wgmma.
backend::cuda::WideChoice choose_wide_way(Up up, std::int64_t p, DType h, const DeviceLimits& limits,
                                          std::int64_t rows = 100000, bool has_wgmma = false) {
    return backend::cuda::choose_wide_way(up, p, h, limits, rows, has_wgmma);
}

TEST(WideWay, GivesAReasonForEveryRank) {
    for (const DeviceLimits& limits : various_limits)
        for (const Up up : {Up::rademacher, Up::srht})
            for (const DType h : {DType::i32, DType::i64})
                for (const std::int64_t rows : {1, 100, 128})
                    for (std::int64_t p = 1; p <= 1000; ++p) {
                        const char* reason = choose_wide_way(up, p, h, limits, rows, rows > 1).reason;
                        ASSERT_NE(reason, nullptr);
                        ASSERT_STRNE(reason, "") << name(up) << ' ' << p;
                    }
}

TEST(WideWay, OfInt64IsThePlainOneWhateverTheRank) {
    for (const DeviceLimits& limits : various_limits)
        for (const Up up : {Up::rademacher, Up::srht})
            for (std::int64_t p = 1; p <= largest_rank; ++p)
                ASSERT_EQ(choose_wide_way(up, p, DType::i64, limits).way, WideWay::plain) << p;
}

TEST(WideWay, OfRademacherIsFusedWhereItsSumsFitRegisters) {
    for (const DeviceLimits& limits : various_limits)
        for (std::int64_t p = 1; p <= largest_rank; ++p)
            ASSERT_EQ(choose_wide_way(Up::rademacher, p, DType::i32, limits).way,
                      p <= 256 ? WideWay::fused : WideWay::int8_chain)
                << p;
}

TEST(WideWay, OfRademacherIsWgmmaOnHopperWhereRowsFillItsBlocks) {
    const DeviceLimits hopper{132, 227 * kib, 90};
    const auto way = [&](std::int64_t p, std::int64_t rows, const DeviceLimits& limits,
                         DType h = DType::i32, Up up = Up::rademacher) {
        return choose_wide_way(up, p, h, limits, rows, true).way;
    };
    for (const std::int64_t p : {1, 64, 65, 256}) {
        for (const std::int64_t rows : {86, 128, 171, 256, 342, 1000, 16384, 100001})
            EXPECT_EQ(way(p, rows, hopper), WideWay::wgmma) << p << ' ' << rows;
        for (const std::int64_t rows : {1, 64, 85, 129, 170})
            EXPECT_EQ(way(p, rows, hopper), WideWay::fused) << p << ' ' << rows;
        EXPECT_EQ(choose_wide_way(Up::rademacher, p, DType::i32, hopper, 128, false).way, WideWay::fused);
        for (const int capability : {80, 86, 89, 100, 120})
            EXPECT_EQ(way(p, 128, {132, 227 * kib, capability}), WideWay::fused) << capability;
    }
    for (const std::int64_t p : {257, 300, 512, 1024}) {
        for (const std::int64_t rows : {43, 64, 86, 128, 1000, 100001})
            EXPECT_EQ(way(p, rows, hopper), WideWay::wgmma) << p << ' ' << rows;
        for (const std::int64_t rows : {1, 42, 65, 85})
            EXPECT_EQ(way(p, rows, hopper), WideWay::int8_chain) << p << ' ' << rows;
        EXPECT_EQ(way(p, 128, {132, 227 * kib, 100}), WideWay::int8_chain);
        EXPECT_EQ(choose_wide_way(Up::rademacher, p, DType::i32, hopper, 128, false).way,
                  WideWay::int8_chain);
    }
    EXPECT_EQ(way(1025, 128, hopper), WideWay::int8_chain);
    EXPECT_EQ(way(64, 128, hopper, DType::i64), WideWay::plain);
    for (const std::int64_t p : {1, 64, 100, 128}) {
        EXPECT_EQ(way(p, 128, hopper, DType::i32, Up::srht), WideWay::wgmma) << p;
        EXPECT_EQ(way(p, 64, hopper, DType::i32, Up::srht), WideWay::transform) << p;
    }
    EXPECT_EQ(way(129, 128, hopper, DType::i32, Up::srht), WideWay::transform);
    EXPECT_EQ(way(64, 128, {132, 227 * kib, 100}, DType::i32, Up::srht), WideWay::transform);
}

TEST(WideWay, OfSrhtIsTheTransformThatFitsABlock) {
    for (const DeviceLimits& limits : various_limits)
        for (std::int64_t p = 1; p <= largest_rank; ++p) {
            const bool fits = kernels::srht_fits(p, limits),
                       fits_long = kernels::WidePassSrhtLong<1>::unsupported(p, limits) == nullptr;
            ASSERT_EQ(choose_wide_way(Up::srht, p, DType::i32, limits).way, fits ? WideWay::transform
                                                                            : fits_long
                                                                                ? WideWay::long_transform
                                                                                : WideWay::int8_chain)
                << p;
            if (limits.shared_bytes_per_block >= 99 * kib) {
                ASSERT_TRUE(p > 512 || fits) << p;
                ASSERT_EQ(fits || fits_long, p <= 8192) << p;
                ASSERT_EQ(fits_long, p > 512 && p <= 8192) << p;
            }
        }
    const auto way = [](std::int64_t p, std::int64_t room) {
        return choose_wide_way(Up::srht, p, DType::i32, {1, room * kib, 80}).way;
    };
    EXPECT_EQ(way(1024, 163), WideWay::transform);
    EXPECT_EQ(way(1024, 99), WideWay::long_transform);
    EXPECT_EQ(way(1025, 227), WideWay::long_transform);
    EXPECT_EQ(way(1025, 64), WideWay::int8_chain);
    EXPECT_EQ(way(1, 0), WideWay::int8_chain);
}

/// A kernel with n rows of ĥ and all results; no memory is behind them.
template <class Kernel>
Kernel kernel_of(std::int64_t n, std::int64_t p) {
    Kernel kernel;
    kernel.m = 100000;
    kernel.p = p;
    if constexpr (requires { kernel.k; }) kernel.k = 3;
    static std::int32_t number = 0;
    static std::uint64_t word = 0;
    kernel.h = {&number, n, p, p};
    kernel.gates = {&word, n, (kernel.m + 63) / 64, (kernel.m + 63) / 64};
    kernel.gradients = {&number, n, 3 * p, 3 * p};
    return kernel;
}

TEST(WideWay, IsOneThatTheDeviceCanStart) {
    for (const DeviceLimits& limits : various_limits) {
        if (limits.shared_bytes_per_block < 99 * kib) continue;
        for (const std::int64_t n : {1, 100, 100000})
            for (const std::int64_t p : {1, 33, 64, 128, 200, 256, 1000, 1024, 1025, 4096, 8192}) {
                SCOPED_TRACE(std::to_string(n) + ", " + std::to_string(p));
                const auto expect_fit = [&](const auto& kernel) {
                    const kernels::Launch launch = kernel.launch(limits);
                    EXPECT_GT(launch.blocks, 0);
                    EXPECT_GT(launch.threads, 0);
                    EXPECT_LE(launch.threads, kernel.max_threads);
                    EXPECT_LE(launch.shared_bytes, limits.shared_bytes_per_block);
                };
                if (kernels::srht_fits(p, limits))
                    kernels::with_srht_rank(p, [&](auto padded) {
                        expect_fit(kernel_of<kernels::WidePassSrht<decltype(padded)::value>>(n, p));
                    });
                if (kernels::WidePassSrhtLong<1>::unsupported(p, limits) == nullptr)
                    expect_fit(kernel_of<kernels::WidePassSrhtLong<1>>(n, p));
                if (kernels::WidePassSrhtLong<2>::unsupported(p, limits) == nullptr)
                    expect_fit(kernel_of<kernels::WidePassSrhtLong<2>>(n, p));
                if (choose_wide_way(Up::rademacher, p, DType::i32, limits).way == WideWay::fused)
                    kernels::with_rank_columns(p, [&](auto columns) {
                        expect_fit(kernel_of<kernels::WidePassRademacher<decltype(columns)::value>>(n, p));
                    });
                if (choose_wide_way(Up::rademacher, p, DType::i32, limits, n, true).way == WideWay::wgmma)
                    kernels::with_rank_columns(p, [&](auto columns) {
                        expect_fit(kernel_of<kernels::WidePassWgmma<decltype(columns)::value>>(n, p));
                    });
            }
    }
}

}  // namespace
}  // namespace fntk

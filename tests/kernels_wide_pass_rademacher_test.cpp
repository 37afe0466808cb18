// The fused wide pass on int8 products, and the further outputs from its gates, against the reference:
// equal integers for every shape and device.
#include "kernels_wide_fused.hpp"

#include <open_gradients.hpp>
#include <wide_pass_rademacher.hpp>

#include <algorithm>
#include <tuple>

namespace fntk::test {
namespace {

using Shape = FusedShape;
using Wanted = FusedWanted;

void expect_exact(const Shape& shape, const HostOptions& options = {}, Wanted wanted = Wanted::both) {
    const auto with_kernels = [](std::int64_t p, int bits, const auto& f) {
        return kernels::with_rank_columns(p, [&](auto columns) {
            kernels::with_digits(bits, [&](auto digits) {
                f(kernels::WidePassRademacher<decltype(columns)::value, decltype(digits)::value>(),
                  kernels::OpenGradients<decltype(columns)::value>());
            });
        });
    };
    test::expect_exact(Up::rademacher, with_kernels, shape, options, wanted);
}

TEST(WidePassRademacher, EqualsTheReference) {
    for (const Shape& shape :
         {Shape{1, 1, 1, 1}, Shape{5, 63, 2, 1}, Shape{17, 64, 31, 3}, Shape{16, 65, 32, 1},
          Shape{33, 130, 33, 1}, Shape{7, 300, 64, 1}, Shape{18, 65, 100, 1}, Shape{6, 130, 128, 3},
          Shape{9, 65, 200, 1}, Shape{17, 100, 256, 1}})
        expect_exact(shape);
}

TEST(WidePassRademacher, TakesTwoDigitsOfUpTo14Bits) {
    for (const Shape& shape : {Shape{1, 1, 1, 1, 14}, Shape{17, 65, 31, 1, 14}, Shape{20, 130, 64, 2, 14},
                               Shape{9, 100, 100, 1, 14}, Shape{18, 300, 128, 1, 13},
                               Shape{17, 100, 256, 1, 14}, Shape{9, 70, 200, 1, 15}})
        expect_exact(shape);
    EXPECT_EQ(kernels::byte_digits(14), 2);
    EXPECT_EQ(kernels::byte_digits(15), 3);
    EXPECT_EQ(kernels::byte_digits(22), 3);
    EXPECT_EQ(kernels::byte_digits(23), 4);
    for (int digits = 1, most = 0; digits <= 3; ++digits) {  // what so many digits hold
        most = 256 * most + 127;
        for (int bits = 1; bits <= 23; ++bits)
            EXPECT_EQ(kernels::byte_digits(bits) <= digits, 1 << bits <= most);
    }
}

TEST(WidePassRademacher, DoesNotDependOnTheDevice) {
    expect_exact({5, 2100, 40, 1});    // three ranges of the width
    expect_exact({20, 1030, 100, 3});  // two ranges, three outputs, two warps
    // Two ranges; three blocks of one warp, and one of three.
    for (const std::int64_t room : {48, 99}) {
        HostOptions options;
        options.limits.shared_bytes_per_block = room * 1024;
        expect_exact({37, 1030, 256, 1}, options);
    }
    for (const int multiprocessors : {1, 2}) {  // as many ranges, for eight outputs
        HostOptions options;
        options.limits.multiprocessors = multiprocessors;
        options.blocks_at_once = 2;
        expect_exact({5, 1030, 40, 8}, options);
    }
}

TEST(WidePassRademacher, LeavesOutWhatIsNotWanted) {
    for (const Wanted wanted : {Wanted::gates, Wanted::gradients}) {
        expect_exact({18, 200, 33, 2}, {}, wanted);
        expect_exact({5, 65, 256, 1}, {}, wanted);
    }
}

TEST(WidePassRademacher, AddsToTheSumsThatAreThere) {
    expect_added<kernels::WidePassRademacher<64>>(Up::rademacher, 5);
}

TEST(WidePassRademacher, LaunchesNothingForNothing) {
    expect_no_launch<kernels::WidePassRademacher<64>, kernels::OpenGradients<64>>();
    EXPECT_FALSE(kernels::with_rank_columns(257, [](auto) {}));
}

TEST(WidePassRademacher, ChoosesALaunchThatFitsAndFills) {
    for (const std::int64_t room : {48, 99, 163, 227})
        for (const std::int64_t n : {1, 17, 1000, 100000})
            for (const std::int64_t p : {1, 64, 65, 128, 129, 256})
                kernels::with_rank_columns(p, [&](auto columns) {
                    std::int32_t memory = 0;
                    using Kernel = kernels::WidePassRademacher<decltype(columns)::value>;
                    Kernel kernel;
                    kernel.m = 100000, kernel.p = p;
                    kernel.h = {&memory, n, p, p};
                    kernel.gradients = {&memory, n, p, p};
                    const kernels::Launch launch = kernel.launch({132, room * 1024, 90});
                    EXPECT_LE(launch.shared_bytes, room * 1024);
                    EXPECT_LE(launch.threads, Kernel::max_threads);
                    EXPECT_EQ(launch.threads % 32, 0);
                    EXPECT_GE(launch.threads,
                              std::min<std::int64_t>(32 * ((n + 15) / 16), room > 48 ? 160 : 32));
                    EXPECT_GE(launch.blocks,
                              98);  // a range per 1024 units, at least
                });
    std::int32_t memory = 0;
    kernels::WidePassRademacher<64> few;
    few.m = 4096, few.p = 64;
    few.h = {&memory, 64, 64, 64};
    few.gradients = {&memory, 64, 64, 64};
    EXPECT_EQ(few.launch({132, 99 * 1024, 90}).blocks, 16);  // a device that would stand idle: 256 units
}

}  // namespace
}  // namespace fntk::test

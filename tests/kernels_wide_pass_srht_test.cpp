// The pass over an srht V on int8 products and butterflies, and the further outputs from its gates, against
// the reference: equal integers for every rank, shape and device.
#include "kernels_wide_fused.hpp"

#include <open_gradients_srht.hpp>
#include <wide_pass_srht.hpp>

#include <algorithm>

namespace fntk::test {
namespace {

using Shape = FusedShape;
using Wanted = FusedWanted;

/// Bits of ĥ that the contract gives a rank, if `bits` are more.
Shape bounded(Shape shape) {
    shape.bits = std::min(shape.bits, kernels::hidden_bits(kernels::ceil_log2(shape.p), false));
    return shape;
}

void expect_exact(const Shape& shape, const HostOptions& options = {.limits = {1, 163 * 1024, 80}},
                  Wanted wanted = Wanted::both) {
    const auto with_kernels = [](std::int64_t p, int /*bits*/, const auto& f) {
        return kernels::with_srht_rank(p, [&](auto padded) {
            f(kernels::WidePassSrht<decltype(padded)::value>(),
              kernels::OpenGradientsSrht<decltype(padded)::value>());
        });
    };
    test::expect_exact(Up::srht, with_kernels, bounded(shape), options, wanted);
}

TEST(WidePassSrht, EqualsTheReferenceForEveryRank) {
    for (const Shape& shape :
         {Shape{1, 1, 1, 1}, Shape{5, 63, 2, 1}, Shape{3, 200, 3, 2}, Shape{4, 100, 8, 1},
          Shape{17, 64, 16, 3}, Shape{16, 65, 31, 1}, Shape{2, 600, 32, 2}, Shape{18, 530, 64, 1},
          Shape{3, 300, 100, 1}, Shape{6, 1100, 128, 3}, Shape{17, 530, 256, 2}, Shape{1, 300, 200, 1}})
        expect_exact(shape);
}
// Eight warps share the samples; two srht blocks make a step.
TEST(WidePassSrht, EqualsTheReferenceForRanksWhoseSamplesWarpsShare) {
    for (const Shape& shape : {Shape{3, 100, 257, 1}, Shape{17, 1100, 512, 2}, Shape{2, 2100, 1000, 2},
                               Shape{18, 1025, 1024, 1}})
        expect_exact(shape);
}

TEST(WidePassSrht, DoesNotDependOnTheDevice) {
    expect_exact({5, 6000, 40, 1});  // ranges of the width
    expect_exact({37, 2100, 64, 3});
    for (const std::int64_t room : {48, 99}) {  // three blocks of one warp, and one of three
        HostOptions options;
        options.limits.shared_bytes_per_block = room * 1024;
        expect_exact({37, 600, 256, 1}, options);
    }
    for (const std::int64_t p : {20, 400})
        for (const int multiprocessors : {1, 3}) {
            HostOptions options{.limits = {multiprocessors, 163 * 1024, 80}};
            options.blocks_at_once = 2;
            expect_exact({5, 5000, p, 4}, options);
        }
}

TEST(WidePassSrht, LeavesOutWhatIsNotWanted) {
    for (const Wanted wanted : {Wanted::gates, Wanted::gradients})
        for (const std::int64_t p : {5, 33, 256, 300})
            expect_exact({18, 700, p, 2}, {.limits = {1, 163 * 1024, 80}}, wanted);
}

TEST(WidePassSrht, AddsToTheSumsThatAreThere) { expect_added<kernels::WidePassSrht<16>>(Up::srht, 8); }

TEST(WidePassSrht, LaunchesNothingForNothing) {
    expect_no_launch<kernels::WidePassSrht<16>, kernels::OpenGradientsSrht<16>>();
    EXPECT_FALSE(kernels::with_srht_rank(1025, [](auto) {}));
}

TEST(WidePassSrht, FitsTheDevicesThereAre) {
    const auto room = [](std::int64_t kib) { return kernels::DeviceLimits{132, kib * 1024, 90}; };
    for (const std::int64_t p : {1, 16, 17, 64, 128, 256, 512})
        EXPECT_TRUE(kernels::srht_fits(p, room(99))) << p;
    EXPECT_FALSE(kernels::srht_fits(1024, room(99)));
    EXPECT_TRUE(kernels::srht_fits(1024, room(163)));
    EXPECT_FALSE(kernels::srht_fits(1025, room(227)));
    for (const std::int64_t kib : {99, 163, 227})
        for (const std::int64_t n : {1, 17, 1000, 100000})
            for (const std::int64_t p : {1, 32, 64, 128, 256, 512, 1024})
                kernels::with_srht_rank(p, [&](auto padded) {
                    if (!kernels::srht_fits(p, room(kib))) return;
                    std::int32_t memory = 0;
                    std::uint64_t word = 0;
                    kernels::WidePassSrht<decltype(padded)::value> kernel;
                    kernel.m = 100000, kernel.p = p;
                    kernel.h = {&memory, n, p, p};
                    kernel.gradients = {&memory, n, p, p};
                    kernel.gates = {&word, n, 1563, 1563};
                    const kernels::Launch launch = kernel.launch(room(kib));
                    EXPECT_LE(launch.shared_bytes, kib * 1024);
                    EXPECT_LE(launch.threads, kernel.max_threads);
                    EXPECT_GE(launch.threads, std::min<std::int64_t>(32 * ((n + 15) / 16), 160))
                        << p << ' ' << kib;
                    EXPECT_GE(launch.blocks, 12);  // four steps each, or one
                });
}

}  // namespace
}  // namespace fntk::test

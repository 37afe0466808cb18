// Costs against numbers worked out by hand, and the edges of the arithmetic.
#include <fntk/error.hpp>
#include <fntk/plan.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace fntk {
namespace {

constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();

// n = 10, d = 8, p = 4, m = 32, k = 3.
NetworkSpec small(Train train) {
    return {.dim = 8,
            .width = 32,
            .rank = 4,
            .outputs = 3,
            .down = Down::gaussian,
            .up = Up::srht,
            .train = train,
            .activation = {}};
}

TEST(Cost, TrainDown) {
    const Cost c = cost(small({.down = true}), 10);
    EXPECT_EQ(c.parameters_trained, 32);                   // 4·8
    EXPECT_EQ(c.bytes_stored, 128);                        // U: 32 floats; V and A are seeds
    EXPECT_EQ(c.flops_tangent, 640 + 640 + 960 + 1920);    // H, V h, f, G: transforms of 4 take 2 stages
    EXPECT_EQ(c.flops_gram, 10 * 11 * (8 + 3 * 4));        // <x, x'> and three <G, G'>
    EXPECT_EQ(c.flops_step, c.flops_tangent + 240 + 640);  // e with G, then times X
}

TEST(Cost, TrainUp) {
    const Cost c = cost(small({.up = true}), 10);
    EXPECT_EQ(c.parameters_trained, 128);          // 32·4
    EXPECT_EQ(c.bytes_stored, 4 * (32 + 128));     // a trained V is stored
    EXPECT_EQ(c.flops_tangent, 640 + 2560 + 960);  // no G
    EXPECT_EQ(c.flops_gram, 10 * 11 * (4 + 32));
    EXPECT_EQ(c.flops_step, c.flops_tangent + 1920 + 2560);
}

TEST(Cost, TrainReadoutAndAllTogether) {
    const Cost r = cost(small({.readout = true}), 10);
    EXPECT_EQ(r.parameters_trained, 96);
    EXPECT_EQ(r.bytes_stored, 4 * (32 + 96));
    EXPECT_EQ(r.flops_gram, 10 * 11 * 32);
    EXPECT_EQ(r.flops_step, r.flops_tangent + 1920);
    const Cost all = cost(small({true, true, true}), 10);
    EXPECT_EQ(all.parameters_trained, 32 + 128 + 96);
    EXPECT_EQ(all.flops_gram, 10 * 11 * (20 + 36 + 32));
    EXPECT_EQ(all.flops_step, all.flops_tangent + 880 + 4480 + 1920);
}

TEST(Cost, FamiliesAndPrecision) {
    NetworkSpec spec = small({.down = true});
    spec.precision = DType::f64;
    EXPECT_EQ(cost(spec, 10).bytes_stored, 256);
    spec.up = Up::rademacher;
    EXPECT_EQ(cost(spec, 10).bytes_stored, 256);
    EXPECT_EQ(cost(spec, 10).flops_tangent, 640 + 2560 + 960 + 7680);  // products: 2p a unit
    spec.up = Up::gaussian;
    EXPECT_EQ(cost(spec, 10).bytes_stored, 8 * (32 + 128));
}

TEST(Cost, TheDenseBaseline) {
    NetworkSpec spec{.dim = 8,
                     .width = 32,
                     .down = Down::identity,
                     .up = Up::rademacher,
                     .train = {.up = true},
                     .activation = {}};
    const Cost c = cost(spec, 10);
    EXPECT_EQ(c.parameters_trained, 32 * 8);
    EXPECT_EQ(c.bytes_stored, 4 * 32 * 8);
    EXPECT_EQ(c.flops_tangent, 2 * 10 * 32 * 8 + 10 * 32);  // no product for H
    EXPECT_EQ(c.flops_gram, 10 * 11 * (8 + 32));
    spec.rank = 8;
    EXPECT_EQ(cost(spec, 10).flops_step, c.flops_step);
    spec.rank = 4;
    EXPECT_THROW(cost(spec, 10), ValueError);
}

TEST(Cost, ForwardOnlyAndNoSamples) {
    const Cost c = cost(small({}), 10);
    EXPECT_EQ(c.parameters_trained, 0);
    EXPECT_EQ(c.flops_gram, 0);
    EXPECT_EQ(c.flops_step, c.flops_tangent);
    const Cost none = cost(small({.down = true}), 0);
    EXPECT_EQ(none.flops_step, 0);
    EXPECT_EQ(none.parameters_trained, 32);
}

TEST(Cost, BeyondThirtyTwoBitsAndSaturated) {
    NetworkSpec spec{.dim = 1 << 20,
                     .width = (std::int64_t{1} << 31) - 1,
                     .rank = 1 << 16,
                     .down = Down::gaussian,
                     .train = {.down = true, .up = true},
                     .activation = {}};
    EXPECT_EQ(cost(spec, 1).parameters_trained,
              (std::int64_t{1} << 36) + ((std::int64_t{1} << 31) - 1) * (std::int64_t{1} << 16));
    const Cost c = cost(spec, std::int64_t{1} << 40);
    EXPECT_EQ(c.flops_tangent, most);
    EXPECT_EQ(c.flops_gram, most);
    EXPECT_EQ(c.flops_step, most);
    spec.dim = spec.width = spec.rank = spec.outputs = most;
    const Cost top = cost(spec, most);
    EXPECT_EQ(top.parameters_trained, most);
    EXPECT_EQ(top.bytes_stored, most);
}

TEST(Cost, RefusesByName) {
    const auto with = [](auto change) {
        NetworkSpec spec = small({.down = true});
        change(spec);
        return spec;
    };
    EXPECT_THROW(cost(with([](NetworkSpec& s) { s.dim = 0; }), 1), ValueError);
    EXPECT_THROW(cost(with([](NetworkSpec& s) { s.width = 0; }), 1), ValueError);
    EXPECT_THROW(cost(with([](NetworkSpec& s) { s.rank = 0; }), 1), ValueError);
    EXPECT_THROW(cost(with([](NetworkSpec& s) { s.outputs = -1; }), 1), ValueError);
    EXPECT_THROW(cost(with([](NetworkSpec& s) { s.precision = DType::i32; }), 1), ValueError);
    EXPECT_THROW(cost(small({.down = true}), -1), ValueError);
}

}  // namespace
}  // namespace fntk

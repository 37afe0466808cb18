// Networks of the exact class by their shapes.
#pragma once

#include "support.hpp"

namespace fntk::test {

struct Shape {
    std::int64_t n, d, p, m, k;
    Down down;
};

/// The networks of a shape in both ±1 families and both precisions (srht only where its rank allows it),
/// and one with fast rounding.
inline std::vector<Network> networks_of(const Shape& shape) {
    std::vector<Network> result;
    for (const DType precision : {DType::f32, DType::f64})
        for (const Up up : {Up::rademacher, Up::srht}) {
            const bool power = (shape.p & (shape.p - 1)) == 0;
            if (up == Up::srht && !power && shape.down != Down::identity) continue;
            result.push_back(Network::create({.dim = shape.d,
                                              .width = shape.m,
                                              .rank = shape.p,
                                              .outputs = shape.k,
                                              .down = shape.down,
                                              .up = up,
                                              .precision = precision,
                                              .seed = 11}));
            EXPECT_EQ(result.back().exactness(), Exactness::integer);
        }
    NetworkSpec fast = result.front().spec();  // rademacher, float32
    fast.rounding = Rounding::fast;
    result.push_back(Network::create(fast));
    return result;
}

inline std::string described(const Network& network, std::int64_t n) {
    const NetworkSpec& s = network.spec();
    return "n " + std::to_string(n) + ", d " + std::to_string(s.dim) + ", p " + std::to_string(s.rank) +
           ", m " + std::to_string(s.width) + ", k " + std::to_string(s.outputs) + ", " + name(s.down) +
           ", " + name(s.up) + ", " + name(s.precision) + ", " + name(s.rounding);
}

}  // namespace fntk::test

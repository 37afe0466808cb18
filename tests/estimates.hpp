// What the tests of estimates share: networks of some size, and the clock.
#pragma once

#include "plans.hpp"
#include "temp_folder.hpp"

#include <fntk/estimate.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <tuple>
#include <utility>

namespace fntk::test {

inline KernelFunction of_network(Train train, std::int64_t dim, KernelOutput output = KernelOutput::trace) {
    return KernelFunction::of_network(Network::create({.dim = dim,
                                                       .width = 8192,
                                                       .rank = 64,
                                                       .outputs = 2,
                                                       .down = Down::gaussian,
                                                       .train = train,
                                                       .seed = 5}),
                                      output);
}

template <class Body>
double seconds(Body&& body) {
    const auto begin = std::chrono::steady_clock::now();
    body();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Within a factor of 3 both ways; a machine that is busy for a moment gets three attempts.
inline void expect_near(const char* what, const std::function<std::pair<double, double>()>& attempt) {
    double estimated = 0, measured = 0;
    for (int i = 0; i < 3; ++i) {
        std::tie(estimated, measured) = attempt();
        if (estimated < 3 * measured && measured < 3 * estimated) return;
    }
    ADD_FAILURE() << what << ": " << estimated << " s estimated, " << measured << " s measured";
}

}  // namespace fntk::test

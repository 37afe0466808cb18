// A device whose memory the host cannot read, and what its results are compared by.
#pragma once

#include "remote.hpp"

#include "support.hpp"

namespace fntk::test {

class RemoteTest : public ::testing::Test {
  protected:
    /// Whether a matrix of the device (or of the host) has the bits of one of the host.
    [[nodiscard]] bool same(ConstMatrixView here, ConstMatrixView host) const {
        return same_bits(device_.on_host(here), host);
    }
    void expect_same(const Tangent& here, const Tangent& host) const {
        EXPECT_TRUE(same(here.hidden(), host.hidden())) << "hidden";
        EXPECT_TRUE(same(here.values(), host.values())) << "values";
        ASSERT_EQ(here.has_gradients(), host.has_gradients());
        if (host.has_gradients()) {
            EXPECT_TRUE(same(here.gradients(), host.gradients())) << "gradients";
        }
        ASSERT_EQ(here.has_gates(), host.has_gates());
        if (host.has_gates()) {
            EXPECT_TRUE(same_bits(device_.on_host(here.gates()), host.gates())) << "gates";
        }
        EXPECT_TRUE(same(here.hidden_int(), host.hidden_int())) << "hidden_int";
        EXPECT_TRUE(same(here.hidden_exp(), host.hidden_exp())) << "hidden_exp";
        EXPECT_TRUE(same(here.gradients_int(), host.gradients_int())) << "gradients_int";
        EXPECT_TRUE(same(here.values_int(), host.values_int())) << "values_int";
        EXPECT_TRUE(same(here.open_sum(), host.open_sum())) << "open_sum";
    }

    RemoteDevice remote_;
    const Device& device_ = remote_.device;
};

/// One of each way through the wide pass: exact and floating, gates or none, stored factors.
inline std::vector<Network> various_networks(std::int64_t dim, std::int64_t outputs) {
    std::vector<Network> result;
    for (const DType precision : {DType::f32, DType::f64})
        for (const auto& [kind, up] : {std::pair{Activation::relu, Up::srht},
                                       {Activation::leaky_relu, Up::rademacher},
                                       {Activation::abs, Up::gaussian},
                                       {Activation::erf, Up::srht}})
            result.push_back(Network::create({.dim = dim,
                                              .width = 70,
                                              .rank = 4,
                                              .outputs = outputs,
                                              .down = Down::gaussian,
                                              .up = up,
                                              .activation = {kind, 0.2},
                                              .precision = precision,
                                              .seed = 5}));
    const Network first = result.front();
    result.push_back(first.with_up(std::make_shared<const Matrix>(normals(70, 4, 6, DType::f32))));
    result.push_back(
        first.with_readout(std::make_shared<const Matrix>(normals(70, outputs, 7, DType::f32))));
    return result;
}

}  // namespace fntk::test

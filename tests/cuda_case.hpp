// A GPU and the cpu backend beside it. A build without the CUDA backend runs these tests on GPUs that are
// none (host_gpu/); one with it needs a GPU, and without one the tests are skipped and say why.
#pragma once

#include "exact_networks.hpp"

#include <optional>

namespace fntk::test {

#ifdef FNTK_HOST_GPU
inline constexpr bool real_gpu = false;
#else
inline constexpr bool real_gpu = true;
#endif
/// An extent for a GPU, or one for threads that take turns.
constexpr std::int64_t extent(std::int64_t on_a_gpu, std::int64_t else_) {
    return real_gpu ? on_a_gpu : else_;
}

/// ‖difference‖_F/‖·‖_F that products summed in another order may have.
inline double tolerance(DType precision) { return precision == DType::f32 ? 1e-5 : 1e-12; }

class CudaTest : public ::testing::Test {
  protected:
    void SetUp() override {
        const DeviceInfo cuda = info_of("cuda");
        if (!cuda.available) GTEST_SKIP() << "no GPU: " << cuda.description;
        gpu_ = Device::open("cuda");
    }
    [[nodiscard]] const Device& gpu() const { return *gpu_; }
    [[nodiscard]] static const Device& host() {
        static const Device device = Device::open("cpu");
        return device;
    }
    /// Of a matrix on the GPU from one of the host.
    [[nodiscard]] double error(ConstMatrixView there, ConstMatrixView here) const {
        return relative_error(gpu().on_host(there), here);
    }
    void expect_agreement(const Network& network, ConstMatrixView x, TangentOptions keep = keep_all) const {
        SCOPED_TRACE(described(network, x.rows));
        const Tangent there = tangent(gpu(), network, x, keep), here = tangent(host(), network, x, keep);
        EXPECT_EQ(there.hidden_int().place, there.device().place());
        expect_same_integers(there, here);
        EXPECT_LT(error(there.hidden(), here.hidden()), tolerance(network.spec().precision));
        EXPECT_LT(error(there.values(), here.values()), tolerance(network.spec().precision));
        if (here.has_gradients()) {
            EXPECT_LT(error(there.gradients(), here.gradients()), tolerance(network.spec().precision));
        }
    }

  private:
    std::optional<Device> gpu_;
};

}  // namespace fntk::test

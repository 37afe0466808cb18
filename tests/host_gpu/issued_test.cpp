// What a call issues to the GPU. Each kernel, zeroing and block of memory costs microseconds, of which
// short calls consist; a pass over n × p that is not needed is seen in long ones.
#include "exact_networks.hpp"
#include "host_gpu.hpp"

#include <fntk/kernel.hpp>

#include <backend/cuda/wide_way.hpp>

namespace fntk {
namespace {

namespace gpu = test::gpu;

constexpr std::int64_t n = 100, p = 32, m = 300;

class GpuIssue : public ::testing::Test {
  protected:
    GpuIssue() { backend::cuda::allow_wgmma(device.ops(), false); }

    [[nodiscard]] Network network(NetworkSpec spec) const {
        spec.width = m;
        spec.rank = p;
        spec.up = Up::rademacher;
        return Network::create(spec).on(device);
    }
    [[nodiscard]] Matrix inputs(const Network& network) const {
        return device.to_device(test::normals(n, network.spec().dim, 1, DType::f32));
    }
    /// Of a tangent that keeps f and G, after one that has made what is made once.
    [[nodiscard]] gpu::Issued by_tangent(const NetworkSpec& spec) const {
        const Network there = network(spec);
        const Matrix x = inputs(there);
        const TangentOptions keep{.gradients = true, .only_these = true, .known_finite = true};
        (void)tangent(device, there, x, keep);
        (void)gpu::take_issued();
        (void)tangent(device, there, x, keep);
        return gpu::take_issued();
    }

    Device device = Device::open("cuda");
};

// ĥ, e and H; the pass over the width, which adds to Ĝ; f̂, f and G.
TEST_F(GpuIssue, OfATangentIsThreeKernelsAndOneZeroing) {
    const gpu::Issued want{.kernels = 3, .sets = 1, .bytes_set = 4 * n * p, .taken = 7, .given_back = 7};
    EXPECT_EQ(by_tangent({.dim = p, .down = Down::identity}), want);
}

// Beside these the digits of U and X, their products and the sum of those.
TEST_F(GpuIssue, OfATangentWithADenseDownFactorHasItsProducts) {
    const gpu::Issued want{
        .kernels = 6, .products = 5, .sets = 1, .bytes_set = 4 * n * p, .taken = 11, .given_back = 11};
    EXPECT_EQ(by_tangent({.dim = 40, .down = Down::gaussian}), want);
}

// Beside these S, which is added to, as real numbers, and their product with H.
TEST_F(GpuIssue, OfATangentWhoseClosedGatesLeakHasTheOpenSum) {
    const gpu::Issued want{.kernels = 5,
                           .products = 1,
                           .sets = 2,
                           .bytes_set = 4 * n * p + 4 * p,
                           .taken = 9,
                           .given_back = 9};
    EXPECT_EQ(by_tangent({.dim = p, .down = Down::identity, .activation = {Activation::leaky_relu, 0.1}}),
              want);
}

// ĥ, e and H; the gates; HHᵀ and its mirror image, copied; the counts and their factor. The two columns of
// counts that closed gates would need are zeroed.
TEST_F(GpuIssue, OfAKernelOfUpZeroesNoMatrixOfPairs) {
    const Network there = network({.dim = p, .down = Down::identity, .train = {.up = true}});
    const Matrix x = inputs(there);
    const auto run = [&] {
        (void)gram(tangent(device, there, x, {.values = false, .known_finite = true}));
    };
    run();
    (void)gpu::take_issued();
    run();
    const gpu::Issued want{
        .kernels = 6, .products = 1, .sets = 2, .bytes_set = 2 * 4 * n, .taken = 9, .given_back = 9};
    EXPECT_EQ(gpu::take_issued(), want);
}

}  // namespace
}  // namespace fntk

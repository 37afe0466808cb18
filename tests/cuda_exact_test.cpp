// The CUDA backend against the cpu backend where all is whole numbers: equal, for every rank, shape and
// kernel.
#include "cuda_case.hpp"

#include <fntk/kernel.hpp>

#include <backend/cuda/hopper.hpp>
#include <backend/cuda/wide_way.hpp>
#include <backend/ops.hpp>

#include <cstdlib>
#include <vector>

namespace fntk {
namespace {

using test::CudaTest;
using test::keep_all;
using test::normals;

struct Extents {
    std::int64_t n, m;
};

TEST_F(CudaTest, ExactIntegersAreEqualForEveryRankAndRaggedShape) {
    const std::vector<std::int64_t> ranks =
        test::real_gpu ? std::vector<std::int64_t>{1, 33, 64, 200, 256, 300, 512, 1024}
                       : std::vector<std::int64_t>{1, 33, 200, 300, 1024};
    const std::vector<Extents> shapes =
        test::real_gpu ? std::vector<Extents>{{1, 4099}, {37, 1000}, {130, 333}, {65, 64}, {3, 1}}
                       : std::vector<Extents>{{1, 1500}, {37, 99}, {3, 1}};
    for (const std::int64_t p : ranks)
        for (const Down down : {Down::gaussian, Down::identity})  // srht takes any rank with the identity
            for (const auto [n, m] : shapes) {
                const std::int64_t d = down == Down::identity ? p : 21;
                for (const Network& network : test::networks_of({n, d, p, m, 3, down}))
                    expect_agreement(network, normals(n, d, 3, network.spec().precision));
            }
}

TEST_F(CudaTest, ExactIntegersAreEqualWhateverIsKept) {
    const std::int64_t n = test::extent(86, 36);  // 86 rows fill blocks of the kernels for 9.0 as well
    for (const std::int64_t p : {8, 300})
        for (const std::int64_t k : {1, 2, 5})
            for (const Network& network :
                 test::networks_of({n, p, p, test::extent(700, 200), k, Down::identity})) {
                const Matrix x = normals(n, p, 8, network.spec().precision);
                for (const TangentOptions keep :
                     {TangentOptions{.only_these = true},
                      TangentOptions{.gradients = true, .only_these = true},
                      TangentOptions{.gates = true, .only_these = true}, keep_all})
                    expect_agreement(network, x, keep);
            }
}

TEST_F(CudaTest, ExactIntegersAreEqualFromDataOnTheDeviceAndWithoutRows) {
    for (const Network& network : test::networks_of({33, 10, 8, 300, 3, Down::srht})) {
        const Matrix wide = normals(33, 13, 8, network.spec().precision);
        const ConstMatrixView x = wide.view().col_block(2, 10);
        const Tangent here = tangent(host(), network, x, keep_all);
        const Matrix there = gpu().to_device(x);
        test::expect_same_integers(tangent(gpu(), network.on(gpu()), there, keep_all), here);
        test::expect_same_integers(tangent(gpu(), network, x, keep_all), here);
        const Tangent none = tangent(gpu(), network, x.row_block(0, 0), keep_all);
        EXPECT_EQ(none.size(), 0);
        EXPECT_TRUE(gram(none).empty());
    }
}

/// Warps that have their samples for themselves, and eight that share them (wide_pass_srht.hpp); with two
/// outputs, and several steps.
TEST_F(CudaTest, SrhtOfOneWarpAndOfEightHasTheIntegersOfTheCpu) {
    for (const std::int64_t p : {200, 300, 1000}) {
        const Network network =
            Network::create({.dim = p, .width = 5000, .outputs = 2, .down = Down::identity});
        SCOPED_TRACE(test::described(network, 20));
        const Matrix x = normals(20, p, 3, DType::f32);
        test::expect_same_integers(tangent(gpu(), network, x, keep_all),
                                   tangent(host(), network, x, keep_all));
    }
}

/// Two matrices of the GPU.
struct Pair {
    Matrix one, other;

    Pair(const Device& device, std::int64_t rows, std::int64_t cols, DType dtype)
        : one(device.zeros(rows, cols, dtype)), other(device.zeros(rows, cols, dtype)) {}
    [[nodiscard]] bool same(const Device& device) const {
        return test::same_bits(device.to_host(one.view()), device.to_host(other.view()));
    }
};

TEST_F(CudaTest, OperationsInOneHaveTheBitsOfThoseTheyStandFor) {
    backend::Ops& ops = gpu().ops();
    for (const Down down : {Down::identity, Down::gaussian})
        for (const Network& drawn : test::networks_of({37, 20, 20, 99, 3, down})) {
            const Network network = drawn.on(gpu());
            const NetworkSpec& spec = network.spec();
            SCOPED_TRACE(test::described(network, 37));
            const bool wide = spec.precision == DType::f64;
            const Matrix x = gpu().to_device(normals(37, 20, 4, spec.precision));
            Pair h(gpu(), 37, 20, wide ? DType::i64 : DType::i32), e(gpu(), 37, 1, DType::i32),
                hidden(gpu(), 37, 20, spec.precision);
            const int bits = network.hidden_bits();
            ops.hidden_rows(x, network.fixed_down(), 0.3, bits, h.one, e.one, hidden.one);
            ops.Ops::hidden_rows(x, network.fixed_down(), 0.3, bits, h.other, e.other, hidden.other);
            EXPECT_TRUE(h.same(gpu()) && e.same(gpu()) && hidden.same(gpu()));

            Matrix sum = gpu().zeros(3, 20, DType::i32);
            ops.open_sum(network.up(), network.readout(), sum);
            for (const double closed : {0.0, 0.25}) {
                Pair sums(gpu(), 37, 60, DType::i32), values(gpu(), 37, 3, wide ? DType::f64 : DType::i64),
                    g(gpu(), 37, 60, spec.precision), f(gpu(), 37, 3, spec.precision);
                backend::RealSums real{.closed = closed,
                                       .exponents = e.one,
                                       .values_scale = 0.3,
                                       .values = f.one,
                                       .gradients_scale = 0.7,
                                       .open_sum = closed == 0 ? ConstMatrixView{} : sum,
                                       .gradients = g.one};
                ops.wide_pass_scaled(network.up(), network.readout(), h.one, bits,
                                     {{}, sums.one, values.one}, real);
                real.values = f.other;
                real.gradients = g.other;
                ops.Ops::wide_pass_scaled(network.up(), network.readout(), h.one, bits,
                                          {{}, sums.other, values.other}, real);
                EXPECT_TRUE(sums.same(gpu()) && values.same(gpu()) && f.same(gpu()) && g.same(gpu()))
                    << closed;
            }
        }
}

TEST_F(CudaTest, TheKernelForComputeCapability90GivesTheIntegersOfThePortableOne) {
    backend::Ops& ops = gpu().ops();
    const std::string device = test::info_of("cuda").description;
    const char* wanted = std::getenv("FNTK_WGMMA");
    if (device.find("compute capability 9.0") == std::string::npos ||
        (wanted != nullptr && std::string(wanted) == "0")) {
        EXPECT_FALSE(backend::cuda::uses_wgmma(ops)) << device;
        return;
    }
    ASSERT_NE(backend::cuda::wide_wgmma_entry(64, 3), nullptr) << "not in this build";
    ASSERT_TRUE(backend::cuda::uses_wgmma(ops)) << "it has failed its check";
    using Ranks = std::vector<std::int64_t>;
    std::vector<std::pair<Up, std::int64_t>> factors;
    for (const std::int64_t p : test::real_gpu ? Ranks{1, 2, 31, 64, 65, 96, 128, 129, 160, 200, 256, 257,
                                                       300, 384, 500, 512, 784, 900, 1024}
                                               : Ranks{31, 128, 200, 300})
        factors.emplace_back(Up::rademacher, p);
    for (const std::int64_t p : test::real_gpu ? Ranks{1, 2, 16, 32, 64, 128} : Ranks{16, 128})
        factors.emplace_back(Up::srht, p);
    const std::vector<Extents> shapes =
        test::real_gpu ? std::vector<Extents>{{128, 1}, {86, 63}, {128, 257}, {300, 1000}, {1000, 4099}}
                       : std::vector<Extents>{{128, 1}, {86, 257}};
    for (const auto& [up, p] : factors)
        for (const auto& [n, m] : shapes)
            for (const auto& [k, rounding] :
                 {std::pair{1, Rounding::fine}, {3, Rounding::fine}, {1, Rounding::fast}}) {
                if (up == Up::srht && rounding == Rounding::fast) continue;
                const Network network = Network::create({.dim = 21,
                                                         .width = m,
                                                         .rank = p,
                                                         .outputs = k,
                                                         .down = Down::gaussian,
                                                         .up = up,
                                                         .rounding = rounding});
                const Matrix x = normals(n, 21, 4, DType::f32);
                const TangentOptions keep = k == 1 ? keep_all : TangentOptions{.gradients = true};
                const Tangent here = tangent(host(), network, x, keep);
                for (const bool allowed : {true, false}) {
                    SCOPED_TRACE(test::described(network, n) + (allowed ? ", wgmma" : ", portable"));
                    backend::cuda::allow_wgmma(ops, allowed);
                    test::expect_same_integers(tangent(gpu(), network, x, keep), here);
                }
                backend::cuda::allow_wgmma(ops, true);
            }
    EXPECT_TRUE(backend::cuda::uses_wgmma(ops)) << "no launch has failed";
}

/// Minutes of the CPU on a real GPU's extents.
class SlowCuda : public CudaTest {};

TEST_F(SlowCuda, ExactIntegersAreEqualForManySamples) {
    const std::int64_t n = test::extent(100000, 200), m = test::extent(65536, 600);
    for (const Up up : {Up::srht, Up::rademacher}) {
        const Network network =
            Network::create({.dim = 40, .width = m, .rank = 128, .down = Down::gaussian, .up = up});
        expect_agreement(network, normals(n, 40, 1, DType::f32), {.gradients = true, .only_these = true});
    }
}

/// Large enough for the products by digits, more samples than a moment takes at a time.
TEST_F(SlowCuda, KernelTimesVectorIsThatOfTheCpu) {
    const std::int64_t n = test::extent(300000, 150), d = 40, p = 130;
    const Network network =
        Network::create({.dim = d, .width = 512, .rank = p, .down = Down::gaussian, .up = Up::rademacher});
    const Matrix x = normals(n, d, 1, DType::f32), v = normals(n, 1, 2, DType::f32);
    Matrix found(n, 1, DType::f32), expected(n, 1, DType::f32);
    const Tangent there = tangent(gpu(), network, x), here = tangent(host(), network, x);
    KernelOperator(there, KernelOutput::trace).apply(v, found);
    KernelOperator(here, KernelOutput::trace).apply(v, expected);
    EXPECT_LT(test::relative_error(found, expected), 1e-5);
}

TEST_F(SlowCuda, ExactIntegersAreEqualForAVeryWideNetwork) {
    const std::int64_t m = test::extent(10'000'000, 3000);
    for (const Up up : {Up::srht, Up::rademacher}) {
        const Network network =
            Network::create({.dim = 40, .width = m, .rank = 64, .down = Down::gaussian, .up = up});
        expect_agreement(network, normals(7, 40, 1, DType::f32));
    }
}

}  // namespace
}  // namespace fntk

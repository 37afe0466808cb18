// The memory of a GPU: copies, its accounts, and what is refused.
#include "cuda_case.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/spectrum.hpp>

#include <backend/ops.hpp>

#include <functional>

namespace fntk {
namespace {

using test::CudaTest;
using test::error_of;
using test::expect_parts;
using test::normals;
using test::same_bits;

TEST_F(CudaTest, CopiesAnyViewThereAndBack) {
    for (const DType dtype : {DType::f32, DType::f64}) {
        const Matrix all = normals(7, 9, 1, dtype);
        const ConstMatrixView part = all.view().row_block(2, 4).col_block(3, 5);
        const Matrix there = gpu().to_device(part);
        EXPECT_TRUE(same_bits(gpu().to_host(there.view()), Matrix::copy_of(part)));
        EXPECT_TRUE(same_bits(gpu().to_host(there.view().row_block(1, 2).col_block(2, 3)),
                              Matrix::copy_of(part.row_block(1, 2).col_block(2, 3))));
    }
    EXPECT_TRUE(same_bits(gpu().to_host(gpu().zeros(3, 2, DType::i64)), Matrix(3, 2, DType::i64)));
    EXPECT_TRUE(same_bits(gpu().to_host(gpu().zero_bits(3, 70).view()), BitMatrix(3, 70)));
    EXPECT_EQ(gpu().to_host(gpu().zeros(0, 2, DType::f32)).cols(), 2);
}

TEST_F(CudaTest, MemoryOutlivesItsHandleAndIsGivenBack) {
    const std::int64_t before = memory_use(gpu().place()).current;
    {
        Matrix matrix;
        {
            const Device other = Device::open("cuda");
            matrix = other.to_device(normals(5, 3, 1).view());
        }
        EXPECT_EQ(memory_use(gpu().place()).current, before + 120);
    }
    EXPECT_EQ(memory_use(gpu().place()).current, before);
}

/// A handle does not know when what another one's stream writes may be read.
TEST_F(CudaTest, MatricesOfAnotherHandleAreRefusedByNameAndNetworksMove) {
    const Device other = Device::open("cuda");
    EXPECT_NE(other.place(), gpu().place());
    const Network network = Network::create({.dim = 6, .width = 200, .rank = 4}), there = network.on(gpu());
    const Matrix x = normals(9, 6, 1, DType::f32);
    const Tangent mine = tangent(gpu(), there, x), others = tangent(other, there, x);
    const Matrix kernel = gram(mine), in_other = gram(others);
    EXPECT_EQ(there.on(gpu()).down().data, there.down().data);
    EXPECT_NE(there.on(other).down().data, there.down().data) << "a copy by way of the host";
    EXPECT_TRUE(same_bits(gpu().to_host(kernel), other.to_host(in_other)));
    const auto refused = [](const std::function<void()>& action) {
        expect_parts(error_of<ValueError>(action), {"memory of another handle", "Device::to_host"});
    };
    refused([&] { (void)other.to_host(kernel); });
    refused([&] { (void)other.staged(kernel); });
    refused([&] { (void)spectrum(other, kernel); });
    refused([&] { (void)cross_gram(others, mine); });
    refused([&] { (void)other.ops().norm(kernel); });
    const BitMatrix bits = gpu().zero_bits(2, 70);
    Matrix counts = other.zeros(2, 2, DType::i32);
    refused([&] { (void)other.to_host(bits.view()); });
    refused([&] { other.ops().gate_gram(bits, bits, {}, counts); });
    EXPECT_TRUE(same_bits(gpu().to_host(gram(mine)), gpu().to_host(kernel))) << "both go on";
    EXPECT_TRUE(same_bits(other.to_host(gram(others)), gpu().to_host(kernel)));
}

/// What an application that has a stream and memory of its own does.
TEST_F(CudaTest, TakesTheCallersMemoryByItsPlaceAndTellsItsStream) {
    EXPECT_NE(gpu().stream(), nullptr);
    EXPECT_EQ(host().stream(), nullptr);
    const Matrix x = normals(5, 7, 1, DType::f32);
    Matrix owner = gpu().to_device(x.view());
    auto* pointer = static_cast<float*>(static_cast<void*>(owner.view().data));
    const ConstMatrixView part(pointer + 7, 3, 4, 7, gpu().place());
    EXPECT_TRUE(same_bits(gpu().to_host(part), Matrix::copy_of(x.view().row_block(1, 3).col_block(0, 4))));
    owner = Matrix{};
    gpu().release_unused();
    gpu().synchronize();
    host().synchronize();
}

TEST_F(CudaTest, MemoryThatCannotBeHadIsNamedAndHarmsNothing) {
    const std::int64_t before = memory_use(gpu().place()).current;
    expect_parts(error_of<MemoryError>(
                     [&] { (void)gpu().zeros(std::int64_t{1} << 30, std::int64_t{1} << 12, DType::f64); }),
                 {"35184372088832 bytes", "cuda:0"});
    EXPECT_EQ(memory_use(gpu().place()).current, before);
    for (const Network& network : test::networks_of({9, 10, 8, 100, 1, Down::gaussian}))
        expect_agreement(network, normals(9, 10, 1, network.spec().precision));
    EXPECT_THROW((void)gpu().zeros(-1, 4, DType::f64), ValueError);
}

TEST_F(CudaTest, AGpuThatIsNotThereIsRefusedByItsNumber) {
    for (const auto& action : std::vector<std::function<void()>>{[] { (void)Device::cuda(99); },
                                                                 [] { (void)Device::open("cuda:99"); }})
        expect_parts(error_of<DeviceError>(action), {"'cuda:99'", "does not exist", "cuda:0"});
    EXPECT_THROW((void)Device::cuda(-1), DeviceError);
}

TEST_F(CudaTest, OperationsRefuseHostMemory) {
    Matrix here(3, 3, DType::f32);
    Matrix there = gpu().zeros(3, 3, DType::f32);
    expect_parts(error_of<ValueError>([&] { gpu().ops().multiply(here, there); }),
                 {"host memory", "Device::to_device"});
    const Matrix doubles = gpu().zeros(3, 3, DType::f64);
    expect_parts(error_of<ValueError>([&] { gpu().ops().multiply(doubles, there); }),
                 {"float64", "float32"});
}

}  // namespace
}  // namespace fntk

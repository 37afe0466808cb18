// The whole library on a device whose memory the host cannot read: every result equals the one of the
// backend below it to the last bit, whether the arguments came from the host or lay on the device.
#include "exact_networks.hpp"
#include "remote_case.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>
#include <fntk/kernel.hpp>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_parts;
using test::normals;
using test::RemoteDevice;
using test::RemoteTest;
using test::same_bits;
using test::various_networks;

// ---- memory
// --------------------------------------------------------------------------------------------------------

TEST_F(RemoteTest, RefusesToReadTheMemoryOfADevice) {
    Matrix matrix = device_.zeros(3, 4, DType::f64);
    const BitMatrix bits = device_.zero_bits(3, 70);
    EXPECT_EQ(matrix.place(), device_.place());
    EXPECT_EQ(matrix.view().row_block(1, 1).col_block(1, 2).place, device_.place());
    const auto refused = [](auto&& action) {
        expect_parts(error_of<ValueError>(action), {"lies in a device's memory", "Device::to_host"});
    };
    refused([&] { (void)matrix.row<double>(0); });
    refused([&] { (void)matrix.at<double>(1, 2); });
    refused([&] { (void)value(matrix, 0, 0); });
    refused([&] { (void)matrix.copy(); });
    refused([&] { (void)Matrix::converted(matrix, DType::f32); });
    refused([&] { require_finite(matrix, "matrix"); });
    refused([&] { (void)bits.view().row(0); });
    refused([&] { (void)bits.view().get(2, 69); });
    refused([&] { (void)cpu().to_host(matrix); });
    refused([&] { (void)cpu().to_device(std::as_const(matrix).view()); });
    EXPECT_NE(error_of<ValueError>([&] { (void)matrix.copy(); }).find("Matrix::copy_of"),
              std::string::npos);
    EXPECT_THROW((void)device_.zeros(-1, 4, DType::f64), ValueError);
    EXPECT_THROW((void)device_.zeros(4, -1, DType::f64), ValueError);
}

TEST_F(RemoteTest, CopiesThereAndBack) {
    const Matrix host = normals(7, 9, 1);
    const ConstMatrixView part = host.view().row_block(2, 4).col_block(3, 5);
    const Matrix there = device_.to_device(part);
    EXPECT_EQ(there.place(), device_.place());
    EXPECT_TRUE(same_bits(device_.to_host(there), Matrix::copy_of(part)));
    EXPECT_TRUE(same_bits(device_.to_host(there.view().row_block(1, 2).col_block(2, 3)),
                          Matrix::copy_of(part.row_block(1, 2).col_block(2, 3))));
    EXPECT_TRUE(same_bits(device_.to_host(device_.zeros(3, 2, DType::i64)), Matrix(3, 2, DType::i64)));
    EXPECT_EQ(device_.to_host(device_.zeros(0, 2, DType::f32)).cols(), 2);

    BitMatrix bits(3, 70);
    bits.view().row(1)[1] = 0x2a;
    BitMatrix copy(3, 70);
    copy.view().row(1)[1] = 0x2a;
    const BitMatrix bits_there = device_.to_device(std::move(copy));
    EXPECT_EQ(bits_there.place(), device_.place());
    EXPECT_TRUE(same_bits(device_.to_host(bits_there.view()), bits.view()));
}

TEST_F(RemoteTest, StagesWithoutACopyWhatIsThere) {
    const Matrix host = normals(3, 4, 1), there = device_.to_device(host);
    EXPECT_EQ(device_.staged(there).view().data, there.view().data);
    EXPECT_EQ(device_.on_host(host).view().data, host.view().data);
    EXPECT_EQ(device_.staged(host).view().place, device_.place());
    EXPECT_EQ(device_.on_host(there).view().place, Place::host);
    EXPECT_EQ(cpu().staged(host).view().data, host.view().data);
    EXPECT_EQ(cpu().on_host(host).view().data, host.view().data);

    Staged moved = device_.on_host(there);  // the view follows its owner
    const Staged target = std::move(moved);
    EXPECT_TRUE(same_bits(target, host));
    Matrix owner = device_.to_device(host);
    const std::byte* const address = owner.view().data;
    EXPECT_EQ(device_.to_device(std::move(owner)).view().data, address);
}

TEST_F(RemoteTest, CountsItsMemoryByItselfAndGivesItBack) {
    const std::int64_t before = memory_use(device_.place()).current;
    reset_memory_peak();
    Matrix survivor;
    {
        RemoteDevice short_lived;
        survivor = short_lived.device.to_device(normals(8, 8, 1));
        (void)short_lived.device.zeros(16, 8, DType::f64);
    }
    EXPECT_EQ(memory_use(device_.place()).current, before + 8 * 8 * 8) << "it outlives its device";
    EXPECT_EQ(memory_use(device_.place()).peak, before + 8 * 8 * 8 + 16 * 8 * 8);
    survivor = Matrix{};
    EXPECT_EQ(memory_use(device_.place()).current, before);
}

// ---- networks and tangents
// -----------------------------------------------------------------------------------------

TEST_F(RemoteTest, MovesNetworksThereAndBack) {
    for (const Network& network : various_networks(6, 2)) {
        const Network there = network.on(device_);
        EXPECT_EQ(there.place(), device_.place());
        EXPECT_EQ(there.on(device_).down().data, there.down().data) << "moved twice";
        EXPECT_TRUE(test::same_factors(there.on_host(), network));
        EXPECT_TRUE(test::same_factors(there.on(cpu()), network));
        EXPECT_TRUE(same_bits(there.materialize_down(), network.materialize_down()));
        EXPECT_TRUE(same_bits(there.materialize_up(), network.materialize_up()));
        EXPECT_TRUE(same_bits(there.materialize_readout(), network.materialize_readout()));

        const Matrix u = normals(4, 6, 9), v = normals(70, 4, 10, network.spec().precision);
        const auto shared = std::make_shared<const Matrix>(v.copy());
        const Network replaced = network.with_down(u).with_up(shared).with_train({.up = true});
        EXPECT_TRUE(test::same_factors(
            there.with_down(u).with_up(shared).with_train({.up = true}).on_host(), replaced));
        EXPECT_TRUE(
            test::same_factors(there.with_down(device_.to_device(u)).with_up(shared).on_host(), replaced));
        const auto on_device = std::make_shared<const Matrix>(device_.to_device(v));
        EXPECT_EQ(there.with_up(on_device).up().values.data, on_device->view().data)
            << "shared, not copied";
        expect_parts(error_of<ValueError>([&] { (void)network.with_up(on_device); }),
                     {"V lies in a device's memory", "Device::to_host"});
        Matrix bad = u.copy();
        bad.at<double>(2, 3) = HUGE_VAL;
        expect_parts(error_of<ValueError>([&] { (void)there.with_down(device_.to_device(bad)); }),
                     {"U holds inf at row 2, column 3"});
    }
}

TEST_F(RemoteTest, TangentsAreEqual) {
    for (const test::Shape& shape : {test::Shape{33, 9, 8, 100, 2, Down::gaussian},
                                     {5, 7, 7, 65, 1, Down::identity},
                                     {0, 4, 4, 10, 1, Down::srht}})
        for (const Network& network : test::networks_of(shape)) {
            SCOPED_TRACE(test::described(network, shape.n));
            const Matrix x = normals(shape.n, shape.d, 2, network.spec().precision);
            const Tangent host = tangent(cpu(), network, x, test::keep_all);
            expect_same(tangent(device_, network, x, test::keep_all), host);
        }
    for (const Network& network : various_networks(6, 2)) {
        SCOPED_TRACE(test::described(network, 11));
        const Matrix x = normals(11, 6, 3, network.spec().precision), there = device_.to_device(x);
        const Tangent host = tangent(cpu(), network, x, test::keep_all);
        expect_same(tangent(device_, network, x, test::keep_all), host);
        expect_same(tangent(device_, network.on(device_), there, test::keep_all), host);
        EXPECT_EQ(tangent(device_, network, there).inputs().data, there.view().data);
    }
}

TEST_F(RemoteTest, NamesWhatIsNotFiniteInItsMemory) {
    const Network network = various_networks(6, 1).front();
    Matrix x = normals(5, 6, 3, DType::f32);
    x.at<float>(3, 1) = std::nanf("");
    const std::string text = error_of<ValueError>([&] { (void)tangent(cpu(), network, x); });
    for (const bool there : {false, true}) {
        const Matrix copy = there ? device_.to_device(x) : x.copy();
        EXPECT_EQ(error_of<ValueError>([&] { (void)tangent(device_, network, copy); }), text);
    }
}

TEST_F(RemoteTest, PerSampleGradientsAreEqual) {
    for (const Network& network : various_networks(6, 3))
        for (const Train train : test::all_trains) {
            SCOPED_TRACE(test::described(network, 5) + ' ' + to_string(train));
            const Matrix x = normals(5, 6, 3, network.spec().precision);
            const Tangent here = tangent(device_, network, x, test::keep_all),
                          host = tangent(cpu(), network, x, test::keep_all);
            const Matrix have = per_sample_gradients(here, train, 1, 3);
            EXPECT_EQ(have.place(), device_.place());
            EXPECT_TRUE(same(have, per_sample_gradients(host, train, 1, 3)));
            EXPECT_EQ(per_sample_gradients(here, train, 2, 0).rows(), 0);
        }
}

TEST_F(RemoteTest, NetworkFilesAreEqual) {
    const test::TempFolder folder;
    const std::string a = folder.path("a.safetensors"), b = folder.path("b.safetensors");
    for (const Network& network : various_networks(6, 2))
        for (const bool materialize : {false, true}) {
            save_network(a, network, materialize);
            save_network(b, network.on(device_), materialize);
            EXPECT_EQ(folder.read("a.safetensors"), folder.read("b.safetensors"));
            EXPECT_TRUE(test::same_factors(load_network(b), network));
        }
    EXPECT_THROW(save_npy(folder.path("k.npy"), device_.zeros(2, 2, DType::f32)), ValueError);
    const Matrix there = device_.zeros(2, 2, DType::f32);
    EXPECT_THROW((void)tensor_view(there), ValueError);
}

// ---- kernels
// -------------------------------------------------------------------------------------------------------

constexpr KernelOutput outputs[] = {KernelOutput::full, KernelOutput::trace, KernelOutput::sum_of_logits};

TEST_F(RemoteTest, GramMatricesAndOperatorsAreEqual) {
    for (const Network& network : various_networks(6, 2)) {
        const DType type = network.spec().precision;
        const Matrix x = normals(7, 6, 3, type), y = normals(4, 6, 4, type);
        const Tangent here = tangent(device_, network, x, test::keep_all),
                      here_too = tangent(device_, network, y, test::keep_all),
                      host = tangent(cpu(), network, x, test::keep_all),
                      host_too = tangent(cpu(), network, y, test::keep_all);
        for (const KernelOutput output : outputs)
            for (const Train train : test::all_trains) {
                SCOPED_TRACE(test::described(network, 7) + ' ' + name(output) + ' ' + to_string(train));
                const Matrix kernel = gram(here, output, train);
                EXPECT_EQ(kernel.place(), device_.place());
                EXPECT_TRUE(same(kernel, gram(host, output, train)));
                EXPECT_TRUE(same(cross_gram(here, here_too, output, train),
                                 cross_gram(host, host_too, output, train)));

                const KernelOperator op(here, here_too, output, train),
                    host_op(host, host_too, output, train);
                const Matrix v = normals(op.cols(), 2, 8, type), v_there = device_.to_device(v);
                Matrix want(op.rows(), 2, type), have(op.rows(), 2, type),
                    have_there = device_.zeros(op.rows(), 2, type);
                host_op.apply(v, want);
                op.apply(v, have);
                op.apply(v_there, have_there);
                EXPECT_TRUE(same_bits(have, want));
                EXPECT_TRUE(same(have_there, want));
                EXPECT_TRUE(same(to_dense(op), to_dense(host_op)));
            }
    }
}

}  // namespace
}  // namespace fntk

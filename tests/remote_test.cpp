// The whole library on a device whose memory the host cannot read: every result equals the one of the
// backend below it to the last bit, whether the arguments came from the host or lay on the device.
#include "remote.hpp"
#include "exact_networks.hpp"
#include "temp_folder.hpp"

#include <fntk/eigenvalues.hpp>
#include <fntk/error.hpp>
#include <fntk/io.hpp>
#include <fntk/kernel.hpp>
#include <fntk/limit.hpp>
#include <fntk/planner.hpp>
#include <fntk/regression.hpp>
#include <fntk/spectrum.hpp>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_parts;
using test::normals;
using test::RemoteDevice;
using test::same_bits;

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
std::vector<Network> various_networks(std::int64_t dim, std::int64_t outputs) {
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

// ---- memory
// --------------------------------------------------------------------------------------------------------

TEST_F(RemoteTest, RefusesToReadTheMemoryOfADevice) {
    Matrix matrix = device_.zeros(3, 4, DType::f64);
    const BitMatrix bits = device_.zero_bits(3, 70);
    EXPECT_EQ(matrix.place(), Place::cuda);
    EXPECT_EQ(matrix.view().row_block(1, 1).col_block(1, 2).place, Place::cuda);
    const auto refused = [](auto&& action) {
        expect_parts(error_of<ValueError>(action), {"lives on device 'cuda'", "Device::to_host"});
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
    EXPECT_EQ(there.place(), Place::cuda);
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
    EXPECT_EQ(bits_there.place(), Place::cuda);
    EXPECT_TRUE(same_bits(device_.to_host(bits_there.view()), bits.view()));
}

TEST_F(RemoteTest, StagesWithoutACopyWhatIsThere) {
    const Matrix host = normals(3, 4, 1), there = device_.to_device(host);
    EXPECT_EQ(device_.staged(there).view().data, there.view().data);
    EXPECT_EQ(device_.on_host(host).view().data, host.view().data);
    EXPECT_EQ(device_.staged(host).view().place, Place::cuda);
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
    const std::int64_t before = memory_use(Place::cuda).current;
    reset_memory_peak();
    Matrix survivor;
    {
        RemoteDevice short_lived;
        survivor = short_lived.device.to_device(normals(8, 8, 1));
        (void)short_lived.device.zeros(16, 8, DType::f64);
    }
    EXPECT_EQ(memory_use(Place::cuda).current, before + 8 * 8 * 8) << "it outlives its device";
    EXPECT_EQ(memory_use(Place::cuda).peak, before + 8 * 8 * 8 + 16 * 8 * 8);
    survivor = Matrix{};
    EXPECT_EQ(memory_use(Place::cuda).current, before);
}

// ---- networks and tangents
// -----------------------------------------------------------------------------------------

TEST_F(RemoteTest, MovesNetworksThereAndBack) {
    for (const Network& network : various_networks(6, 2)) {
        const Network there = network.on(device_);
        EXPECT_EQ(there.place(), Place::cuda);
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
                     {"V lives on device", "Device::to_host"});
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
            EXPECT_EQ(have.place(), Place::cuda);
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
    EXPECT_THROW((void)tensor_view(device_.zeros(2, 2, DType::f32)), ValueError);
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
                EXPECT_EQ(kernel.place(), Place::cuda);
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

TEST_F(RemoteTest, SpectraAreEqual) {
    for (const DType type : {DType::f32, DType::f64}) {
        const Network network = Network::create(
            {.dim = 6, .width = 128, .rank = 8, .outputs = 2, .precision = type, .seed = 2});
        const Matrix x = normals(9, 6, 3, type);
        const Tangent here = tangent(device_, network, x), host = tangent(cpu(), network, x);
        const Matrix kernel = gram(host), there = gram(here);
        const Spectrum want = spectrum(cpu(), kernel);
        for (const ConstMatrixView k : {kernel.view(), there.view()}) {
            const Spectrum have = spectrum(device_, k);
            EXPECT_EQ(have.eigenvalues, want.eigenvalues);
            EXPECT_EQ(have.residual, want.residual);
            EXPECT_EQ(have.orthogonality, want.orthogonality);
        }
        const auto expect_equal = [](const ExtremalEigenvalue& a, const ExtremalEigenvalue& b) {
            EXPECT_EQ(a.value, b.value);
            EXPECT_EQ(a.residual, b.residual);
            EXPECT_EQ(a.iterations, b.iterations);
            EXPECT_EQ(a.converged, b.converged);
        };
        expect_equal(lambda_max(KernelOperator(here)), lambda_max(KernelOperator(host)));
        const ExtremalEigenvalue dense = lambda_max(DenseOperator(cpu(), kernel));
        expect_equal(lambda_max(DenseOperator(device_, there)), dense);
        expect_equal(lambda_max(DenseOperator(device_, kernel)), dense);
        EXPECT_EQ(numerical_rank(device_, x), numerical_rank(cpu(), x));
        EXPECT_EQ(numerical_rank(device_, device_.to_device(x)), numerical_rank(cpu(), x));
    }
}

TEST_F(RemoteTest, ExtremalEigenvaluesAreEqual) {
    const auto expect_equal = [](const ExtremalEigenvalues& a, const ExtremalEigenvalues& b) {
        ASSERT_EQ(a.intervals.size(), b.intervals.size());
        for (std::size_t i = 0; i < a.intervals.size(); ++i) {
            EXPECT_EQ(a.intervals[i].lower, b.intervals[i].lower);
            EXPECT_EQ(a.intervals[i].upper, b.intervals[i].upper);
            EXPECT_EQ(a.intervals[i].certified, b.intervals[i].certified);
        }
        EXPECT_EQ(a.residual, b.residual);
        EXPECT_EQ(a.products, b.products);
    };
    for (const DType type : {DType::f32, DType::f64}) {
        const Network network =
            Network::create({.dim = 6, .width = 128, .rank = 8, .precision = type, .seed = 2});
        const Matrix x = normals(40, 6, 3, type);
        const Tangent here = tangent(device_, network, x), host = tangent(cpu(), network, x);
        const Matrix kernel = gram(host), there = gram(here);
        for (const SpectrumEnd end : {SpectrumEnd::largest, SpectrumEnd::smallest})
            for (const std::int64_t count : {2, 30}) {  // by Lanczos, by all eigenvectors
                const ExtremalOptions options{.end = end, .count = count};
                const ExtremalEigenvalues want = extremal(cpu(), kernel, options);
                EXPECT_TRUE(want.intervals[0].certified);
                expect_equal(extremal(device_, kernel, options), want);
                expect_equal(extremal(device_, there, options), want);
                expect_equal(extremal(KernelOperator(here), options),
                             extremal(KernelOperator(host), options));
            }
    }
}

TEST_F(RemoteTest, LanczosBringsOnlyNumbersToTheHost) {
    const Matrix a = normals(300, 300, 4);
    const Matrix k = test::times_transposed(a, a);
    const DenseOperator op(device_, k);
    const std::int64_t before = remote_.ops->elements_to_host();
    const ExtremalEigenvalue top = lambda_max(op, {.max_iterations = 12, .tolerance = 0});
    EXPECT_EQ(top.iterations, 12);
    // two overlaps an iteration, and the eigenvectors of tridiagonal matrices of order 1 to 12
    EXPECT_LE(remote_.ops->elements_to_host() - before, 2 * 12 + 12 * 13 * 25 / 6);
}

TEST_F(RemoteTest, RidgeRegressionIsEqual) {
    for (const DType type : {DType::f32, DType::f64}) {
        const Network network =
            Network::create({.dim = 6, .width = 128, .rank = 8, .precision = type, .seed = 2});
        const Matrix x = normals(9, 6, 3, type), x_new = normals(5, 6, 4, type), y = normals(9, 2, 5, type);
        const Tangent here = tangent(device_, network, x), here_new = tangent(device_, network, x_new),
                      host = tangent(cpu(), network, x), host_new = tangent(cpu(), network, x_new);
        const RidgeModel have = fit_ridge(device_, gram(here), device_.to_device(y), 1e-3),
                         have_too = fit_ridge(device_, gram(host), y, 1e-3),
                         want = fit_ridge(cpu(), gram(host), y, 1e-3);
        EXPECT_TRUE(same_bits(have.dual, want.dual));
        EXPECT_TRUE(same_bits(have_too.dual, want.dual));
        EXPECT_EQ(have.jitter, want.jitter);
        const Matrix cross = cross_gram(host_new, host), prediction = predict(cpu(), want, cross);
        EXPECT_TRUE(same_bits(predict(device_, have, cross_gram(here_new, here)), prediction));
        EXPECT_TRUE(same_bits(predict(device_, have, cross), prediction));
    }
}

TEST_F(RemoteTest, LimitsAreEqual) {
    for (const DType type : {DType::f32, DType::f64}) {
        const Matrix x = normals(9, 6, 3, type), y = normals(5, 6, 4, type), there = device_.to_device(x);
        for (const Activation kind : {Activation::relu, Activation::erf})
            for (const Train train : test::all_trains) {
                const Matrix want = limit_kernel(cpu(), {kind}, train, x);
                EXPECT_TRUE(same_bits(limit_kernel(device_, {kind}, train, x), want));
                EXPECT_TRUE(same_bits(limit_kernel(device_, {kind}, train, there), want));
                EXPECT_TRUE(same_bits(limit_kernel(device_, {kind}, train, there, y),
                                      limit_kernel(cpu(), {kind}, train, x, y)));
            }
        for (const Network& network : various_networks(6, 1)) {
            if (network.spec().precision != type) continue;
            const Matrix want = fixed_down_limit(cpu(), network, x, y);
            EXPECT_TRUE(same_bits(fixed_down_limit(device_, network, there, y), want));
            EXPECT_TRUE(same_bits(fixed_down_limit(device_, network.on(device_), x, y), want));
        }
        const ErrorLaw have = error_law(device_, there), want = error_law(cpu(), x);
        EXPECT_EQ(have.rank_term, want.rank_term);
        EXPECT_EQ(have.width_term, want.width_term);
    }
}

TEST_F(RemoteTest, PlansAreEqual) {
    const Matrix x = test::on_sphere(12, 10, 3, DType::f32), there = device_.to_device(x);
    for (const PlanCriterion criterion : {PlanCriterion::lambda_min, PlanCriterion::frobenius})
        for (const Down down : {Down::gaussian, Down::pca}) {
            PlannerOptions options{.target_error = 0.5, .criterion = criterion, .down = down, .seeds = 1};
            options.train = {.down = down == Down::gaussian, .up = down == Down::pca};
            options.up = down == Down::pca ? Up::gaussian : Up::srht;
            options.pilot_rank = 8;
            options.pilot_samples = 9;
            const NetworkPlan want = plan_network(cpu(), x, options);
            for (const ConstMatrixView inputs : {x.view(), there.view()}) {
                const NetworkPlan have = plan_network(device_, inputs, options);
                EXPECT_EQ(have.spec, want.spec);
                EXPECT_EQ(have.evidence.back().error, want.evidence.back().error);
                EXPECT_EQ(have.evidence.back().frobenius, want.evidence.back().frobenius);
                EXPECT_EQ(have.rank_constant, want.rank_constant);
                EXPECT_EQ(have.width_constant, want.width_constant);
                EXPECT_EQ(have.theory.rank, want.theory.rank);
                EXPECT_EQ(have.theory.width, want.theory.width);
                EXPECT_EQ(have.rank_loss, want.rank_loss);
            }
        }
}

}  // namespace
}  // namespace fntk

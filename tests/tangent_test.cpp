// The tangent: the outputs of homogeneous networks from H and G alone, the floating pass against its
// formula and against the exact pass, and what is refused. Gradients are in tangent_gradients_test.cpp.
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>

#include <backend/scalar.hpp>

#include <limits>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_parts;
using test::keep_all;
using test::normals;
using test::relative_error;

/// H, f and G of the definition, in double.
struct Definition {
    Matrix h, f, g;

    Definition(const Network& network, ConstMatrixView x) {
        const NetworkSpec& s = network.spec();
        const Matrix u = network.materialize_down(), v = network.materialize_up(),
                     a = network.materialize_readout();
        const double scale = 1 / std::sqrt(static_cast<double>(s.rank)),
                     root_m = 1 / std::sqrt(static_cast<double>(s.width));
        h = test::times_transposed(x, u);
        for (std::int64_t i = 0; i < h.rows() * h.cols(); ++i) h.row<double>(0)[i] *= scale;
        const Matrix z = test::times_transposed(h, v);
        f = Matrix(x.rows, s.outputs, DType::f64);
        g = Matrix(x.rows, s.outputs * s.rank, DType::f64);
        for (std::int64_t i = 0; i < x.rows; ++i)
            for (std::int64_t r = 0; r < s.width; ++r) {
                const double zr = z.at<double>(i, r);
                for (std::int64_t c = 0; c < s.outputs; ++c) {
                    f.at<double>(i, c) += root_m * value(a, r, c) * backend::sigma(s.activation, false, zr);
                    const double slope =
                        scale * root_m * value(a, r, c) * backend::sigma(s.activation, true, zr);
                    for (std::int64_t q = 0; q < s.rank; ++q)
                        g.at<double>(i, c * s.rank + q) += slope * value(v, r, q);
                }
            }
    }
};

TEST(TangentValues, OfHomogeneousNetworksAreTheInnerProductsOfHAndG) {
    for (const DType precision : {DType::f32, DType::f64})
        for (const Activation activation : {Activation::relu, Activation::leaky_relu, Activation::abs})
            for (const Up up : test::all_ups) {
                const Network network = Network::create({.dim = 12,
                                                         .width = 300,
                                                         .rank = 8,
                                                         .outputs = 3,
                                                         .up = up,
                                                         .activation = {activation, 0.3},
                                                         .precision = precision,
                                                         .seed = 6});
                const Matrix x = normals(20, 12, 2, precision);
                const Tangent t = tangent(cpu(), network, x, keep_all);
                const Matrix f = test::filled(20, 3, DType::f64, [&](std::int64_t i, std::int64_t c) {
                    double sum = 0;
                    for (std::int64_t q = 0; q < 8; ++q)
                        sum += value(t.hidden(), i, q) * value(t.gradients(), i, c * 8 + q);
                    return sum * std::sqrt(8.0);
                });
                EXPECT_LT(relative_error(t.values(), f), precision == DType::f32 ? 1e-6 : 1e-14)
                    << name(activation) << ' ' << name(up);
            }
}

TEST(TangentValues, HiddenLayerAndGradientsFollowTheirFormulaOnEveryBackend) {
    for (const char* backend : {"reference", "cpu"})
        for (const DType precision : {DType::f32, DType::f64})
            for (const Activation activation : test::all_activations)
                for (const Up up : test::all_ups) {
                    const Network network = Network::create({.dim = 6,
                                                             .width = 130,
                                                             .rank = 4,
                                                             .outputs = 2,
                                                             .up = up,
                                                             .activation = {activation, 0.3},
                                                             .precision = precision,
                                                             .seed = 4});
                    const Matrix x = normals(5, 6, 3, precision);
                    const Tangent t = tangent(Device::open(backend, 2), network, x, keep_all);
                    const Definition expected(network, x);
                    const double tolerance = precision == DType::f32 ? 2e-6 : 1e-13;
                    EXPECT_LT(relative_error(t.hidden(), expected.h), tolerance);
                    EXPECT_LT(relative_error(t.values(), expected.f), tolerance)
                        << name(activation) << ' ' << name(up);
                    EXPECT_LT(relative_error(t.gradients(), expected.g), tolerance)
                        << name(activation) << ' ' << name(up);
                }
}

TEST(TangentValues, OfTheFloatingPassDoNotDependOnTheBlocksOfTheWidth) {
    const Network network = Network::create({.dim = 3,
                                             .width = 9001,
                                             .rank = 2,
                                             .outputs = 2,
                                             .up = Up::gaussian,
                                             .precision = DType::f64,
                                             .seed = 4});
    const Matrix x = normals(3, 3, 3);
    const Tangent t = tangent(cpu(), network, x, keep_all);
    const Definition expected(network, x);
    EXPECT_LT(relative_error(t.values(), expected.f), 1e-12);
    EXPECT_LT(relative_error(t.gradients(), expected.g), 1e-12);
    const Tangent oracle = tangent(Device::open("reference"), network, x, keep_all);
    EXPECT_TRUE(test::same_bits(t.gates(), oracle.gates()));
}

TEST(TangentValues, OfAFloatingNetworkAreCloseToThoseOfTheExactOneBesideIt) {
    for (const DType precision : {DType::f32, DType::f64})
        for (const Up up : {Up::rademacher, Up::srht}) {
            const NetworkSpec spec{.dim = 12,
                                   .width = 2000,
                                   .rank = 16,
                                   .outputs = 2,
                                   .down = Down::gaussian,
                                   .up = up,
                                   .precision = precision,
                                   .seed = 3};
            const Network exact = Network::create(spec);
            Matrix v = exact.materialize_up();
            if (precision == DType::f32)
                v.at<float>(7, 3) *= 1 + 0x1p-23F;
            else
                v.at<double>(7, 3) *= 1 + 0x1p-52;
            const Network floating = Network::from_tensors(spec, {{}, v, {}});
            ASSERT_EQ(floating.exactness(), Exactness::floating);
            const Matrix x = normals(25, 12, 9, precision);
            const Tangent a = tangent(cpu(), exact, x, keep_all), b = tangent(cpu(), floating, x, keep_all);
            const double eps = precision == DType::f32 ? 0x1p-23 : 0x1p-52;
            EXPECT_EQ(b.hidden_int().rows, 0);
            EXPECT_LT(relative_error(b.hidden(), a.hidden()), 8 * eps);
            EXPECT_LT(relative_error(b.values(), a.values()), 100 * eps);
            std::int64_t flips = 0;
            for (std::int64_t i = 0; i < 25; ++i)
                for (std::int64_t r = 0; r < 2000; ++r) flips += a.gates().get(i, r) != b.gates().get(i, r);
            // flips ≈ relative error/π of 50000 gates; G then differs by √(2·flips)
            EXPECT_LE(flips, precision == DType::f32 ? 3 : 0);
            EXPECT_LT(relative_error(b.gradients(), a.gradients()),
                      100 * eps + std::sqrt(4 * static_cast<double>(flips) / 50000));
        }
}

TEST(TangentValues, ScaleWithTheInputsToTheLastBit) {
    const Network network = Network::create({.dim = 12, .width = 300, .rank = 8, .seed = 3});
    const Matrix x = normals(10, 12, 1, DType::f32);
    const Matrix large =
        test::filled(10, 12, DType::f32, [&](auto i, auto j) { return std::ldexp(value(x, i, j), 60); });
    const Tangent a = tangent(cpu(), network, x), b = tangent(cpu(), network, large);
    EXPECT_TRUE(test::same_bits(a.gradients(), b.gradients()));
    for (std::int64_t i = 0; i < 10; ++i)
        EXPECT_EQ(value(b.values(), i, 0), std::ldexp(value(a.values(), i, 0), 60));
}

// ---- what is kept and what is refused
// ------------------------------------------------------------------------------

TEST(TangentErrors, NameTheArgumentAndThePlace) {
    const Network network = Network::create({.dim = 6, .width = 8, .rank = 4});
    const auto of = [&](const Matrix& x) { return [&] { (void)tangent(cpu(), network, x); }; };
    expect_parts(error_of<ShapeError>(of(normals(3, 5, 1, DType::f32))), {"inputs", "5 columns", "dim 6"});
    expect_parts(error_of<ValueError>(of(normals(3, 6, 1, DType::f64))),
                 {"inputs", "float64", "float32", "Matrix::converted"});
    const Matrix integers(3, 6, DType::i32);
    EXPECT_THROW((void)tangent(cpu(), network, integers), ValueError);
    for (const float bad :
         {std::nanf(""), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
        Matrix x = normals(40, 6, 1, DType::f32);
        x.at<float>(33, 4) = bad;
        expect_parts(error_of<ValueError>(of(x)), {"inputs", "row 33", "column 4"});
    }
}

TEST(TangentErrors, TellWhatWasNotKept) {
    const Matrix x = normals(3, 6, 1, DType::f32);
    const auto of = [&](Train train, Activation activation, TangentOptions keep) {
        return tangent(
            cpu(),
            Network::create({.dim = 6, .width = 8, .rank = 4, .train = train, .activation = {activation}}),
            x, keep);
    };
    const Tangent down = of({.down = true}, Activation::relu, {}),
                  up = of({.up = true}, Activation::relu, {});
    EXPECT_TRUE(down.has_gradients());
    EXPECT_FALSE(down.has_gates());
    EXPECT_FALSE(up.has_gradients());
    EXPECT_TRUE(up.has_gates());
    expect_parts(error_of<ValueError>([&] { (void)down.gates(); }), {"gates", ".gates = true"});
    expect_parts(error_of<ValueError>([&] { (void)up.gradients(); }), {"G", ".gradients = true"});
    EXPECT_THROW((void)per_sample_gradients(up, {.down = true}, 0, 1), ValueError);
    const Tangent smooth = of({.up = true}, Activation::tanh, {.gates = true});
    expect_parts(error_of<ValueError>([&] { (void)smooth.gates(); }), {"smooth"});
    EXPECT_FALSE(of({true, true, true}, Activation::relu, {.only_these = true}).has_gradients());
    const Tangent silent = of({.up = true}, Activation::relu, {.values = false});
    expect_parts(error_of<ValueError>([&] { (void)silent.values(); }), {"f;", ".values = true"});
}

TEST(TangentWithoutValues, HasTheGatesAndGradientsOfTheOneWithThem) {
    for (const char* backend : {"reference", "cpu"})
        for (const Up up : test::all_ups)
            for (const Activation activation : {Activation::leaky_relu, Activation::tanh}) {
                const Network network = Network::create({.dim = 6,
                                                         .width = 130,
                                                         .rank = 4,
                                                         .outputs = 2,
                                                         .up = up,
                                                         .activation = {activation, 0.2}});
                const Matrix x = normals(70, 6, 1, DType::f32);
                const Device device = Device::open(backend, 2);
                for (const auto& [gradients, gates] :
                     {std::pair{true, true}, {false, true}, {false, false}}) {
                    TangentOptions keep{.gradients = gradients, .gates = gates, .only_these = true};
                    const Tangent loud = tangent(device, network, x, keep);
                    keep.values = false;
                    const Tangent silent = tangent(device, network, x, keep);
                    EXPECT_TRUE(test::same_bits(silent.hidden(), loud.hidden()));
                    EXPECT_TRUE(silent.values_int().empty());
                    ASSERT_EQ(silent.has_gates(), loud.has_gates());
                    ASSERT_EQ(silent.has_gradients(), loud.has_gradients());
                    if (gradients) {
                        EXPECT_TRUE(test::same_bits(silent.gradients(), loud.gradients()));
                    }
                    if (loud.has_gates()) {
                        EXPECT_TRUE(test::same_bits(silent.gates(), loud.gates()));
                    }
                }
            }
}

TEST(TangentOfNoSamples, HasItsShapesOnEveryBackend) {
    for (const char* backend : {"reference", "cpu"})
        for (const DType precision : {DType::f32, DType::f64})
            for (const Up up : test::all_ups)
                for (const Activation activation : {Activation::relu, Activation::tanh}) {
                    const Network network = Network::create({.dim = 6,
                                                             .width = 70,
                                                             .rank = 4,
                                                             .outputs = 2,
                                                             .up = up,
                                                             .activation = {activation},
                                                             .precision = precision});
                    const Matrix x(0, 6, precision);
                    const Tangent t = tangent(Device::open(backend, 2), network, x, keep_all);
                    EXPECT_EQ(t.size(), 0);
                    EXPECT_EQ(t.hidden().cols, 4);
                    EXPECT_EQ(t.values().cols, 2);
                    EXPECT_EQ(t.gradients().cols, 8);
                    EXPECT_EQ(per_sample_gradients(t, {true, true, true}, 0, 0).cols(), 24 + 280 + 140);
                }
}

}  // namespace
}  // namespace fntk

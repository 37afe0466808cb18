// Gradients of all three factors against central differences of f, and the layout of the per-sample
// gradients.
#include "support.hpp"

#include <fntk/error.hpp>

#include <algorithm>

namespace fntk {
namespace {

using test::cpu;
using test::keep_all;
using test::normals;
using test::relative_error;

/// A network of three given factors in float64.
struct Factors {
    NetworkSpec spec;
    Matrix down, up, readout;

    explicit Factors(NetworkSpec s) : spec(s) {
        spec.precision = DType::f64;
        const Network network = Network::create(spec);
        spec = network.spec();
        down = network.materialize_down();
        up = network.materialize_up();
        readout = network.materialize_readout();
    }
    [[nodiscard]] Network network() const { return Network::from_tensors(spec, {down, up, readout}); }
    /// θ in the order of per_sample_gradients.
    [[nodiscard]] std::vector<double*> parameters() {
        std::vector<double*> all;
        for (Matrix* factor : {&down, &up, &readout})
            for (std::int64_t i = 0; i < factor->rows() * factor->cols(); ++i)
                all.push_back(factor->row<double>(0) + i);
        return all;
    }
};

Matrix values(const Network& network, ConstMatrixView x) {
    return Matrix::copy_of(tangent(cpu(), network, x, {.only_these = true}).values());
}

/// (f(θ + δ) − f(θ − δ))/2δ for every parameter, in the layout of per_sample_gradients.
Matrix central_differences(Factors& factors, ConstMatrixView x, double delta) {
    const std::vector<double*> parameters = factors.parameters();
    const std::int64_t k = factors.spec.outputs;
    Matrix result(x.rows * k, static_cast<std::int64_t>(parameters.size()), DType::f64);
    for (std::size_t t = 0; t < parameters.size(); ++t) {
        const double center = *parameters[t];
        *parameters[t] = center + delta;
        const Matrix above = values(factors.network(), x);
        *parameters[t] = center - delta;
        const Matrix below = values(factors.network(), x);
        *parameters[t] = center;
        for (std::int64_t i = 0; i < x.rows * k; ++i)
            result.row<double>(i)[t] = (above.row<double>(0)[i] - below.row<double>(0)[i]) / (2 * delta);
    }
    return result;
}

/// Distance of the batch from the kinks: min |z|.
double least_preactivation(const Network& network, ConstMatrixView x) {
    const Matrix h = test::times_transposed(x, network.materialize_down());
    const Matrix z = test::times_transposed(h, network.materialize_up());
    double least = HUGE_VAL;
    for (std::int64_t i = 0; i < z.rows() * z.cols(); ++i)
        least = std::min(least, std::abs(z.row<double>(0)[i]));
    return least / std::sqrt(static_cast<double>(network.spec().rank));
}

// ---- gradients
// -----------------------------------------------------------------------------------------------------

TEST(TangentGradients, OfSmoothNetworksAreTheirCentralDifferences) {
    for (const Activation activation :
         {Activation::erf, Activation::gelu, Activation::tanh, Activation::softplus})
        for (const Down down : {Down::gaussian, Down::identity}) {
            Factors factors({.dim = 5,
                             .width = 9,
                             .rank = down == Down::identity ? 0 : 4,
                             .outputs = 2,
                             .down = down,
                             .up = Up::gaussian,
                             .activation = {activation},
                             .seed = 3});
            const Matrix x = normals(3, 5, 7);
            const Tangent t = tangent(cpu(), factors.network(), x, keep_all);
            const Matrix exact = per_sample_gradients(t, {true, true, true}, 0, 3);
            EXPECT_LT(relative_error(exact, central_differences(factors, x, 1e-5)), 1e-8)
                << name(activation);
        }
}

TEST(TangentGradients, OfHomogeneousNetworksAreTheirCentralDifferencesAwayFromKinks) {
    for (const Activation activation : {Activation::relu, Activation::leaky_relu, Activation::abs})
        for (const Up up : test::all_ups) {
            Factors factors({.dim = 5,
                             .width = 9,
                             .rank = 4,
                             .outputs = 2,
                             .down = Down::gaussian,
                             .up = up,
                             .activation = {activation, 0.2},
                             .seed = 1});
            const Matrix x = normals(3, 5, 7);
            ASSERT_GT(least_preactivation(factors.network(), x), 1e-3) << "choose another seed";
            const Tangent t = tangent(cpu(), factors.network(), x, keep_all);
            const Matrix exact = per_sample_gradients(t, {true, true, true}, 0, 3);
            EXPECT_LT(relative_error(exact, central_differences(factors, x, 1e-5)), 1e-8)
                << name(activation) << ' ' << name(up);
        }
}

TEST(TangentGradients, PerSampleComeInBlocksAndInTheOrderOfTheFactors) {
    for (const DType precision : {DType::f32, DType::f64}) {
        const Network network =
            Network::create({.dim = 5, .width = 70, .rank = 4, .outputs = 3, .precision = precision});
        const Matrix x = normals(6, 5, 1, precision);
        const Tangent t = tangent(cpu(), network, x, keep_all);
        const Matrix all = per_sample_gradients(t, {true, true, true}, 0, 6);
        EXPECT_EQ(all.rows(), 18);
        EXPECT_EQ(all.cols(), 4 * 5 + 70 * 4 + 70 * 3);
        EXPECT_EQ(all.dtype(), precision);
        EXPECT_TRUE(
            test::same_bits(per_sample_gradients(t, {true, true, true}, 2, 3), all.view().row_block(6, 9)));
        EXPECT_TRUE(
            test::same_bits(per_sample_gradients(t, {.down = true}, 0, 6), all.view().col_block(0, 20)));
        EXPECT_TRUE(
            test::same_bits(per_sample_gradients(t, {.up = true}, 0, 6), all.view().col_block(20, 280)));
        EXPECT_TRUE(test::same_bits(per_sample_gradients(t, {.readout = true}, 0, 6),
                                    all.view().col_block(300, 210)));
        EXPECT_EQ(per_sample_gradients(t, {.down = true}, 6, 0).rows(), 0);
        for (std::int64_t i = 0; i < 6; ++i)
            for (std::int64_t c = 0; c < 3; ++c)
                for (std::int64_t q = 0; q < 4; ++q)
                    for (std::int64_t j = 0; j < 5; ++j)
                        EXPECT_NEAR(value(all, i * 3 + c, q * 5 + j),
                                    value(t.gradients(), i, c * 4 + q) * value(x, i, j), 1e-6);
        EXPECT_THROW((void)per_sample_gradients(t, {.down = true}, 4, 3), ShapeError);
        EXPECT_THROW((void)per_sample_gradients(t, {.down = true}, -1, 1), ShapeError);
        EXPECT_THROW((void)per_sample_gradients(t, {}, 0, 1), ValueError);
        EXPECT_LT(relative_error(per_sample_gradients(tangent(cpu(), network, x), {.up = true}, 0, 6),
                                 all.view().col_block(20, 280)),
                  1e-6)
            << "gates computed again where they were not kept";
    }
}

}  // namespace
}  // namespace fntk

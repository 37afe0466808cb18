// The integers of the exact class are those of the definition, recomputed here from U, V, A and X with wide
// integers:
//     X̂ = rint(x·2^(22−E_i)) per row    Û = rint(u·2^(21−E_U))
//     ĥ = rint(X̂Ûᵀ·2^−43/√p·2^(b−E_v))    ẑ = V ĥ    gate = ẑ > 0    Ĝ = Σ_r gate_r a_r V_r    f̂ = <ĥ, Ĝ>
#include "exact_networks.hpp"

#include <algorithm>
#include <bit>
#include <numbers>

namespace fntk {
namespace {

using test::described;
using test::keep_all;
using test::networks_of;
using test::Shape;
using test::small_integers;

__extension__ using int128 = __int128;

std::int64_t integer(ConstMatrixView view, std::int64_t i, std::int64_t j) {
    return view.dtype == DType::i32 ? view.at<std::int32_t>(i, j) : view.at<std::int64_t>(i, j);
}

/// Largest exponent: 2^(E−1) ≤ max |x| < 2^E.
int scale_of(ConstMatrixView x) {
    double largest = 0;
    for (std::int64_t i = 0; i < x.rows; ++i)
        for (std::int64_t j = 0; j < x.cols; ++j) largest = std::max(largest, std::abs(value(x, i, j)));
    return largest == 0 ? 0 : std::ilogb(largest) + 1;
}

/// V and A as integers.
struct Signs {
    std::int64_t m, p, k;
    std::vector<int> v, a;

    explicit Signs(const Network& network)
        : m(network.spec().width), p(network.spec().rank), k(network.spec().outputs) {
        const Matrix up = network.materialize_up(), readout = network.materialize_readout();
        for (std::int64_t i = 0; i < m * p; ++i) v.push_back(value(up, i / p, i % p) > 0 ? 1 : -1);
        for (std::int64_t i = 0; i < m * k; ++i) a.push_back(value(readout, i / k, i % k) > 0 ? 1 : -1);
    }
};

/// Gates, Ĝ and f̂ from the ĥ of the tangent; returns how many z are exactly 0.
int expect_definition(const Tangent& t) {
    const Signs s(t.network());
    int ties = 0, wrong = 0;
    for (std::int64_t i = 0; i < t.size(); ++i) {
        std::vector<std::int64_t> g(s.k * s.p);
        std::vector<int128> f(s.k);
        for (std::int64_t r = 0; r < s.m; ++r) {
            int128 z = 0;
            for (std::int64_t q = 0; q < s.p; ++q)
                z += int128{s.v[r * s.p + q]} * integer(t.hidden_int(), i, q);
            ties += z == 0;
            wrong += t.gates().get(i, r) != (z > 0);
            if (z <= 0) continue;
            for (std::int64_t c = 0; c < s.k; ++c) {
                f[c] += s.a[r * s.k + c] * z;
                for (std::int64_t q = 0; q < s.p; ++q)
                    g[c * s.p + q] += s.a[r * s.k + c] * s.v[r * s.p + q];
            }
        }
        for (std::int64_t q = 0; q < s.k * s.p; ++q) wrong += integer(t.gradients_int(), i, q) != g[q];
        for (std::int64_t c = 0; c < s.k; ++c)
            wrong += t.values_int().dtype == DType::i64
                         ? integer(t.values_int(), i, c) != static_cast<std::int64_t>(f[c])
                         : t.values_int().at<double>(i, c) != static_cast<double>(f[c]);
    }
    EXPECT_EQ(wrong, 0) << described(t.network(), t.size());
    return ties;
}

/// ĥ and its exponents in float32 from X and U.
void expect_hidden_of_definition(const Tangent& t) {
    const Network& network = t.network();
    const Matrix u = Matrix::converted(network.materialize_down(), DType::f64);
    const bool identity = network.fixed_down().empty();
    const std::int64_t p = u.rows(), d = u.cols();
    const int bits = network.hidden_bits(), u_scale = scale_of(u);
    for (std::int64_t i = 0; i < t.size(); ++i) {
        const ConstMatrixView x = t.inputs().row_block(i, 1);
        const int x_scale = scale_of(x), scale = identity ? x_scale : x_scale + u_scale;
        Matrix v(1, p, DType::f64);  // h·2^−scale
        for (std::int64_t q = 0; q < p; ++q) {
            int128 product = 0;
            for (std::int64_t j = 0; j < d; ++j)
                product += int128{std::llrint(std::ldexp(value(x, 0, j), 22 - x_scale))} *
                           std::llrint(std::ldexp(u.at<double>(q, j), 21 - u_scale));
            v.at<double>(0, q) = identity ? std::ldexp(value(x, 0, q), -x_scale)
                                          : std::ldexp(static_cast<double>(product), -43) *
                                                (1 / std::sqrt(static_cast<double>(p)));
        }
        const int shift = bits - scale_of(v);
        std::int64_t largest = 0;
        for (std::int64_t q = 0; q < p; ++q) {
            const std::int64_t h = integer(t.hidden_int(), i, q);
            EXPECT_EQ(h, std::llrint(std::ldexp(v.at<double>(0, q), shift)));
            EXPECT_EQ(value(t.hidden(), i, q),
                      static_cast<float>(
                          std::ldexp(static_cast<double>(h), t.hidden_exp().at<std::int32_t>(i, 0))));
            largest = std::max(largest, std::abs(h));
        }
        EXPECT_LE(largest, std::int64_t{1} << bits);
        if (scale_of(v) == 0 && value(v, 0, 0) == 0 && largest == 0) {
            EXPECT_EQ(t.hidden_exp().at<std::int32_t>(i, 0), 0);
            continue;
        }
        EXPECT_GE(largest, std::int64_t{1} << (bits - 1)) << "the row's maximum sets the scale";
        EXPECT_EQ(t.hidden_exp().at<std::int32_t>(i, 0), scale - shift);
    }
}

// ---- and the right one
// -----------------------------------------------------------------------------------------------

TEST(ExactIntegers, AreThoseOfTheDefinition) {
    const Device device = Device::open("cpu", 2);
    for (const Shape& shape :
         {Shape{9, 12, 16, 75, 2, Down::srht}, Shape{9, 12, 12, 75, 2, Down::identity},
          Shape{9, 40, 5, 75, 1, Down::gaussian}, Shape{3, 1100, 4, 20, 1, Down::orthonormal}})
        for (const Network& network : networks_of(shape)) {
            const Matrix x = test::normals(shape.n, shape.d, 12, network.spec().precision);
            (void)expect_definition(tangent(device, network, x, keep_all));
            Matrix ties = small_integers(shape.n, shape.d, 1, 12, network.spec().precision);
            std::memset(ties.view().row_block(1, 1).data, 0,
                        static_cast<std::size_t>(ties.bytes() / shape.n));
            const Tangent t = tangent(device, network, ties, keep_all);
            const int count = expect_definition(t);
            const bool integral = shape.down == Down::srht || shape.down == Down::identity;
            EXPECT_GE(count, shape.m + (integral ? 10 : 0)) << "exact ties beside the row of zeros";
            if (network.spec().precision == DType::f64) continue;
            expect_hidden_of_definition(tangent(device, network, x, keep_all));
            expect_hidden_of_definition(t);
        }
}

TEST(ExactIntegers, HoldTheHiddenLayerToThePrecisionOfTheNetwork) {
    const Device device = Device::open("cpu", 2);
    for (const Shape& shape :
         {Shape{9, 12, 16, 4, 1, Down::srht}, Shape{9, 40, 5, 4, 1, Down::gaussian},
          Shape{4, 1100, 7, 4, 1, Down::orthonormal}, Shape{9, 12, 12, 4, 1, Down::identity}})
        for (const Network& network : networks_of(shape)) {
            const bool f64 = network.spec().precision == DType::f64,
                       fast = network.spec().rounding == Rounding::fast;
            const Matrix x = test::normals(shape.n, shape.d, 13, network.spec().precision);
            const Tangent t = tangent(device, network, x, keep_all);
            Matrix h = test::times_transposed(x, network.materialize_down());
            for (std::int64_t i = 0; i < h.rows() * h.cols(); ++i)
                h.row<double>(0)[i] /= std::sqrt(static_cast<double>(shape.p));
            EXPECT_LT(test::relative_error(t.hidden(), h), f64    ? 1e-14
                                                           : fast ? 0x1p-13
                                                                  : 0x1p-20)
                << described(network, shape.n);
        }
}

/// Of gaussian rows two that differ by the angle θ lie on two sides of a share θ/π of all hyperplanes.
TEST(ExactIntegers, OfFastRoundingFlipAsManyGatesAsTheAngleBetweenTheHiddenRowsTells) {
    const Device device = Device::open("cpu", 2);
    NetworkSpec spec{
        .dim = 100, .width = 1 << 17, .rank = 64, .down = Down::gaussian, .up = Up::rademacher};
    const Matrix x = test::normals(128, 100, 4, DType::f32);
    spec.rounding = Rounding::fast;
    const Tangent fast = tangent(device, Network::create(spec), x, keep_all);
    spec.rounding = Rounding::fine;
    const Tangent fine = tangent(device, Network::create(spec), x, keep_all);
    double expected = 0, found = 0;
    for (std::int64_t i = 0; i < 128; ++i) {
        const double angle =
            test::relative_error(fast.hidden().row_block(i, 1), fine.hidden().row_block(i, 1));
        expected += angle / std::numbers::pi / 128;
        for (std::int64_t w = 0; w < spec.width / 64; ++w)
            found += std::popcount(fast.gates().row(i)[w] ^ fine.gates().row(i)[w]);
    }
    found /= 128.0 * static_cast<double>(spec.width);
    EXPECT_NEAR(found, expected, 0.2 * expected) << "some 300 flips";
    EXPECT_GT(found, 5e-6);
    EXPECT_LT(found, 5e-5) << "what Rounding::fast says";
    const double g = test::relative_error(fast.gradients(), fine.gradients());
    EXPECT_NEAR(g, std::sqrt(2 * found), 0.1 * g);
    EXPECT_LT(g, 0.01) << "what Rounding::fast says";
}

TEST(ExactIntegers, AreExactInFloat64ForIntegerData) {
    const Network network = Network::create(
        {.dim = 12, .width = 40, .rank = 16, .down = Down::srht, .precision = DType::f64, .seed = 2});
    const Matrix x = small_integers(20, 12, 1000, 3, DType::f64), u = network.materialize_down();
    const Tangent t = tangent(Device::open("cpu", 1), network, x);
    for (std::int64_t i = 0; i < 20; ++i)
        for (std::int64_t q = 0; q < 16; ++q) {
            double h = 0;
            for (std::int64_t j = 0; j < 12; ++j) h += value(x, i, j) * value(u, q, j);
            EXPECT_EQ(value(t.hidden(), i, q), h / 4);
        }
}

TEST(ExactIntegers, OfTheGradientHaveTheParityOfTheOpenGates) {
    const Device device = Device::open("cpu", 2);
    for (const Network& network : networks_of({20, 12, 16, 301, 3, Down::gaussian})) {
        const Matrix x = test::normals(20, 12, 1, network.spec().precision);
        const Tangent t = tangent(device, network, x, keep_all);
        for (std::int64_t i = 0; i < 20; ++i) {
            const std::int64_t open = test::popcount(t.gates(), i);
            EXPECT_GT(open, 60);
            EXPECT_LT(open, 240);
            for (std::int64_t q = 0; q < 48; ++q) {
                EXPECT_EQ((integer(t.gradients_int(), i, q) + open) % 2, 0);
                EXPECT_LE(std::abs(integer(t.gradients_int(), i, q)), open);
            }
        }
    }
}

}  // namespace
}  // namespace fntk

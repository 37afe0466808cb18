// The exact-integer contract: ĥ, gates, Ĝ and f̂ are the same integers on every backend and for any thread count, batch
// and tile; and they are the integers of the definition, recomputed here from U, V, A and X with wide integers.
//     X̂ = rint(x·2^(22−E_i)) per row    Û = rint(u·2^(21−E_U))    ĥ = rint(X̂Ûᵀ·2^−43/√p·2^(b−E_v))
//     ẑ = V ĥ    gate = ẑ > 0    Ĝ = Σ_r gate_r a_r V_r    f̂ = <ĥ, Ĝ>
#include "support.hpp"

#include <fntk/error.hpp>

#include <numeric>

namespace fntk {
namespace {

using test::keep_all;
using test::same_bits;
using test::small_integers;

__extension__ using int128 = __int128;

struct Shape {
    std::int64_t n, d, p, m, k;
    Down down;
};

/// The networks of a shape in both ±1 families and both precisions (srht only where its rank allows it).
std::vector<Network> networks_of(const Shape& shape) {
    std::vector<Network> result;
    for (const DType precision : {DType::f32, DType::f64})
        for (const Up up : {Up::rademacher, Up::srht}) {
            const bool power = (shape.p & (shape.p - 1)) == 0;
            if (up == Up::srht && !power && shape.down != Down::identity) continue;
            result.push_back(Network::create({.dim = shape.d, .width = shape.m, .rank = shape.p, .outputs = shape.k,
                                              .down = shape.down, .up = up, .precision = precision, .seed = 11}));
            EXPECT_EQ(result.back().exactness(), Exactness::integer);
        }
    return result;
}

std::string described(const Network& network, std::int64_t n) {
    const NetworkSpec& s = network.spec();
    return "n " + std::to_string(n) + ", d " + std::to_string(s.dim) + ", p " + std::to_string(s.rank) + ", m " +
           std::to_string(s.width) + ", k " + std::to_string(s.outputs) + ", " + name(s.down) + ", " + name(s.up) + ", " +
           name(s.precision);
}

void expect_agreement(const Network& network, ConstMatrixView x) {
    static const std::vector<test::NamedDevice> devices = test::reference_and_others();
    const Tangent oracle = tangent(devices[0].device, network, x, keep_all);
    for (std::size_t i = 1; i < devices.size(); ++i) {
        SCOPED_TRACE(devices[i].name + ", " + described(network, x.rows));
        test::expect_same_integers(tangent(devices[i].device, network, x, keep_all), oracle);
    }
}

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

    explicit Signs(const Network& network) : m(network.spec().width), p(network.spec().rank), k(network.spec().outputs) {
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
            for (std::int64_t q = 0; q < s.p; ++q) z += int128{s.v[r * s.p + q]} * integer(t.hidden_int(), i, q);
            ties += z == 0;
            wrong += t.gates().get(i, r) != (z > 0);
            if (z <= 0) continue;
            for (std::int64_t c = 0; c < s.k; ++c) {
                f[c] += s.a[r * s.k + c] * z;
                for (std::int64_t q = 0; q < s.p; ++q) g[c * s.p + q] += s.a[r * s.k + c] * s.v[r * s.p + q];
            }
        }
        for (std::int64_t q = 0; q < s.k * s.p; ++q) wrong += integer(t.gradients_int(), i, q) != g[q];
        for (std::int64_t c = 0; c < s.k; ++c)
            wrong += t.values_int().dtype == DType::i64 ? integer(t.values_int(), i, c) != static_cast<std::int64_t>(f[c])
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
                                          : std::ldexp(static_cast<double>(product), -43) * (1 / std::sqrt(static_cast<double>(p)));
        }
        const int shift = bits - scale_of(v);
        std::int64_t largest = 0;
        for (std::int64_t q = 0; q < p; ++q) {
            const std::int64_t h = integer(t.hidden_int(), i, q);
            EXPECT_EQ(h, std::llrint(std::ldexp(v.at<double>(0, q), shift)));
            EXPECT_EQ(value(t.hidden(), i, q),
                      static_cast<float>(std::ldexp(static_cast<double>(h), t.hidden_exp().at<std::int32_t>(i, 0))));
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

// ---- one result everywhere -------------------------------------------------------------------------------------------

TEST(ExactIntegers, AreEqualOnEveryBackendAndThreadCountForEveryShape) {
    const Shape shapes[] = {
        {1, 1, 1, 1, 1, Down::identity},      {1, 20, 1, 300, 3, Down::gaussian},   {31, 5, 2, 63, 1, Down::gaussian},
        {32, 3, 4, 64, 3, Down::srht},        {33, 50, 31, 65, 1, Down::gaussian},  {70, 31, 31, 300, 3, Down::identity},
        {5, 40, 32, 1025, 3, Down::orthonormal}, {2, 130, 128, 300, 1, Down::gaussian}, {3, 257, 257, 70, 1, Down::identity},
        {70, 9, 8, 1, 1, Down::srht},         {2, 16, 33, 1025, 1, Down::gaussian},
        {33, 1500, 4, 65, 1, Down::gaussian},  // two chunks of columns
        {3, 2049, 2, 63, 1, Down::orthonormal}, {70, 1024, 16, 64, 1, Down::srht}, {1, 1025, 16, 64, 3, Down::srht},
        {600, 3, 2, 65, 1, Down::gaussian},    // more rows than one tile
        {2, 3, 2, 9001, 2, Down::gaussian},    // more units than two tiles
    };
    for (const Shape& shape : shapes)
        for (const Network& network : networks_of(shape))
            expect_agreement(network, test::normals(shape.n, shape.d, 3, network.spec().precision));
}

TEST(ExactIntegers, AreEqualAroundTheSizesOfWords) {
    for (const std::int64_t n : {1, 31, 32, 33, 70})
        for (const std::int64_t p : {1, 2, 31, 32})
            for (const std::int64_t m : {1, 63, 64, 65, 300}) {
                const Shape shape{n, 5, p, m, 1, Down::gaussian};
                for (const Network& network : networks_of(shape))
                    expect_agreement(network, test::normals(n, 5, 4, network.spec().precision));
            }
}

TEST(ExactIntegers, AreEqualForTiesZeroRowsDuplicatesAndEveryScale) {
    for (const Shape& shape : {Shape{33, 12, 16, 130, 1, Down::srht}, Shape{33, 12, 12, 130, 3, Down::identity},
                               Shape{33, 12, 5, 130, 1, Down::gaussian}})
        for (const Network& network : networks_of(shape)) {
            const DType precision = network.spec().precision;
            Matrix x = small_integers(shape.n, shape.d, 2, 5, DType::f64);
            const double scales[] = {1, 1e-30, 1e30, precision == DType::f64 ? 1e200 : 1e18, precision == DType::f64 ? 1e-200 : 1e-18,
                                     std::ldexp(1.0, precision == DType::f64 ? -1060 : -140)};  // the last: subnormal
            for (std::int64_t i = 0; i < shape.n; ++i)
                for (std::int64_t j = 0; j < shape.d; ++j) x.at<double>(i, j) *= i % 7 == 6 ? 0 : scales[i % 7];
            for (std::int64_t j = 0; j < shape.d; ++j) x.at<double>(32, j) = x.at<double>(18, j);
            const Matrix rounded = Matrix::converted(x, precision);
            expect_agreement(network, rounded);
            const Tangent t = tangent(Device::open("cpu", 2), network, rounded, keep_all);
            EXPECT_EQ(test::popcount(t.gates(), 6), 0) << "a row of zeros opens no gate";
            EXPECT_TRUE(same_bits(t.hidden_int().row_block(32, 1), t.hidden_int().row_block(18, 1)));
            EXPECT_TRUE(same_bits(t.gradients_int().row_block(32, 1), t.gradients_int().row_block(18, 1)));
        }
}

TEST(ExactIntegers, DoNotDependOnTheBatchTheRowOrderOrTheStride) {
    for (const Network& network : networks_of({70, 10, 8, 200, 2, Down::gaussian})) {
        const Matrix wide = test::normals(70, 13, 8, network.spec().precision);
        const ConstMatrixView x = wide.view().col_block(2, 10);
        const Device device = Device::open("cpu", 2);
        const Tangent whole = tangent(device, network, x, keep_all);
        const Matrix contiguous = Matrix::copy_of(x);
        test::expect_same_integers(tangent(device, network, contiguous, keep_all), whole);
        for (const auto& [first, count] : {std::pair{0, 1}, {1, 31}, {32, 33}, {69, 1}}) {
            const Tangent part = tangent(device, network, x.row_block(first, count), keep_all);
            EXPECT_TRUE(same_bits(part.hidden_int(), whole.hidden_int().row_block(first, count)));
            EXPECT_TRUE(same_bits(part.hidden_exp(), whole.hidden_exp().row_block(first, count)));
            EXPECT_TRUE(same_bits(part.gradients_int(), whole.gradients_int().row_block(first, count)));
            EXPECT_TRUE(same_bits(part.values_int(), whole.values_int().row_block(first, count)));
            for (std::int64_t i = 0; i < count; ++i)
                for (std::int64_t r = 0; r < 200; ++r) EXPECT_EQ(part.gates().get(i, r), whole.gates().get(first + i, r));
        }
        std::vector<std::int64_t> order(70);
        std::iota(order.begin(), order.end(), 0);
        std::shuffle(order.begin(), order.end(), std::mt19937_64(4));
        const Matrix shuffled = test::filled(70, 10, network.spec().precision, [&](auto i, auto j) { return value(x, order[i], j); });
        const Tangent moved = tangent(device, network, shuffled, keep_all);
        for (std::int64_t i = 0; i < 70; ++i) {
            EXPECT_TRUE(same_bits(moved.values_int().row_block(i, 1), whole.values_int().row_block(order[i], 1)));
            EXPECT_TRUE(same_bits(moved.gradients_int().row_block(i, 1), whole.gradients_int().row_block(order[i], 1)));
        }
    }
}

TEST(ExactIntegers, OfTheValuesAreTheSameWithAndWithoutGradients) {
    for (const Network& network : networks_of({33, 10, 8, 700, 3, Down::gaussian}))
        for (const char* name : {"reference", "cpu"}) {
            const Matrix x = test::normals(33, 10, 8, network.spec().precision);
            const Device device = Device::open(name, 2);
            const Tangent all = tangent(device, network, x, keep_all), few = tangent(device, network, x, {.only_these = true});
            EXPECT_FALSE(few.has_gradients());
            EXPECT_FALSE(few.has_gates());
            EXPECT_TRUE(same_bits(few.values_int(), all.values_int())) << described(network, 33);
            EXPECT_TRUE(same_bits(few.values(), all.values()));
        }
}

TEST(ExactIntegers, AreTheFirstOnesOfAWiderNetwork) {
    for (const Up up : {Up::rademacher, Up::srht}) {
        NetworkSpec spec{.dim = 10, .width = 600, .rank = 8, .down = Down::gaussian, .up = up, .seed = 3};
        const Matrix x = test::normals(9, 10, 1, DType::f32);
        const Device device = Device::open("cpu", 2);
        const Tangent wide = tangent(device, Network::create(spec), x, keep_all);
        spec.width = 101;
        const Tangent narrow = tangent(device, Network::create(spec), x, keep_all);
        for (std::int64_t i = 0; i < 9; ++i)
            for (std::int64_t r = 0; r < 101; ++r) EXPECT_EQ(narrow.gates().get(i, r), wide.gates().get(i, r));
    }
}

// ---- and the right one -----------------------------------------------------------------------------------------------

TEST(ExactIntegers, AreThoseOfTheDefinition) {
    const Device device = Device::open("cpu", 2);
    for (const Shape& shape : {Shape{9, 12, 16, 75, 2, Down::srht}, Shape{9, 12, 12, 75, 2, Down::identity},
                               Shape{9, 40, 5, 75, 1, Down::gaussian}, Shape{3, 1100, 4, 20, 1, Down::orthonormal}})
        for (const Network& network : networks_of(shape)) {
            const Matrix x = test::normals(shape.n, shape.d, 12, network.spec().precision);
            (void)expect_definition(tangent(device, network, x, keep_all));
            Matrix ties = small_integers(shape.n, shape.d, 1, 12, network.spec().precision);
            std::memset(ties.view().row_block(1, 1).data, 0, static_cast<std::size_t>(ties.bytes() / shape.n));
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
    for (const Shape& shape : {Shape{9, 12, 16, 4, 1, Down::srht}, Shape{9, 40, 5, 4, 1, Down::gaussian},
                               Shape{4, 1100, 7, 4, 1, Down::orthonormal}, Shape{9, 12, 12, 4, 1, Down::identity}})
        for (const Network& network : networks_of(shape)) {
            const bool f64 = network.spec().precision == DType::f64;
            const Matrix x = test::normals(shape.n, shape.d, 13, network.spec().precision);
            const Tangent t = tangent(device, network, x, keep_all);
            Matrix h = test::times_transposed(x, network.materialize_down());
            for (std::int64_t i = 0; i < h.rows() * h.cols(); ++i) h.row<double>(0)[i] /= std::sqrt(static_cast<double>(shape.p));
            EXPECT_LT(test::relative_error(t.hidden(), h), f64 ? 1e-14 : 0x1p-20) << described(network, shape.n);
        }
}

TEST(ExactIntegers, AreExactInFloat64ForIntegerData) {
    const Network network = Network::create({.dim = 12, .width = 40, .rank = 16, .down = Down::srht, .precision = DType::f64, .seed = 2});
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

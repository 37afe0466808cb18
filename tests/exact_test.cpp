// The exact-integer contract: ĥ, gates, Ĝ and f̂ are the same integers on every backend and for any thread
// count, batch and tile. That they are the right ones is in exact_definition_test.cpp.
#include "exact_networks.hpp"

#include <backend/ops.hpp>

#include <algorithm>
#include <numeric>

namespace fntk {
namespace {

using test::described;
using test::keep_all;
using test::networks_of;
using test::same_bits;
using test::Shape;
using test::small_integers;

void expect_agreement(const Network& network, ConstMatrixView x) {
    // Never destroyed: at the exit of a process libraries of a GPU may go before the handle that uses them.
    static const auto& devices = *new std::vector<test::NamedDevice>(test::reference_and_others());
    const Tangent oracle = tangent(devices[0].device, network, x, keep_all);
    for (std::size_t i = 1; i < devices.size(); ++i) {
        SCOPED_TRACE(devices[i].name + ", " + described(network, x.rows));
        test::expect_same_integers(tangent(devices[i].device, network, x, keep_all), oracle);
    }
}

TEST(ExactIntegers, AreEqualOnEveryBackendAndThreadCountForEveryShape) {
    const Shape shapes[] = {
        {1, 1, 1, 1, 1, Down::identity},
        {1, 20, 1, 300, 3, Down::gaussian},
        {31, 5, 2, 63, 1, Down::gaussian},
        {32, 3, 4, 64, 3, Down::srht},
        {33, 50, 31, 65, 1, Down::gaussian},
        {70, 31, 31, 300, 3, Down::identity},
        {5, 40, 32, 1025, 3, Down::orthonormal},
        {2, 130, 128, 300, 1, Down::gaussian},
        {3, 257, 257, 70, 1, Down::identity},
        {70, 9, 8, 1, 1, Down::srht},
        {2, 16, 33, 1025, 1, Down::gaussian},
        {33, 1500, 4, 65, 1, Down::gaussian},  // two chunks of columns
        {3, 2049, 2, 63, 1, Down::orthonormal},
        {70, 1024, 16, 64, 1, Down::srht},
        {1, 1025, 16, 64, 3, Down::srht},
        {600, 3, 2, 65, 1, Down::gaussian},  // more rows than one tile
        {2, 3, 2, 9001, 2, Down::gaussian},  // more units than two tiles
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
    for (const Shape& shape :
         {Shape{33, 12, 16, 130, 1, Down::srht}, Shape{33, 12, 12, 130, 3, Down::identity},
          Shape{33, 12, 5, 130, 1, Down::gaussian}})
        for (const Network& network : networks_of(shape)) {
            const DType precision = network.spec().precision;
            Matrix x = small_integers(shape.n, shape.d, 2, 5, DType::f64);
            const double scales[] = {
                1,
                1e-30,
                1e30,
                precision == DType::f64 ? 1e200 : 1e18,
                precision == DType::f64 ? 1e-200 : 1e-18,
                std::ldexp(1.0, precision == DType::f64 ? -1060 : -140)};  // the last: subnormal
            for (std::int64_t i = 0; i < shape.n; ++i)
                for (std::int64_t j = 0; j < shape.d; ++j)
                    x.at<double>(i, j) *= i % 7 == 6 ? 0 : scales[i % 7];
            for (std::int64_t j = 0; j < shape.d; ++j) x.at<double>(32, j) = x.at<double>(18, j);
            const Matrix rounded = Matrix::converted(x, precision);
            expect_agreement(network, rounded);
            const Tangent t = tangent(Device::open("cpu", 2), network, rounded, keep_all);
            EXPECT_EQ(test::popcount(t.gates(), 6), 0) << "a row of zeros opens no gate";
            EXPECT_TRUE(same_bits(t.hidden_int().row_block(32, 1), t.hidden_int().row_block(18, 1)));
            EXPECT_TRUE(same_bits(t.gradients_int().row_block(32, 1), t.gradients_int().row_block(18, 1)));
        }
}

TEST(ExactIntegers, OfTheDigitProductsSurviveTheLargestSums) {
    const std::int64_t n = 5, d = 5000,
                       p = 3;  // all of one sign: sums reach d·2^43, beyond 2^53 without chunks
    for (const DType precision : {DType::f32, DType::f64}) {
        std::mt19937_64 engine(5);
        const auto near_one = [&](auto, auto) {
            return 1 - static_cast<double>(engine() % 4096) * 0x1p-22;
        };
        const Matrix x = test::filled(n, d, precision, near_one),
                     u = test::filled(p, d, DType::f64, near_one);
        const Network network = Network::from_tensors({.dim = d,
                                                       .width = 1,
                                                       .rank = p,
                                                       .down = Down::gaussian,
                                                       .up = Up::rademacher,
                                                       .precision = precision},
                                                      {u, {}, {}});
        Matrix v[2], exponents[2];
        for (const int i : {0, 1}) {
            v[i] = Matrix(n, p, DType::f64);
            exponents[i] = Matrix(n, 1, DType::i32);
            Device::open(i == 0 ? "reference" : "cpu", 2)
                .ops()
                .down_product(x, network.fixed_down(), 1, v[i], exponents[i]);
        }
        EXPECT_TRUE(same_bits(v[0], v[1])) << name(precision);
        EXPECT_TRUE(same_bits(exponents[0], exponents[1]));
        EXPECT_GT(std::abs(std::ldexp(v[0].at<double>(0, 0), exponents[0].at<std::int32_t>(0, 0))), 4990);
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
                for (std::int64_t r = 0; r < 200; ++r)
                    EXPECT_EQ(part.gates().get(i, r), whole.gates().get(first + i, r));
        }
        std::vector<std::int64_t> order(70);
        std::iota(order.begin(), order.end(), 0);
        std::shuffle(order.begin(), order.end(), std::mt19937_64(4));
        const Matrix shuffled = test::filled(70, 10, network.spec().precision,
                                             [&](auto i, auto j) { return value(x, order[i], j); });
        const Tangent moved = tangent(device, network, shuffled, keep_all);
        for (std::int64_t i = 0; i < 70; ++i) {
            EXPECT_TRUE(
                same_bits(moved.values_int().row_block(i, 1), whole.values_int().row_block(order[i], 1)));
            EXPECT_TRUE(same_bits(moved.gradients_int().row_block(i, 1),
                                  whole.gradients_int().row_block(order[i], 1)));
        }
    }
}

TEST(ExactIntegers, OfTheValuesAreTheSameWithAndWithoutGradients) {
    for (const Network& network : networks_of({33, 10, 8, 700, 3, Down::gaussian}))
        for (const char* name : {"reference", "cpu"}) {
            const Matrix x = test::normals(33, 10, 8, network.spec().precision);
            const Device device = Device::open(name, 2);
            const Tangent all = tangent(device, network, x, keep_all),
                          few = tangent(device, network, x, {.only_these = true});
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
            for (std::int64_t r = 0; r < 101; ++r)
                EXPECT_EQ(narrow.gates().get(i, r), wide.gates().get(i, r));
    }
}

}  // namespace
}  // namespace fntk

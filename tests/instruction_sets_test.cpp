// Every instruction set that this machine has gives the integers of the reference backend.
#include "exact_networks.hpp"

#include <fntk/error.hpp>
#include <fntk/training.hpp>

#include <backend/ops.hpp>
#include <backend/simd/products.hpp>
#include <backend/simd/random.hpp>
#include <backend/simd/target.hpp>

#include <algorithm>
#include <random>

namespace fntk {
namespace {

/// Puts the machine's own instruction set back at the end.
struct Forced {
    explicit Forced(const std::string& name) { backend::use_simd_target(name); }
    ~Forced() { backend::use_simd_target(""); }
};

TEST(InstructionSets, AreListedFromTheBestAndChosenByName) {
    const std::vector<std::string> targets = backend::simd_targets();
    ASSERT_FALSE(targets.empty());
    EXPECT_EQ(backend::simd_target(), targets.front());
    {
        const Forced forced(targets.back());
        EXPECT_EQ(backend::simd_target(), targets.back());
        EXPECT_EQ(backend::simd_targets(), targets);
    }
    EXPECT_EQ(backend::simd_target(), targets.front());
    EXPECT_THROW(backend::use_simd_target("MMX"), ValueError);
}

// Rows around a group of 64 samples and around a vector of each width; ranks whose transforms visit memory
// once to four times, with sums in int8, int16 and int32; widths of a cut-off tile and of enough tiles for
// a slice per thread.
TEST(SlowInstructionSets, GiveTheSameWidePass) {
    const test::Shape shapes[] = {
        {1, 7, 1, 65, 2, Down::gaussian},        {3, 20, 16, 100, 1, Down::gaussian},
        {9, 40, 33, 4097, 1, Down::gaussian},    {17, 30, 32, 300, 2, Down::gaussian},
        {63, 10, 64, 129, 1, Down::gaussian},    {64, 12, 128, 300, 1, Down::gaussian},
        {65, 9, 256, 130, 1, Down::gaussian},    {67, 5, 512, 130, 2, Down::gaussian},
        {66, 100, 100, 300, 1, Down::identity},  {5, 1025, 1025, 300, 1, Down::identity},
        {2, 4100, 4100, 300, 1, Down::identity}, {1, 16400, 16400, 100, 1, Down::identity},
        {5, 6, 8, 40000, 1, Down::gaussian},
    };
    const Device oracle_device = Device::open("reference");
    const Device devices[] = {Device::open("cpu", 1), Device::open("cpu", 7)};
    for (const test::Shape& shape : shapes)
        for (const Network& network : test::networks_of(shape)) {
            const Matrix x = test::normals(shape.n, shape.d, 3, network.spec().precision);
            const Tangent oracle = tangent(oracle_device, network, x, test::keep_all);
            for (const std::string& target : backend::simd_targets())
                for (const Device& device : devices) {
                    SCOPED_TRACE(target + ", " + test::described(network, shape.n));
                    const Forced forced(target);
                    test::expect_same_integers(tangent(device, network, x, test::keep_all), oracle);
                }
        }
}

// Runs that begin and end anywhere in a block and in a vector of blocks; a block number that passes 2^32.
TEST(InstructionSets, GiveTheSameRandomWords) {
    for (const std::string& target : backend::simd_targets()) {
        const Forced forced(target);
        for (const std::uint64_t first :
             {std::uint64_t{0}, std::uint64_t{5}, (std::uint64_t{1} << 34) - 10})
            for (const std::int64_t count : {0, 1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 200}) {
                std::vector<std::uint32_t> words(count + 1, 7);
                backend::random_words(0xFEDCBA9876543210ULL, kernels::Stream::up, first, count,
                                      words.data());
                for (std::int64_t i = 0; i < count; ++i)
                    ASSERT_EQ(words[i], kernels::random_word(0xFEDCBA9876543210ULL, kernels::Stream::up,
                                                             first + static_cast<std::uint64_t>(i)))
                        << target << ", word " << first << " + " << i << " of " << count;
                EXPECT_EQ(words[count], 7U) << target << ", " << count;
            }
    }
}

BitMatrix random_bits(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
    std::mt19937_64 engine(seed);
    BitMatrix bits(rows, cols);
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t r = 0; r < cols; ++r) bits.view().row(i)[r / 64] |= (engine() & 1) << (r % 64);
    return bits;
}

/// C += A B and <C_i, C_0> in whole numbers that float holds, by formula and by backend/simd/products.hpp.
template <class T>
void expect_products(std::int64_t rows, std::int64_t depth, std::int64_t cols, bool accumulate,
                     bool transposed) {
    const DType type = sizeof(T) == 4 ? DType::f32 : DType::f64;
    const Matrix a = transposed ? test::small_integers(depth, rows, 4, 1, type)
                                : test::small_integers(rows, depth, 4, 1, type),
                 b = test::small_integers(depth, cols + 2, 4, 2, type);
    const std::int64_t width = backend::panelled<T>(cols), stride = width + 1;
    std::vector<T> panels(static_cast<std::size_t>(depth * width)),
        c(static_cast<std::size_t>(rows * stride), T(7));
    std::vector<T> factors(static_cast<std::size_t>(depth), T(2));
    factors.front() = -1;
    backend::pack_panels(b.view().row<T>(0), cols + 2, depth, cols, transposed ? factors.data() : nullptr,
                         panels.data());
    const backend::Strides<T> left{a.view().row<T>(0), transposed ? 1 : depth, transposed ? rows : 1};
    const backend::Ahead ahead{a.view().data, a.bytes()};
    backend::multiply(backend::BlockProduct<T>{.a = left,
                                               .rows = rows,
                                               .depth = depth,
                                               .cols = cols,
                                               .panels = panels.data(),
                                               .accumulate = accumulate,
                                               .c = c.data(),
                                               .stride = stride,
                                               .ahead = {ahead, {}}});
    for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < width; ++j) {
            double sum = accumulate ? 7 : 0;
            for (std::int64_t l = 0; l < depth && j < cols; ++l)
                sum += (transposed ? (l == 0 ? -1 : 2) * value(a, l, i) : value(a, i, l)) * value(b, l, j);
            ASSERT_EQ(c[static_cast<std::size_t>(i * stride + j)], sum) << i << ", " << j;
        }
        ASSERT_EQ(c[static_cast<std::size_t>(i * stride + width)], T(7)) << "behind row " << i;
    }
    double sum = 0;
    for (std::int64_t j = 0; j < cols; ++j) sum += value(b, 0, j) * value(b, depth - 1, j);
    EXPECT_EQ(backend::dot(b.view().row<T>(0), b.view().row<T>(depth - 1), cols), sum);
}

// Rows around a tile of 6, columns around panels of 4 to 32.
TEST(InstructionSets, MultiplyBlocksOfAnyShape) {
    for (const std::string& target : backend::simd_targets()) {
        const Forced forced(target);
        for (const std::int64_t rows : {1, 2, 3, 4, 5, 6, 7, 13})
            for (const std::int64_t cols : {1, 3, 4, 8, 15, 16, 17, 33, 94})
                for (const std::int64_t depth : {1, 7, 96})
                    for (const bool accumulate : {false, true})
                        for (const bool transposed : {false, true}) {
                            SCOPED_TRACE(target + ", " + std::to_string(rows) + " × " +
                                         std::to_string(depth) + " × " + std::to_string(cols));
                            expect_products<float>(rows, depth, cols, accumulate, transposed);
                            expect_products<double>(rows, depth, cols, accumulate, transposed);
                        }
    }
}

TEST(InstructionSets, GiveTheSameCountsOfCommonGates) {
    const Device reference = Device::open("reference"), cpu = Device::open("cpu", 2);
    for (const std::int64_t width : {1, 64, 65, 511, 513, 16450}) {
        const BitMatrix rows = random_bits(3, width, 1), cols = random_bits(66, width, 2),
                        weights = random_bits(1, width, 3);
        const auto expect_equal = [&](const BitMatrix& a, const BitMatrix& b, ConstBitView w) {
            Matrix want(a.rows(), b.rows(), DType::i32), have(a.rows(), b.rows(), DType::i32);
            reference.ops().gate_gram(a, b, w, want);
            for (const std::string& target : backend::simd_targets()) {
                const Forced forced(target);
                cpu.ops().gate_gram(a, b, w, have);
                EXPECT_TRUE(test::same_bits(have, want)) << target << ", width " << width;
            }
        };
        expect_equal(rows, cols, {});
        expect_equal(rows, cols, weights);
        expect_equal(cols, cols, {});
        expect_equal(cols, cols, weights);
    }
}

TEST(InstructionSets, CountWhenEveryGateIsOpen) {
    const Device cpu = Device::open("cpu", 1);
    for (const std::int64_t width : {2048, 16384, 32768, 40001}) {
        BitMatrix open(5, width);
        for (std::int64_t i = 0; i < 5; ++i)
            for (std::int64_t r = 0; r < width; ++r)
                open.view().row(i)[r / 64] |= std::uint64_t{1} << (r % 64);
        Matrix want(5, 5, DType::i32);
        std::fill_n(want.row<std::int32_t>(0), 25, static_cast<std::int32_t>(width));
        for (const std::string& target : backend::simd_targets()) {
            const Forced forced(target);
            Matrix have(5, 5, DType::i32);
            cpu.ops().gate_gram(open, open, {}, have);
            EXPECT_TRUE(test::same_bits(have, want)) << target << ", width " << width;
        }
    }
}

TEST(InstructionSets, GiveTheSameDigits) {
    const Device reference = Device::open("reference"), cpu = Device::open("cpu", 2);
    for (const DType precision : {DType::f32, DType::f64})
        for (const double scale : {1.0, 3e-38, 1e38})
            for (const std::int64_t d : {1, 3, 17, 1030}) {
                const double extreme = precision == DType::f64 ? scale * scale : scale;  // to subnormals
                const Matrix x = test::filled(5, d, precision, [&](std::int64_t i, std::int64_t j) {
                    return i == 2 ? 0.0 : extreme * std::sin(static_cast<double>(7 * i + j + 1));
                });
                const Network network = Network::create(
                    {.dim = d, .width = 3, .rank = 4, .down = Down::gaussian, .precision = precision});
                const Tangent want = tangent(reference, network, x, test::keep_all);
                for (const std::string& target : backend::simd_targets()) {
                    SCOPED_TRACE(target + ", d " + std::to_string(d) + ", scale " + std::to_string(scale));
                    const Forced forced(target);
                    test::expect_same_integers(tangent(cpu, network, x, test::keep_all), want);
                }
            }
}

TEST(InstructionSets, DrawTheSameNormals) {
    const Device reference = Device::open("reference"), cpu = Device::open("cpu", 2);
    for (const DType precision : {DType::f32, DType::f64})
        for (const std::int64_t rank : {1, 3, 7, 64, 101})
            for (const std::int64_t first : {0, 1, 5}) {
                const UpFactor up{
                    .family = Up::gaussian, .width = 50, .rank = rank, .seed = 9, .values = {}};
                Matrix want(40, rank, precision), have(40, rank, precision);
                reference.ops().up_rows(up, first, want);
                for (const std::string& target : backend::simd_targets()) {
                    const Forced forced(target);
                    cpu.ops().up_rows(up, first, have);
                    EXPECT_TRUE(test::same_bits(have, want)) << target << ", rank " << rank;
                }
            }
}

// Floating point promises an error, not bits: sums of at most 500 terms in float64.
TEST(InstructionSets, AgreeInFloatingPoint) {
    const Device reference = Device::open("reference"), cpu = Device::open("cpu", 2);
    for (const Activation activation : {Activation::relu, Activation::leaky_relu, Activation::abs})
        for (const std::int64_t width : {1, 63, 64, 70, 500}) {
            const Network network = Network::create({.dim = 9,
                                                     .width = width,
                                                     .rank = 5,
                                                     .outputs = 3,
                                                     .down = Down::gaussian,
                                                     .up = Up::gaussian,
                                                     .train = {.up = true},
                                                     .activation = {activation, 0.3},
                                                     .precision = DType::f64});
            const Matrix x = test::normals(7, 9, 2), y = test::normals(7, 3, 3);
            const Tangent want = tangent(reference, network, x, test::keep_all);
            const TrainingOptions options{.steps = 2, .rule = StepRule::given, .step = 0.1};
            const Matrix trained = train(reference, network, x, y, options).network.materialize_up();
            for (const std::string& target : backend::simd_targets()) {
                SCOPED_TRACE(target + ", width " + std::to_string(width));
                const Forced forced(target);
                const Tangent have = tangent(cpu, network, x, test::keep_all);
                EXPECT_TRUE(test::same_bits(have.gates(), want.gates()));
                EXPECT_LT(test::relative_error(have.values(), want.values()), 1e-13);
                EXPECT_LT(test::relative_error(have.gradients(), want.gradients()), 1e-13);
                EXPECT_LT(test::relative_error(train(cpu, network, x, y, options).network.materialize_up(),
                                               trained),
                          1e-13);
            }
        }
}

}  // namespace
}  // namespace fntk

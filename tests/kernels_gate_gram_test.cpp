// Counts of common gates against the reference, weighted or not, of one set of rows or two, on mma and on
// wgmma of bits.
#include "kernel_rows.hpp"

#include <gate_gram.hpp>
#include <gate_gram_wgmma.hpp>

namespace fntk::test {
namespace {

BitMatrix random_bits(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
    std::mt19937_64 engine(seed);
    BitMatrix bits(rows, cols);
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < cols; ++j)
            if (i % 7 == 5 || engine() % 2 == 1) bits.view().row(i)[j / 64] |= std::uint64_t{1} << (j % 64);
    return bits;
}

const kernels::DeviceLimits limits{.multiprocessors = 132, .shared_bytes_per_block = 227 * 1024};

/// weights empty: unweighted.
template <class Kernel>
void run_gram(ConstBitView rows, ConstBitView cols, ConstBitView weights,
              const kernels::Rows<std::int32_t>& counts, std::int64_t blocks = 0, std::int64_t slices = 1) {
    Kernel kernel;
    kernel.width = rows.cols;
    kernel.a = rows_in(rows);
    kernel.b = rows_in(cols);
    if constexpr (requires { kernel.w; }) kernel.w = weights.words;
    kernel.counts = counts;
    kernel.slices = slices;
    run_on_host(kernel, {.limits = limits, .blocks = blocks});
}

using Plain = kernels::GateGram<false>;
using Weighted = kernels::GateGram<true>;
using Wgmma = kernels::GateGramWgmma;

template <class Kernel>
void expect_exact(BitView rows, BitView cols, std::int64_t blocks = 0, std::int64_t slices = 1) {
    BitMatrix bits = random_bits(1, rows.cols, 9);
    const ConstBitView weights = std::is_same_v<Kernel, Weighted> ? ConstBitView(bits) : ConstBitView();
    Matrix expected(rows.rows, cols.rows, DType::i32);
    reference().gate_gram(rows, cols, weights, expected);
    Guarded<std::int32_t> counts(rows.rows, cols.rows, 5, slices > 1 ? 0 : -77777, 1 << 30);
    run_gram<Kernel>(rows, cols, weights, counts.view, blocks, slices);
    expect_equal(counts.view, expected,
                 std::to_string(slices) + " slices, " + std::to_string(rows.rows) + " by " +
                     std::to_string(cols.rows) + ", width " + std::to_string(rows.cols));
    EXPECT_TRUE(counts.intact());
}

template <class Kernel>
class GateGram : public ::testing::Test {};
struct KernelNames {
    template <class Kernel>
    static std::string GetName(int) {
        return std::is_same_v<Kernel, Plain>      ? "Plain"
               : std::is_same_v<Kernel, Weighted> ? "Weighted"
                                                  : "Wgmma";
    }
};
using GateGrams = ::testing::Types<Plain, Weighted, Wgmma>;
TYPED_TEST_SUITE(GateGram, GateGrams, KernelNames);

TYPED_TEST(GateGram, EqualsTheReference) {
    for (const auto& [n, other, width] : {std::tuple{1, 1, 1},
                                          {31, 33, 63},
                                          {64, 65, 64},
                                          {65, 1, 65},
                                          {33, 130, 130},
                                          {3, 257, 1024},
                                          {65, 32, 1100},
                                          {130, 129, 64 * 41}}) {
        BitMatrix rows = random_bits(n, width, 1), cols = random_bits(other, width, 2);
        expect_exact<TypeParam>(rows, cols);
    }
}

TYPED_TEST(GateGram, OfOneSetOfRowsIsSymmetric) {
    for (const std::int64_t n : {1, 64, 128, 129, 300}) {
        BitMatrix bits = random_bits(n, 150, 3);
        expect_exact<TypeParam>(bits, bits);
    }
}

TYPED_TEST(GateGram, DoesNotDependOnTheLaunchOrTheStride) {
    BitMatrix wide = random_bits(140, 64 * 5, 4);
    const BitView part{wide.view().words + 1, 140, 3 * 64, 5}, fewer{wide.view().words + 1, 70, 3 * 64, 5};
    for (const std::int64_t blocks : {1, 2, 5, 11}) {
        expect_exact<TypeParam>(part, part, blocks);
        expect_exact<TypeParam>(fewer, part, blocks);  // rows shared, but two views
    }
}

TYPED_TEST(GateGram, AddsSlicesOfTheWidth) {
    // 7 stages; of wgmma 4, so that some slices have none.
    BitMatrix rows = random_bits(70, 64 * 50 + 3, 6), cols = random_bits(20, 64 * 50 + 3, 7);
    for (const std::int64_t slices : {3, 7}) {
        expect_exact<TypeParam>(rows, cols, 0, slices);
        expect_exact<TypeParam>(rows, rows, 3, slices);
    }
}

/// Blocks that go round their stages, several tiles each, with and without mirror images.
TEST(GateGramWgmma, TakesTilesInTurn) {
    BitMatrix rows = random_bits(260, 64 * 33, 8), cols = random_bits(20, 64 * 33, 9);  // 3 stages
    expect_exact<Wgmma>(rows, rows, 2);
    expect_exact<Wgmma>(rows, cols, 1);
    expect_exact<Wgmma>(cols, rows, 1);
}

TEST(GateGramLaunch, SplitsTheWidthWhereThereAreFewTiles) {
    const auto slices = [](auto kernel, std::int64_t n, std::int64_t width) {
        kernel.a = kernel.b = {nullptr, n, (width + 63) / 64, (width + 63) / 64};
        kernel.width = width;
        return kernel.slices_for(limits);
    };
    const kernels::GateGram<false> plain;
    EXPECT_EQ(slices(plain, 1024, 65536),
              264 / 36);  // 36 tiles of one triangle, two blocks a multiprocessor
    EXPECT_EQ(slices(kernels::GateGram<true>{}, 1024, 65536), 132 / 36);
    EXPECT_EQ(slices(plain, 64, std::int64_t{1} << 30), 264);
    EXPECT_EQ(slices(plain, 64, 65536), 128 / 16);  // 16 stages each at least
    EXPECT_EQ(slices(plain, 64, 1000), 1);
    EXPECT_EQ(slices(plain, 8192, 65536), 1);
    EXPECT_EQ(slices(plain, 0, 65536), 1);
    const Wgmma wgmma;
    EXPECT_EQ(slices(wgmma, 1024, 65536),
              132 / 20);                          // 20 tiles of two a square, one block a multiprocessor
    EXPECT_EQ(slices(wgmma, 64, 65536), 64 / 8);  // 8 stages each at least
    EXPECT_EQ(slices(wgmma, 8192, 65536), 1);
    EXPECT_EQ(slices(wgmma, 0, 65536), 1);
}

TEST(GateGramLaunch, IgnoresWeightsBehindTheWidth) {
    BitMatrix bits = random_bits(3, 70, 5);
    std::uint64_t ones[2] = {~std::uint64_t{0}, ~std::uint64_t{0}};
    Matrix expected(3, 3, DType::i32);
    reference().gate_gram(bits, bits, {}, expected);
    Guarded<std::int32_t> counts(3, 3, 0, 0, 0);
    run_gram<Weighted>(bits, bits, ConstBitView{ones, 1, 70, 2}, counts.view);
    expect_equal(counts.view, expected, "weights 1");
}

TYPED_TEST(GateGram, LaunchesNothingForNothing) {
    std::uint64_t word = 0;
    std::int32_t count = -1;
    TypeParam kernel;
    kernel.width = 64;
    kernel.a = {&word, 0, 1, 1};
    kernel.b = {&word, 3, 1, 1};
    EXPECT_EQ(kernel.launch({}).blocks, 0);
    const BitView no_units{&word, 1, 0, 0};  // counts of 0, written
    run_gram<TypeParam>(no_units, no_units, {}, {&count, 1, 1, 1});
    EXPECT_EQ(count, 0);
}

}  // namespace
}  // namespace fntk::test

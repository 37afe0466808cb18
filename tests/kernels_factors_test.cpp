// Seeded factors as kernels draw them: rows of V and A, and their sum S, against the reference.
#include "kernel_rows.hpp"

#include <open_sum.hpp>
#include <readout_rows.hpp>
#include <up_rows.hpp>

#include <tuple>

namespace fntk::test {
namespace {

HostOptions on_blocks(std::int64_t blocks) {
    HostOptions options;
    options.blocks = blocks;
    return options;
}

TEST(SignWords, AreTheSignsOfTheDefinition) {
    for (const std::int64_t p : {1, 2, 5, 32, 33, 100, 256})
        for (const std::int64_t r : {0, 1, 31, 63, 64, 1000})
            for (std::int64_t q = 0; q < p; ++q) {
                const std::int64_t padded = kernels::next_power_of_two(p);
                EXPECT_EQ(kernels::rademacher_bits(3, r, q / 32, p) >> (q % 32) & 1U,
                          kernels::rademacher_sign(3, r, q, p) > 0);
                EXPECT_EQ(kernels::srht_bits(3, r, q / 32, padded) >> (q % 32) & 1U,
                          kernels::srht_sign(3, r, q, p) > 0);
                EXPECT_EQ(kernels::readout_bits(3, r / 32, q) >> (r % 32) & 1U,
                          kernels::readout_sign(3, r, q) > 0);
            }
    for (std::uint32_t bits = 0; bits < 16; ++bits)
        for (unsigned j = 0; j < 4; ++j)
            EXPECT_EQ(static_cast<std::int8_t>(kernels::sign_bytes(bits | 0xF0) >> (8 * j)),
                      bits >> j & 1U ? 1 : -1);
}

TEST(SignWords, DigitsSumToTheNumber) {
    for (const std::int32_t number :
         {0, 1, 127, 128, -128, -129, 255, 256, 32639, 32640, -32896, 1 << 22, -(1 << 22)}) {
        std::int32_t rest = number, sum = 0;
        for (const int weight : {1, 256, 65536}) {
            const int digit = kernels::take_low_digit(rest);
            EXPECT_GE(digit, -128);
            EXPECT_LE(digit, 127);
            sum += digit * weight;
        }
        EXPECT_EQ(rest, 0);
        EXPECT_EQ(sum, number);
    }
}

/// One warp transposes 32 × 32 bits.
struct Transpose {
    static constexpr int max_threads = 32;
    const std::uint32_t* rows;
    std::uint32_t* cols;

    kernels::Launch launch(const kernels::DeviceLimits& /*limits*/) const { return {1, 32, 0}; }
    template <class Grid>
    void operator()(Grid& grid) const {
        cols[grid.lane()] = kernels::transpose_bits(grid, rows[grid.lane()]);
    }
};

TEST(SignWords, AreTransposedOverAWarp) {
    std::mt19937 engine(4);
    std::uint32_t rows[32], cols[32];
    for (std::uint32_t& row : rows) row = static_cast<std::uint32_t>(engine());
    run_on_host(Transpose{rows, cols});
    for (int i = 0; i < 32; ++i)
        for (int j = 0; j < 32; ++j) EXPECT_EQ(cols[j] >> i & 1U, rows[i] >> j & 1U);
}

void expect_open_sum(Up family, std::int64_t m, std::int64_t p, std::int64_t k, std::int64_t blocks,
                     int steps = 128) {
    const UpFactor up = seeded_up(family, m, p);
    const Readout readout = seeded_readout(m, k);
    Matrix expected(k, p, DType::i32);
    reference().open_sum(up, readout, expected);
    Guarded<std::int32_t> sum(k, p, 2, 0, 1 << 30);
    const auto run = [&](auto kernel) {
        kernel.up_seed = up.seed;
        kernel.readout_seed = readout.seed;
        kernel.m = m;
        kernel.sum = sum.view;
        kernel.steps = steps;
        run_on_host(kernel, on_blocks(blocks));
    };
    if (family == Up::srht)
        run(kernels::OpenSum<true>{});
    else
        run(kernels::OpenSum<false>{});
    expect_equal(sum.view, expected,
                 std::string(name(family)) + " m " + std::to_string(m) + " p " + std::to_string(p));
    EXPECT_TRUE(sum.intact());
}

TEST(OpenSum, EqualsTheReference) {
    for (const Up family : {Up::rademacher, Up::srht}) {
        for (const std::int64_t p : {1, 2, 31, 32, 33, 64, 100, 128, 200, 256})
            expect_open_sum(family, 300, p, 1, 0);
        for (const std::int64_t m : {1, 3, 63, 64, 65, 129, 1100}) expect_open_sum(family, m, 33, 3, 0);
        expect_open_sum(family, 37, 4200, 1, 0);    // more words than a group has residues
        expect_open_sum(family, 4200, 1100, 1, 3);  // several items along the width
    }
}

TEST(OpenSum, DoesNotDependOnTheLaunch) {
    for (const std::int64_t blocks : {1, 2, 5, 40})
        for (const Up family : {Up::rademacher, Up::srht}) expect_open_sum(family, 1500, 130, 3, blocks);
    for (const int steps : {16, 32, 64})
        for (const Up family : {Up::rademacher, Up::srht}) expect_open_sum(family, 1500, 130, 2, 0, steps);
}

TEST(OpenSum, GivesEveryMultiprocessorAnItem) {
    std::int32_t memory = 0;
    const auto steps = [&](std::int64_t m, std::int64_t p) {
        kernels::OpenSum<false> kernel;
        kernel.m = m;
        kernel.sum = {&memory, 1, p, p};
        return kernel.steps_for({.multiprocessors = 132});
    };
    EXPECT_EQ(steps(4096, 256), 16);
    EXPECT_EQ(steps(std::int64_t{1} << 20, 256), 32);  // 256 items of 8 slices by 32 threads
    EXPECT_EQ(steps(std::int64_t{1} << 24, 256), 128);
}

template <class T>
void expect_up_rows(Up family, std::int64_t r0, std::int64_t b, std::int64_t p, std::int64_t blocks) {
    const UpFactor up = seeded_up(family, r0 + b, p);
    Matrix expected(b, p, dtype_of<T>);
    reference().up_rows(up, r0, expected);
    Guarded<T> rows(b, p, 3, T(9), T(7));
    const auto run = [&](auto kernel) {
        kernel.seed = up.seed;
        kernel.r0 = r0;
        kernel.rows = rows.view;
        run_on_host(kernel, on_blocks(blocks));
    };
    if (family == Up::gaussian)
        run(kernels::UpRowsOfNormals<T>{});
    else if (family == Up::srht)
        run(kernels::UpRowsOfSigns<T, true>{});
    else
        run(kernels::UpRowsOfSigns<T, false>{});
    expect_equal(rows.view, expected, std::string(name(family)) + " p " + std::to_string(p));
    EXPECT_TRUE(rows.intact());
}

TEST(UpRows, EqualTheReference) {
    for (const Up family : {Up::rademacher, Up::srht, Up::gaussian})
        for (const auto& [r0, b, p, blocks] : {std::tuple{0, 1, 1, 0},
                                               {5, 33, 3, 0},
                                               {64, 31, 31, 1},
                                               {7, 40, 32, 2},
                                               {3, 9, 33, 0},
                                               {130, 5, 257, 1}}) {
            expect_up_rows<float>(family, r0, b, p, blocks);
            expect_up_rows<double>(family, r0, b, p, blocks);
        }
}

template <class T>
void expect_readout_rows(std::int64_t r0, std::int64_t b, std::int64_t k, std::int64_t blocks) {
    const Readout readout = seeded_readout(r0 + b, k);
    Matrix expected(b, k, dtype_of<T>);
    reference().readout_rows(readout, r0, expected);
    Guarded<T> rows(b, k, 2, T(9), T(7));
    kernels::ReadoutRows<T> kernel;
    kernel.seed = readout.seed;
    kernel.r0 = r0;
    kernel.rows = rows.view;
    run_on_host(kernel, on_blocks(blocks));
    expect_equal(rows.view, expected, "b " + std::to_string(b) + " k " + std::to_string(k));
    EXPECT_TRUE(rows.intact());
}

TEST(ReadoutRows, EqualTheReference) {
    for (const auto& [r0, b, k, blocks] :
         {std::tuple{0, 1, 1, 0}, {31, 2, 3, 0}, {64, 257, 1, 1}, {1000, 1100, 2, 2}, {5, 1030, 3, 0}}) {
        expect_readout_rows<float>(r0, b, k, blocks);
        expect_readout_rows<double>(r0, b, k, blocks);
    }
}

TEST(FactorKernels, LaunchNothingForNothing) {
    kernels::OpenSum<false> sum;
    sum.sum.rows = 1, sum.sum.cols = 5;
    EXPECT_EQ(sum.launch({}).blocks, 0);
    sum.m = 5, sum.sum.cols = 0;
    EXPECT_EQ(sum.launch({}).blocks, 0);
    kernels::UpRowsOfSigns<float, true> signs;
    signs.rows.cols = 5;
    EXPECT_EQ(signs.launch({}).blocks, 0);
    kernels::UpRowsOfNormals<float> normals;
    normals.r0 = 3, normals.rows.cols = 5;
    EXPECT_EQ(normals.launch({}).blocks, 0);
    kernels::ReadoutRows<float> readout;
    readout.rows.cols = 2;
    EXPECT_EQ(readout.launch({}).blocks, 0);
}

}  // namespace
}  // namespace fntk::test

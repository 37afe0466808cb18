// The random numbers: the generator's known answers, the scheme that maps positions to entries pinned by a
// second implementation and by literal values (a released scheme never changes), moments, and independence.
#include "support.hpp"

#include <backend/ops.hpp>

#include <philox.hpp>
#include <signs.hpp>

#include <array>
#include <bit>
#include <numbers>

namespace fntk {
namespace {

using kernels::Stream;
using Words = std::array<std::uint32_t, 4>;

// ---- a second implementation, from Salmon et al. and the comment of signs.hpp
// -----------------------------------

Words philox(Words x, std::array<std::uint32_t, 2> key) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t first = std::uint64_t{0xD2511F53} * x[0],
                            second = std::uint64_t{0xCD9E8D57} * x[2];
        const auto high = [](std::uint64_t v) { return static_cast<std::uint32_t>(v >> 32); };
        const auto low = [](std::uint64_t v) { return static_cast<std::uint32_t>(v & 0xFFFFFFFF); };
        x = {high(second) ^ x[1] ^ key[0], low(second), high(first) ^ x[3] ^ key[1], low(first)};
        key = {key[0] + 0x9E3779B9U, key[1] + 0xBB67AE85U};
    }
    return x;
}

std::uint32_t word(std::uint64_t seed, std::uint32_t stream, std::uint64_t index) {
    const std::uint64_t block = index / 4;
    return philox({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), stream, 1},
                  {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)})[index % 4];
}

int sign(std::uint64_t seed, std::uint32_t stream, std::uint64_t first_word, std::int64_t bit) {
    return (word(seed, stream, first_word + static_cast<std::uint64_t>(bit / 32)) >> (bit % 32)) & 1U ? 1
                                                                                                      : -1;
}
int hadamard(std::int64_t i, std::int64_t j) {
    return std::popcount(static_cast<std::uint64_t>(i & j)) % 2 == 0 ? 1 : -1;
}
int rademacher_entry(std::uint64_t seed, std::int64_t r, std::int64_t q, std::int64_t p) {
    return sign(seed, 1, static_cast<std::uint64_t>(r * ((p + 31) / 32)), q);
}
int srht_entry(std::uint64_t seed, std::int64_t r, std::int64_t q, std::int64_t p) {
    const auto padded = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(p)));
    return hadamard(r % padded, q) *
           sign(seed, 2, static_cast<std::uint64_t>(r / padded * ((padded + 31) / 32)), q);
}
int readout_entry(std::uint64_t seed, std::int64_t r, std::int64_t c) {
    return sign(seed, 3, static_cast<std::uint64_t>(c) << 34, r);
}

// ---- what the library draws
// ------------------------------------------------------------------------------------

constexpr std::uint64_t pinned_seed = 0x0123456789ABCDEF;

template <class Entry>
std::string signs(std::int64_t count, Entry&& entry) {
    std::string text;
    for (std::int64_t i = 0; i < count; ++i) text += entry(i) > 0 ? '+' : '-';
    return text;
}

/// Rows of a seeded V as the backends produce them.
Matrix rows_of_up(const Device& device, Up family, std::int64_t p, std::int64_t r0, std::int64_t count) {
    Matrix rows(count, p, DType::f64);
    device.ops().up_rows({family, std::int64_t{1} << 30, p, pinned_seed, {}}, r0, rows);
    return rows;
}
std::string up_signs(const Device& device, Up family, std::int64_t p, std::int64_t r) {
    const Matrix row = rows_of_up(device, family, p, r, 1);
    return signs(p, [&](std::int64_t q) { return row.at<double>(0, q); });
}

Network drawn(Up up, std::int64_t m, std::int64_t k, Down down = Down::gaussian,
              std::uint64_t seed = pinned_seed) {
    return Network::create({.dim = 11,
                            .width = m,
                            .rank = 4,
                            .outputs = k,
                            .down = down,
                            .up = up,
                            .precision = DType::f64,
                            .seed = seed});
}

TEST(Philox, GivesTheKnownAnswersOfRandom123) {
    struct Answer {
        Words counter;
        std::array<std::uint32_t, 2> key;
        Words result;
    };
    const Answer answers[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (const Answer& answer : answers) {
        const auto& c = answer.counter;
        const kernels::Philox4 result =
            kernels::philox4x32_10({{c[0], c[1], c[2], c[3]}}, answer.key[0], answer.key[1]);
        for (int lane = 0; lane < 4; ++lane) EXPECT_EQ(result.word[lane], answer.result[lane]);
        EXPECT_EQ(philox(answer.counter, answer.key), answer.result);
    }
    static_assert(kernels::philox4x32_10({{0, 0, 0, 0}}, 0, 0).word[3] == 0x9b00dbd8);
}

TEST(Philox, WordsDependOnSeedStreamAndTheWholeIndex) {
    for (const std::uint64_t seed :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 32, ~std::uint64_t{0}})
        for (std::uint32_t stream = 1; stream <= 8; ++stream)
            for (const std::uint64_t index : {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{4},
                                              std::uint64_t{1} << 34, (std::uint64_t{1} << 54) + 7})
                EXPECT_EQ(kernels::random_word(seed, static_cast<Stream>(stream), index),
                          word(seed, stream, index));
}

TEST(RandomScheme, OfSignsIsPinned) {
    const Device reference = Device::open("reference"), cpu = Device::open("cpu", 1);
    for (const Device* device : {&reference, &cpu}) {
        EXPECT_EQ(up_signs(*device, Up::rademacher, 37, 0), "+++++-+-++++++-+--+---+---+--+++++--+");
        EXPECT_EQ(up_signs(*device, Up::rademacher, 37, 1), "--+++-+-+-++-++-+---++-+-+--+--+-++++");
        EXPECT_EQ(up_signs(*device, Up::rademacher, 37, 1000003), "+-++-+---+-++++--++-++++---+-+-+-++++");
        EXPECT_EQ(up_signs(*device, Up::srht, 37, 0), "+-+-+--++-+-+-++--+-++++-----+---++-+");
        EXPECT_EQ(up_signs(*device, Up::srht, 37, 63), "++--------++++-++-+++--+-++-++-++++++");
        EXPECT_EQ(up_signs(*device, Up::srht, 37, 64), "---+++-+-+++-+++-+-+++-+++-++++-+++--");
        EXPECT_EQ(up_signs(*device, Up::srht, 37, 1000003), "+++-+--+-+--++---+-++--+++-+++--+++++");
        Matrix a(40, 6, DType::f64);
        device->ops().readout_rows({.width = 40, .outputs = 6, .seed = pinned_seed, .values = {}}, 0, a);
        const auto column = [&](std::int64_t c) {
            return signs(40, [&](std::int64_t r) { return a.at<double>(r, c); });
        };
        EXPECT_EQ(column(0), "+++------+--+-+-+----+-+-+++++-+---+----");
        EXPECT_EQ(column(1), "++--++--++--+++--------++----+--++-+-+--");
        EXPECT_EQ(column(5), "---+-+---++--+----++-+-++++--+++--++--+-");
        device->ops().readout_rows({.width = 2147483647, .outputs = 6, .seed = pinned_seed, .values = {}},
                                   2147483600, a);
        EXPECT_EQ(column(1), "++--++--++--+--++-++-++-++--+++-+-+-++++");
    }
}

TEST(RandomScheme, OfTheDownFactorIsPinned) {
    const Network srht = drawn(Up::srht, 1, 1, Down::srht);
    const char* const rows[] = {"+---+++-++-", "+-++++-++++", "+---+++---+", "+++-+----+-"};
    for (std::int64_t q = 0; q < 4; ++q)
        EXPECT_EQ(signs(11, [&](std::int64_t j) { return value(srht.down(), q, j); }), rows[q]);
    const Network gaussian = drawn(Up::srht, 1, 1, Down::gaussian);
    const double entries[] = {-0.952776208124888, 0.270089112810338, 0.282642471775167,
                              1.075990358960411,  0.177413815539166, -0.529666091048418};
    for (std::int64_t j = 0; j < 6; ++j) EXPECT_NEAR(value(gaussian.down(), 0, j), entries[j], 1e-14);
}

TEST(RandomScheme, AgreesWithASecondImplementationAtEveryPosition) {
    const Device reference = Device::open("reference"), cpu = Device::open("cpu", 2);
    for (const Device* device : {&reference, &cpu})
        for (const std::int64_t p : {1, 2, 31, 32, 33, 64, 100})
            for (const std::int64_t r0 : {0, 1, 129}) {
                const std::int64_t count = 70;
                const Matrix r = rows_of_up(*device, Up::rademacher, p, r0, count),
                             s = rows_of_up(*device, Up::srht, p, r0, count);
                Matrix a(count, 3, DType::f64);
                device->ops().readout_rows(
                    {.width = 1 << 20, .outputs = 3, .seed = pinned_seed, .values = {}}, r0, a);
                int wrong = 0;
                for (std::int64_t b = 0; b < count; ++b) {
                    for (std::int64_t q = 0; q < p; ++q) {
                        wrong += r.at<double>(b, q) != rademacher_entry(pinned_seed, r0 + b, q, p);
                        wrong += s.at<double>(b, q) != srht_entry(pinned_seed, r0 + b, q, p);
                    }
                    for (std::int64_t c = 0; c < 3; ++c)
                        wrong += a.at<double>(b, c) != readout_entry(pinned_seed, r0 + b, c);
                }
                EXPECT_EQ(wrong, 0) << device->name() << ", p = " << p << ", r0 = " << r0;
            }
}

TEST(RandomScheme, AWiderNetworkBeginsWithTheNarrowerOne) {
    for (const Up up : test::all_ups) {
        const Network narrow = drawn(up, 101, 2), wide = drawn(up, 300, 3);
        EXPECT_TRUE(
            test::same_bits(narrow.materialize_up(), wide.materialize_up().view().row_block(0, 101)));
        const Matrix a = wide.materialize_readout();
        EXPECT_TRUE(
            test::same_bits(narrow.materialize_readout(), a.view().row_block(0, 101).col_block(0, 2)));
    }
}

TEST(RandomNormals, AreThoseOfBoxAndMullerToTheLastBits) {
    std::mt19937 engine(3);
    std::vector<std::uint32_t> words = {0,          1,          2,          0x3FFFFFFF, 0x40000000,
                                        0x7FFFFFFF, 0x80000000, 0xB504F333, 0xFFFFFFFE, 0xFFFFFFFF,
                                        0x1FFFFFFF, 0x20000000, 0xE0000000};
    for (int i = 0; i < 300; ++i) words.push_back(static_cast<std::uint32_t>(engine()));
    for (const std::uint32_t first : words)
        for (const std::uint32_t second : words) {
            const long double u = (first + 0.5L) * 0x1p-32L, t = (second + 0.5L) * 0x1p-32L;
            const long double radius = std::sqrt(-2 * std::log(u));
            const long double angle = 2 * std::numbers::pi_v<long double> * t;
            double x = 0, y = 0;
            kernels::box_muller(first, second, x, y);
            const auto bound = static_cast<double>(2e-15L * radius);
            ASSERT_NEAR(x, static_cast<double>(radius * std::cos(angle)), bound) << first << ' ' << second;
            ASSERT_NEAR(y, static_cast<double>(radius * std::sin(angle)), bound) << first << ' ' << second;
        }
}

TEST(RandomNormals, HaveTheMomentsOfANormal) {
    const std::int64_t count = 1 << 18;
    double moment[5] = {}, largest = 0;
    for (std::int64_t i = 0; i < count; i += 4) {
        const kernels::Normal4 block =
            kernels::random_normals(7, Stream::down, static_cast<std::uint64_t>(i / 4));
        for (int lane = 0; lane < 4; ++lane) {
            const double z = block.value[lane];
            EXPECT_EQ(z, kernels::random_normal(7, Stream::down, static_cast<std::uint64_t>(i + lane)));
            largest = std::max(largest, std::abs(z));
            double power = 1;
            for (double& sum : moment) sum += power, power *= z;
        }
    }
    const double n = static_cast<double>(count);
    EXPECT_NEAR(moment[1] / n, 0, 4.5 / std::sqrt(n));
    EXPECT_NEAR(moment[2] / n, 1, 4.5 * std::sqrt(2 / n));
    EXPECT_NEAR(moment[3] / n, 0, 4.5 * std::sqrt(15 / n));
    EXPECT_NEAR(moment[4] / n, 3, 4.5 * std::sqrt(96 / n));
    EXPECT_GT(largest, 4);
    EXPECT_LT(largest, 6.7);
}

TEST(RandomBelow, MultipliesSixtyFourBitsAndIsUniform) {
    for (const std::uint64_t bound :
         {std::uint64_t{1}, std::uint64_t{7}, std::uint64_t{1} << 31, (std::uint64_t{1} << 32) - 1})
        for (std::uint64_t index = 0; index < 50; ++index) {
            __extension__ using uint128 = unsigned __int128;
            const std::uint64_t bits =
                word(3, 8, 2 * index) | static_cast<std::uint64_t>(word(3, 8, 2 * index + 1)) << 32;
            EXPECT_EQ(kernels::random_below(3, Stream::batches, index, bound),
                      static_cast<std::uint64_t>((static_cast<uint128>(bits) * bound) >> 64));
        }
    double chi_square = 0;
    std::array<double, 7> seen{};
    for (std::uint64_t index = 0; index < 70000; ++index)
        ++seen[kernels::random_below(3, Stream::down_rows, index, 7)];
    for (const double count : seen) chi_square += (count - 10000) * (count - 10000) / 10000;
    EXPECT_LT(chi_square, 6 + 4.5 * std::sqrt(12.0));  // mean 6, variance 12
}

TEST(RandomStreams, AreUncorrelatedAndBalanced) {
    const std::int64_t words = 4096;  // 131072 signs each
    const double limit = 4.5 * std::sqrt(32.0 * words);
    struct Source {
        std::uint64_t seed, first;
        std::uint32_t stream;
    };
    std::vector<Source> sources;
    for (std::uint32_t stream = 1; stream <= 8; ++stream) sources.push_back({9, 0, stream});
    sources.push_back({10, 0, 1});                            // another seed
    sources.push_back({9 + (std::uint64_t{1} << 32), 0, 1});  // that differs in the key's other word
    sources.push_back({9, std::uint64_t{1} << 34, 3});        // the second column of A
    for (std::size_t a = 0; a < sources.size(); ++a)
        for (std::size_t b = 0; b <= a; ++b) {
            std::int64_t ones = 0;
            for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(words); ++i) {
                const auto at = [&](const Source& s) {
                    return kernels::random_word(s.seed, static_cast<Stream>(s.stream), s.first + i);
                };
                ones += std::popcount(a == b ? at(sources[a]) : at(sources[a]) ^ at(sources[b]));
            }
            EXPECT_LT(std::abs(static_cast<double>(2 * ones - 32 * words)), limit) << a << " against " << b;
        }
}

}  // namespace
}  // namespace fntk

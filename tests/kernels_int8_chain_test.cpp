// The kernels of the chunked int8 chain: each against its definition, and all of them with a plain int8
// product in place of the library's, against the reference's wide pass.
#include "kernel_rows.hpp"

#include <fixed_point.hpp>
#include <int8_chain.hpp>

#include <algorithm>
#include <tuple>

namespace fntk::test {
namespace {

/// n × cols bytes with data and stride multiples of 16, poisoned.
struct alignas(16) Aligned16 {
    std::int8_t byte[16];
};
class ByteMatrix {
  public:
    ByteMatrix(std::int64_t n, std::int64_t cols)
        : memory_(n * (cols / 16 + 1),
                  Aligned16{{99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99}}),
          view{memory_.empty() ? nullptr : memory_[0].byte, n, cols, cols + 16} {}
    [[nodiscard]] bool intact() const {
        for (std::int64_t i = 0; i < view.rows; ++i)
            for (std::int64_t j = view.cols; j < view.stride; ++j)
                if (view.row(i)[j] != 99) return false;
        return true;
    }

  private:
    std::vector<Aligned16> memory_;

  public:
    kernels::Rows<std::int8_t> view;
};

HostOptions on_blocks(std::int64_t blocks) {
    HostOptions options;
    options.blocks = blocks;
    return options;
}

/// Rows r0.. of V, b of them.
ByteMatrix expanded(const UpFactor& up, std::int64_t r0, std::int64_t b, const HostOptions& options) {
    ByteMatrix v(b, (up.rank + 15) / 16 * 16);
    const auto run = [&](auto kernel) {
        kernel.seed = up.seed;
        kernel.p = up.rank;
        kernel.r0 = r0;
        kernel.v = v.view;
        run_on_host(kernel, options);
    };
    if (up.family == Up::srht)
        run(kernels::ExpandSigns<true>{});
    else
        run(kernels::ExpandSigns<false>{});
    return v;
}

TEST(Int8Chain, ExpandsTheRowsOfV) {
    for (const Up family : {Up::rademacher, Up::srht})
        for (const std::int64_t p : {1, 2, 15, 16, 31, 32, 33, 64, 100, 257, 512})
            for (const auto& [r0, b, blocks] : {std::tuple{0, 5, 0}, {64, 33, 1}, {130, 1, 2}}) {
                const UpFactor up = seeded_up(family, 1000, p);
                const ByteMatrix v = expanded(up, r0, b, on_blocks(blocks));
                EXPECT_TRUE(v.intact());
                for (std::int64_t r = 0; r < b; ++r)
                    for (std::int64_t q = 0; q < v.view.cols; ++q) {
                        const int sign = family == Up::srht
                                             ? kernels::srht_sign(up.seed, r0 + r, q, p)
                                             : kernels::rademacher_sign(up.seed, r0 + r, q, p);
                        ASSERT_EQ(v.view.row(r)[q], q < p ? sign : 0)
                            << name(family) << " p " << p << " at " << r0 + r << ", " << q;
                    }
            }
}

TEST(Int8Chain, SplitsIntoDigitsWithoutLoss) {
    for (const auto& [n, p, blocks] : {std::tuple{1, 1, 0}, {4, 33, 1}, {9, 64, 3}}) {
        Matrix h = hidden_integers(n, p, 3);
        if (n > 1)
            h.at<std::int32_t>(1, 0) = 0x7F7F7F, h.at<std::int32_t>(1, 1) = -0x808080;  // the widest range
        const std::int64_t cols = (p + 15) / 16 * 16;
        ByteMatrix digits[3] = {{n, cols}, {n, cols}, {n, cols}};
        kernels::SplitDigits kernel;
        kernel.h = rows_in<const std::int32_t>(h);
        for (int digit = 0; digit < 3; ++digit) kernel.digits[digit] = digits[digit].view;
        run_on_host(kernel, on_blocks(blocks));
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t q = 0; q < cols; ++q) {
                const int sum = digits[0].view.row(i)[q] +
                                256 * (digits[1].view.row(i)[q] + 256 * digits[2].view.row(i)[q]);
                ASSERT_EQ(sum, q < p ? h.at<std::int32_t>(i, q) : 0) << i << ", " << q;
            }
        for (const ByteMatrix& plane : digits) EXPECT_TRUE(plane.intact());
    }
}

TEST(Int8Chain, MakesGateBytesAndBits) {
    for (const auto& [n, b, r0, blocks] :
         {std::tuple{1, 1, 0, 0}, {65, 63, 64, 1}, {33, 64, 0, 2}, {130, 130, 128, 0}}) {
        std::mt19937_64 engine(5);
        Matrix z(n, b, DType::i32);
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t r = 0; r < b; ++r)
                z.at<std::int32_t>(i, r) = static_cast<std::int32_t>(engine() % 3) - 1;
        ByteMatrix bytes(n, (b + 15) / 16 * 16);
        Guarded<std::uint64_t> gates(n, (r0 + b + 63) / 64, 1, 0xABABABABABABABABU, 7);
        kernels::GateBytes kernel;
        kernel.readout_seed = 5;
        kernel.r0 = r0;
        kernel.c = 2;
        kernel.z[0] = {&z.at<std::int32_t>(0, 0), n, b, z.view().stride};
        kernel.bytes = bytes.view;
        kernel.gates = gates.view;
        run_on_host(kernel, on_blocks(blocks));
        for (std::int64_t i = 0; i < n; ++i) {
            for (std::int64_t r = 0; r < bytes.view.cols; ++r) {
                const bool open = r < b && z.at<std::int32_t>(i, r) > 0;
                ASSERT_EQ(bytes.view.row(i)[r], open ? kernels::readout_sign(5, r0 + r, 2) : 0)
                    << i << ", " << r;
            }
            for (std::int64_t r = 0; r < gates.view.cols * 64; ++r) {
                const bool open = r >= r0 && r < r0 + b && z.at<std::int32_t>(i, r - r0) > 0;
                const bool untouched = (0xABABABABABABABABU >> (r % 64)) & 1U;
                ASSERT_EQ((gates.view.row(i)[r / 64] >> (r % 64)) & 1U, r < r0 ? untouched : open)
                    << i << ", " << r;
            }
        }
        EXPECT_TRUE(bytes.intact() && gates.intact());
    }
}

/// C (n × p) += A Bᵀ if `transposed`, else A B, in int32 as an int8 product of a library is.
void product(const kernels::Rows<std::int8_t>& a, const kernels::Rows<std::int8_t>& b, bool transposed,
             const kernels::Rows<std::int32_t>& c) {
    for (std::int64_t i = 0; i < c.rows; ++i)
        for (std::int64_t j = 0; j < c.cols; ++j) {
            std::int32_t sum = 0;
            for (std::int64_t l = 0; l < (transposed ? a.cols : b.rows); ++l)
                sum += a.row(i)[l] * (transposed ? b.row(j)[l] : l < b.rows ? b.row(l)[j] : 0);
            c.row(i)[j] += sum;
        }
}

void expect_chain(Up family, std::int64_t n, std::int64_t m, std::int64_t p, std::int64_t k,
                  std::int64_t chunk, int bits = 22) {
    const UpFactor up = seeded_up(family, m, p);
    const Readout readout = seeded_readout(m, k);
    Matrix h = hidden_integers(n, p, 7, bits);
    const int count = kernels::byte_digits(bits);
    if (p > 256)  // ĥ of a larger rank has fewer bits
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t q = 0; q < p; ++q) h.at<std::int32_t>(i, q) /= 16;
    WideResult expected = reference_wide_pass(up, readout, h);
    const std::int64_t cols = (p + 15) / 16 * 16;
    ByteMatrix digits[3] = {{n, cols}, {n, cols}, {n, cols}};
    kernels::SplitDigits split;
    split.h = rows_in<const std::int32_t>(h);
    for (int digit = 0; digit < count; ++digit) split.digits[digit] = digits[digit].view;
    run_on_host(split);

    Guarded<std::uint64_t> gates(n, (m + 63) / 64, 0, 0xABABABABABABABABU, 7);
    Guarded<std::int32_t> gradients(n, k * p, 0, 0, 0);
    for (std::int64_t r0 = 0; r0 < m; r0 += chunk) {
        const std::int64_t b = std::min(chunk, m - r0);
        const ByteMatrix v = expanded(up, r0, b, {});
        Guarded<std::int32_t> z[3] = {{n, b, 4, 0, 0}, {n, b, 4, 0, 0}, {n, b, 4, 0, 0}};
        for (int digit = 0; digit < count; ++digit)
            product(digits[digit].view, v.view, true, z[digit].view);
        for (std::int64_t c = 0; c < k; ++c) {
            ByteMatrix bytes(n, (b + 15) / 16 * 16);
            kernels::GateBytes kernel;
            kernel.readout_seed = readout.seed;
            kernel.r0 = r0;
            kernel.c = c;
            for (int digit = 0; digit < (c == 0 ? count : 1); ++digit) kernel.z[digit] = z[digit].view;
            kernel.keep_sum = c == 0 && k > 1;
            kernel.bytes = bytes.view;
            if (c == 0) kernel.gates = gates.view;
            run_on_host(kernel);
            product(bytes.view, v.view, false, {gradients.view.data + c * p, n, p, k * p});
        }
    }
    const std::string what =
        std::string(name(family)) + " m " + std::to_string(m) + " p " + std::to_string(p);
    expect_equal(gates.view, expected.gates, "gates, " + what);
    expect_equal(gradients.view, expected.gradients, "gradients, " + what);
}

TEST(Int8Chain, WithAnInt8ProductIsTheWidePass) {
    for (const Up family : {Up::rademacher, Up::srht}) {
        expect_chain(family, 1, 1, 1, 1, 64);
        expect_chain(family, 33, 130, 33, 3, 64);
        expect_chain(family, 5, 300, 100, 1, 128);
        expect_chain(family, 6, 65, 300, 2, 64);
        expect_chain(family, 33, 130, 70, 2, 64, 14);
    }
}

TEST(Int8Chain, LaunchesNothingForNothing) {
    kernels::ExpandSigns<false> expand;
    expand.p = 3;
    expand.v.cols = 16;
    EXPECT_EQ(expand.launch({}).blocks, 0);
    kernels::SplitDigits split;
    split.digits[0].cols = 16;
    EXPECT_EQ(split.launch({}).blocks, 0);
    kernels::GateBytes bytes;
    bytes.z[0].cols = 64;
    EXPECT_EQ(bytes.launch({}).blocks, 0);
}

}  // namespace
}  // namespace fntk::test

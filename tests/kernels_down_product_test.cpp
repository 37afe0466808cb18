// X into fixed point and the digit products back (kernels/down_product.hpp), to the last bit.
#include "kernel_matrices.hpp"

#include <backend/ops.hpp>
#include <backend/simd/digits.hpp>

#include <down_product.hpp>

namespace fntk {
namespace {

using test::Padded;
using test::run_on_host;

const Device& reference() {
    static const Device device = Device::open("reference");
    return device;
}

/// Rows of every kind: random, small integers, zero, huge, tiny, powers of two, and one entry far below the
/// others.
template <class T>
Padded<T> rows_of_all_kinds(std::int64_t n, std::int64_t d) {
    Padded<T> x(test::normals(n, d, 1));
    const double huge = sizeof(T) == 4 ? 0x1p100 : 0x1p1000, tiny = 1 / huge;
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < d; ++j) {
            T& v = x.at(i, j);
            const double old = v;
            switch (i % 7) {
                case 1:
                    v = static_cast<T>(std::round(4 * old));
                    break;
                case 2:
                    v = 0;
                    break;
                case 3:
                    v = static_cast<T>(old * huge);
                    break;
                case 4:
                    v = static_cast<T>(old * tiny);
                    break;
                case 5:
                    v = j % 2 == 0 ? T(1) : T(-0.5);
                    break;
                case 6:
                    v = j == 0 ? static_cast<T>(old * 0x1p-40) : v;
                    break;
                default:
                    break;
            }
        }
    return x;
}

TEST(KernelsDownProduct, IdentityGivesTheRowsScaledToOne) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        for (const auto [n, d] : test::shapes) {
            Padded<T> x = rows_of_all_kinds<T>(n, d);
            Padded<double> v(n, d, -1), expected(n, d);
            Padded<std::int32_t> exponents(n, 1, -1), expected_exponents(n, 1);
            run_on_host(kernels::ScaleRows<T>{x.rows_in(), v.rows(), exponents.rows()});
            reference().ops().down_product(x, {}, 1, expected, expected_exponents);
            EXPECT_TRUE(test::same_bits(v.view(), expected.view())) << n << " x " << d;
            EXPECT_TRUE(test::same_bits(exponents.view(), expected_exponents.view())) << n << " x " << d;
            EXPECT_TRUE(v.intact() && exponents.intact());
        }
    });
}

/// The bytes of the digits of n rows, and what stands behind them.
class DigitMemory {
  public:
    DigitMemory(std::int64_t n, std::int64_t cols)
        : n_(n), cols_(cols), bytes_(static_cast<std::size_t>(n * Bytes::row_bytes(cols) + 16), 77) {}
    DigitMemory(DigitMemory&&) = default;

    kernels::DigitBytes view() { return {bytes_.data(), cols_}; }
    /// Byte t of a column, padding included.
    [[nodiscard]] int byte(std::int64_t i, std::int64_t j, int t) const {
        const std::int64_t j0 = j / Bytes::chunk * Bytes::chunk, pitch = Bytes::pitch(cols_, j0);
        return bytes_[static_cast<std::size_t>(i * Bytes::row_bytes(cols_) + 3 * j0 + (2 - t) * pitch + j -
                                               j0)];
    }
    [[nodiscard]] std::int32_t digit(std::int64_t i, std::int64_t j) const {
        return byte(i, j, 0) + 256 * byte(i, j, 1) + 65536 * byte(i, j, 2);
    }
    [[nodiscard]] bool intact() const {
        for (std::int64_t i = 0; i < n_; ++i)
            for (std::int64_t j = cols_; j < Bytes::padded(cols_); ++j)
                if (digit(i, j) != 0) return false;
        return std::all_of(bytes_.end() - 16, bytes_.end(), [](std::int8_t byte) { return byte == 77; });
    }

  private:
    using Bytes = kernels::DigitBytes;
    std::int64_t n_, cols_;
    std::vector<std::int8_t> bytes_;
};

template <class T>
std::vector<DigitMemory> split(Padded<T>& x, const std::int32_t* down_exponent,
                               Padded<std::int32_t>& exponents) {
    using Split = kernels::SplitRows<T>;
    std::vector<DigitMemory> digits;
    for (int a = 0; a < Split::places; ++a) digits.emplace_back(x.view().rows, x.view().cols);
    Split kernel{x.rows_in(), down_exponent, {}, exponents.rows()};
    for (int a = 0; a < Split::places; ++a) kernel.digits[a] = digits[static_cast<std::size_t>(a)].view();
    run_on_host(kernel);
    return digits;
}

template <class T>
void expect_digits(std::int64_t n, std::int64_t d) {
    constexpr int places = kernels::SplitRows<T>::places;
    const std::int32_t down_exponent = 5;
    Padded<T> x = rows_of_all_kinds<T>(n, d);
    Padded<std::int32_t> exponents(n, 1);
    const std::vector<DigitMemory> digits = split(x, &down_exponent, exponents);

    std::vector<double> expected(static_cast<std::size_t>(places * d));
    for (std::int64_t i = 0; i < n; ++i) {
        const T* row = x.view().template row<T>(i);
        const int exponent = kernels::exponent_of(backend::largest_magnitude(row, d));
        double* to[3] = {};
        for (int a = 0; a < places; ++a) to[a] = expected.data() + a * d;
        backend::split_digits(row, d, exponent, to, places);
        EXPECT_EQ(exponents.at(i, 0), exponent + down_exponent) << i;
        for (int a = 0; a < places; ++a)
            for (std::int64_t j = 0; j < d; ++j)
                ASSERT_EQ(digits[static_cast<std::size_t>(a)].digit(i, j), to[a][j])
                    << n << " x " << d << " digit " << a << " of " << i << ", " << j;
    }
    for (const DigitMemory& of_place : digits) EXPECT_TRUE(of_place.intact());
}

TEST(KernelsDownProduct, DigitsAreThoseOfTheCpu) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        for (const auto [n, d] : test::shapes) expect_digits<T>(n, d);
        expect_digits<T>(5, kernels::DigitBytes::chunk + 21);
    });
}

TEST(KernelsDownProduct, ChunksAreExactInInt32) {
    // |X| ≤ 2^22 and |U| ≤ 2^21 have highest bytes of 64 and 32; others reach −128.
    const std::int64_t most = std::max(2 * 128 * 128, 64 * 128 + 128 * 128 + 128 * 32);
    EXPECT_LT(most * kernels::DigitBytes::chunk, std::int64_t{1} << 31);
    for (const std::int64_t cols : {1, 16, 17, 1 << 15, (1 << 15) + 1, 3 << 15}) {
        std::int64_t bytes = 0;
        for (std::int64_t j = 0; j < cols; j += kernels::DigitBytes::chunk)
            bytes += 3 * kernels::DigitBytes::pitch(cols, j);
        EXPECT_EQ(bytes, kernels::DigitBytes::row_bytes(cols)) << cols;
    }
}

/// Split, multiply byte by byte by a plain loop, accumulate.
template <class T>
void expect_reference_product(std::int64_t n, std::int64_t d, std::int64_t p) {
    using Bytes = kernels::DigitBytes;
    constexpr int places = kernels::SplitRows<T>::places, shifts = kernels::AddDigitProduct::shifts;
    Padded<T> x = rows_of_all_kinds<T>(n, d);
    Matrix down = test::normals(p, d, 2);
    Matrix u_digits(places * p, d, DType::i32), u_exponent(1, 1, DType::i32);
    reference().ops().fix_down(down, u_digits, u_exponent);
    const FixedPoint u{u_digits, u_exponent, p};
    const double scale = 1 / std::sqrt(3.0);
    const std::int32_t exponent = u_exponent.at<std::int32_t>(0, 0);

    Padded<std::int32_t> exponents(n, 1), expected_exponents(n, 1);
    const std::vector<DigitMemory> digits = split(x, &exponent, exponents);
    const auto byte_of = [](std::int64_t digit, int t) {
        for (; t > 0; --t) digit = (digit - static_cast<std::int8_t>(digit & 255)) >> 8;
        return static_cast<std::int8_t>(digit & 255);
    };

    const auto nan = std::numeric_limits<double>::quiet_NaN();
    Padded<double> v(n, p, nan), expected(n, p);
    Padded<std::int64_t> total(n, p, -1);
    std::vector<Padded<std::int32_t>> sums;
    for (int s = 0; s < shifts; ++s) sums.emplace_back(n, p);
    kernels::AddDigitProduct add;
    for (int s = 0; s < shifts; ++s) add.sums[s] = sums[static_cast<std::size_t>(s)].rows_in();
    add.total = total.rows();
    add.v = v.rows();
    add.scale = scale;
    const int last = places - 1, last_u = static_cast<int>(u.count()) - 1;
    for (add.a = last; add.a >= 0; --add.a)
        for (add.b = last_u; add.b >= 0; --add.b)
            for (std::int64_t j0 = 0; j0 < d; j0 += Bytes::chunk) {
                const std::int64_t end = std::min(d, j0 + Bytes::chunk);
                for (int s = 0; s < shifts; ++s)
                    for (std::int64_t i = 0; i < n; ++i)
                        for (std::int64_t q = 0; q < p; ++q) {
                            std::int32_t sum = 0;
                            for (std::int64_t j = j0; j < end; ++j)
                                for (int t = std::max(0, s - 2); t <= std::min(s, 2); ++t)
                                    sum += digits[static_cast<std::size_t>(add.a)].byte(i, j, t) *
                                           byte_of(u.digit(add.b).at<std::int32_t>(q, j), s - t);
                            sums[static_cast<std::size_t>(s)].at(i, q) = sum;
                        }
                add.first_chunk = j0 == 0;
                add.last_chunk = end == d;
                add.first_pair = add.a == last && add.b == last_u;
                run_on_host(add);
            }
    reference().ops().down_product(x, u, scale, expected, expected_exponents);
    EXPECT_TRUE(test::same_bits(v.view(), expected.view())) << n << ' ' << d << ' ' << p;
    EXPECT_TRUE(test::same_bits(exponents.view(), expected_exponents.view()));
    EXPECT_TRUE(v.intact() && total.intact());
}

TEST(KernelsDownProduct, DigitProductsAddUpToTheReference) {
    test::for_both_reals([](auto type) { expect_reference_product<decltype(type)>(9, 33, 5); });
    expect_reference_product<float>(8, 2 * kernels::DigitBytes::chunk + 57, 2);  // three chunks
    expect_reference_product<float>(7, kernels::DigitBytes::chunk, 1);           // one whole
}

TEST(KernelsDownProduct, AnyNumberOfBlocksGivesTheSame) {
    Padded<double> x = rows_of_all_kinds<double>(70, 5);
    Padded<double> one(70, 5), many(70, 5);
    Padded<std::int32_t> exponents(70, 1);
    run_on_host(kernels::ScaleRows<double>{x.rows_in(), one.rows(), exponents.rows()}, {.blocks = 1});
    run_on_host(kernels::ScaleRows<double>{x.rows_in(), many.rows(), exponents.rows()}, {.blocks = 5});
    EXPECT_TRUE(test::same_bits(one.view(), many.view()));
    EXPECT_EQ(one.at(0, 0), std::ldexp(x.at(0, 0), -exponents.at(0, 0)));
}

}  // namespace
}  // namespace fntk

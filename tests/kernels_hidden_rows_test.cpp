// ĥ, e and H in one kernel (kernels/hidden_rows.hpp): the bits of the kernels that do it one after the
// other.
#include "kernel_matrices.hpp"

#include <backend/ops.hpp>

#include <dequantise.hpp>
#include <down_product.hpp>
#include <hidden_rows.hpp>

#include <limits>

namespace fntk {
namespace {

using test::HostOptions;
using test::Padded;
using test::run_on_host;
using test::same_bits;

/// Random rows, and of every seven one of small integers, zeros, huge, tiny and subnormal numbers, powers
/// of two, and one entry far above the others.
template <class T>
Padded<T> rows_of_all_kinds(std::int64_t n, std::int64_t d) {
    constexpr int most = std::numeric_limits<T>::max_exponent - 4;
    Padded<T> x(test::normals(n, d, 1));
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < d; ++j) {
            T& v = x.at(i, j);
            const T factors[] = {1, 4, 0, std::ldexp(T(1), most), std::ldexp(T(1), -most - 18)};
            const T old = v;
            if (i % 7 < 5) v = old * factors[i % 7];
            if (i % 7 == 1) v = std::round(v);
            if (i % 7 == 5) v = std::ldexp(T(j % 2 == 0 ? 1 : -1), static_cast<int>(j % 5));
            if (i % 7 == 6) v = j == 0 ? old * T(0x1p40) : old;
        }
    return x;
}

/// What HiddenRows writes, before or after one another.
template <class T>
struct Hidden {
    using Z = std::conditional_t<sizeof(T) == 8, std::int64_t, std::int32_t>;
    Padded<Z> h;
    Padded<std::int32_t> exponents;
    Padded<T> hidden;

    Hidden(std::int64_t n, std::int64_t p) : h(n, p, -1), exponents(n, 1, -1), hidden(n, p, T(-1)) {}

    template <class Source>
    void run(Source source, int bits, const HostOptions& options = {}) {
        run_on_host(kernels::HiddenRows<T, Source>{source, bits, h.rows(), exponents.rows(), hidden.rows()},
                    options);
        EXPECT_TRUE(h.intact() && exponents.intact() && hidden.intact());
    }
    /// From v and its exponents in `exponents`.
    void run_apart(Padded<double>& v, int bits) {
        run_on_host(kernels::QuantiseRows<Z>{v.rows_in(), bits, h.rows(), exponents.rows()});
        run_on_host(
            kernels::Dequantise<Z, T>{h.rows_in(), exponents.rows_in(), 1, 0, 1, nullptr, hidden.rows()});
    }
};

template <class T>
void expect_same(Hidden<T>& have, Hidden<T>& want, const std::string& what) {
    EXPECT_TRUE(same_bits(have.h.view(), want.h.view())) << what;
    EXPECT_TRUE(same_bits(have.exponents.view(), want.exponents.view())) << what;
    EXPECT_TRUE(same_bits(have.hidden.view(), want.hidden.view())) << what;
}

template <class T>
void expect_hidden(std::int64_t n, std::int64_t p, int bits) {
    const std::string what = std::to_string(n) + " x " + std::to_string(p) + ", " + std::to_string(bits);
    Padded<T> x = rows_of_all_kinds<T>(n, p);
    Padded<double> v(n, p);
    Hidden<T> want(n, p), of_inputs(n, p), of_products(n, p);
    run_on_host(kernels::ScaleRows<T>{x.rows_in(), v.rows(), want.exponents.rows()});
    of_products.exponents = Padded<std::int32_t>(want.exponents.view());
    want.run_apart(v, bits);
    of_inputs.run(kernels::ScaledInputs<T>{x.rows_in()}, bits);
    expect_same(of_inputs, want, what + ", inputs");
    of_products.run(kernels::DownProducts{v.rows_in()}, bits);
    expect_same(of_products, want, what + ", products");

    Hidden<T> reference(n, p);
    Device::open("reference")
        .ops()
        .hidden_rows(x, {}, 1, bits, reference.h, reference.exponents, reference.hidden);
    EXPECT_TRUE(same_bits(of_inputs.h.view(), reference.h.view())) << what;
    EXPECT_TRUE(same_bits(of_inputs.exponents.view(), reference.exponents.view())) << what;
}

TEST(KernelsHiddenRows, HaveTheBitsOfTheKernelsTheyStandFor) {
    for (const auto [n, p] : test::shapes) {
        expect_hidden<float>(n, p, 22);
        expect_hidden<double>(n, p, 52);
    }
    for (const auto [n, p] : test::few_shapes) {
        expect_hidden<float>(n, p, 14);
        expect_hidden<double>(n, p, 43);
    }
}

TEST(KernelsHiddenRows, AreTheSameForAnyNumberOfBlocks) {
    Padded<float> x = rows_of_all_kinds<float>(70, 5);
    Hidden<float> one(70, 5), many(70, 5);
    one.run(kernels::ScaledInputs<float>{x.rows_in()}, 22, {.blocks = 1});
    many.run(kernels::ScaledInputs<float>{x.rows_in()}, 22, {.blocks = 5, .blocks_at_once = 2});
    expect_same(many, one, "");
}

}  // namespace
}  // namespace fntk

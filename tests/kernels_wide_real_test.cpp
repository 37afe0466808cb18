// The pieces of the floating wide pass: activation_rows.hpp, gates_and_values.hpp, weighted_slopes.hpp.
#include "kernel_matrices.hpp"

#include <backend/ops.hpp>
#include <backend/scalar.hpp>

#include <activation_rows.hpp>
#include <gates_and_values.hpp>
#include <weighted_slopes.hpp>

namespace fntk {
namespace {

using kernels::Sigma;
using test::Padded;
using test::run_on_host;

const Device& reference() {
    static const Device device = Device::open("reference");
    return device;
}

/// Roundings of one φ, and of each term of a sum.
constexpr double slack = 4;

/// f(spec, kind) for every activation: what the kernels call each.
template <class F>
void for_each_activation(const F& f) {
    using Piecewise = std::integral_constant<Sigma, Sigma::piecewise_linear>;
    f(ActivationSpec{Activation::relu}, Piecewise());
    f(ActivationSpec{Activation::leaky_relu, 0.25}, Piecewise());
    f(ActivationSpec{Activation::abs}, Piecewise());
    f(ActivationSpec{Activation::erf}, std::integral_constant<Sigma, Sigma::erf>());
    f(ActivationSpec{Activation::gelu}, std::integral_constant<Sigma, Sigma::gelu>());
    f(ActivationSpec{Activation::tanh}, std::integral_constant<Sigma, Sigma::tanh>());
    f(ActivationSpec{Activation::softplus}, std::integral_constant<Sigma, Sigma::softplus>());
}

template <class T>
T closed_of(const ActivationSpec& spec) {
    return static_cast<T>(spec.homogeneous() ? spec.closed_slope() : 0);
}

/// Of both signs, with exact zeros.
template <class T>
Padded<T> preactivations(std::int64_t n, std::int64_t b) {
    Padded<T> z(test::normals(n, b, 5));
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t r = i % 3; r < b; r += 5) z.at(i, r) = r % 2 == 0 ? T(0) : -T(0);
    return z;
}

template <class T, Sigma sigma, bool derivative>
void expect_mapped(const ActivationSpec& spec, std::int64_t n, std::int64_t b) {
    Padded<T> z = preactivations<T>(n, b), expected(n, b);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t r = 0; r < b; ++r)
            expected.at(i, r) =
                static_cast<T>(backend::sigma(spec, derivative, static_cast<double>(z.at(i, r))));
    run_on_host(kernels::ActivationRows<T, sigma, derivative>{z.rows(), closed_of<T>(spec)});
    EXPECT_TRUE(test::near_values(z, expected, slack * std::numeric_limits<T>::epsilon()))
        << name(spec.kind) << (derivative ? " slope, " : ", ") << n << " x " << b;
    EXPECT_TRUE(z.intact());
}

TEST(KernelsWideReal, ActivationsAreThoseOfTheReference) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        for_each_activation([](const ActivationSpec& spec, auto kind) {
            for (const auto [n, b] : {test::Extents{0, 3}, {3, 257}}) {
                expect_mapped<T, kind(), false>(spec, n, b);
                expect_mapped<T, kind(), true>(spec, n, b);
            }
        });
    });
}

template <class T>
void expect_gates_and_values(std::int64_t n, std::int64_t b, std::int64_t k, T closed, bool add) {
    Padded<T> z = preactivations<T>(n, b), a(test::normals(b, k, 6)), values(n, k, T(3));
    const std::int64_t words = (b + 63) / 64;
    Padded<std::int64_t> gates(n, words, -1);  // the words as int64
    const kernels::Rows<std::uint64_t> gate_rows{reinterpret_cast<std::uint64_t*>(gates.rows().data), n,
                                                 words, gates.rows().stride};
    Padded<T> again(values.view());
    const auto kernel = [&](Padded<T>& to) {
        return kernels::GatesAndValues<T>{z.rows_in(), closed, gate_rows, a.rows_in(), to.rows(), add};
    };
    run_on_host(kernel(values));
    run_on_host(kernel(again), {.blocks = 1});
    EXPECT_TRUE(test::same_bits(values.view(), again.view())) << "another launch, other sums";
    for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t r = 0; r < 64 * words; ++r)
            ASSERT_EQ(static_cast<std::uint64_t>(gates.at(i, r / 64)) >> (r % 64) & 1U,
                      r < b && z.at(i, r) > 0 ? 1U : 0U)
                << i << ' ' << r;
        for (std::int64_t c = 0; c < k; ++c) {
            double sum = add ? 3 : 0, magnitude = sum;
            for (std::int64_t r = 0; r < b; ++r) {
                const double term = static_cast<double>(a.at(r, c)) *
                                    static_cast<double>(kernels::piecewise_linear(z.at(i, r), closed));
                sum += term;
                magnitude += std::abs(term);
            }
            ASSERT_NEAR(static_cast<double>(values.at(i, c)), sum,
                        slack * std::numeric_limits<T>::epsilon() * magnitude)
                << n << ' ' << b << ' ' << k;
        }
    }
    EXPECT_TRUE(gates.intact() && values.intact());
}

TEST(KernelsWideReal, GatesArePackedAndValuesSummed) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        for (const std::int64_t b : {1, 31, 33, 64, 65, 257})
            expect_gates_and_values<T>(5, b, b % 2 + 1, T(0), b % 2 == 0);
        for (const std::int64_t k : {0, 3, 4, 9}) expect_gates_and_values<T>(9, 70, k, T(-1), true);
        expect_gates_and_values<T>(0, 70, 2, T(0.25), true);
        expect_gates_and_values<T>(3, 0, 2, T(0.25), false);
    });
}

TEST(KernelsWideReal, GatesOrValuesMayBeAbsent) {
    Padded<float> z = preactivations<float>(3, 70), a(test::normals(70, 2, 6)), values(3, 2), same(3, 2);
    Padded<std::int64_t> gates(3, 2), same_gates(3, 2);
    const auto words = [](Padded<std::int64_t>& of) {
        return kernels::Rows<std::uint64_t>{reinterpret_cast<std::uint64_t*>(of.rows().data), 3, 2,
                                            of.rows().stride};
    };
    run_on_host(
        kernels::GatesAndValues<float>{z.rows_in(), 0, words(gates), a.rows_in(), values.rows(), false});
    run_on_host(kernels::GatesAndValues<float>{z.rows_in(), 0, {}, a.rows_in(), same.rows(), false});
    run_on_host(kernels::GatesAndValues<float>{z.rows_in(), 0, words(same_gates), {}, {}, false});
    EXPECT_TRUE(test::same_bits(values.view(), same.view()));
    EXPECT_TRUE(test::same_bits(gates.view(), same_gates.view()));
    EXPECT_NE(gates.at(0, 0), 0);
}

TEST(KernelsWideReal, SlopesTakeWeightsOfUnitsOrOfEntries) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        for_each_activation([](const ActivationSpec& spec, auto kind) {
            const std::int64_t n = 33, b = 70, k = 3;
            Padded<T> z = preactivations<T>(n, b), a(test::normals(b, k, 7)), w(test::normals(n, b, 8));
            Padded<T> of_units(n, b), expected_units(n, b), expected_entries(n, b);
            const T closed = closed_of<T>(spec);
            for (std::int64_t i = 0; i < n; ++i)
                for (std::int64_t r = 0; r < b; ++r) {
                    const double slope = backend::sigma(spec, true, static_cast<double>(z.at(i, r)));
                    expected_units.at(i, r) = static_cast<T>(slope * static_cast<double>(a.at(r, 2)));
                    expected_entries.at(i, r) = static_cast<T>(slope * static_cast<double>(w.at(i, r)));
                }
            using Kernel = kernels::SlopesTimes<T, kind()>;
            run_on_host(Kernel{z.rows_in(), closed, &a.at(0, 2), 0, a.rows().stride, of_units.rows()});
            run_on_host(
                Kernel{z.rows_in(), closed, w.rows().data, w.rows().stride, 1, w.rows()});  // in place
            const double tolerance = slack * std::numeric_limits<T>::epsilon();
            EXPECT_TRUE(test::near_values(of_units, expected_units, tolerance)) << name(spec.kind);
            EXPECT_TRUE(test::near_values(w, expected_entries, tolerance)) << name(spec.kind);
            EXPECT_TRUE(of_units.intact() && w.intact());
        });
    });
}

/// wide_pass_real and wide_gradient on whole numbers, in blocks of 64 units with products by plain loops:
/// every number is exact, so that all of it equals the reference.
template <class T>
void expect_passes(const ActivationSpec& spec) {
    const std::int64_t n = 9, p = 3, m = 150, k = 2, block = 128;
    const DType dtype = dtype_of<T>;
    const Matrix h = test::small_integers(n, p, 2, 1, dtype), v = test::small_integers(m, p, 2, 2, dtype),
                 e = test::small_integers(n, k, 2, 3, dtype);
    Matrix a = test::small_integers(m, k, 2, 4, dtype);
    const UpFactor up{.family = Up::gaussian, .width = m, .rank = p, .values = v};
    const Readout readout{.width = m, .outputs = k, .values = a};
    const T closed = closed_of<T>(spec);

    BitMatrix gates(n, m), expected_gates(n, m);
    Padded<T> values(n, k), gradients(n, k * p), expected_values(n, k), expected_gradients(n, k * p);
    for (std::int64_t r0 = 0; r0 < m; r0 += block) {
        const std::int64_t b = std::min(block, m - r0);
        Padded<T> z(test::times_transposed(h, v.view().row_block(r0, b))), left(n, b);
        const auto a_block = test::kernel_rows_in<T>(a.view().row_block(r0, b));
        const kernels::Rows<std::uint64_t> words{gates.view().row(0) + r0 / 64, n, (b + 63) / 64,
                                                 gates.view().stride};
        run_on_host(
            kernels::GatesAndValues<T>{z.rows_in(), closed, words, a_block, values.rows(), r0 != 0});
        for (std::int64_t c = 0; c < k; ++c) {
            run_on_host(kernels::SlopesTimes<T, Sigma::piecewise_linear>{
                z.rows_in(), closed, a_block.data + c, 0, a_block.stride, left.rows()});
            for (std::int64_t i = 0; i < n; ++i)
                for (std::int64_t q = 0; q < p; ++q)
                    for (std::int64_t r = 0; r < b; ++r)
                        gradients.at(i, c * p + q) += left.at(i, r) * v.at<T>(r0 + r, q);
        }
        Padded<T> weights(n, b), expected_rows(b, p);
        run_on_host(kernels::WeightedSlopes<T>{{words.data, n, words.cols, words.stride},
                                               closed,
                                               test::kernel_rows_in<T>(e),
                                               a_block,
                                               weights.rows()});
        const Matrix rows = test::filled(b, p, dtype, [&](std::int64_t r, std::int64_t q) {
            double sum = 0;
            for (std::int64_t i = 0; i < n; ++i)
                sum += static_cast<double>(weights.at(i, r)) * value(h, i, q);
            return sum;
        });
        reference().ops().wide_gradient(up, readout, spec, h, e, {}, r0, expected_rows, {});
        EXPECT_TRUE(test::same_values(rows, expected_rows)) << name(spec.kind) << " from " << r0;
    }
    reference().ops().wide_pass_real(up, readout, spec, h,
                                     {expected_gates, expected_gradients, expected_values});
    EXPECT_TRUE(test::same_bits(ConstBitView(gates), ConstBitView(expected_gates))) << name(spec.kind);
    EXPECT_TRUE(test::same_values(values, expected_values)) << name(spec.kind);
    EXPECT_TRUE(test::same_values(gradients, expected_gradients)) << name(spec.kind);
}

TEST(KernelsWideReal, PassAndGradientAreTheReferenceOnWholeNumbers) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        expect_passes<T>({Activation::relu});
        expect_passes<T>({Activation::leaky_relu, 0.25});
        expect_passes<T>({Activation::abs});
    });
}

}  // namespace
}  // namespace fntk

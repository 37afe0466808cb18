// Elementwise operations, transposes, products of rows, dense gradients and norms: elementwise.hpp,
// transpose.hpp, row_products.hpp, per_sample_gradients.hpp, norm.hpp.
#include "kernel_matrices.hpp"

#include <backend/ops.hpp>

#include <elementwise.hpp>
#include <norm.hpp>
#include <per_sample_gradients.hpp>
#include <row_products.hpp>
#include <transpose.hpp>

namespace fntk {
namespace {

using test::Padded;
using test::run_on_host;

const Device& reference() {
    static const Device device = Device::open("reference");
    return device;
}

/// Roundings of an element, and of each term of a sum.
constexpr double slack = 4;
template <class T>
constexpr double tolerance = slack* static_cast<double>(std::numeric_limits<T>::epsilon());
template <class T>
constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();

// ---- elementwise
// ----------------------------------------------------------------------------------------------

template <class X, class Y>
void expect_axpby(std::int64_t rows, std::int64_t cols) {
    Padded<X> x(test::normals(rows, cols, 1));
    for (const double beta : {0.0, 0.7}) {
        Padded<Y> y(test::normals(rows, cols, 2));
        if (beta == 0) y = Padded<Y>(rows, cols, not_a_number<Y>);
        Padded<Y> expected(y.view());
        run_on_host(kernels::Axpby<X, Y>{-1.3, x.rows_in(), beta, y.rows()});
        reference().ops().axpby(-1.3, x, beta, expected);
        EXPECT_TRUE(test::near_values(y, expected, tolerance<Y>))
            << rows << " x " << cols << ", beta " << beta;
        EXPECT_TRUE(y.intact());
    }
}

TEST(KernelsAlgebra, AxpbyOfAnyTwoTypes) {
    for (const auto [rows, cols] : test::shapes) expect_axpby<float, float>(rows, cols);
    for (const auto [rows, cols] : test::few_shapes) {
        expect_axpby<float, double>(rows, cols);
        expect_axpby<double, float>(rows, cols);
        expect_axpby<double, double>(rows, cols);
    }
}

TEST(KernelsAlgebra, ManyTilesAndAnyNumberOfBlocks) {
    Padded<float> x(test::normals(70, 600, 1));
    for (const std::int64_t blocks : {1, 3, 64}) {
        Padded<float> y(70, 600, -1.0F);
        run_on_host(kernels::Axpby<float, float>{1, x.rows_in(), 0, y.rows()}, {.blocks = blocks});
        EXPECT_TRUE(test::same_bits(y.view(), x.view())) << blocks;
        EXPECT_TRUE(y.intact());
    }
}

TEST(KernelsAlgebra, HadamardProducts) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        for (const auto [rows, cols] : test::few_shapes) {
            Padded<T> k(test::normals(rows, cols, 1)), a(test::normals(rows, cols, 2));
            Padded<std::int32_t> counts(test::small_integers(rows, cols, 1 << 20, 3, DType::f64)),
                s(test::small_integers(rows, 1, 1 << 20, 4, DType::f64)),
                t(test::small_integers(cols, 1, 1 << 20, 5, DType::f64));
            Padded<T> expected(k.view());
            run_on_host(kernels::Multiply<T>{a.rows_in(), k.rows()});
            reference().ops().multiply(a, expected);
            EXPECT_TRUE(test::near_values(k, expected, tolerance<T>)) << rows << " x " << cols;
            run_on_host(kernels::AffineHadamard<T>{counts.rows_in(), s.rows_in(), t.rows_in(), 0.5, 1e-6,
                                                   -2e-6, k.rows()});
            reference().ops().affine_hadamard(counts, s, t, 0.5, 1e-6, -2e-6, expected);
            EXPECT_TRUE(test::near_values(k, expected, tolerance<T>)) << rows << " x " << cols;
            EXPECT_TRUE(k.intact());
        }
    });
}

TEST(KernelsAlgebra, OutputBlocks) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        const std::int64_t n = 5, n_cols = 33, outputs = 3;
        Padded<T> k(test::small_integers(n * outputs, n_cols * outputs, 9, 1, DType::f64)),
            expected(k.view()), block(test::small_integers(n, n_cols, 9, 2, DType::f64));
        run_on_host(kernels::AddOutputBlock<T>{block.rows_in(), outputs, 2, 1, k.rows()});
        reference().ops().add_output_block(block, outputs, 2, 1, expected);
        EXPECT_TRUE(test::same_values(k, expected));
        EXPECT_TRUE(k.intact());
    });
}

template <class T>
void expect_gathered() {
    Padded<T> x(test::small_integers(31, 33, 100, 1, DType::f64)), out(5, 33);
    const std::vector<std::int64_t> rows{30, 0, 7, 7, 15};
    run_on_host(kernels::GatherRows<T>{x.rows_in(), rows.data(), out.rows()});
    for (std::int64_t i = 0; i < 5; ++i)
        EXPECT_TRUE(test::same_bits(out.view().row_block(i, 1), x.view().row_block(rows[i], 1))) << i;
    EXPECT_TRUE(out.intact());
}

TEST(KernelsAlgebra, GatheredRows) {
    expect_gathered<float>();
    expect_gathered<double>();
    expect_gathered<std::int32_t>();
}

// ---- transposes
// ----------------------------------------------------------------------------------------------

template <class T>
void expect_transposed() {
    for (const auto [rows, cols] : test::shapes) {
        Padded<T> in(test::small_integers(rows, cols, 100, 1, DType::f64)), out(cols, rows, T(-1));
        run_on_host(kernels::Transpose<T>{in.rows_in(), out.rows()});
        for (std::int64_t i = 0; i < rows; ++i)
            for (std::int64_t j = 0; j < cols; ++j) ASSERT_EQ(out.at(j, i), in.at(i, j)) << i << ' ' << j;
        EXPECT_TRUE(out.intact());
    }
}

template <class T>
void expect_mirrored() {
    for (const std::int64_t n : {0, 1, 32, 33, 70}) {
        Padded<T> k(test::small_integers(n, n, 100, 1, DType::f64));
        const Matrix before = Matrix::copy_of(k);
        run_on_host(kernels::MirrorLower<T>{k.rows()});
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < n; ++j)
                ASSERT_EQ(k.at(i, j), before.at<T>(std::max(i, j), std::min(i, j))) << i << ' ' << j;
        EXPECT_TRUE(k.intact());
    }
}

TEST(KernelsAlgebra, Transposes) {
    expect_transposed<float>();
    expect_transposed<double>();
}

template <class T>
void expect_transposed_in_place() {
    for (const std::int64_t n : {0, 1, 32, 33, 70}) {
        Padded<T> k(test::small_integers(n, n, 100, 1, DType::f64));
        const Matrix before = Matrix::copy_of(k);
        run_on_host(kernels::TransposeSquare<T>{k.rows()});
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < n; ++j) ASSERT_EQ(k.at(i, j), before.at<T>(j, i)) << i << ' ' << j;
        EXPECT_TRUE(k.intact());
    }
}

TEST(KernelsAlgebra, SquareMatricesAreTransposedInPlace) {
    expect_transposed_in_place<float>();
    expect_transposed_in_place<double>();
}

TEST(KernelsAlgebra, LowerTriangleIsMirrored) {
    expect_mirrored<float>();
    expect_mirrored<double>();
    expect_mirrored<std::int32_t>();
}

// ---- products of rows, dense gradients
// ----------------------------------------------------------------------------------------------

TEST(KernelsAlgebra, RowProducts) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        for (const auto [n, p] : test::few_shapes)
            for (const std::int64_t k : {1, 3}) {
                Padded<T> a(test::normals(n, k * p, 1)), b(test::normals(n, p, 2)),
                    v(test::normals(n, k, 3));
                Padded<T> dots(n, k, T(-1)), expected_dots(n, k), rows(n, p, T(-1)), expected_rows(n, p);
                run_on_host(kernels::RowDot<T>{a.rows_in(), b.rows_in(), dots.rows()});
                run_on_host(kernels::RowCombine<T>{a.rows_in(), v.rows_in(), rows.rows()});
                reference().ops().row_dot(a, b, expected_dots);
                reference().ops().row_combine(a, v, expected_rows);
                EXPECT_TRUE(test::near_values(dots, expected_dots, 10 * tolerance<T>)) << n << " x " << p;
                EXPECT_TRUE(test::near_values(rows, expected_rows, tolerance<T>)) << n << " x " << p;
                EXPECT_TRUE(dots.intact() && rows.intact());
            }
    });
}

TEST(KernelsAlgebra, OuterProductsOfRowsStandSideBySide) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        const std::int64_t n = 3, l = 31, w = 33, l2 = 2, w2 = 300;
        Padded<T> left(test::normals(n, l, 1)), right(test::normals(n, w, 2)),
            left2(test::normals(n, l2, 3)), right2(test::normals(n, w2, 4)), out(n, l * w + l2 * w2, T(-1));
        run_on_host(kernels::OuterRows<T>{left.rows_in(), right.rows_in(),
                                          test::kernel_rows<T>(out.view().col_block(0, l * w))});
        run_on_host(kernels::OuterRows<T>{left2.rows_in(), right2.rows_in(),
                                          test::kernel_rows<T>(out.view().col_block(l * w, l2 * w2))});
        for (std::int64_t i = 0; i < n; ++i) {
            for (std::int64_t at = 0; at < l * w; ++at)
                ASSERT_EQ(out.at(i, at), left.at(i, at / w) * right.at(i, at % w)) << i << ' ' << at;
            for (std::int64_t at = 0; at < l2 * w2; ++at)
                ASSERT_EQ(out.at(i, l * w + at), left2.at(i, at / w2) * right2.at(i, at % w2))
                    << i << ' ' << at;
        }
        EXPECT_TRUE(out.intact());
        run_on_host(
            kernels::OuterRows<T>{{left.rows().data, n, l, left.rows().stride}, {}, {}});  // no columns
    });
}

/// ∂f_c/∂V of a network whose gates were kept, as per_sample_gradients gives it.
TEST(KernelsAlgebra, SlopeRowsGiveTheGradientOfV) {
    const std::int64_t n = 5, m = 70, k = 2, p = 4;
    const Network network = Network::create({.dim = p,
                                             .width = m,
                                             .rank = p,
                                             .outputs = k,
                                             .down = Down::identity,
                                             .up = Up::rademacher,
                                             .activation = {Activation::leaky_relu, 0.25},
                                             .precision = DType::f64,
                                             .seed = 3});
    const Matrix x = test::normals(n, p, 1);
    const Tangent kept = tangent(reference(), network, x, test::keep_all);
    const Matrix expected = per_sample_gradients(kept, {.up = true}, 0, n),
                 a = network.materialize_readout();
    Padded<double> left(n, m), out(n * k, m * p);
    const ConstBitView gates = kept.gates();
    for (std::int64_t c = 0; c < k; ++c) {
        run_on_host(kernels::SlopeRows<double>{{gates.words, n, gates.stride, gates.stride},
                                               1 / std::sqrt(static_cast<double>(m)),
                                               0.25,
                                               1,
                                               test::kernel_rows_in<double>(a),
                                               c,
                                               left.rows()});
        const kernels::Rows<double> rows{out.rows().row(c), n, m * p, k * out.rows().stride};
        run_on_host(
            kernels::OuterRows<double>{left.rows_in(), test::kernel_rows_in<double>(kept.hidden()), rows});
    }
    EXPECT_TRUE(test::near_values(out, expected, tolerance<double>));
    EXPECT_TRUE(left.intact() && out.intact());
}

// ---- norms
// ----------------------------------------------------------------------------------------------

template <class Source>
typename Source::Value reduced(const Source& source, std::int64_t rows, std::int64_t cols,
                               std::int64_t blocks = 0) {
    using Value = typename Source::Value;
    std::vector<Value> slots(kernels::reduction_slots(rows, cols));
    Value out{};
    run_on_host(kernels::ReduceElements<Source>{source, rows, cols, slots.data()}, {.blocks = blocks});
    run_on_host(
        kernels::FinishReduction<Source>{slots.data(), static_cast<std::int64_t>(slots.size()), &out});
    return out;
}

template <class T>
double norm_of(Padded<T>& x, std::int64_t blocks = 0) {
    const std::int64_t rows = x.view().rows, cols = x.view().cols;
    double found[2], norm = -1;
    found[0] = reduced(kernels::Magnitude<T>{x.rows_in()}, rows, cols, blocks);
    found[1] = reduced(kernels::ScaledSquare<T>{x.rows_in(), found}, rows, cols, blocks);
    run_on_host(kernels::FinishNorm{found, &norm});
    return norm;
}

TEST(KernelsAlgebra, NormNeitherOverflowsNorUnderflows) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        for (const auto [rows, cols] : {test::Extents{3, 0}, {1, 1}, {33, 31}}) {
            const Matrix x = test::normals(rows, cols, 1, dtype_of<T>);
            double square = 0;
            for (std::int64_t i = 0; i < rows; ++i)
                for (std::int64_t j = 0; j < cols; ++j) square += value(x, i, j) * value(x, i, j);
            const int far = sizeof(T) == 4 ? 110 : 1000;
            for (const int power : {far, -far}) {
                Padded<T> scaled(test::filled(rows, cols, DType::f64, [&](std::int64_t i, std::int64_t j) {
                    return std::ldexp(value(x, i, j), power);
                }));
                EXPECT_NEAR(std::ldexp(norm_of(scaled), -power), std::sqrt(square),
                            1e-13 * std::sqrt(square))
                    << rows << " x " << cols << ", 2^" << power;
            }
        }
        Padded<T> x(test::normals(20, 300, 2));
        EXPECT_EQ(norm_of(x, 1), norm_of(x, 5)) << "another launch, another sum";
        for (const T bad : {not_a_number<T>, std::numeric_limits<T>::infinity()}) {
            x.at(7, 5) = bad;
            EXPECT_FALSE(std::isfinite(norm_of(x))) << bad;
        }
    });
}

TEST(KernelsAlgebra, FirstNonFiniteElementIsFound) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        const std::int64_t rows = 9, cols = 300;
        Padded<T> x(test::normals(rows, cols, 1));
        x.at(2, 5) = std::numeric_limits<T>::max();
        const auto first = [&] { return reduced(kernels::NonFinite<T>{x.rows_in()}, rows, cols); };
        EXPECT_EQ(first(), kernels::no_element);
        x.at(8, 299) = not_a_number<T>;
        EXPECT_EQ(first(), 8U * 300 + 299);
        x.at(7, 280) = -std::numeric_limits<T>::infinity();
        EXPECT_EQ(first(), 7U * 300 + 280);
        x.at(7, 279) = not_a_number<T>;
        EXPECT_EQ(first(), 7U * 300 + 279);
    });
}

}  // namespace
}  // namespace fntk

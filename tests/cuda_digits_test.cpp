// Kernels for compute capability 9.0 whose operands are digits or bits, against the portable ones to the bit and
// against the reference: Gram matrices, gate counts, sums over samples and K·v.
#include "cuda_case.hpp"

#include <fntk/solver.hpp>

#include <backend/cuda/wide_way.hpp>
#include <backend/ops.hpp>

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

namespace fntk {
namespace {

using test::CudaTest;
using test::keep_all;
using test::normals;
using test::relative_error;

/// K of `cols` of the rows, by the kernel for compute capability 9.0 and by the portable one: the same bits.
Matrix gram_of_both(const Device& gpu, const Matrix& x, const Matrix& g, std::int64_t cols,
                    std::int64_t stride) {
    SCOPED_TRACE(std::to_string(cols) + " columns, stride " + std::to_string(stride));
    backend::Ops& ops = gpu.ops();
    Matrix found[2];
    for (const bool allowed : {false, true}) {
        backend::cuda::allow_wgmma(ops, allowed);
        Matrix k = gpu.zeros(x.rows(), stride, DType::f32);
        ops.hadamard_gram(x, x.view().row_block(0, cols), g, g.view().row_block(0, cols), 0.5,
                          k.view().col_block(0, cols));
        found[allowed] = gpu.to_host(k);
    }
    backend::cuda::allow_wgmma(ops, true);
    EXPECT_TRUE(test::same_bits(found[0], found[1]));
    return std::move(found[1]);
}

/// More tiles than multiprocessors, whole and ragged ones, rows whose scales leave the range of float
/// factors, and strides that part pairs of floats.
TEST_F(CudaTest, GramMatricesOfBothKernelsHaveTheSameBits) {
    const std::int64_t n = test::extent(2200, 140), n_cols = test::extent(1111, 70), d = 300, p = 70;
    Matrix x = normals(n, d, 1, DType::f32);
    for (std::int64_t i = 0; i < n; i += 97)
        for (std::int64_t j = 0; j < d; ++j)
            x.at<float>(i, j) = std::ldexp(x.at<float>(i, j), i % 2 == 0 ? 45 : -70);
    const Matrix there = gpu().to_device(x), g_there = gpu().to_device(normals(n, p, 2, DType::f32));
    for (const std::int64_t cols : {n, n_cols, n_cols + 1})
        for (const std::int64_t stride : {cols + cols % 2, cols + 1 - cols % 2})
            gram_of_both(gpu(), there, g_there, cols, stride);
}

/// A float of three digits of 127: products of more than 44 000 of them leave int32 unless they are carried.
constexpr float largest_digits = 8355711 * 0x1p-23F;

TEST_F(CudaTest, GramMatricesOfLongRowsHaveTheSameBits) {
    const std::int64_t n = test::extent(300, 20), d = test::extent(70001, 41);
    Matrix x = normals(n, d, 1, DType::f32);
    for (std::int64_t i = 0; i < n; i += 3) std::fill_n(x.view().row<float>(i), d, largest_digits);
    const Matrix there = gpu().to_device(x);
    const Matrix k = gram_of_both(gpu(), there, there, n, n + 1);
    Matrix expected(n, n, DType::f32);
    host().ops().hadamard_gram(x, x, x, x, 0.5, expected);
    EXPECT_LT(relative_error(k.view().col_block(0, n), expected), 1e-5);
}

/// Of bits, the same: more tiles than multiprocessors, whole and ragged ones, rows that are aligned to 16
/// bytes, and not; and few rows (which overlap), whose width goes in slices.
TEST_F(CudaTest, GateCountsOfBothKernelsAreEqual) {
    backend::Ops& ops = gpu().ops();
    const std::int64_t n = test::extent(3000, 200), n_cols = test::extent(1300, 150), words = 36;
    Matrix bits(n, 2 * words, DType::i32);
    std::mt19937 engine(5);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < 2 * words; ++j)
            bits.at<std::int32_t>(i, j) = static_cast<std::int32_t>(engine());
    const Matrix there = gpu().to_device(bits);
    auto* first = static_cast<const std::uint64_t*>(static_cast<const void*>(there.view().data));
    struct Case {
        std::int64_t rows, cols, used, stride;
    };
    for (const auto& [rows, cols, used, stride] :
         {Case{n, n, words, words}, Case{n, n, words - 1, words - 1}, Case{n, n_cols, words, words},
          Case{n_cols, n, words - 1, words - 1}, Case{140, 140, 270, words}, Case{70, 135, 270, words}}) {
        SCOPED_TRACE(std::to_string(rows) + " by " + std::to_string(cols) + ", " + std::to_string(used) +
                     " words");
        const auto view = [&, used = used, stride = stride](std::int64_t count) {
            return ConstBitView{first, count, 64 * used, stride, gpu().place()};
        };
        Matrix found[2];
        for (const bool allowed : {false, true}) {
            backend::cuda::allow_wgmma(ops, allowed);
            Matrix counts = gpu().zeros(rows, cols, DType::i32);
            ops.gate_gram(view(rows), view(cols), {}, counts);
            found[allowed] = gpu().to_host(counts);
        }
        EXPECT_TRUE(test::same_bits(found[0], found[1]));
    }
    backend::cuda::allow_wgmma(ops, true);
}

/// By digits where the GPU has compute capability 9.0, and by cuBLAS: columns of a wider X, whose rows are
/// not aligned, several outputs. A term's error is relative to the largest of a column: of normals, and of
/// products of two, that is 5 and 15 times the root of their mean square.
TEST_F(CudaTest, MomentsAreThoseOfTheReference) {
    const Device reference = Device::open("reference");
    const std::int64_t n = test::extent(600, 150), p = test::extent(300, 40), d = test::extent(401, 45),
                       k = 2;
    const Matrix a = normals(n, k * p, 1, DType::f32), v = normals(n, k, 2, DType::f32),
                 x = normals(n, d + 3, 3, DType::f32), m = normals(p, d, 4, DType::f32);
    const auto some = [&](const Matrix& all) { return all.view().col_block(1, d); };
    Matrix sum(p, d, DType::f64), along(n, k, DType::f64);
    const Matrix a64 = Matrix::converted(a, DType::f64), x64 = Matrix::converted(x, DType::f64);
    reference.ops().moment(a64, Matrix::converted(v, DType::f64), some(x64), {}, 0.5, sum);
    reference.ops().along_moment(a64, some(x64), {}, Matrix::converted(m, DType::f64), along);
    backend::Ops& ops = gpu().ops();
    backend::cuda::take_digits_from(ops, 0);
    const Matrix a_there = gpu().to_device(a), v_there = gpu().to_device(v), x_there = gpu().to_device(x),
                 m_there = gpu().to_device(m), scales = ops.moment_scales(some(x_there), p);
    EXPECT_EQ(scales.empty(), !backend::cuda::uses_wgmma(ops));
    Matrix sum_there = gpu().zeros(p, d, DType::f32), along_there = gpu().zeros(n, k, DType::f32);
    for (const ConstMatrixView with : {ConstMatrixView(), scales.view()}) {
        ops.moment(a_there, v_there, some(x_there), with, 0.5, sum_there);
        ops.along_moment(a_there, some(x_there), with, m_there, along_there);
        EXPECT_LT(error(sum_there, sum), 5e-6);
        EXPECT_LT(error(along_there, along), 2e-6);
    }
}

/// Each element times 2^exponent(i, j).
template <class Exponent>
Matrix scaled(const Matrix& matrix, const Exponent& exponent) {
    return test::filled(matrix.rows(), matrix.cols(), DType::f32, [&](std::int64_t i, std::int64_t j) {
        return std::ldexp(matrix.at<float>(i, j), static_cast<int>(exponent(i, j)));
    });
}

/// Columns of A and X, and rows of X and M, have units of their own: powers of two go through to the bit,
/// also where a unit or a product of two leaves the range of one float factor.
TEST_F(CudaTest, MomentsTakeRowsAndColumnsOfEveryScale) {
    const std::int64_t n = test::extent(700, 90), p = 40, d = test::extent(130, 45);
    backend::Ops& ops = gpu().ops();
    backend::cuda::take_digits_from(ops, 0);
    const Matrix a = normals(n, p, 1, DType::f32), x = normals(n, d, 2, DType::f32),
                 m = normals(p, d, 3, DType::f32), v = gpu().to_device(normals(n, 1, 4, DType::f32));
    const auto moment = [&](const Matrix& of_a, const Matrix& of_x) {
        const Matrix x_there = gpu().to_device(of_x), scales = ops.moment_scales(x_there, p);
        Matrix sum = gpu().zeros(p, d, DType::f32);
        ops.moment(gpu().to_device(of_a), v, x_there, scales, 0.5, sum);
        return gpu().to_host(sum);
    };
    const auto along = [&](const Matrix& of_a, const Matrix& of_x, const Matrix& of_m) {
        const Matrix x_there = gpu().to_device(of_x), scales = ops.moment_scales(x_there, p);
        Matrix out = gpu().zeros(n, 1, DType::f32);
        ops.along_moment(gpu().to_device(of_a), x_there, scales, gpu().to_device(of_m), out);
        return gpu().to_host(out);
    };
    const auto wide = [](std::int64_t i) { return i % 3 * 80 - 70; };    // −70, 10, 90
    const auto narrow = [](std::int64_t i) { return i % 3 * 20 - 20; };  // −20, 0, 20
    const auto of_col = [](const auto& exponent) { return [=](auto, auto j) { return exponent(j); }; };
    const auto of_row = [](const auto& exponent) { return [=](auto i, auto) { return exponent(i); }; };
    EXPECT_TRUE(test::same_bits(moment(scaled(a, of_col(narrow)), scaled(x, of_col(wide))),
                                scaled(moment(a, x), [&](auto q, auto j) { return narrow(q) + wide(j); })));
    const Matrix plain = along(a, x, m);
    EXPECT_TRUE(test::same_bits(along(a, scaled(x, of_row(wide)), m), scaled(plain, of_row(wide))));
    const auto back = [&](std::int64_t q) { return -wide(q); };
    EXPECT_TRUE(test::same_bits(along(scaled(a, of_col(back)), x, scaled(m, of_row(wide))), plain));
}

/// The same entry everywhere, and what comes of it.
class LongSums : public CudaTest {
  protected:
    [[nodiscard]] Matrix of(std::int64_t rows, std::int64_t cols, float entry) const {
        Matrix all(rows, cols, DType::f32);
        for (std::int64_t i = 0; i < rows; ++i) std::fill_n(all.view().row<float>(i), cols, entry);
        return gpu().to_device(all);
    }
    [[nodiscard]] Matrix scales(const Matrix& x, std::int64_t p) const {
        backend::cuda::take_digits_from(gpu().ops(), 0);
        return gpu().ops().moment_scales(x, p);
    }
    void expect_all(const Matrix& there, double expected) const {
        const Matrix here = gpu().to_host(there);
        for (std::int64_t i = 0; i < here.rows(); ++i)
            for (std::int64_t j = 0; j < here.cols(); ++j)
                ASSERT_NEAR(value(here, i, j) / expected, 1, 1e-6) << i << ' ' << j;
    }
    static constexpr double square = double{largest_digits} * double{largest_digits};
};

/// So many products of M that a sum over samples is not cut on any GPU.
TEST_F(LongSums, OfSamplesStayWithinInt32) {
    const std::int64_t n = test::extent(50000, 41), p = test::extent(1024, 34), d = test::extent(8192, 37);
    const Matrix x = of(n, d, largest_digits), of_x = scales(x, p);
    if (of_x.empty()) GTEST_SKIP() << "no sums by digits on this GPU";
    Matrix sum = gpu().zeros(p, d, DType::f32);
    gpu().ops().moment(of(n, p, largest_digits), of(n, 1, 1), x, of_x, 0.5, sum);
    expect_all(sum, 0.5 * square * static_cast<double>(n));
}

TEST_F(LongSums, OfColumnsStayWithinInt32) {
    const std::int64_t n = 50, p = 34, d = test::extent(65536, 37);
    const Matrix x = of(n, d, largest_digits), of_x = scales(x, p);
    if (of_x.empty()) GTEST_SKIP() << "no products by digits on this GPU";
    Matrix out = gpu().zeros(n, 1, DType::f32);
    gpu().ops().along_moment(of(n, p, 1), x, of_x, of(p, d, largest_digits), out);
    expect_all(out, static_cast<double>(p * d) * square);
}

/// As they are issued, and recorded in an iteration of conjugate gradients; of a kernel of a tangent with
/// itself and with another.
TEST_F(CudaTest, ProductsByDigitsAreThoseOfTheGram) {
    backend::cuda::take_digits_from(gpu().ops(), 0);
    const Network network = Network::create({.dim = 40,
                                             .width = 203,
                                             .rank = 33,
                                             .outputs = 2,
                                             .down = Down::gaussian,
                                             .up = Up::rademacher,
                                             .seed = 5});
    const Matrix x = normals(test::extent(150, 50), 40, 1, DType::f32), y = normals(20, 40, 2, DType::f32);
    const Tangent rows = tangent(gpu(), network, x, keep_all), cols = tangent(gpu(), network, y, keep_all);
    for (const KernelOutput output :
         {KernelOutput::trace, KernelOutput::full, KernelOutput::sum_of_logits}) {
        SCOPED_TRACE(name(output));
        const KernelOperator k(rows, output, {.down = true});
        EXPECT_LT(
            relative_error(gpu().on_host(to_dense(k)), gpu().on_host(gram(rows, output, {.down = true}))),
            1e-5);
        EXPECT_LT(
            relative_error(gpu().on_host(to_dense(KernelOperator(rows, cols, output, {.down = true}))),
                           gpu().on_host(cross_gram(rows, cols, output, {.down = true}))),
            1e-5);
        const Matrix b = normals(k.rows(), 2, 3, DType::f32);
        const CgResult solved = conjugate_gradient(k, 1, gpu().to_device(b), nullptr, {.tolerance = 1e-4});
        EXPECT_TRUE(solved.converged);
        EXPECT_LT(*std::max_element(solved.residuals.begin(), solved.residuals.end()), 1e-4);
    }
}

}  // namespace
}  // namespace fntk

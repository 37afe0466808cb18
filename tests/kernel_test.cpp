// Kernels from tangents: against J Jᵀ of the per-sample gradients for every combination of factors,
// outputs, activations and families; the matrix-free operator against the Gram matrix; and symmetry.
#include "support.hpp"

#include <fntk/kernel.hpp>
#include <fntk/spectrum.hpp>

namespace fntk {
namespace {

using test::cpu;
using test::keep_all;
using test::normals;
using test::relative_error;

constexpr KernelOutput all_outputs[] = {KernelOutput::full, KernelOutput::trace,
                                        KernelOutput::sum_of_logits};

/// The reduction of a full kernel (nk × n'k) by its definition.
Matrix reduced(const Matrix& full, KernelOutput output, std::int64_t k) {
    if (output == KernelOutput::full) return full.copy();
    return test::filled(full.rows() / k, full.cols() / k, DType::f64, [&](std::int64_t i, std::int64_t j) {
        double sum = 0;
        for (std::int64_t c = 0; c < k; ++c)
            for (std::int64_t o = 0; o < k; ++o)
                if (output == KernelOutput::sum_of_logits || c == o)
                    sum += value(full, i * k + c, j * k + o);
        return sum / static_cast<double>(k);
    });
}

/// K(X, X') = J(X) J(X')ᵀ, in double from the dense per-sample gradients.
Matrix jacobian_gram(const Tangent& rows, const Tangent& cols, KernelOutput output, Train train) {
    const Matrix j = per_sample_gradients(rows, train, 0, rows.size()),
                 jc = per_sample_gradients(cols, train, 0, cols.size());
    return reduced(test::times_transposed(j, jc), output, rows.outputs());
}

/// The rounding that J Jᵀ and the Hadamard form may differ by.
double tolerance(DType precision) { return precision == DType::f32 ? 1e-5 : 1e-12; }

struct Case {
    Up up;
    Activation activation;
    DType precision;
};
std::string title(const Case& one) {
    return std::string(name(one.up)) + "_" + name(one.activation) + "_" + name(one.precision);
}
void PrintTo(const Case& one, std::ostream* out) { *out << title(one); }

class KernelTest : public ::testing::TestWithParam<Case> {
  protected:
    [[nodiscard]] Network network(std::int64_t outputs = 3) const {
        const auto& [up, activation, precision] = GetParam();
        return Network::create({.dim = 5,
                                .width = 70,
                                .rank = 4,
                                .outputs = outputs,
                                .down = Down::gaussian,
                                .up = up,
                                .activation = {activation, 0.3},
                                .precision = precision,
                                .seed = 5});
    }
    [[nodiscard]] Matrix inputs(std::int64_t n, std::uint64_t seed) const {
        return normals(n, 5, seed, GetParam().precision);
    }
};

std::vector<Case> cases() {
    std::vector<Case> result;
    for (const Up up : test::all_ups)
        for (const Activation activation : test::all_activations)
            for (const DType precision : {DType::f32, DType::f64})
                result.push_back({up, activation, precision});
    return result;
}
INSTANTIATE_TEST_SUITE_P(Networks, KernelTest, ::testing::ValuesIn(cases()),
                         [](const auto& instance) { return title(instance.param); });

TEST_P(KernelTest, GramIsJacobianTimesItsTranspose) {
    const Matrix x = inputs(6, 1), other = inputs(4, 2);
    for (const std::int64_t k : {1, 3}) {
        const Network net = network(k);
        const Tangent t = tangent(cpu(), net, x, keep_all), o = tangent(cpu(), net, other, keep_all);
        for (const Train train : test::all_trains)
            for (const KernelOutput output : all_outputs) {
                SCOPED_TRACE(to_string(train) + ", " + name(output) + ", k " + std::to_string(k));
                const Matrix kernel = gram(t, output, train), cross = cross_gram(t, o, output, train);
                EXPECT_EQ(kernel.dtype(), GetParam().precision);
                EXPECT_LT(relative_error(kernel, jacobian_gram(t, t, output, train)),
                          tolerance(GetParam().precision));
                EXPECT_LT(relative_error(cross, jacobian_gram(t, o, output, train)),
                          tolerance(GetParam().precision));
            }
    }
}

TEST_P(KernelTest, GramIsExactlySymmetricAndPositiveSemidefinite) {
    const Matrix x = inputs(11, 1);
    const Tangent t = tangent(cpu(), network(), x, keep_all);
    for (const Train train : test::all_trains)
        for (const KernelOutput output : all_outputs) {
            const Matrix kernel = gram(t, output, train);
            int asymmetric = 0;
            for (std::int64_t i = 0; i < kernel.rows(); ++i)
                for (std::int64_t j = 0; j < i; ++j)
                    asymmetric += value(kernel, i, j) != value(kernel, j, i);
            EXPECT_EQ(asymmetric, 0) << to_string(train) << ' ' << name(output);
            const Spectrum s = spectrum(cpu(), kernel);
            const double eps = GetParam().precision == DType::f32 ? 0x1p-23 : 0x1p-52;
            EXPECT_GT(s.min(), -10 * eps * static_cast<double>(kernel.rows()) * s.max())
                << to_string(train) << ' ' << name(output);
            EXPECT_GT(s.max(), 0);
        }
}

TEST_P(KernelTest, OperatorTimesVectorsIsGramTimesVectors) {
    const Matrix x = inputs(6, 1), other = inputs(4, 2);
    const Network net = network();
    const Tangent t = tangent(cpu(), net, x, keep_all), o = tangent(cpu(), net, other, keep_all);
    for (const Train train : test::all_trains)
        for (const KernelOutput output : all_outputs) {
            SCOPED_TRACE(to_string(train) + ", " + name(output));
            const KernelOperator square(t, output, train), oblong(t, o, output, train);
            const Matrix kernel = gram(t, output, train), cross = cross_gram(t, o, output, train);
            EXPECT_LT(relative_error(to_dense(square), kernel), tolerance(GetParam().precision));
            EXPECT_LT(relative_error(to_dense(oblong), cross), tolerance(GetParam().precision));
            const Matrix v = normals(oblong.cols(), 3, 4, GetParam().precision);
            Matrix out(oblong.rows(), 3, GetParam().precision), transposed(3, oblong.cols(), DType::f64);
            oblong.apply(v, out);
            for (std::int64_t i = 0; i < v.rows(); ++i)
                for (std::int64_t r = 0; r < 3; ++r) transposed.at<double>(r, i) = value(v, i, r);
            EXPECT_LT(relative_error(out, test::times_transposed(cross, transposed)),
                      2 * tolerance(GetParam().precision));
        }
}

TEST_P(KernelTest, CrossGramIsABlockOfTheGramOfBothBatches) {
    const Matrix x = inputs(10, 1);
    const Network net = network();
    const Tangent all = tangent(cpu(), net, x, keep_all),
                  first = tangent(cpu(), net, x.view().row_block(0, 6), keep_all),
                  last = tangent(cpu(), net, x.view().row_block(6, 4), keep_all);
    for (const Train train : test::all_trains)
        for (const KernelOutput output : all_outputs) {
            const std::int64_t k = output == KernelOutput::full ? 3 : 1;
            const Matrix whole = gram(all, output, train);
            EXPECT_LT(relative_error(cross_gram(first, last, output, train),
                                     whole.view().row_block(0, 6 * k).col_block(6 * k, 4 * k)),
                      tolerance(GetParam().precision));
        }
}

TEST_P(KernelTest, TilesAreBlocksOfTheGram) {
    constexpr std::int64_t n = 10, step = 4;  // a last tile of two
    const Matrix x = inputs(n, 1);
    const Tangent t = tangent(cpu(), network(), x, keep_all);
    for (const Train train : test::all_trains)
        for (const KernelOutput output : all_outputs) {
            SCOPED_TRACE(to_string(train) + ", " + name(output));
            const std::int64_t k = output == KernelOutput::full ? 3 : 1;
            Matrix tiled(n * k, n * k, GetParam().precision);
            for (std::int64_t i = 0; i < n; i += step)
                for (std::int64_t j = 0; j < n; j += step) {
                    const std::int64_t rows = std::min(step, n - i), cols = std::min(step, n - j);
                    gram_tile({&t, i, rows}, {&t, j, cols}, output, train,
                              tiled.view().row_block(i * k, rows * k).col_block(j * k, cols * k));
                }
            EXPECT_LT(relative_error(tiled, jacobian_gram(t, t, output, train)),
                      tolerance(GetParam().precision));
            for (std::int64_t i = 0; i < step * k; ++i)
                for (std::int64_t j = 0; j < i; ++j) ASSERT_EQ(value(tiled, i, j), value(tiled, j, i));
        }
}

TEST(KernelBackends, AgreeWithTheReference) {
    for (const Up up : test::all_ups)
        for (const Activation activation : {Activation::relu, Activation::leaky_relu, Activation::tanh})
            for (const DType precision : {DType::f32, DType::f64}) {
                const Network net = Network::create({.dim = 5,
                                                     .width = 70,
                                                     .rank = 4,
                                                     .outputs = 2,
                                                     .up = up,
                                                     .activation = {activation, 0.3},
                                                     .precision = precision,
                                                     .seed = 5});
                const Matrix x = normals(5, 5, 1, precision), y = normals(3, 5, 2, precision);
                const Device reference = Device::open("reference");
                const Tangent a = tangent(reference, net, x, keep_all),
                              a2 = tangent(reference, net, y, keep_all);
                const Tangent b = tangent(cpu(), net, x, keep_all), b2 = tangent(cpu(), net, y, keep_all);
                for (const Train train : test::all_trains)
                    for (const KernelOutput output : all_outputs) {
                        SCOPED_TRACE(std::string(name(up)) + ' ' + name(activation) + ' ' +
                                     to_string(train) + ' ' + name(output));
                        const Matrix oracle = gram(a, output, train),
                                     cross = cross_gram(a, a2, output, train);
                        EXPECT_LT(relative_error(gram(b, output, train), oracle), tolerance(precision));
                        EXPECT_LT(relative_error(cross_gram(b, b2, output, train), cross),
                                  tolerance(precision));
                        EXPECT_LT(relative_error(to_dense(KernelOperator(a, a2, output, train)), cross),
                                  tolerance(precision));
                    }
            }
}

TEST(KernelGram, CrossesTheTilesOfRowsAndOfTheWidth) {
    for (const Up up : test::all_ups) {
        const Network net = Network::create(
            {.dim = 3, .width = 4200, .rank = 2, .outputs = 2, .up = up, .precision = DType::f64});
        const Matrix x = normals(300, 3, 1);
        const Tangent t = tangent(Device::open("cpu", 2), net, x, keep_all);
        const Train train{true, true, true};
        const Matrix whole = gram(t, KernelOutput::trace, train);
        const Matrix v = normals(300, 1, 2);
        Matrix out(300, 1, DType::f64);
        KernelOperator(t, KernelOutput::trace, train).apply(v, out);
        const ConstMatrixView row(v.row<double>(0), 1, 300);
        EXPECT_LT(relative_error(out, test::times_transposed(whole, row)), 1e-12);
        for (const auto& [i, j] :
             {std::pair{0, 299}, {299, 0}, {255, 256}, {256, 255}, {299, 299}}) {  // by J Jᵀ
            const Matrix ji = per_sample_gradients(t, train, i, 1),
                         jj = per_sample_gradients(t, train, j, 1);
            const Matrix pair = reduced(test::times_transposed(ji, jj), KernelOutput::trace, 2);
            EXPECT_NEAR(whole.at<double>(i, j), pair.at<double>(0, 0), 1e-12 * whole.at<double>(i, i));
        }
    }
}

TEST(KernelGram, TakesTheTrainedFactorsOfTheNetworkByDefault) {
    const Matrix x = normals(5, 5, 1);
    for (const Train train : test::all_trains) {
        const Network net = Network::create(
            {.dim = 5, .width = 70, .rank = 4, .outputs = 2, .train = train, .precision = DType::f64});
        const Tangent t = tangent(cpu(), net, x);
        EXPECT_TRUE(test::same_bits(gram(t), gram(t, KernelOutput::trace, train)));
        EXPECT_TRUE(test::same_bits(cross_gram(t, t), gram(t)));
        EXPECT_TRUE(test::same_bits(to_dense(KernelOperator(t)),
                                    to_dense(KernelOperator(t, KernelOutput::trace, train))));
    }
}

TEST(KernelGram, OfNoSamplesIsEmpty) {
    const Network net =
        Network::create({.dim = 5, .width = 70, .rank = 4, .outputs = 2, .precision = DType::f64});
    const Matrix none(0, 5, DType::f64), x = normals(3, 5, 1);
    const Tangent a = tangent(cpu(), net, none, keep_all), b = tangent(cpu(), net, x, keep_all);
    for (const Train train : test::all_trains)
        for (const KernelOutput output : all_outputs) {
            EXPECT_EQ(gram(a, output, train).rows(), 0);
            EXPECT_EQ(cross_gram(a, b, output, train).cols(), output == KernelOutput::full ? 6 : 3);
            const Matrix dense = to_dense(KernelOperator(b, a, output, train));
            EXPECT_EQ(dense.rows(), output == KernelOutput::full ? 6 : 3);
            EXPECT_EQ(dense.cols(), 0);
            Matrix zero(dense.rows(), 2, DType::f64);  // no sample to come from: K v = 0
            std::fill_n(zero.row<double>(0), zero.rows() * 2, 3.0);
            KernelOperator(b, a, output, train).apply(Matrix(0, 2, DType::f64), zero);
            EXPECT_EQ(relative_error(zero, Matrix(dense.rows(), 2, DType::f64)), 0);
        }
}

}  // namespace
}  // namespace fntk

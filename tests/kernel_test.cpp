// Kernels from tangents: against J Jᵀ of the per-sample gradients for every combination of factors,
// outputs, activations and families; the matrix-free operator against the Gram matrix; symmetry; and what
// is refused.
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/kernel.hpp>
#include <fntk/spectrum.hpp>

#include <limits>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_parts;
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

TEST(KernelErrors, NameWhatDoesNotFit) {
    const Matrix x = normals(3, 5, 1, DType::f32);
    NetworkSpec spec{.dim = 5, .width = 70, .rank = 4, .train = {.up = true}, .seed = 1};
    const Tangent t = tangent(cpu(), Network::create(spec), x);
    expect_parts(error_of<ValueError>([&] { (void)gram(t, KernelOutput::trace, {}); }), {"train", "empty"});
    expect_parts(error_of<ValueError>([&] { (void)gram(t, KernelOutput::trace, {.down = true}); }),
                 {"G", ".gradients = true"});
    expect_parts(
        error_of<ValueError>([&] { (void)KernelOperator(t, KernelOutput::trace, {.down = true}); }), {"G"});

    const KernelOperator op(t);
    Matrix out(3, 1, DType::f32), wrong(4, 1, DType::f32), doubles(3, 1, DType::f64);
    expect_parts(error_of<ShapeError>([&] { op.apply(wrong, out); }), {"3 × 3", "4 × 1"});
    EXPECT_THROW(op.apply(out, wrong), ShapeError);
    EXPECT_THROW(op.apply(Matrix(3, 2, DType::f32), out), ShapeError);
    expect_parts(error_of<ValueError>([&] { op.apply(doubles, out); }), {"float64", "float32"});
    EXPECT_THROW(op.apply(out, doubles), ValueError);
}

TEST(KernelErrors, ProductsDoNotTakeThePlaceOfWhatTheyRead) {
    const Matrix x = normals(3, 5, 1, DType::f32);
    const Tangent t = tangent(cpu(), Network::create({.dim = 5, .width = 70, .rank = 4, .seed = 1}), x);
    const Matrix k = gram(t);
    const KernelOperator matrix_free(t);
    const DenseOperator dense(cpu(), k);
    for (const LinearOperator* op :
         {static_cast<const LinearOperator*>(&matrix_free), static_cast<const LinearOperator*>(&dense)}) {
        Matrix all = normals(3, 4, 2, DType::f32), own(3, 2, DType::f32);
        const auto columns = [&](std::int64_t first) { return all.view().col_block(first, 2); };
        expect_parts(error_of<ValueError>([&] { op->apply(columns(0), columns(0)); }),
                     {"v", "out", "overlap"});
        EXPECT_THROW(op->apply(columns(0), columns(1)), ValueError);
        EXPECT_THROW(op->apply(columns(1), columns(0)), ValueError);
        op->apply(columns(2), own);
        op->apply(columns(2), columns(0));  // beside each other
        EXPECT_EQ(relative_error(columns(0), own), 0);
        expect_parts(
            error_of<ValueError>([&] { op->apply(ConstMatrixView(nullptr, 3, 2, 2, DType::f32), own); }),
            {"v", "3 × 2", "memory"});
    }
}

TEST(KernelErrors, MatricesThatWereMovedFromAreEmpty) {
    Matrix x = normals(3, 5, 1, DType::f32);
    const Matrix taken = std::move(x);
    EXPECT_TRUE(x.empty());  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(x.rows(), 0);
    EXPECT_EQ(x.copy().bytes(), 0);
    BitMatrix bits(3, 70);
    const BitMatrix other = std::move(bits);
    EXPECT_TRUE(bits.empty());  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(other.rows(), 3);
    const ConstMatrixView none(nullptr, 3, 5, 5, DType::f32);
    const Network network = Network::create({.dim = 5, .width = 70, .rank = 4, .seed = 1});
    expect_parts(error_of<ValueError>([&] { (void)tangent(cpu(), network, none); }), {"3 × 5", "memory"});
    EXPECT_THROW((void)Matrix::copy_of(none), ValueError);
    EXPECT_THROW((void)cpu().staged(none), ValueError);
}

TEST(KernelErrors, TilesStayInsideTheirBatch) {
    const Matrix x = normals(3, 5, 1, DType::f32);
    const Tangent t =
        tangent(cpu(), Network::create({.dim = 5, .width = 70, .rank = 4, .train = {.up = true}}), x);
    const auto tile = [&](TangentRows rows, TangentRows cols, MatrixView out) {
        gram_tile(rows, cols, KernelOutput::trace, {.up = true}, out);
    };
    Matrix out(2, 2, DType::f32), doubles(2, 2, DType::f64);
    expect_parts(error_of<ShapeError>([&] {
                     tile({&t, 2, 2}, {&t, 0, 2}, out);
                 }),
                 {"rows from 2, 2 of them", "3 samples"});
    expect_parts(error_of<ShapeError>([&] { tile({&t, 0, 2}, {&t, -1, 2}, out); }), {"cols", "-1"});
    expect_parts(error_of<ShapeError>([&] { tile({&t, 0, 2}, {&t, 0, 1}, out); }), {"2 × 2", "2 × 1"});
    expect_parts(error_of<ValueError>([&] {
                     tile({&t, 0, 2}, {&t, 1, 2}, doubles);
                 }),
                 {"float64", "float32"});
    const std::int64_t largest = std::numeric_limits<std::int64_t>::max();
    EXPECT_THROW(tile({&t, largest, 2}, {&t, 0, 2}, out), ShapeError);
    EXPECT_THROW((void)per_sample_gradients(t, {.up = true}, std::int64_t{1} << 62, std::int64_t{1} << 62),
                 ShapeError);
    expect_parts(error_of<ValueError>([&] { tile({}, {&t, 0, 2}, out); }), {"null pointer"});
    expect_parts(error_of<ValueError>([&] {
                     tile({&t, 0, 2}, {&t, 0, 2}, MatrixView(nullptr, 2, 2, 2, DType::f32));
                 }),
                 {"out", "without memory"});
    Matrix wide(2, 3, DType::f32);
    for (const std::int64_t stride : {0, 1, -2})
        expect_parts(
            error_of<ShapeError>([&] {
                tile({&t, 0, 2}, {&t, 0, 2}, MatrixView(wide.view().data, 2, 2, stride, DType::f32));
            }),
            {"out has 2 columns", "stride of " + std::to_string(stride)});
}

TEST(KernelViews, OfAnyStrideAreRead) {
    const Matrix values = normals(1, 12, 1);
    const Network network =
        Network::create({.dim = 5, .width = 70, .rank = 4, .up = Up::rademacher, .precision = DType::f64});
    const std::byte* data = values.view().data;
    for (const ConstMatrixView view :
         {ConstMatrixView(data, 1, 5, 0, DType::f64), ConstMatrixView(data, 3, 5, 1, DType::f64),
          ConstMatrixView(data, 3, 5, 0, DType::f64),
          ConstMatrixView(data + 5 * sizeof(double), 2, 5, -5, DType::f64)}) {
        const Matrix copy = Matrix::copy_of(view);
        const Tangent t = tangent(cpu(), network, view), same = tangent(cpu(), network, copy);
        EXPECT_TRUE(test::same_bits(gram(t), gram(same))) << view.rows << ' ' << view.stride;
        EXPECT_GT(value(gram(t), 0, 0), 0);
        const Matrix v = normals(view.rows, 2, 3);
        Matrix out(view.rows, 2, DType::f64), wanted(view.rows, 2, DType::f64);
        KernelOperator(t).apply(v, out);
        KernelOperator(same).apply(v, wanted);
        EXPECT_TRUE(test::same_bits(out, wanted));
    }
    const ConstMatrixView hankel(data, 3, 3, 1, DType::f64);
    const Matrix whole = Matrix::copy_of(hankel);
    EXPECT_EQ(relative_error(to_dense(DenseOperator(cpu(), hankel)), whole), 0);
    Matrix out(3, 3, DType::f64);
    EXPECT_THROW(DenseOperator(cpu(), whole).apply(hankel, out), ShapeError);
    EXPECT_THROW(DenseOperator(cpu(), whole).apply(whole, MatrixView(out.view().data, 3, 3, 0, DType::f64)),
                 ShapeError);
}

TEST(KernelErrors, RefuseTangentsOfDifferentNetworks) {
    const NetworkSpec base{
        .dim = 5, .width = 70, .rank = 4, .down = Down::gaussian, .train = {.up = true}, .seed = 1};
    const Matrix x = normals(3, 5, 1, DType::f32), narrow = normals(3, 4, 1, DType::f32),
                 wide = normals(3, 5, 1, DType::f64);
    const Tangent t = tangent(cpu(), Network::create(base), x);
    const auto expect_refused = [&](const char* what, const Matrix& inputs, auto&& change) {
        NetworkSpec spec = base;
        change(spec);
        const Tangent other = tangent(cpu(), Network::create(spec), inputs);
        EXPECT_THROW((void)cross_gram(t, other), ShapeError) << what;
        EXPECT_THROW((void)KernelOperator(t, other, KernelOutput::trace, {.up = true}), ShapeError) << what;
    };
    expect_refused("dim", narrow, [](NetworkSpec& s) { s.dim = 4; });
    expect_refused("width", x, [](NetworkSpec& s) { s.width = 71; });
    expect_refused("rank", x, [](NetworkSpec& s) { s.rank = 2; });
    expect_refused("outputs", x, [](NetworkSpec& s) { s.outputs = 2; });
    expect_refused("seed", x, [](NetworkSpec& s) { s.seed = 2; });
    expect_refused("down", x, [](NetworkSpec& s) { s.down = Down::srht; });
    expect_refused("up", x, [](NetworkSpec& s) { s.up = Up::rademacher; });
    expect_refused("activation", x, [](NetworkSpec& s) { s.activation.kind = Activation::abs; });
    expect_refused("precision", wide, [](NetworkSpec& s) { s.precision = DType::f64; });
    NetworkSpec rounded = base;
    rounded.up = Up::rademacher;
    const Tangent fine = tangent(cpu(), Network::create(rounded), x);
    rounded.rounding = Rounding::fast;
    const Tangent fast = tangent(cpu(), Network::create(rounded), x);
    EXPECT_THROW((void)cross_gram(fine, fast), ShapeError) << "rounding";
    // the trained factors may differ: they say what is asked for, not what the network is
    const Tangent other = tangent(cpu(), Network::create(base).with_train({.down = true}), x, keep_all);
    EXPECT_LT(relative_error(cross_gram(t, other, KernelOutput::trace, {.up = true}), gram(t)), 1e-6);
}

}  // namespace
}  // namespace fntk

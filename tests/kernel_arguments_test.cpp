// What kernels, their tiles and products take and what they refuse: views of any stride, memory that is not
// there or read already, batches and networks that do not fit each other.
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

/// Of one spec, but with a U, V or A of another's: a kernel between them is none of either.
TEST(KernelErrors, BatchesOfOtherWeightsAreRefused) {
    const Matrix x = normals(3, 5, 1, DType::f32);
    const NetworkSpec spec{.dim = 5, .width = 70, .rank = 4, .seed = 1};
    const Network network = Network::create(spec);
    const auto batch = [&](const Network& of) { return tangent(cpu(), of, x, keep_all); };
    const Tangent here = batch(network);
    const auto entries = [](std::int64_t rows, std::int64_t cols) {
        return std::make_shared<const Matrix>(normals(rows, cols, 2, DType::f32));
    };
    for (const Network& other : {network.with_down(normals(4, 5, 2, DType::f64)),
                                 network.with_up(entries(70, 4)), network.with_readout(entries(70, 1))}) {
        EXPECT_FALSE(network.same_weights(other));
        EXPECT_FALSE(other.same_weights(network));
        const Tangent there = batch(other);
        expect_parts(error_of<ShapeError>([&] { (void)cross_gram(here, there); }),
                     {"different networks", "values"});
        EXPECT_NO_THROW((void)cross_gram(there, there));
    }
    const Matrix u = network.materialize_down(), v = network.materialize_up();
    for (const Network& same :
         {network, network.with_train({.up = true}), Network::create(spec), network.with_down(u),
          Network::from_tensors(spec, {.down = u, .up = v, .readout = {}}),
          network.with_up(entries(70, 4)).with_up(nullptr)}) {
        EXPECT_TRUE(network.same_weights(same));
        EXPECT_NO_THROW((void)cross_gram(here, batch(same), KernelOutput::trace, {.up = true}));
    }
    NetworkSpec seed = spec;
    seed.seed = 2;
    EXPECT_FALSE(network.same_weights(Network::create(seed)));
}

// What is referred to may not be a temporary.
static_assert(std::is_constructible_v<KernelOperator, const Tangent&> &&
              !std::is_constructible_v<KernelOperator, Tangent>);
static_assert(!std::is_constructible_v<KernelOperator, Tangent, KernelOutput, Train>);
static_assert(
    std::is_constructible_v<KernelOperator, const Tangent&, const Tangent&, KernelOutput, Train> &&
    !std::is_constructible_v<KernelOperator, const Tangent&, Tangent, KernelOutput, Train> &&
    !std::is_constructible_v<KernelOperator, Tangent, Tangent&, KernelOutput, Train> &&
    !std::is_constructible_v<KernelOperator, Tangent, Tangent, KernelOutput, Train>);

TEST(KernelErrors, AnOperatorKeepsAMatrixThatIsGivenAway) {
    const Matrix k = normals(4, 4, 1, DType::f64), v = normals(4, 2, 2, DType::f64);
    Matrix given = Matrix::copy_of(k), found(4, 2, DType::f64), expected(4, 2, DType::f64);
    const DenseOperator owner(cpu(), std::move(given));
    given = Matrix();
    owner.apply(v, found);
    DenseOperator(cpu(), k).apply(v, expected);
    EXPECT_TRUE(test::same_bits(found, expected));
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

// Kernels tile by tile: against the Gram matrix and the limit in double, for every kind of kernel; the
// operators against them; and what is refused.
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/kernel_function.hpp>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_parts;
using test::normals;
using test::relative_error;

Network network(Train train, DType precision = DType::f64, std::int64_t outputs = 3) {
    return Network::create({.dim = 5,
                            .width = 70,
                            .rank = 4,
                            .outputs = outputs,
                            .train = train,
                            .precision = precision,
                            .seed = 5});
}

struct Case {
    std::string name;
    KernelFunction function;
    std::function<Matrix(ConstMatrixView, ConstMatrixView)> kernel;  // by the functions for whole matrices
};

std::vector<Case> cases() {
    std::vector<Case> result;
    for (const Train train : test::all_trains)
        for (const KernelOutput output :
             {KernelOutput::full, KernelOutput::trace, KernelOutput::sum_of_logits}) {
            const Network net = network(train);
            result.push_back(
                {to_string(train) + "_" + name(output), KernelFunction::of_network(net, output),
                 [=](ConstMatrixView x, ConstMatrixView y) {
                     return cross_gram(tangent(cpu(), net, x), tangent(cpu(), net, y), output, train);
                 }});
        }
    for (const ActivationSpec activation :
         {ActivationSpec{Activation::relu}, ActivationSpec{Activation::leaky_relu, 0.3},
          ActivationSpec{Activation::abs}, ActivationSpec{Activation::erf}})
        for (const Train train : test::all_trains)
            result.push_back({std::string("limit_") + name(activation.kind) + "_" + to_string(train),
                              KernelFunction::limit(activation, train, 5, DType::f64),
                              [=](ConstMatrixView x, ConstMatrixView y) {
                                  return limit_kernel(cpu(), activation, train, x, y);
                              }});
    return result;
}

TEST(KernelFunction, TilesDiagonalAndProductsAreThoseOfTheWholeKernel) {
    const Matrix x = normals(23, 5, 1), y = normals(9, 5, 2);
    for (const Case& c : cases()) {
        SCOPED_TRACE(c.name);
        const KernelBatch rows(cpu(), c.function, x), cols(cpu(), c.function, y);
        const Matrix square = c.kernel(x, x), oblong = c.kernel(x, y);
        const std::int64_t k = c.function.outputs();
        ASSERT_EQ(rows.rows(), square.rows());
        Matrix tile(4 * k, 3 * k, DType::f64);
        rows.tile(17, 4, cols, 2, 3, tile);
        EXPECT_LT(relative_error(tile, oblong.view().row_block(17 * k, 4 * k).col_block(2 * k, 3 * k)),
                  1e-12);
        const std::vector<double> diagonal = rows.diagonal();
        ASSERT_EQ(static_cast<std::int64_t>(diagonal.size()), square.rows());
        for (std::int64_t i = 0; i < square.rows(); ++i)
            EXPECT_NEAR(diagonal[static_cast<std::size_t>(i)], value(square, i, i),
                        1e-12 * value(square, i, i));
        for (const std::int64_t step : {1, 7, 100}) {  // one sample, a ragged last tile, one tile
            EXPECT_LT(relative_error(to_dense(TiledOperator(rows, rows, step)), square), 1e-12);
            EXPECT_LT(relative_error(to_dense(TiledOperator(rows, cols, step)), oblong), 1e-12);
        }
        EXPECT_LT(relative_error(to_dense(*make_operator(rows, cols, 7)), oblong), 1e-12);
    }
}

TEST(KernelFunction, ClosedFormWhereThereIsOne) {
    const Matrix x = normals(4, 5, 1);
    for (const Train train : test::all_trains) {
        const KernelBatch batch(cpu(), KernelFunction::of_network(network(train)), x);
        const auto op = make_operator(batch, batch);
        EXPECT_EQ(dynamic_cast<const KernelOperator*>(op.get()) != nullptr, train == Train{.down = true});
    }
}

TEST(KernelFunction, NoSamples) {
    const Matrix x = normals(4, 5, 1), none(0, 5, DType::f64);
    for (const Case& c : cases()) {
        SCOPED_TRACE(c.name);
        const KernelBatch rows(cpu(), c.function, x), empty(cpu(), c.function, none);
        EXPECT_TRUE(empty.diagonal().empty());
        Matrix out(rows.rows(), 2, DType::f64);
        std::fill_n(out.row<double>(0), out.rows() * 2, 3.0);
        TiledOperator(rows, empty).apply(Matrix(0, 2, DType::f64), out);
        EXPECT_EQ(relative_error(out, Matrix(rows.rows(), 2, DType::f64)), 0);
    }
}

// What is referred to may not be a temporary.
static_assert(std::is_constructible_v<KernelBatch, Device, KernelFunction, const Matrix&> &&
              !std::is_constructible_v<KernelBatch, Device, KernelFunction, Matrix>);
static_assert(std::is_constructible_v<TiledOperator, const KernelBatch&, const KernelBatch&> &&
              !std::is_constructible_v<TiledOperator, KernelBatch, const KernelBatch&> &&
              !std::is_constructible_v<TiledOperator, const KernelBatch&, KernelBatch>);

TEST(KernelFunction, NamesWhatDoesNotFit) {
    const Matrix x = normals(4, 5, 1);
    const KernelFunction limit = KernelFunction::limit({}, {.up = true}, 5, DType::f64),
                         other = KernelFunction::limit({Activation::abs}, {.up = true}, 5, DType::f64),
                         of_network = KernelFunction::of_network(network({.up = true}), KernelOutput::full);
    EXPECT_THROW((void)limit.network(), ValueError);
    EXPECT_THROW((void)KernelFunction::limit({Activation::leaky_relu, HUGE_VAL}, {.up = true}, 5),
                 ValueError);
    EXPECT_THROW((void)KernelFunction::limit({}, {}, 5), ValueError);
    expect_parts(error_of<ValueError>([] { (void)KernelFunction::limit({}, {.up = true}, 0); }),
                 {"dim = 0"});
    expect_parts(error_of<ValueError>([] { (void)KernelFunction::limit({}, {.up = true}, 5, DType::i32); }),
                 {"int32", "float32"});
    const Matrix wide = normals(4, 6, 1), narrow = normals(4, 5, 1, DType::f32);
    for (const KernelFunction& function : {limit, of_network}) {
        expect_parts(error_of<ShapeError>([&] { (void)KernelBatch(cpu(), function, wide); }), {"6", "5"});
        EXPECT_THROW((void)KernelBatch(cpu(), function, narrow), ValueError);
        Matrix nan = normals(4, 5, 1);
        nan.at<double>(2, 3) = NAN;
        expect_parts(error_of<ValueError>([&] { (void)KernelBatch(cpu(), function, nan); }), {"2", "3"});
    }
    const KernelBatch a(cpu(), limit, x), b(cpu(), other, x), c(cpu(), of_network, x);
    Matrix tile(2, 2, DType::f64);
    EXPECT_THROW((void)a.tangent(), ValueError);
    EXPECT_THROW(a.tile(3, 2, a, 0, 2, tile), ShapeError);
    EXPECT_THROW(a.tile(0, 2, b, 0, 2, tile), ValueError);
    EXPECT_THROW(a.tile(0, 2, c, 0, 2, tile), ValueError);
    EXPECT_THROW(c.tile(0, 2, c, 0, 2, tile), ShapeError);  // k = 3 rows a sample
    EXPECT_THROW((void)TiledOperator(a, a, 0), ValueError);
    const Network net = network({.down = true});
    const KernelBatch full(cpu(), KernelFunction::of_network(net, KernelOutput::full), x),
        trace(cpu(), KernelFunction::of_network(net, KernelOutput::trace), x),
        logits(cpu(), KernelFunction::of_network(net, KernelOutput::sum_of_logits), x);
    EXPECT_THROW((void)batch_bytes(limit, -5), ValueError);
    Matrix large(6, 6, DType::f64);
    EXPECT_THROW(full.tile(0, 2, trace, 0, 2, large), ValueError);
    EXPECT_THROW(trace.tile(0, 2, logits, 0, 2, tile), ValueError);
    EXPECT_THROW(trace.tile(0, 2, a, 0, 2, tile), ValueError);
    Matrix product(full.rows(), 1, DType::f64);
    EXPECT_THROW(TiledOperator(full, trace).apply(normals(trace.rows(), 1, 2), product), ValueError);
}

}  // namespace
}  // namespace fntk

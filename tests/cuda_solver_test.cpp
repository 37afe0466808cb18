// Methods whose iterations a GPU records as a graph and replays: the same bits as issued one by one.
#include "cuda_case.hpp"

#include <fntk/eigenvalues.hpp>
#include <fntk/solver.hpp>

#include <backend/ops.hpp>

namespace fntk {
namespace {

using test::CudaTest;
using test::normals;
using test::relative_error;
using test::same_bits;
using test::tolerance;

/// Another operator's products, which may not be recorded.
class Issued final : public LinearOperator {
  public:
    explicit Issued(const LinearOperator& op) : op_(op) {}
    [[nodiscard]] std::int64_t rows() const override { return op_.rows(); }
    [[nodiscard]] std::int64_t cols() const override { return op_.cols(); }
    [[nodiscard]] DType dtype() const override { return op_.dtype(); }
    [[nodiscard]] const Device& device() const override { return op_.device(); }
    void apply(ConstMatrixView v, MatrixView out) const override { op_.apply(v, out); }

  private:
    const LinearOperator& op_;
};

TEST_F(CudaTest, ConjugateGradientsAreReplayed) {
    const std::int64_t n = test::extent(150, 40), width = test::extent(512, 200);
    for (const DType precision : {DType::f32, DType::f64})
        for (const Train train_these :
             {Train{.down = true}, Train{.down = true, .up = true, .readout = true}}) {
            const Network network = Network::create(
                {.dim = 12, .width = width, .rank = 8, .train = train_these, .precision = precision});
            const Matrix x = normals(n, 12, 3, precision), y = normals(n, 3, 4, precision);
            const Tangent there = tangent(gpu(), network, x), here = tangent(host(), network, x);
            const KernelOperator op(there);
            const LowRankPreconditioner near(host(), normals(n, 4, 5, precision), 1.0),
                far(gpu(), gpu().to_device(normals(n, 4, 5, precision)), 1.0);
            for (const bool preconditioned : {false, true}) {
                const CgOptions options{.tolerance = 100 * tolerance(precision)};
                const CgResult replayed =
                                   conjugate_gradient(op, 0.1, y, preconditioned ? &far : nullptr, options),
                               issued = conjugate_gradient(Issued(op), 0.1, y,
                                                           preconditioned ? &far : nullptr, options),
                               want = conjugate_gradient(KernelOperator(here), 0.1, y,
                                                         preconditioned ? &near : nullptr, options);
                EXPECT_TRUE(replayed.converged);
                EXPECT_GT(replayed.iterations, 3);
                EXPECT_EQ(replayed.iterations, issued.iterations);
                EXPECT_TRUE(same_bits(gpu().to_host(replayed.solution), gpu().to_host(issued.solution)));
                EXPECT_LT(relative_error(gpu().to_host(replayed.solution), want.solution),
                          1e4 * tolerance(precision));
            }
        }
}

/// Spaces of 12 vectors, half of them new after each restart, of kernels whose eigenvalues crowd.
TEST_F(CudaTest, LanczosStepsAreReplayed) {
    const std::int64_t n = test::extent(300, 60), width = test::extent(512, 200);
    for (const DType precision : {DType::f32, DType::f64}) {
        const Network network =
            Network::create({.dim = 12, .width = width, .rank = 8, .precision = precision});
        const Matrix x = normals(n, 12, 3, precision);
        const Tangent tangent = fntk::tangent(gpu(), network, x);
        const KernelOperator product(tangent);
        const Matrix kernel = gram(tangent);
        const DenseOperator dense(gpu(), kernel);
        for (const LinearOperator* op :
             {static_cast<const LinearOperator*>(&product), static_cast<const LinearOperator*>(&dense)})
            for (const SpectrumEnd end : {SpectrumEnd::largest, SpectrumEnd::smallest}) {
                const ExtremalOptions options{
                    .end = end, .count = 4, .subspace = 12, .max_restarts = 5, .tolerance = 1e-300};
                const ExtremalEigenvalues replayed = extremal(*op, options),
                                          issued = extremal(Issued(*op), options);
                EXPECT_GT(replayed.products, 12 + 5 * 4);
                EXPECT_EQ(replayed.products, issued.products);
                EXPECT_EQ(replayed.residual, issued.residual);
                for (std::size_t i = 0; i < 4; ++i)
                    EXPECT_EQ(replayed.intervals[i].value, issued.intervals[i].value) << i;
            }
    }
}

TEST_F(CudaTest, RepeatedWorkIsDoneEveryTime) {
    backend::Ops& ops = gpu().ops();
    Matrix sum = gpu().zeros(300, 2, DType::f64);
    const Matrix step = gpu().to_device(test::filled(300, 2, DType::f64, [](auto, auto) { return 1.0; }));
    const auto work = ops.repeated([&] {
        const Matrix twice = gpu().zeros(300, 2, DType::f64);  // memory of its own, given back
        Matrix own = gpu().zeros(300, 2, DType::f64);
        ops.axpby(2, step, 0, own);
        ops.axpby(1, own, 1, sum);
        ops.axpby(1, twice, 1, sum);
    });
    for (int i = 1; i <= 5; ++i) {
        work->run();
        EXPECT_EQ(value(gpu().on_host(sum), 299, 1), 2 * i);
    }
}

TEST_F(CudaTest, WorkThatCannotBeRecordedIsIssued) {
    backend::Ops& ops = gpu().ops();
    Matrix sum = gpu().zeros(3, 1, DType::f64);
    const Matrix one = gpu().to_device(test::filled(3, 1, DType::f64, [](auto, auto) { return 1.0; }));
    double norm = 0;
    const auto work = ops.repeated([&] {
        norm = ops.norm(one);  // a number for the host
        ops.axpby(1, one, 1, sum);
    });
    for (int i = 1; i <= 4; ++i) {
        work->run();
        EXPECT_EQ(value(gpu().on_host(sum), 2, 0), i);
        EXPECT_DOUBLE_EQ(norm, std::sqrt(3.0));
    }
}

}  // namespace
}  // namespace fntk

// Residuals, losses and their sum: kernels/residual.hpp, and Number of kernels/norm.hpp.
#include "kernel_matrices.hpp"

#include <backend/ops.hpp>

#include <norm.hpp>
#include <residual.hpp>

namespace fntk {
namespace {

using test::Padded;
using test::run_on_host;

const Device& reference() {
    static const Device device = Device::open("reference");
    return device;
}

double loss_of(backend::Residual loss, ConstMatrixView f, ConstMatrixView y, MatrixView e) {
    Matrix total(1, 1, DType::f64);
    reference().ops().residual(loss, f, y, e, total);
    return total.at<double>(0, 0);
}

/// Roundings of an entry of e, and of each term of the loss.
constexpr double slack = 8;

double sum_of(const std::vector<double>& x, std::int64_t blocks = 0) {
    const auto n = static_cast<std::int64_t>(x.size());
    std::vector<double> slots(kernels::reduction_slots(n, 1), -1);
    double sum = -1;
    run_on_host(kernels::ReduceElements<kernels::Number>{{x.data()}, n, 1, slots.data()},
                {.blocks = blocks});
    run_on_host(kernels::FinishReduction<kernels::Number>{slots.data(),
                                                          static_cast<std::int64_t>(slots.size()), &sum});
    return sum;
}

template <class Kernel, class T, class Y>
void expect_residual(backend::Residual loss, double spread, bool in_place) {
    for (const auto [n, k] : test::few_shapes) {
        Padded<T> f(
            test::filled(n, k, DType::f64, [engine = std::mt19937_64(9), spread](auto, auto) mutable {
                return spread * std::normal_distribution<double>()(engine);
            }));
        Padded<Y> y(test::filled(n, k, DType::f64, [k = k](auto i, auto c) {
            return c == i % k ? 0.75 : 0.25 / static_cast<double>(k);
        }));
        Padded<T> e(n, k, T(-7)), expected(n, k);
        std::vector<double> losses(n, -1);
        const double total = loss_of(loss, f, y, expected);
        run_on_host(Kernel{f.rows_in(), y.rows_in(), in_place ? f.rows() : e.rows(), losses.data()});
        const double tolerance = slack * std::numeric_limits<T>::epsilon();
        EXPECT_TRUE(test::near_values(in_place ? f.view() : e.view(), expected, tolerance))
            << n << " x " << k;
        EXPECT_TRUE(e.intact() && f.intact());
        EXPECT_NEAR(sum_of(losses), total, slack * 0x1p-53 * static_cast<double>(n + k) * (1 + total))
            << n << " x " << k;
    }
}

TEST(KernelsResidual, SquaredIsTheReference) {
    using backend::Residual;
    using kernels::SquaredResidual;
    expect_residual<SquaredResidual<float, float>, float, float>(Residual::squared, 1, false);
    expect_residual<SquaredResidual<float, double>, float, double>(Residual::squared, 1, true);
    expect_residual<SquaredResidual<double, double>, double, double>(Residual::squared, 1, true);
}

TEST(KernelsResidual, CrossEntropyIsTheReferenceAndNeitherOverNorUnderflows) {
    using backend::Residual;
    using kernels::CrossEntropyResidual;
    for (const double spread : {1.0, 1e4})
        expect_residual<CrossEntropyResidual<float, float>, float, float>(Residual::cross_entropy, spread,
                                                                          true);
    expect_residual<CrossEntropyResidual<float, double>, float, double>(Residual::cross_entropy, 1e4,
                                                                        false);
    expect_residual<CrossEntropyResidual<double, float>, double, float>(Residual::cross_entropy, 1, true);
    expect_residual<CrossEntropyResidual<double, double>, double, double>(Residual::cross_entropy, 1e4,
                                                                          false);
}

TEST(KernelsResidual, LossPerRowIsThatOfTheRowAlone) {
    Padded<double> f(test::normals(33, 3, 1)), y(test::normals(33, 3, 2)), e(33, 3), one(1, 3);
    std::vector<double> losses(33);
    run_on_host(
        kernels::SquaredResidual<double, double>{f.rows_in(), y.rows_in(), e.rows(), losses.data()});
    for (std::int64_t i = 0; i < 33; ++i)
        EXPECT_NEAR(
            losses[i],
            loss_of(backend::Residual::squared, f.view().row_block(i, 1), y.view().row_block(i, 1), one),
            1e-14);
}

TEST(KernelsResidual, TheSumDoesNotDependOnTheLaunch) {
    for (const std::int64_t n : {0, 257, 3000}) {
        const Matrix x = test::normals(n, 1, 4);
        std::vector<double> numbers(n);
        double expected = 0, magnitude = 0;
        for (std::int64_t i = 0; i < n; ++i) {
            numbers[i] = x.at<double>(i, 0);
            expected += numbers[i];
            magnitude += std::abs(numbers[i]);
        }
        const double sum = sum_of(numbers, 1);
        EXPECT_NEAR(sum, expected, slack * 0x1p-53 * magnitude) << n;
        EXPECT_EQ(sum, sum_of(numbers, 2)) << n;
        EXPECT_EQ(sum, sum_of(numbers, 7)) << n;
    }
}

}  // namespace
}  // namespace fntk

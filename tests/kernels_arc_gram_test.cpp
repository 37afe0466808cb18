// The kernel of arc_gram on the host's grid against the oracle: kernels/arc_gram.hpp.
#include "arc_rows.hpp"
#include "kernel_matrices.hpp"

#include <backend/ops.hpp>

#include <arc_gram.hpp>

namespace fntk {
namespace {

using test::ArcCase;
using test::ArcRows;
using test::Padded;

const Device& reference() {
    static const Device device = Device::open("reference");
    return device;
}

template <class T>
Padded<T> run(const ArcRows& a, const ArcRows& b, const ArcCase& c, std::int64_t blocks) {
    Padded<T> u(a.u), u_cols(b.u), norms(a.norms), norms_cols(b.norms), out(a.u.rows(), b.u.rows());
    reference().ops().inner(1, u, u_cols, 0, out);
    kernels::ArcGram<T> kernel;
    kernel.kernel = kernels::ArcKernel(c.alpha, c.derivative, c.product);
    kernel.u = u.rows_in();
    kernel.u_cols = u_cols.rows_in();
    kernel.norms = norms.rows_in();
    kernel.norms_cols = norms_cols.rows_in();
    kernel.out = out.rows();
    test::run_on_host(kernel, {.blocks = blocks});
    EXPECT_TRUE(out.intact());
    return out;
}

template <class T>
void expect_kernel(std::int64_t n, std::int64_t n_cols, std::int64_t d, const ArcCase& c,
                   std::int64_t blocks) {
    SCOPED_TRACE(std::to_string(n) + " x " + std::to_string(n_cols) + ", alpha " + std::to_string(c.alpha));
    const ArcRows a = test::arc_rows(n, d, 1, dtype_of<T>), b = test::arc_rows(n_cols, d, 7, dtype_of<T>);
    Padded<T> have = run<T>(a, b, c, blocks);
    Matrix want(n, n_cols, dtype_of<T>);
    reference().ops().arc_gram(a.u, a.norms, b.u, b.norms, c.alpha, c.derivative, c.product, want);
    EXPECT_TRUE(test::near_kernel(have.view(), want, a, b, c, sizeof(T) == 4 ? 3e-6 : 1e-13));
}

TEST(KernelsArcGram, IsThatOfTheOracle) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        for (const ArcCase& c : test::arc_cases) {
            expect_kernel<T>(13, 33, 40, c, 0);
            expect_kernel<T>(33, 31, 3, c, 3);
        }
        expect_kernel<T>(1, 1, 1, test::arc_cases[0], 0);
        expect_kernel<T>(2, 257, 33, test::arc_cases[2], 2);
        expect_kernel<T>(0, 5, 4, test::arc_cases[0], 0);
        expect_kernel<T>(5, 0, 4, test::arc_cases[0], 0);
    });
}

TEST(KernelsArcGram, IsSymmetricAndExactAtEqualOppositeAndZeroRows) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        const ArcRows rows = test::arc_rows(37, 35, 3, dtype_of<T>);
        Padded<T> k = run<T>(rows, rows, {0, 1, 1}, 0);
        EXPECT_TRUE(test::symmetric(k.view()));
        const double epsilon = sizeof(T) == 4 ? 0x1p-22 : 0x1p-51;
        for (std::int64_t i = 0; i + 3 < 37; i += 6) {
            const double norm = value(rows.norms, i, 0), twin = value(rows.norms, i + 1, 0);
            EXPECT_NEAR(k.at(i, i), norm * norm, epsilon * norm * norm);  // 1/2 + 1/2
            EXPECT_NEAR(k.at(i, i + 1), norm * twin, epsilon * norm * twin);
            EXPECT_EQ(k.at(i, i + 2), 0) << "opposite";
            EXPECT_EQ(k.at(i, i + 3), 0) << "zero";
        }
    });
}

}  // namespace
}  // namespace fntk

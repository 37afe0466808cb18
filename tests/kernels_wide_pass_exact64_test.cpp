#include "kernels_wide_pass.hpp"

#include "kernel_matrices.hpp"

#include <dequantise.hpp>
#include <exact_values.hpp>
#include <wide_pass_exact64.hpp>

#include <cmath>

namespace fntk::test {
namespace {

template <class Hidden>
void expect_pass(const WideProblem& problem, const HostOptions& options = {}, const Wanted& wanted = {}) {
    kernels::WidePassExact64<Hidden> pass;
    pass.srht = problem.shape().family == Up::srht;
    pass.h = problem.rows<Hidden>();
    expect_sums(pass, problem, options, wanted);
}

TEST(WidePassExact64, EqualsTheReferenceForEveryRankAndFamily) {
    const std::int64_t widths[] = {1, 63, 64, 65, 300, 1025};
    int turn = 0;
    for (const std::int64_t p : {1, 2, 3, 31, 32, 33, 64, 100, 257, 512})
        for (const Up family : {Up::rademacher, Up::srht}) {
            const WideProblem problem(
                {family, DType::i64, turn % 4 + 3, p, widths[turn % 6], turn % 3 == 0 ? 3 : 1});
            expect_pass<std::int64_t>(problem);
            ++turn;
        }
}

TEST(WidePassExact64, TakesInt32AsWell) {
    for (const Up family : {Up::rademacher, Up::srht}) {
        const WideProblem problem({family, DType::i32, 5, 70, 150, 2});
        expect_pass<std::int32_t>(problem);
    }
}

TEST(WidePassExact64, DoesNotDependOnTheLaunch) {
    for (const Up family : {Up::rademacher, Up::srht}) {
        const WideProblem problem({family, DType::i64, 6, 40, 2200, 1});
        for (const std::int64_t blocks : {0, 1, 4})
            expect_pass<std::int64_t>(problem, {.blocks = blocks, .blocks_at_once = 2});
    }
}

TEST(WidePassExact64, ComputesWhatIsWanted) {
    const WideProblem problem({Up::srht, DType::i64, 4, 16, 130, 2});
    expect_pass<std::int64_t>(problem, {}, {.gates = true, .gradients = false});
    expect_pass<std::int64_t>(problem, {}, {.gates = false, .gradients = true});
    expect_pass<std::int64_t>(problem, {}, {.gates = false, .gradients = false});
}

/// Runs ExactValues on the reference's Ĝ.
template <class Hidden>
void expect_values(const WideProblem& problem) {
    using Kernel = kernels::ExactValues<Hidden>;
    const WideShape& shape = problem.shape();
    SCOPED_TRACE(described(shape));
    std::vector<typename Kernel::Value> values(static_cast<std::size_t>(shape.n * (shape.k + 1)), -5);
    Kernel kernel;
    kernel.h = problem.rows<Hidden>();
    kernel.gradients = {problem.gradients().template row<std::int32_t>(0), shape.n, shape.k * shape.p,
                        shape.k * shape.p};
    kernel.outputs = shape.k;
    kernel.values = {values.data(), shape.n, shape.k, shape.k + 1};
    run_on_host(kernel, {.blocks_at_once = 2});
    for (std::int64_t i = 0; i < shape.n; ++i) {
        for (std::int64_t c = 0; c < shape.k; ++c)
            EXPECT_EQ(kernel.values.row(i)[c], problem.values().template at<typename Kernel::Value>(i, c))
                << i << ' ' << c;
        EXPECT_EQ(kernel.values.row(i)[shape.k], -5);
    }
}

TEST(ExactValues, EqualTheReference) {
    for (const std::int64_t p : {1, 31, 32, 33, 257})
        for (const std::int64_t k : {1, 3}) {
            expect_values<std::int32_t>(WideProblem({Up::rademacher, DType::i32, 7, p, 200, k}));
            expect_values<std::int64_t>(WideProblem({Up::rademacher, DType::i64, 7, p, 200, k}));
        }
}

/// f and G of ExactValues are the bits of Dequantise, each alone, both, and beside f̂.
template <class Hidden>
void expect_real(const WideProblem& problem, double closed, bool with_offset) {
    using Kernel = kernels::ExactValues<Hidden>;
    using Value = typename Kernel::Value;
    using Real = typename Kernel::Real;
    const WideShape& shape = problem.shape();
    SCOPED_TRACE(described(shape));
    Padded<std::int32_t> sums(problem.gradients()),
        exponents(small_integers(shape.n, 1, 30, 6, DType::f64)),
        offset(small_integers(1, shape.k * shape.p, 1 << 20, 7, DType::f64));
    Padded<Value> exact(problem.values());
    Padded<Real> f(shape.n, shape.k), g(shape.n, shape.k * shape.p);
    const std::int32_t* of_all = with_offset ? offset.rows_in().data : nullptr;
    run_on_host(kernels::Dequantise<Value, Real>{exact.rows_in(), exponents.rows_in(), 0.3, closed, 1,
                                                 nullptr, f.rows()});
    run_on_host(
        kernels::Dequantise<std::int32_t, Real>{sums.rows_in(), {}, 0.7, closed, 1, of_all, g.rows()});
    for (const bool values : {true, false})
        for (const bool real_values : {true, false})
            for (const bool gradients : {true, false}) {
                Padded<Value> f_int(shape.n, shape.k, -5);
                Padded<Real> f_real(shape.n, shape.k, Real(-5)),
                    g_real(shape.n, shape.k * shape.p, Real(-5));
                Kernel kernel;
                kernel.h = problem.rows<Hidden>();
                kernel.gradients = sums.rows_in();
                kernel.outputs = shape.k;
                if (values) kernel.values = f_int.rows();
                if (values && real_values) kernel.real_values = f_real.rows();
                if (gradients) kernel.real_gradients = g_real.rows();
                kernel.exponents = exponents.rows_in();
                kernel.offset = of_all;
                kernel.values_unit = 0.3 * (1 - closed);
                kernel.gradients_unit = 0.7 * (1 - closed);
                kernel.offset_unit = 0.7 * closed;
                run_on_host(kernel, {.blocks_at_once = 2});
                Padded<Real> none(shape.n, shape.k, Real(-5)), none_g(shape.n, shape.k * shape.p, Real(-5));
                EXPECT_TRUE(same_bits(f_real.view(), values && real_values ? f.view() : none.view()));
                EXPECT_TRUE(same_bits(g_real.view(), gradients ? g.view() : none_g.view()));
                if (values) {
                    EXPECT_TRUE(same_bits(f_int.view(), problem.values()));
                }
                EXPECT_TRUE(f_int.intact() && f_real.intact() && g_real.intact());
            }
}

TEST(ExactValues, AndTheSumsAreScaledAsDequantiseDoes) {
    for (const std::int64_t p : {1, 33, 257})
        for (const std::int64_t k : {1, 3})
            for (const double closed : {0.0, 0.25, -1.0})
                for (const bool with_offset : {true, false}) {
                    expect_real<std::int32_t>(WideProblem({Up::rademacher, DType::i32, 7, p, 200, k}),
                                              closed, with_offset);
                    expect_real<std::int64_t>(WideProblem({Up::rademacher, DType::i64, 7, p, 200, k}),
                                              closed, with_offset);
                }
    expect_real<std::int32_t>(WideProblem({Up::rademacher, DType::i32, 0, 5, 64, 2}), 0, false);
}

// Against the compiler's own conversion, where rounding is hardest: halves between two doubles, one unit
// beside them, and carries into the next power of two.
TEST(ExactValues, RoundTheirSumsToTheNearestDouble) {
    using kernels::int128;
    std::mt19937_64 engine(3);
    for (int bits = 1; bits <= 126; ++bits)
        for (int trial = 0; trial < 40; ++trial) {
            const int128 random =
                static_cast<int128>(engine() >> 1) << 63 | static_cast<int128>(engine() >> 1);
            const int128 high = static_cast<int128>(1) << (bits - 1);
            int128 x = high | (random & (high - 1));
            if (bits > 54 && trial % 4 != 0) {  // …1000… behind the 53 bits that stay, and its neighbours
                const int128 half = static_cast<int128>(1) << (bits - 54);
                x = (x & ~(2 * half - 1)) | (half + trial % 4 - 2);
                if (trial % 8 == 1) x = (2 * high - 1) & ~(half - 1);
            }
            for (const int128 value : {x, -x})
                ASSERT_EQ(kernels::nearest_double(value), static_cast<double>(value))
                    << bits << ' ' << trial;
        }
    EXPECT_EQ(kernels::nearest_double(0), 0.0);
}

}  // namespace
}  // namespace fntk::test

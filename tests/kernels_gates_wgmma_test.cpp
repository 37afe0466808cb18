// The gates of ranks above 256 for compute capability 9.0 (kernels/gates_wgmma.hpp) from panels of V
// (kernels/sign_panels.hpp), against the reference: equal words for every shape and range of units.
#include "kernel_rows.hpp"
#include "kernels_wide_pass.hpp"

#include <gates_wgmma.hpp>
#include <rademacher_sums.hpp>

#include <array>

namespace fntk::test {
namespace {

/// The units in two chunks where there are more than `most` panels of them.
template <class Kernel>
void expect_words(const WideProblem& problem, const HostOptions& options, std::int64_t most) {
    const WideShape& shape = problem.shape();
    SCOPED_TRACE(described(shape) + ", words " + std::to_string(Kernel::words_at_once));
    constexpr std::uint64_t beside = 0x5555AAAA5555AAAA;
    const std::int64_t words = (shape.m + 63) / 64, all = (shape.m + 255) / 256,
                       row = Kernel::words_for(shape.p) * kernels::SignPanels::quads;
    std::vector<std::uint64_t> found(static_cast<std::size_t>(shape.n * (words + 1)), beside);
    std::vector<kernels::Quad> memory(static_cast<std::size_t>(std::min(most, all) * row),
                                      kernels::Quad{{7, 7, 7, 7}});
    Kernel kernel;
    kernel.h = problem.rows<std::int32_t>();
    kernel.gates = {found.data(), shape.n, words, words + 1};
    kernel.m = shape.m;
    kernel.p = shape.p;
    kernel.panels = {memory.data(), Kernel::words_for(shape.p)};
    ASSERT_TRUE(Kernel::fits(shape.p, options.limits));
    for (std::int64_t first = 0; first < all; first += most) {
        kernel.first_unit = 256 * first;
        kernel.count = std::min(most, all - first);
        run_on_host(
            kernels::PackSigns{problem.up().seed, shape.p, kernel.first_unit, kernel.count, kernel.panels},
            options);
        run_on_host(kernel, options);
    }
    for (std::int64_t i = 0; i < shape.n; ++i) {
        const std::uint64_t* word = found.data() + i * (words + 1);
        for (std::int64_t w = 0; w < words; ++w)
            ASSERT_EQ(word[w], problem.gates().view().row(i)[w]) << i << ' ' << w;
        ASSERT_EQ(word[words], beside) << i;
    }
}

void expect_gates(std::int64_t n, std::int64_t p, std::int64_t m, const HostOptions& options = hopper(),
                  int bits = 20, std::int64_t most = 1000) {
    const WideProblem problem({Up::rademacher, DType::i32, n, p, m, 1, bits});
    kernels::with_digits(bits, [&](auto digits) {
        constexpr int count = decltype(digits)::value;
        expect_words<kernels::GatesWgmma<count, 1>>(problem, options, most);
        if (kernels::GatesWgmma<count, 2>::fits(p, options.limits))
            expect_words<kernels::GatesWgmma<count, 2>>(problem, options, most);
    });
}

TEST(GatesWgmma, EqualTheReferenceForRaggedShapes) {
    for (const auto [n, p, m] : {std::array<std::int64_t, 3>{1, 257, 1},
                                 {5, 288, 63},
                                 {64, 300, 65},
                                 {66, 384, 300},
                                 {17, 401, 257},
                                 {65, 512, 129},
                                 {70, 784, 513},
                                 {3, 900, 70},
                                 {64, 1024, 256}})
        expect_gates(n, p, m);
}

TEST(GatesWgmma, TakeTwoDigitsOfUpTo14Bits) {
    expect_gates(20, 350, 300, hopper(), 14);
    expect_gates(20, 1000, 100, hopper(), 14);
}

TEST(GatesWgmma, SplitTheWidthOverBlocksAndChunks) {
    expect_gates(5, 320, 2100, hopper(8));
    expect_gates(130, 300, 1500, hopper(8), 20, 2);
    expect_gates(9, 500, 6 * 256 - 30, hopper(), 20, 4);
}

TEST(GatesWgmma, FitUpTo1024ColumnsAndFillTheDevice) {
    const kernels::DeviceLimits limits{132, 227 * 1024, 90};
    EXPECT_TRUE((kernels::GatesWgmma<3, 1>::fits(1024, limits)));
    EXPECT_TRUE((kernels::GatesWgmma<3, 2>::fits(832, limits)));
    EXPECT_FALSE((kernels::GatesWgmma<3, 2>::fits(833, limits)));
    EXPECT_FALSE((kernels::GatesWgmma<3, 1>::fits(1100, limits)));
    std::int32_t number = 0;
    std::uint64_t word = 0;
    for (const std::int64_t n : {1, 100, 8192, 50000}) {
        kernels::GatesWgmma<3, 2> kernel;
        kernel.p = 784;
        kernel.h = {&number, n, 784, 784};
        kernel.count = 256;
        EXPECT_EQ(kernel.launch(limits).blocks, 0) << "no gates are wanted";
        kernel.gates = {&word, n, 1024, 1024};
        const std::int64_t blocks = kernel.launch(limits).blocks;
        EXPECT_GE(blocks, 120) << n;
        EXPECT_GE(blocks * 5, kernels::round_up(blocks, 132) * 4) << n;
        kernel.count = 0;
        EXPECT_EQ(kernel.launch(limits).blocks, 0);
    }
}

}  // namespace
}  // namespace fntk::test

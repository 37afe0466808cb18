// Columns with numbers of their own (columns.hpp) on the host grid against plain loops.
#include "kernel_matrices.hpp"

#include <columns.hpp>

namespace fntk {
namespace {

using test::Padded;
using test::run_on_host;

/// Rows that need one slot and several, columns below and above the threads of a block.
constexpr test::Extents extents[] = {{0, 3}, {1, 1}, {33, 2}, {2100, 1}, {700, 5}, {70, 300}};

template <class T>
std::vector<double> dots(Padded<T>& a, Padded<T>& b, std::int64_t blocks) {
    const std::int64_t rows = a.view().rows, cols = a.view().cols,
                       slots = kernels::ColumnSlots(rows, cols).slots;
    std::vector<double> of_slots(static_cast<std::size_t>(slots * cols), -1),
        sums(static_cast<std::size_t>(cols), -1);
    run_on_host(kernels::ColumnDots<T>{a.rows_in(), b.rows_in(), of_slots.data()}, {.blocks = blocks});
    run_on_host(kernels::FinishColumnDots{of_slots.data(), slots, cols, sums.data()});
    return sums;
}

TEST(KernelsColumns, SumsOfProductsInDouble) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        for (const auto [rows, cols] : extents) {
            Padded<T> a(test::small_integers(rows, cols, 1000, 1, DType::f64)),
                b(test::small_integers(rows, cols, 1000, 2, DType::f64));
            std::vector<double> expected(static_cast<std::size_t>(cols));
            for (std::int64_t i = 0; i < rows; ++i)
                for (std::int64_t j = 0; j < cols; ++j)
                    expected[static_cast<std::size_t>(j)] +=
                        static_cast<double>(a.at(i, j)) * static_cast<double>(b.at(i, j));
            EXPECT_EQ(dots(a, b, 0), expected) << rows << " x " << cols;
        }
    });
}

TEST(KernelsColumns, SumsAreTheSameForAnyNumberOfBlocks) {
    Padded<float> a(test::normals(3000, 3, 1)), b(test::normals(3000, 3, 2));
    const std::vector<double> expected = dots(a, b, 0);
    for (const std::int64_t blocks : {1, 2, 5}) EXPECT_EQ(dots(a, b, blocks), expected) << blocks;
}

TEST(KernelsColumns, SlotsCoverAllRows) {
    for (const std::int64_t rows : {1L, 1000L, 1L << 20, 10000000000L})
        for (const std::int64_t cols : {1, 7, 300}) {
            const kernels::ColumnSlots cut(rows, cols);
            EXPECT_GE(cut.slots * cut.rows_per_slot, rows);
            EXPECT_LT((cut.slots - 1) * cut.rows_per_slot, rows);
            EXPECT_LE(cut.slots, 1024);
        }
}

TEST(KernelsColumns, Combinations) {
    test::for_both_reals([](auto type) {
        using T = decltype(type);
        const std::vector<double> alpha{0.5, -2, 4}, beta{3, 0, -1};
        for (const bool bare : {false, true})
            for (const double b : {0.0, -1.0}) {
                Padded<T> x(test::small_integers(41, 3, 100, 1, DType::f64)),
                    y(test::small_integers(41, 3, 100, 2, DType::f64)), before(y.view());
                if (b == 0) y = Padded<T>(41, 3, std::numeric_limits<T>::quiet_NaN());
                run_on_host(kernels::CombineColumns<T>{2, bare ? nullptr : alpha.data(), x.rows_in(), b,
                                                       bare ? nullptr : beta.data(), y.rows()});
                for (std::int64_t i = 0; i < 41; ++i)
                    for (std::int64_t j = 0; j < 3; ++j) {
                        const std::size_t c = static_cast<std::size_t>(j);
                        const double of_x = 2 * (bare ? 1 : alpha[c]) * static_cast<double>(x.at(i, j)),
                                     of_y = b * (bare ? 1 : beta[c]) * static_cast<double>(before.at(i, j));
                        ASSERT_EQ(static_cast<double>(y.at(i, j)), of_x + of_y);
                    }
                EXPECT_TRUE(y.intact());
                Padded<T> in_place(x.view());
                run_on_host(kernels::CombineColumns<T>{1, alpha.data(), in_place.rows_in(), 0, nullptr,
                                                       in_place.rows()});
                for (std::int64_t i = 0; i < 41; ++i)
                    for (std::int64_t j = 0; j < 3; ++j)
                        ASSERT_EQ(static_cast<double>(in_place.at(i, j)),
                                  alpha[static_cast<std::size_t>(j)] * static_cast<double>(x.at(i, j)));
                EXPECT_TRUE(in_place.intact());
            }
    });
}

TEST(KernelsColumns, NumbersAreDividedAndCounted) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    std::vector<double> roots{0, 4, 2.25};
    run_on_host(kernels::SquareRoots{roots.data(), 3});
    EXPECT_EQ(roots, (std::vector<double>{0, 2, 1.5}));

    const std::vector<double> a{6, 0, 1, -3, 1, 1, 2}, b{2, -1, 0, 4, nan, -5, -9};
    std::vector<double> quotients(7, 9), least{7, 7, 7, 1, 7, nan, -1};
    run_on_host(kernels::Divide{a.data(), b.data(), quotients.data(), least.data(), 7});
    EXPECT_EQ(quotients, (std::vector<double>{3, 0, 0, -0.75, 0, 0, 0}));
    EXPECT_EQ((std::vector<double>{least.begin(), least.begin() + 4}), (std::vector<double>{2, 7, 0, 1}));
    EXPECT_TRUE(std::isnan(least[4]) && std::isnan(least[5]));
    EXPECT_EQ(least[6], -1);

    const std::vector<double> x{2, 1, 1, nan}, limit{1, 1, 2, 0};
    std::vector<double> kept{1, 2, 3, 4}, count{0, 5, 0, 0};
    run_on_host(kernels::KeepAbove{x.data(), limit.data(), kept.data(), count.data(), 4});
    EXPECT_EQ(kept, (std::vector<double>{1, 0, 0, 0}));
    EXPECT_EQ(count, (std::vector<double>{1, 5, 0, 0}));
}

}  // namespace
}  // namespace fntk

// What the tests of kernels share: matrices and bits as kernels see them, with strides beyond the width,
// and seeded factors as the reference sees them.
#pragma once

#include "host_grid.hpp"
#include "support.hpp"

#include <backend/ops.hpp>

namespace fntk::test {

template <class T>
kernels::Rows<T> rows_in(MatrixView view) {
    return {view.row<std::remove_const_t<T>>(0), view.rows, view.cols, view.stride};
}
template <class Word>
kernels::Rows<Word> rows_in(BasicBitView<Word> bits) {
    return {bits.words, bits.rows, (bits.cols + 63) / 64, bits.stride};
}

/// rows × cols inside a matrix that is `padding` columns wider and filled with `guard`, to see what else is
/// written.
template <class T>
class Guarded {
  public:
    Guarded(std::int64_t rows, std::int64_t cols, std::int64_t padding, T inside, T guard)
        : view{nullptr, rows, cols, cols + padding},
          guard_(guard),
          memory_((rows + 1) * (cols + padding), guard) {
        view.data = memory_.data();
        for (std::int64_t i = 0; i < rows; ++i) std::fill_n(view.row(i), cols, inside);
    }
    [[nodiscard]] bool intact() const {
        const auto size = static_cast<std::int64_t>(memory_.size());
        for (std::int64_t i = 0; i < size; ++i)
            if ((i / view.stride >= view.rows || i % view.stride >= view.cols) && memory_[i] != guard_)
                return false;
        return true;
    }

    kernels::Rows<T> view;

  private:
    T guard_;
    std::vector<T> memory_;
};

inline backend::Ops& reference() {
    static const Device device = Device::open("reference");
    return device.ops();
}

inline UpFactor seeded_up(Up family, std::int64_t m, std::int64_t p,
                          std::uint64_t seed = 0x123456789ABCDEFU) {
    UpFactor up;
    up.family = family;
    up.width = m;
    up.rank = p;
    up.seed = seed;
    return up;
}
inline Readout seeded_readout(std::int64_t m, std::int64_t k, std::uint64_t seed = 0xFEDCBA9876543210U) {
    Readout readout;
    readout.width = m;
    readout.outputs = k;
    readout.seed = seed;
    return readout;
}

/// ĥ of three kinds of rows in turn: small integers, where ẑ is often exactly 0; any integers up to 2^22;
/// and ±2^bits, its neighbours and zeros, which have the largest digits and sums. Row 3 is zero.
inline Matrix hidden_integers(std::int64_t n, std::int64_t p, std::uint64_t seed, int bits = 22) {
    std::mt19937_64 engine(seed);
    const auto below = [&](std::int64_t bound) {
        return static_cast<std::int64_t>(engine() % static_cast<std::uint64_t>(bound));
    };
    const std::int64_t most = std::int64_t{1} << bits;
    Matrix h(n, p, DType::i32);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t q = 0; q < p; ++q) {
            const std::int64_t extremes[] = {
                most, -most, most - 1, 1 - most, (0x7F7F7F >> (22 - bits)) - most, 0, 127, -129};
            h.at<std::int32_t>(i, q) = static_cast<std::int32_t>(i == 3       ? 0
                                                                 : i % 3 == 0 ? below(3) - 1
                                                                 : i % 3 == 1 ? below(2 * most + 1) - most
                                                                 : i % 2 == 0 ? most
                                                                              : extremes[below(8)]);
        }
    return h;
}

/// Integers and gates of the reference's wide pass.
struct WideResult {
    BitMatrix gates;
    Matrix gradients;
};
inline WideResult reference_wide_pass(const UpFactor& up, const Readout& readout, ConstMatrixView h) {
    WideResult result{BitMatrix(h.rows, up.width), Matrix(h.rows, readout.outputs * up.rank, DType::i32)};
    backend::WideSums sums;
    sums.gates = result.gates;
    sums.gradients = result.gradients;
    reference().wide_pass_exact(up, readout, h, 22, sums);
    return result;
}

template <class T>
void expect_equal(const kernels::Rows<T>& actual, MatrixView expected, const std::string& what) {
    for (std::int64_t i = 0; i < expected.rows; ++i)
        for (std::int64_t j = 0; j < expected.cols; ++j)
            ASSERT_EQ(actual.row(i)[j], expected.at<T>(i, j)) << what << " at " << i << ", " << j;
}
inline void expect_equal(const kernels::Rows<std::uint64_t>& actual, BitView expected,
                         const std::string& what) {
    for (std::int64_t i = 0; i < expected.rows; ++i)
        for (std::int64_t w = 0; w < (expected.cols + 63) / 64; ++w)
            ASSERT_EQ(actual.row(i)[w], expected.row(i)[w]) << what << " at row " << i << ", word " << w;
}

}  // namespace fntk::test

// What the tests of the exact wide passes share: ĥ with ties, zeros and extremes, the sums of the
// reference, and the comparison of a kernel with them: equality, and nothing written beside the results.
#pragma once

#include "host_grid.hpp"
#include "support.hpp"

#include <backend/ops.hpp>
#include <fixed_point.hpp>
#include <signs.hpp>

#include <string>
#include <vector>

namespace fntk::test {

/// A device of compute capability 9.0.
inline HostOptions hopper(int multiprocessors = 1) {
    HostOptions options;
    options.limits = {multiprocessors, 227 * 1024, 90};
    return options;
}

struct WideShape {
    Up family;
    DType hidden;  // i32 or i64
    std::int64_t n, p, m, k;
    int bits = kernels::hidden_bits(kernels::ceil_log2(p), hidden == DType::i64);
};

inline std::string described(const WideShape& s) {
    return std::string(name(s.family)) + ", " + name(s.hidden) + ", n " + std::to_string(s.n) + ", p " +
           std::to_string(s.p) + ", m " + std::to_string(s.m) + ", k " + std::to_string(s.k) + ", bits " +
           std::to_string(s.bits);
}

/// ĥ of a shape, in a matrix two columns wider, and the reference's sums.
class WideProblem {
  public:
    explicit WideProblem(const WideShape& shape)
        : shape_(shape),
          storage_(shape.n, shape.p + 2, shape.hidden),
          gates_(shape.n, shape.m),
          gradients_(shape.n, shape.k * shape.p, DType::i32),
          values_(shape.n, shape.k, shape.hidden == DType::i32 ? DType::i64 : DType::f64) {
        const bool wide = shape.hidden == DType::i64;
        const std::int64_t most = std::int64_t{1} << shape.bits;
        std::mt19937_64 engine(static_cast<std::uint64_t>(shape.p * 1000 + shape.m));
        for (std::int64_t i = 0; i < shape.n; ++i)
            for (std::int64_t q = 0; q < shape.p + 2; ++q) {
                const auto random = static_cast<std::int64_t>(engine() >> 1);
                const std::int64_t entry = i % 5 == 1   ? 0                                 // no gate opens
                                           : i % 5 == 2 ? random % 3 - 1                    // ties
                                           : i % 5 == 3 ? (random % 2 == 0 ? most : -most)  // the largest
                                                        : random % (2 * most + 1) - most;
                if (wide)
                    storage_.at<std::int64_t>(i, q) = entry;
                else
                    storage_.at<std::int32_t>(i, q) = static_cast<std::int32_t>(entry);
            }
        Device::open("reference")
            .ops()
            .wide_pass_exact(up(), readout(), hidden(), shape.bits, {gates_, gradients_, values_});
    }

    [[nodiscard]] UpFactor up() const {
        return {.family = shape_.family,
                .width = shape_.m,
                .rank = shape_.p,
                .seed = 0x123456789ABC,
                .values = {}};
    }
    [[nodiscard]] Readout readout() const {
        return {.width = shape_.m, .outputs = shape_.k, .seed = 77, .values = {}};
    }
    [[nodiscard]] const WideShape& shape() const { return shape_; }
    [[nodiscard]] ConstMatrixView hidden() const { return storage_.view().col_block(0, shape_.p); }
    [[nodiscard]] const BitMatrix& gates() const { return gates_; }
    [[nodiscard]] const Matrix& gradients() const { return gradients_; }
    [[nodiscard]] const Matrix& values() const { return values_; }

    template <class T>
    [[nodiscard]] kernels::Rows<const T> rows() const {
        return {hidden().template row<T>(0), shape_.n, shape_.p, hidden().stride};
    }

  private:
    WideShape shape_;
    Matrix storage_;
    BitMatrix gates_;
    Matrix gradients_, values_;
};

struct Wanted {
    bool gates = true, gradients = true;
};

/// Runs a pass whose other members are set, and compares what is wanted.
template <class Kernel>
void expect_sums(Kernel kernel, const WideProblem& problem, const HostOptions& options = {},
                 const Wanted& wanted = {}) {
    const WideShape& shape = problem.shape();
    SCOPED_TRACE(described(shape) + ", blocks " + std::to_string(options.blocks) + ", at once " +
                 std::to_string(options.blocks_at_once) + ", multiprocessors " +
                 std::to_string(options.limits.multiprocessors));
    constexpr std::uint64_t word_beside = 0x5555AAAA5555AAAA;
    constexpr std::int32_t sum_beside = 1234567;
    const std::int64_t words = (shape.m + 63) / 64, sums = shape.k * shape.p;
    const kernels::Rows<std::uint64_t> gates{nullptr, shape.n, words, words + 1};
    const kernels::Rows<std::int32_t> gradients{nullptr, shape.n, sums, sums + 3};
    std::vector<std::uint64_t> gate_words(static_cast<std::size_t>(shape.n * gates.stride), word_beside);
    std::vector<std::int32_t> gradient_sums(static_cast<std::size_t>(shape.n * gradients.stride),
                                            sum_beside);
    for (std::int64_t i = 0; i < shape.n; ++i)
        std::fill_n(gradient_sums.data() + i * gradients.stride, sums, 0);

    kernel.m = shape.m;
    kernel.p = shape.p;
    if constexpr (requires { kernel.k; }) kernel.k = shape.k;
    kernel.up_seed = problem.up().seed;
    kernel.readout_seed = problem.readout().seed;
    kernel.gates = gates;
    kernel.gradients = gradients;
    if (wanted.gates) kernel.gates.data = gate_words.data();
    if (wanted.gradients) kernel.gradients.data = gradient_sums.data();
    run_on_host(kernel, options);

    const BitMatrix& bits = problem.gates();
    for (std::int64_t i = 0; i < shape.n; ++i) {
        const std::uint64_t* word = gate_words.data() + i * gates.stride;
        for (std::int64_t w = 0; w < words; ++w)
            ASSERT_EQ(word[w], wanted.gates ? bits.view().row(i)[w] : word_beside)
                << "gates " << i << ' ' << w;
        ASSERT_EQ(word[words], word_beside) << i;
        const std::int32_t* sum = gradient_sums.data() + i * gradients.stride;
        for (std::int64_t q = 0; q < sums; ++q)
            ASSERT_EQ(sum[q], wanted.gradients ? problem.gradients().at<std::int32_t>(i, q) : 0)
                << "gradients " << i << ' ' << q;
        for (std::int64_t q = sums; q < gradients.stride; ++q)
            ASSERT_EQ(sum[q], sum_beside) << i << ' ' << q;
    }
}

}  // namespace fntk::test

// Gram matrices factor by factor, each a Hadamard product of small ones:
//     K_down^{cc'}    = XX'ᵀ ∘ G^c G'^{c'}ᵀ
//     K_up^{cc'}      = HH'ᵀ ∘ (D diag(a_c a_c') D'ᵀ)/m
//     K_readout^{cc'} = δ_cc' σ(Z)σ(Z')ᵀ/m
// trace = (1/k)Σ_c K^cc and sum-of-logits = (1/k)Σ_cc' K^cc' come as one n × n' product, the full kernel
// block by block.
#include <fntk/error.hpp>
#include <fntk/kernel.hpp>

#include "device_memory.hpp"
#include "output_reduction.hpp"
#include "tiles.hpp"

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace fntk {

namespace {

/// One n × n' block: the pair (c, c') of the full kernel, or a reduction over all outputs.
struct Block {
    KernelOutput output = KernelOutput::trace;
    std::int64_t c = 0, c_col = 0;
};

/// What a Gram matrix is made of, of some rows of a batch.
class Side {
  public:
    explicit Side(TangentRows rows) : rows_(rows) {}

    [[nodiscard]] const Tangent& tangent() const { return *rows_.tangent; }
    [[nodiscard]] std::int64_t size() const { return rows_.count; }
    [[nodiscard]] bool is(const Side& other) const {
        return rows_.tangent == other.rows_.tangent && rows_.first == other.rows_.first &&
               rows_.count == other.rows_.count;
    }
    [[nodiscard]] ConstMatrixView inputs() const { return block(tangent().inputs()); }
    [[nodiscard]] ConstMatrixView hidden() const { return block(tangent().hidden()); }
    [[nodiscard]] ConstMatrixView gradients() const { return block(tangent().gradients()); }
    [[nodiscard]] ConstBitView gates() const {
        return tangent().gates().row_block(rows_.first, rows_.count);
    }

  private:
    [[nodiscard]] ConstMatrixView block(ConstMatrixView whole) const {
        return whole.row_block(rows_.first, rows_.count);
    }
    TangentRows rows_;
};

class GramBuilder {
  public:
    GramBuilder(TangentRows rows, TangentRows cols, Train train)
        : rows_(rows),
          cols_(cols),
          tangent_(*rows.tangent),
          spec_(tangent_.network().spec()),
          train_(train),
          device_(tangent_.device()),
          ops_(device_.ops()) {}

    void build(KernelOutput output, MatrixView out) {
        if (output != KernelOutput::full) return sum_of_factors({output}, out);
        const std::int64_t k = spec_.outputs;
        ops_.zero(out);
        Matrix block = pairs();
        for (std::int64_t c = 0; c < k; ++c)
            for (std::int64_t c_col = symmetric() ? c : 0; c_col < k; ++c_col) {
                sum_of_factors({output, c, c_col}, block);
                ops_.add_output_block(block, k, c, c_col, out);
                if (!symmetric() || c == c_col) continue;
                ops_.transpose(block);  // K^{c'c} = (K^{cc'})ᵀ
                ops_.add_output_block(block, k, c_col, c, out);
            }
    }

  private:
    [[nodiscard]] bool symmetric() const { return rows_.is(cols_); }
    /// A matrix of all pairs of samples.
    [[nodiscard]] Matrix pairs() const {
        return unwritten(device_, rows_.size(), cols_.size(), spec_.precision);
    }

    void sum_of_factors(Block which, MatrixView out) {
        bool first = true;
        const auto add = [&](bool wanted, auto part) {
            if (!wanted) return;
            if (first) {
                (this->*part)(which, out);
            } else {
                Matrix other = pairs();
                (this->*part)(which, other);
                ops_.axpby(1, other, 1, out);
            }
            first = false;
        };
        add(train_.down, &GramBuilder::down);
        add(train_.up, &GramBuilder::up);
        add(train_.readout, &GramBuilder::readout);
    }

    void down(Block which, MatrixView out) {
        const std::int64_t p = spec_.rank;
        const ConstMatrixView g = rows_.gradients(), g_cols = cols_.gradients(), x = rows_.inputs(),
                              x_cols = cols_.inputs();
        switch (which.output) {
            case KernelOutput::trace:
                return ops_.hadamard_gram(x, x_cols, g, g_cols, 1.0 / static_cast<double>(spec_.outputs),
                                          out);
            case KernelOutput::sum_of_logits: {
                const Matrix sum = summed_gradients(device_, rows_.gradients(), spec_.outputs),
                             other = symmetric()
                                         ? Matrix{}
                                         : summed_gradients(device_, cols_.gradients(), spec_.outputs);
                return ops_.hadamard_gram(x, x_cols, sum, symmetric() ? sum.view() : other.view(), 1, out);
            }
            case KernelOutput::full:
                ops_.inner(1, g.col_block(which.c * p, p), g_cols.col_block(which.c_col * p, p), 0, out);
                return ops_.multiply(input_gram(), out);
        }
    }

    void up(Block which, MatrixView out) {
        const bool popcount =
            tangent_.has_gates() && cols_.tangent().has_gates() && tangent_.network().readout().signs();
        if (!popcount) {
            ops_.feature_gram(tangent_.network().up(), spec_.activation, true, unit_weights(which),
                              rows_.hidden(), cols_.hidden(), out);
            ops_.multiply(hidden_gram(), out);
        } else if (which.output != KernelOutput::sum_of_logits) {
            ops_.axpby(1, hidden_gram(), 0, out);
            gate_factor(which, out);
        } else {  // (1/k)Σ_cc': every pair's counts are exact
            const std::int64_t k = spec_.outputs;
            Matrix pair = pairs();
            for (std::int64_t c = 0; c < k; ++c)
                for (std::int64_t c_col = 0; c_col < k; ++c_col) {
                    ops_.axpby(1.0 / static_cast<double>(k), hidden_gram(), 0, pair);
                    gate_factor({KernelOutput::full, c, c_col}, pair);
                    ops_.axpby(1, pair, c + c_col == 0 ? 0 : 1, out);
                }
        }
    }

    /// out ∘= Σ_r w_r D_ir D'_jr from popcounts, D = closed + (open − closed)·gate, w_r = a_rc·a_rc' = ±1.
    void gate_factor(Block which, MatrixView out) {
        const bool weighted = which.c != which.c_col;
        const BitMatrix agreement =
            weighted ? device_.to_device(readout_agreement(tangent_.network(), which.c, which.c_col))
                     : BitMatrix{};
        Matrix counts = unwritten(device_, rows_.size(), cols_.size(), DType::i32),
               s = device_.zeros(rows_.size(), 1, DType::i32),
               t = device_.zeros(cols_.size(), 1, DType::i32);
        ops_.gate_gram(rows_.gates(), cols_.gates(), agreement, counts);
        const double closed = spec_.activation.closed_slope(),
                     step = spec_.activation.open_slope() - closed;
        double total = 0;
        if (closed != 0) {
            const BitMatrix ones = all_open();
            Matrix sum = device_.zeros(1, 1, DType::i32);
            ops_.gate_gram(rows_.gates(), ones, agreement, s);
            ops_.gate_gram(cols_.gates(), ones, agreement, t);
            ops_.gate_gram(ones, ones, agreement, sum);
            total = read(device_, sum, 0, 0);
        }
        ops_.affine_hadamard(counts, s, t, closed * closed * total, closed * step, step * step, out);
    }

    /// A sample whose gates are all open.
    [[nodiscard]] BitMatrix all_open() const {
        BitMatrix ones(1, spec_.width);
        for (std::int64_t r = 0; r < spec_.width; ++r)
            ones.view().row(0)[r / 64] |= std::uint64_t{1} << (r % 64);
        return device_.to_device(std::move(ones));
    }

    /// 1 × m weights of the floating path.
    [[nodiscard]] Matrix unit_weights(Block which) const {
        if (which.output == KernelOutput::full)
            return device_.to_device(readout_product(tangent_, which.c, which.c_col));
        const Matrix a = effective_readout(tangent_, which.output);
        Matrix squares(1, a.rows(), DType::f64);
        for (std::int64_t r = 0; r < a.rows(); ++r)
            squares.row<double>(0)[r] = a.row<double>(r)[0] * a.row<double>(r)[0];
        return device_.to_device(std::move(squares));
    }

    void readout(Block which, MatrixView out) {
        if (which.c != which.c_col) return ops_.zero(out);
        ops_.feature_gram(tangent_.network().up(), spec_.activation, false, {}, rows_.hidden(),
                          cols_.hidden(), out);
        ops_.axpby(1.0 / static_cast<double>(spec_.width), out, 0, out);
    }

    /// XX'ᵀ, once.
    const Matrix& input_gram() {
        if (input_gram_.empty()) {
            input_gram_ = pairs();
            ops_.inner(1, rows_.inputs(), cols_.inputs(), 0, input_gram_);
        }
        return input_gram_;
    }
    /// HH'ᵀ/m, once.
    const Matrix& hidden_gram() {
        if (hidden_gram_.empty()) {
            hidden_gram_ = pairs();
            ops_.inner(1.0 / static_cast<double>(spec_.width), rows_.hidden(), cols_.hidden(), 0,
                       hidden_gram_);
        }
        return hidden_gram_;
    }

    Side rows_, cols_;
    const Tangent& tangent_;
    const NetworkSpec& spec_;
    Train train_;
    const Device& device_;
    backend::Ops& ops_;
    Matrix input_gram_, hidden_gram_;
};

}  // namespace

Matrix gram(const Tangent& tangent, KernelOutput output, Train train) {
    return cross_gram(tangent, tangent, output, train);
}

Matrix gram(const Tangent& tangent, KernelOutput output) {
    return gram(tangent, output, tangent.network().spec().train);
}

Matrix cross_gram(const Tangent& rows, const Tangent& cols, KernelOutput output, Train train) {
    check_pair(rows, cols, train);
    const NetworkSpec& spec = rows.network().spec();
    const std::int64_t k = output == KernelOutput::full ? spec.outputs : 1;
    Matrix result = unwritten(rows.device(), rows.size() * k, cols.size() * k, spec.precision);
    GramBuilder({&rows, 0, rows.size()}, {&cols, 0, cols.size()}, train).build(output, result);
    return result;
}

Matrix cross_gram(const Tangent& rows, const Tangent& cols, KernelOutput output) {
    return cross_gram(rows, cols, output, rows.network().spec().train);
}

void gram_tile(TangentRows rows, TangentRows cols, KernelOutput output, Train train, MatrixView out) {
    if (rows.tangent == nullptr || cols.tangent == nullptr)
        throw ValueError(
            "rows or cols name no tangent (a null pointer); give the batches that the tile is of");
    check_pair(*rows.tangent, *cols.tangent, train);
    const NetworkSpec& spec = rows.tangent->network().spec();
    check_tile({rows.first, rows.count, rows.tangent->size()},
               {cols.first, cols.count, cols.tangent->size()}, out, spec.precision, rows.tangent->device(),
               output == KernelOutput::full ? spec.outputs : 1);
    GramBuilder(rows, cols, train).build(output, out);
}

}  // namespace fntk

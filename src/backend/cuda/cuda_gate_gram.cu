// Counts of common gates, by bits on the matrix units.
#include <backend/cuda/cuda.hpp>
#include <backend/cuda/hopper.hpp>

#include <gate_gram.hpp>
#include <gate_gram_wgmma.hpp>

#include <vector>

namespace fntk::backend::cuda {

template <class Kernel>
void Cuda::count_gates(Kernel kernel, const void* entry, ConstBitView rows, ConstBitView cols,
                       MatrixView counts) {
    kernel.width = rows.cols;
    kernel.a = words_of(rows);
    kernel.b = words_of(cols);
    kernel.counts = rows_of<std::int32_t>(counts);
    kernel.slices = kernel.slices_for(context_->limits());
    if (kernel.slices > 1) zero(counts);
    context_->run_at(entry, kernel);
}

void Cuda::gate_gram(ConstBitView rows, ConstBitView cols, ConstBitView weights, MatrixView counts) {
    const Scope scope(*context_, "gate_gram");
    const auto portable = [&](auto kernel) {
        kernel.w = weights.words;
        const auto entry = reinterpret_cast<const void*>(&kernels::entry<decltype(kernel)>);
        count_gates(kernel, entry, rows, cols, counts);
    };
    if (!weights.empty()) return portable(kernels::GateGram<true>());
    // Tiles of 128 × 256 that are less than half full have less to do as tiles of 128 × 128.
    if (rows.rows > 64 && cols.rows > 128 && context_->limits().compute_capability == 90 &&
        gate_gram_wgmma_works())
        return count_gates(kernels::GateGramWgmma(), gate_gram_wgmma_entry(), rows, cols, counts);
    portable(kernels::GateGram<false>());
}

// On small problems, ragged in every extent, of rows that are aligned to 16 bytes or not: of one set of
// rows and of two, with blocks that take several tiles and go round their stages, and with the width in
// slices.
bool Cuda::gate_gram_wgmma_works() {
    constexpr std::int64_t n = 330, most = 271, cols = 150;
    const auto agrees = [&] {
        std::vector<std::int32_t> bits(static_cast<std::size_t>(2 * n * most));
        TrialNumbers random;
        for (std::int32_t& half : bits) {
            half = static_cast<std::int32_t>(random() >> 16);
            half |= static_cast<std::int32_t>(random() >> 16 << 16);
        }
        const Scratch<std::int32_t> memory(*context_, n, 2 * most), counts(*context_, n, n);
        copy(ConstMatrixView(bits.data(), n, 2 * most), memory.view());
        auto* all = reinterpret_cast<std::uint64_t*>(memory.data());
        const auto equal = [&](int multiprocessors, std::int64_t words, bool symmetric) {
            const Context::Narrowed narrowed(*context_, multiprocessors);
            const ConstBitView rows{all, n, 64 * words, words, context_->place()};
            const ConstBitView of_cols =
                symmetric ? rows : ConstBitView{all + words, cols, 64 * words, words, context_->place()};
            const MatrixView out = counts.view().col_block(0, of_cols.rows);
            std::vector<std::int32_t> found[2];
            for (const bool wgmma : {false, true}) {
                using Portable = kernels::GateGram<false>;
                if (wgmma)
                    count_gates(kernels::GateGramWgmma(), gate_gram_wgmma_entry(), rows, of_cols, out);
                else
                    count_gates(Portable(), reinterpret_cast<const void*>(&kernels::entry<Portable>), rows,
                                of_cols, out);
                found[wgmma].resize(static_cast<std::size_t>(n * of_cols.rows));
                copy(out, MatrixView(found[wgmma].data(), n, of_cols.rows));
            }
            return found[0] == found[1];
        };
        return equal(2, 90, true) && equal(2, 77, true) && equal(2, 77, false) && equal(40, most, true);
    };
    return works(context_->gates_wgmma, agrees);
}

}  // namespace fntk::backend::cuda

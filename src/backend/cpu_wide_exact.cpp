// The wide pass in integers: gates z > 0, Ĝ = Σ_r a_r gate_r V_r, f̂ = <ĥ, Ĝ> (σ(Z) is never needed).
// Samples go in groups of 64, the width in tiles whose signs are drawn from the seed and shared by a few
// groups. A task is one chunk of groups over one slice of the width; the sums of a chunk's slices are added
// as they come, since integers add to the same sum in any order.
#include <backend/cpu.hpp>
#include <backend/scalar.hpp>
#include <backend/simd/bits.hpp>
#include <backend/width_tile.hpp>

#include <algorithm>
#include <cstring>
#include <mutex>

namespace fntk::backend {

namespace {

__extension__ using int128 = __int128;

constexpr std::int64_t chunk_bytes = std::int64_t{2} << 20;  // of groups that share a tile's signs

template <class Z>
class ExactPass {
  public:
    ExactPass(const UpFactor& up, const Readout& readout, ConstMatrixView h, const WideSums& out,
              int threads)
        : up_(up), readout_(readout), h_(h), out_(out) {
        const WidthTile tile(up, readout);
        const std::int64_t groups = (h.rows + group_samples - 1) / group_samples;
        if (groups == 0) return;
        const std::int64_t group_bytes =
            tile.group_size() * static_cast<std::int64_t>(sizeof(Z)) + 4 * group_sums();
        const std::int64_t shared = std::clamp<std::int64_t>(chunk_bytes / group_bytes, 1, 4);
        chunk_groups_ = std::clamp<std::int64_t>(groups / (2 * threads), 1, shared);
        chunks_ = (groups + chunk_groups_ - 1) / chunk_groups_;
        tiles_ = (up.width + tile.units() - 1) / tile.units();
        slices_ = chunks_ >= 4 * threads
                      ? 1
                      : std::min<std::int64_t>(tiles_, (4 * threads + chunks_ - 1) / chunks_);
        open_ = std::vector<Open>(chunks_);
    }

    [[nodiscard]] std::int64_t tasks() const { return chunks_ * slices_; }

    /// One chunk of samples over one slice of the width.
    void run(std::int64_t task) {
        const std::int64_t chunk = task / slices_, slice = task % slices_;
        const std::int64_t begin = chunk * chunk_groups_ * group_samples,
                           end = std::min(h_.rows, begin + chunk_groups_ * group_samples);
        const std::int64_t groups = (end - begin + group_samples - 1) / group_samples;
        const bool sum = out_.gradients.data != nullptr || out_.values.data != nullptr;
        const bool bits_wanted = !out_.gates.empty() || up_.family == Up::rademacher;

        WidthTile tile(up_, readout_);
        Aligned<Z> loaded(groups * tile.group_size()), scratch(tile.scratch_size());
        Aligned<std::uint64_t> gates(tile.units()), bits(bits_wanted ? group_samples * tile.words() : 0);
        Aligned<std::int32_t> sums(sum ? groups * group_sums() : 0);
        for (std::int64_t g = 0; g < groups; ++g)
            tile.load(rows_of(begin + g * group_samples, end), loaded.data() + g * tile.group_size());

        for (std::int64_t t = slice * tiles_ / slices_; t < (slice + 1) * tiles_ / slices_; ++t) {
            const std::int64_t first = t * tile.units();
            tile.move_to(first);
            for (std::int64_t g = 0; g < groups; ++g) {
                const std::int64_t i0 = begin + g * group_samples, rows = std::min(group_samples, end - i0);
                tile.gates(loaded.data() + g * tile.group_size(), rows, scratch.data(), gates.data());
                for (std::int64_t w = 0; w < (bits_wanted ? tile.words() : 0); ++w)
                    transpose_bits(gates.data() + 64 * w, bits.data() + w, tile.words());
                if (!out_.gates.empty()) keep_gates(bits.data(), tile.words(), first / 64, i0, rows);
                for (std::int64_t c = 0; c < (sum ? readout_.outputs : 0); ++c)
                    tile.gradients(gates.data(), bits.data(), c,
                                   sums.data() + g * group_sums() + c * up_.rank * group_samples);
            }
        }
        if (sum) add(chunk, begin, end, std::move(sums));
    }

  private:
    struct Open {  // a chunk of which some slices are done
        std::mutex mutex;
        Aligned<std::int32_t> sums;
        std::int64_t done = 0;
    };

    /// Entries of one group's sums: outputs × rank × 64.
    [[nodiscard]] std::int64_t group_sums() const { return readout_.outputs * up_.rank * group_samples; }

    [[nodiscard]] GroupRows<Z> rows_of(std::int64_t i0, std::int64_t end) const {
        return {h_.row<Z>(i0), h_.stride, std::min(group_samples, end - i0), up_.rank};
    }

    void keep_gates(const std::uint64_t* bits, std::int64_t words, std::int64_t first_word, std::int64_t i0,
                    std::int64_t rows) const {
        const std::int64_t count = std::min(words, (up_.width + 63) / 64 - first_word);
        for (std::int64_t l = 0; l < rows; ++l)
            std::memcpy(out_.gates.row(i0 + l) + first_word, bits + l * words,
                        static_cast<std::size_t>(count) * sizeof(std::uint64_t));
    }

    void add(std::int64_t chunk, std::int64_t begin, std::int64_t end, Aligned<std::int32_t> sums) {
        Open& open = open_[chunk];
        const std::lock_guard lock(open.mutex);
        if (open.done == 0)
            open.sums = std::move(sums);
        else
            for (std::int64_t x = 0; x < sums.size(); ++x) open.sums[x] += sums[x];
        if (++open.done < slices_) return;
        for (std::int64_t i = begin; i < end; ++i)
            finish(i, open.sums.data() + (i - begin) / group_samples * group_sums() +
                          (i - begin) % group_samples);
        open.sums = {};
    }

    /// Ĝ and f̂ of sample i; its sums stand 64 apart.
    void finish(std::int64_t i, const std::int32_t* sums) const {
        const Z* h = h_.row<Z>(i);
        for (std::int64_t c = 0; c < readout_.outputs; ++c, sums += up_.rank * group_samples) {
            int128 value = 0;
            for (std::int64_t q = 0; q < up_.rank; ++q) {
                const std::int32_t sum = sums[q * group_samples];
                value += static_cast<int128>(h[q]) * sum;
                if (out_.gradients.data != nullptr)
                    out_.gradients.row<std::int32_t>(i)[c * up_.rank + q] = sum;
            }
            if (out_.values.data == nullptr) continue;
            if (out_.values.dtype == DType::i64)
                out_.values.row<std::int64_t>(i)[c] = static_cast<std::int64_t>(value);
            else
                out_.values.row<double>(i)[c] = static_cast<double>(value);
        }
    }

    const UpFactor& up_;
    const Readout& readout_;
    ConstMatrixView h_;
    const WideSums& out_;
    std::int64_t chunk_groups_ = 1, chunks_ = 0, tiles_ = 0, slices_ = 1;
    std::vector<Open> open_;
};

}  // namespace

void Cpu::wide_pass_exact(const UpFactor& up, const Readout& readout, ConstMatrixView h, int /*bits*/,
                          const WideSums& out) {
    with_int(h.dtype, [&](auto type) {
        ExactPass<decltype(type)> pass(up, readout, h, out, threads());
        pool_.run(pass.tasks(), 1, [&](std::int64_t task, std::int64_t) { pass.run(task); });
    });
}

void Cpu::open_sum(const UpFactor& up, const Readout& readout, MatrixView sum) {
    const std::int64_t units = WidthTile(up, readout).units(), tiles = (up.width + units - 1) / units;
    const std::int64_t slices = std::min<std::int64_t>(tiles, 4 * threads());
    for (std::int64_t c = 0; c < readout.outputs; ++c) std::fill_n(sum.row<std::int32_t>(c), up.rank, 0);
    std::mutex mutex;
    pool_.run(slices, 1, [&](std::int64_t slice, std::int64_t) {
        WidthTile tile(up, readout);  // a sample whose gates are all open
        Aligned<std::uint64_t> gates(tile.units()), bits(group_samples * tile.words());
        Aligned<std::int32_t> sums(up.rank * readout.outputs * group_samples);
        for (std::int64_t t = slice * tiles / slices; t < (slice + 1) * tiles / slices; ++t) {
            const std::int64_t first = t * units;
            tile.move_to(first);
            for (std::int64_t r = 0; r < units; ++r) gates[r] = first + r < up.width ? 1 : 0;
            for (std::int64_t w = 0; w < tile.words(); ++w)
                transpose_bits(gates.data() + 64 * w, bits.data() + w, tile.words());
            for (std::int64_t c = 0; c < readout.outputs; ++c)
                tile.gradients(gates.data(), bits.data(), c, sums.data() + c * up.rank * group_samples);
        }
        const std::lock_guard lock(mutex);
        for (std::int64_t c = 0; c < readout.outputs; ++c)
            for (std::int64_t q = 0; q < up.rank; ++q)
                sum.row<std::int32_t>(c)[q] += sums[(c * up.rank + q) * group_samples];
    });
}

}  // namespace fntk::backend

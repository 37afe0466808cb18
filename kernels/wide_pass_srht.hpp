// The wide pass over an srht V of rank p ≤ 1024, half of the transform on int8 matrix units, V never in
// memory (srht_sums.hpp). For ĥ (int32, n × p, of three digits −128..127 to the base 256), padded by zeros
// to P columns, and the srht blocks b of V:
//     ẑ_b = H_P (s_b ∘ ĥ),  gate_b = ẑ_b > 0,  Ĝ^0 += s_b ∘ H_P (a^0_b ∘ gate_b)
//         gates: n × m bits          Ĝ^0: the first p columns of Ĝ, added to
// Further outputs come from the gates (open_gradients_srht.hpp). Exact, whatever the launch.
//
// First the 32 columns of every group: an int8 product a digit, 256 times the sums of the digit above to
// begin with, with operands of signs that are made on the spot. Then the groups, in registers: butterflies.
// One less in group 0 of the columns is one less everywhere, so the sign of what comes is a closed gate.
//
// Shared memory beside that of srht_sums.hpp:
//     digits      [warp, if it is alone][column group][digit][lane], the A operands of 16 samples
//     gate_rows   words of gates [row][group], whose byte T is of tile T, if they are wanted: of every warp
//                 that is alone, or of two steps. Rows are four words longer: no bank conflicts
#pragma once

#include "fixed_point.hpp"
#include "hadamard.hpp"
#include "quad.hpp"
#include "srht_sums.hpp"

namespace fntk::kernels {

template <int padded_>
struct WidePassSrht : SrhtSums<padded_> {
    using Sums = SrhtSums<padded_>;
    using Sums::alone, Sums::gradients, Sums::groups, Sums::m, Sums::p, Sums::step_groups, Sums::whole;

    Rows<const std::int32_t> h;  // n × p
    Rows<std::uint64_t> gates;   // n × ⌈m/64⌉ words, written in full; no data: not wanted

    /// Whether a block has the shared memory for it.
    static bool fits(const DeviceLimits& limits) {
        return shared_bytes(warps_of(1, true, limits), true) <= limits.shared_bytes_per_block;
    }

    Launch launch(const DeviceLimits& limits) const {
        if (h.rows == 0 || m == 0 || (gradients.data == nullptr && gates.data == nullptr)) return {};
        const std::int64_t warps = warps_of(h.rows, gates.data != nullptr, limits);
        return this->launch_items(h.rows, 1, warps, shared_bytes(warps, gates.data != nullptr), limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const typename Sums::Staged staged(grid);
        const int own = alone ? grid.warp() : 0, warps = grid.threads() / warp_size;
        Quad* digits = grid.template shared<Quad>(digit_quads * (alone ? warps : 1)) + own * digit_quads;
        std::uint32_t* gate_rows = nullptr;
        if (gates.data != nullptr)
            gate_rows =
                grid.template shared<std::uint32_t>(gate_words * (alone ? warps : 2)) + own * gate_words;
        const Work work = this->item(grid, h.rows, 0, 1);
        load_digits(grid, Sums::first_row(work, grid.thread()), digits);
        const Hadamard32 hadamard(grid.lane(), p);
        const auto find = [&](int step, int group, int tile, std::uint32_t(*closed)[batch]) {
            find_closed(grid, hadamard, digits + grid.lane(),
                        staged.by_input + (step % buffers * step_groups + group) * 4 + grid.lane() % 4,
                        tile, closed);
            if (gate_rows == nullptr) return;
            FNTK_UNROLL
            for (int i = 0; i < tiles; ++i)
                keep_gates(grid, gate_rows + (alone ? 0 : (step & 1) * gate_words), group, tile + i,
                           closed[i]);
        };
        const auto done = [&](int step) {
            if (gate_rows == nullptr) return;
            if (alone) grid.sync_warp();  // the gates of all lanes are there
            write_gates(grid, Sums::first_row(work, grid.late_thread()), step,
                        gate_rows + (alone ? 0 : (step & 1) * gate_words));
        };
        this->run(grid, work, hadamard, staged, find, done);
    }

  private:
    using Sums::batch, Sums::buffers, Sums::tiles;
    using typename Sums::Hadamard32, typename Sums::Work;
    static constexpr int digit_count = 3;  // of 20 to 22 bits
    static constexpr int digit_quads = groups * digit_count * warp_size;
    static constexpr int gate_stride = step_groups + 4, gate_words = 16 * gate_stride;

    static std::int64_t shared_bytes(std::int64_t warps, bool keeps_gates) {
        return Sums::Staged::bytes(warps) + shared_size<Quad>(digit_quads * (alone ? warps : 1)) +
               (keeps_gates ? shared_size<std::uint32_t>(gate_words * (alone ? warps : 2)) : 0);
    }
    static std::int64_t warps_of(std::int64_t n, bool keeps_gates, const DeviceLimits& limits) {
        return Sums::warps_for(n, limits,
                               [&](std::int64_t warps) { return shared_bytes(warps, keeps_gates); });
    }

    /// Register i of a fragment: row lane/4 + 8·(i % 2), columns 8(2h + j/2) + 2t + j % 2 of a group,
    /// h = i / 2, j < 4.
    template <class Grid>
    FNTK_DEVICE void load_digits(Grid& grid, std::int64_t row, Quad* digits) const {
        const std::int64_t padded = next_power_of_two(p);
        for (int group = alone ? 0 : grid.warp(); group < groups; group += alone ? 1 : 8) {
            Quad quads[digit_count] = {};
            FNTK_UNROLL
            for (int i = 0; i < 4; ++i) {
                const std::int64_t r = row + grid.lane() / 4 + 8 * (i % 2);
                FNTK_UNROLL
                for (int j = 0; j < 4; ++j) {
                    std::int64_t q = 32 * group + 8 * (2 * (i / 2) + j / 2) + 2 * (grid.lane() % 4) + j % 2;
                    if (!whole) q &= padded - 1;
                    std::int32_t rest = r < h.rows && q < p ? h.row(r)[q] : 0;
                    FNTK_UNROLL
                    for (Quad& quad : quads)
                        quad.word[i] |= (static_cast<std::uint32_t>(take_low_digit(rest)) & 255U)
                                        << (8 * j);
                }
            }
            FNTK_UNROLL
            for (int digit = 0; digit < digit_count; ++digit)
                digits[(group * digit_count + digit) * warp_size + grid.lane()] = quads[digit];
        }
    }

    /// closed[i][g]: bytes of tile T + i of group g of the batch, −1 where ẑ ≤ 0. masks: of the first
    /// group.
    template <class Grid>
    FNTK_DEVICE static void find_closed(Grid& grid, const Hadamard32& hadamard, const Quad* digits,
                                        const Pair* masks, int tile, std::uint32_t (*closed)[batch]) {
        constexpr int together = 4 / tiles;  // groups: four products do not wait for each other
        std::int32_t z[batch * tiles * 4] = {};
        FNTK_UNROLL
        for (int first = 0; first < batch; first += together) {
            std::uint32_t signs[together][tiles][2];
            FNTK_UNROLL
            for (int i = 0; i < together * tiles; ++i) {
                const Pair mask = masks[4 * (first + i / tiles)];
                FNTK_UNROLL
                for (int half = 0; half < 2; ++half)
                    signs[i / tiles][i % tiles][half] =
                        hadamard.operand(mask.word[half], tile + i % tiles, half);
            }
            FNTK_UNROLL
            for (int digit = digit_count - 1; digit >= 0; --digit) {
                FNTK_UNROLL
                for (int i = 0; i < together * tiles; ++i) {
                    const int group = first + i / tiles;
                    const Quad quad = digits[(group % groups * digit_count + digit) * warp_size];
                    std::int32_t(&sum)[4] =
                        reinterpret_cast<std::int32_t(&)[4]>(z[4 * (first * tiles + i)]);
                    grid.mma_s8(sum, quad.word, signs[i / tiles][i % tiles]);
                    if (digit == 0) continue;
                    FNTK_UNROLL
                    for (std::int32_t& x : sum) x = 256 * x - (digit == 1 && group % groups == 0 ? 1 : 0);
                }
            }
        }
        Sums::for_each_stage([&](auto half) { butterflies<decltype(half)::value * tiles * 4>(z); });
        FNTK_UNROLL
        for (int i = 0; i < tiles; ++i) {
            FNTK_UNROLL
            for (int g = 0; g < batch; ++g) {
                const std::int32_t* x = z + 4 * (g * tiles + i);
                closed[i][g] = sign_masks(x[0], x[1], x[2], x[3]);
            }
        }
    }

    /// The bytes of a tile in the words of gates: those of four groups are exchanged at once.
    template <class Grid>
    FNTK_DEVICE static void keep_gates(Grid& grid, std::uint32_t* gate_rows, int group, int tile,
                                       const std::uint32_t (&closed)[batch]) {
        const int n = grid.lane() / 4, t = grid.lane() % 4;
        FNTK_UNROLL
        for (int first = 0; first < batch; first += 4) {
            std::uint32_t bytes[2] = {};
            FNTK_UNROLL
            for (int g = 0; g < 4; ++g) {
                const std::uint32_t bits = bits_of_mask(~closed[first + g]);
                bytes[0] |= (bits & 3U) << (8 * g);
                bytes[1] |= bits >> 2 << (8 * g);
            }
            FNTK_UNROLL
            for (int i = 0; i < 2; ++i) {
                std::uint32_t all = bytes[i] << (2 * t);
                all |= grid.shuffle_xor(all, 1);
                all |= grid.shuffle_xor(all, 2);
                auto* row = reinterpret_cast<unsigned char*>(gate_rows + (n + 8 * i) * gate_stride + group +
                                                             first + t);
                row[tile] = static_cast<unsigned char>(all >> (8 * t));
            }
        }
    }

    /// The words of a step, 64 units each, of the 16 samples.
    template <class Grid>
    FNTK_DEVICE void write_gates(Grid& grid, std::int64_t row, int step,
                                 const std::uint32_t* gate_rows) const {
        constexpr int row_words = step_groups / 2;
        const int threads = alone ? warp_size : grid.threads();
        for (int i = alone ? grid.lane() : grid.thread(); i < 16 * row_words; i += threads) {
            const int r = i / row_words, word = i % row_words;
            const std::int64_t at = std::int64_t{step} * row_words + word, left = m - 64 * at;
            if (row + r >= h.rows || left <= 0) continue;
            const std::uint32_t* pair = gate_rows + r * gate_stride + 2 * word;
            gates.row(row + r)[at] =
                (pair[0] & low_bits(left)) | std::uint64_t{pair[1] & low_bits(left - 32)} << 32;
        }
    }
};

/// Whether a rank has such a pass on a device.
inline bool srht_fits(std::int64_t p, const DeviceLimits& limits) {
    bool fits = false;
    with_srht_rank(p, [&](auto padded) { fits = WidePassSrht<decltype(padded)::value>::fits(limits); });
    return fits;
}

}  // namespace fntk::kernels

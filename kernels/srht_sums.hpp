// What the passes over an srht V on int8 matrix units share: the product with the gates.
//     Ĝ^c += Σ_b s_b ∘ H_P (a^c_b ∘ gate_b)      Ĝ: n × (k·p), in place; P = next_power_of_two(p) ≤ 1024
// H_P is the Kronecker product of H_G and H_32, G = P/32: five bits of an index are a product with a 32 ×
// 32 matrix of ±1 on the matrix units (srht_signs.hpp), the others are butterflies between registers of a
// lane, which hold neighbours in the upper bits. So a row of V costs a sample log2 G additions and P/32 of
// one tile product, and no lane asks another. Group a of an srht block and column group g meet in the entry
// (a, g) of H_G.
//
// Bytes: four of a word are rows (of 16 samples) lane/4 and lane/4 + 8, two units each: a tile word. An
// open gate is a + 1, a closed one and a unit ≥ m is 1; a stage of butterflies doubles what is added, so
// that no byte ever borrows from the next. H_G (a ∘ gate) is at most 32.
//
// P ≤ 256: every warp has 16 samples of its own. Above, the sums of 16 samples do not fit one warp: eight
// warps share them. Of two srht blocks at a time a warp finds the gates of one tile, and has the sums of
// G/8 column groups; tile words go through shared memory.
// P < 32: Ĝ has 32/P sums of a column, added to it in the end.
#pragma once

#include "fixed_point.hpp"
#include "sample_items.hpp"
#include "srht_signs.hpp"

namespace fntk::kernels {

template <int padded_>
struct SrhtSums : SrhtSigns<padded_> {
    using Base = SrhtSigns<padded_>;
    using Base::alone, Base::groups, Base::m, Base::p, Base::step_groups, Base::step_rows, Base::whole;

    static constexpr int max_threads = 256;
    static constexpr int min_blocks = 1;

    Rows<std::int32_t> gradients;  // n × (k·p), added to; no data: not wanted

  protected:
    using Base::buffers, Base::each_byte;
    using typename Base::Hadamard32, typename Base::Signs;
    static constexpr int tiles = alone ? 2 : 1;                     // of units that a warp works on at once
    static constexpr int batch = alone ? 8 : groups;                // groups, too
    static constexpr int own_groups = alone ? groups : groups / 8;  // columns whose sums a warp has
    // Registers hold the words of two tiles beside the sums.
    static constexpr bool parks = alone && groups == 8;

    struct Work {
        std::int64_t row;       // the first of the block
        int c;                  // the output
        int first_step, steps;  // steps first_step to steps − 1
    };
    /// What a lane adds to Ĝ: 16 × 8 tiles of column groups.
    using OwnSums = std::int32_t[own_groups][4][4];

    struct Staged : Signs {
        std::uint32_t* tile_words;  // of 2 steps [group][T][lane], where warps share samples
        Pair* parked;               // of two tiles and a batch [warp][group][lane], if it `parks`

        template <class Grid>
        FNTK_DEVICE explicit Staged(Grid& grid)
            : Signs(grid),
              tile_words(alone ? nullptr
                               : grid.template shared<std::uint32_t>(2 * step_groups * 4 * warp_size)),
              parked(parks ? grid.template shared<Pair>(std::int64_t{batch} * grid.threads()) +
                                 grid.warp() * batch * warp_size + grid.lane()
                           : nullptr) {}
        static constexpr std::int64_t bytes(std::int64_t warps) {
            return Signs::bytes() +
                   (alone ? 0 : shared_size<std::uint32_t>(2 * step_groups * 4 * warp_size)) +
                   (parks ? shared_size<Pair>(batch * warp_size * warps) : 0);
        }
    };

    /// Warps of a block for n samples, as many as have the shared memory that bytes(warps) says. Where none
    /// has, the fewest, which no device starts.
    template <class Bytes>
    static std::int64_t warps_for(std::int64_t n, const DeviceLimits& limits, const Bytes& bytes) {
        constexpr std::int64_t most = max_threads / warp_size;
        std::int64_t warps = alone ? smaller(most, ceil_div(n, 16)) : most;
        while (alone && warps > 1 && bytes(warps) > limits.shared_bytes_per_block) --warps;
        return warps;
    }
    FNTK_HD static constexpr std::int64_t rows_of_block(std::int64_t warps) {
        return alone ? 16 * warps : 16;
    }

    /// An item is the samples of a block, one of `outputs`, and a range of steps; sums cost about what a
    /// step does.
    Launch launch_items(std::int64_t n, std::int64_t outputs, std::int64_t warps, std::int64_t bytes,
                        const DeviceLimits& limits) const {
        const std::int64_t of_samples = ceil_div(n, rows_of_block(warps)) * outputs;
        return {of_samples * item_ranges(of_samples, ceil_div(m, step_rows), 1, 4, limits),
                static_cast<int>(warps) * warp_size, bytes};
    }
    template <class Grid>
    FNTK_DEVICE Work item(Grid& grid, std::int64_t n, std::int64_t first_output,
                          std::int64_t outputs) const {
        const SampleItem item(grid, n, rows_of_block(grid.threads() / warp_size), first_output, outputs,
                              ceil_div(m, step_rows));
        return {item.row, item.c, static_cast<int>(item.first), static_cast<int>(item.last)};
    }

    /// The stage of one bit of the group, of bytes to each of which `half` has been added.
    template <int half, int count>
    FNTK_DEVICE static void byte_butterflies(std::uint32_t (&x)[count]) {
        FNTK_UNROLL
        for (int g = 0; g < count; ++g)
            if ((g & half) == 0) {
                const std::uint32_t a = x[g], b = x[g + half];
                x[g] = a + b;
                x[g + half] = a - b + 2 * half * each_byte;
            }
    }
    /// f(half) for every stage of H_G, half an integral_constant.
    template <class F>
    FNTK_DEVICE static void for_each_stage(const F& f) {
        if constexpr (groups > 1) f(std::integral_constant<int, 1>());
        if constexpr (groups > 2) f(std::integral_constant<int, 2>());
        if constexpr (groups > 4) f(std::integral_constant<int, 4>());
        if constexpr (groups > 8) f(std::integral_constant<int, 8>());
        if constexpr (groups > 16) f(std::integral_constant<int, 16>());
    }

    /// H_G (a ∘ gate) of a tile from the masks, −1 where a gate is closed, of a batch of groups. by_unit:
    /// of the first group, t and T.
    FNTK_DEVICE static void transform_gates(std::uint32_t (&word)[batch], const std::uint32_t* by_unit) {
        FNTK_UNROLL
        for (int g = 0; g < batch; ++g) word[g] = (word[g] & each_byte) | (~word[g] & by_unit[16 * g]);
        for_each_stage([&](auto half) { byte_butterflies<decltype(half)::value>(word); });
        FNTK_UNROLL
        for (std::uint32_t& x : word) x = (x + (128 - groups) * each_byte) ^ (128 * each_byte);
    }

    /// Ĝ of a column group: the tile words of its group, and its mask by column.
    template <class Grid>
    FNTK_DEVICE static void add_group(Grid& grid, const Hadamard32& hadamard,
                                      const std::uint32_t (&word)[4], std::uint32_t mask,
                                      std::int32_t (&sums)[4][4]) {
        const std::uint32_t a[4] = {
            pick_bytes(word[0], word[1], 0x5410), pick_bytes(word[0], word[1], 0x7632),
            pick_bytes(word[2], word[3], 0x5410), pick_bytes(word[2], word[3], 0x7632)};
        FNTK_UNROLL
        for (int tile = 0; tile < 4; ++tile) {
            const std::uint32_t of_column = pick_bytes(mask, mask, 0x1111U * tile);
            grid.mma_s8(sums[tile], a,
                        {hadamard.operand(of_column, tile, 0), hadamard.operand(of_column, tile, 1)});
        }
    }

    /// All steps of an item. find(step, group, T, word): the masks of closed gates of `batch` groups from
    /// `group` of the step on, of tiles T to T + tiles − 1; done(step): a step's gates have been found.
    template <class Grid, class Find, class Done>
    FNTK_DEVICE void run(Grid& grid, const Work& work, const Hadamard32& hadamard, const Staged& staged,
                         const Find& find, const Done& done) const {
        const int n = grid.lane() / 4, t = grid.lane() % 4;
        OwnSums sums = {};
        for (int step = work.first_step - 2; step < work.steps; ++step) {
            std::uint32_t* const now = staged.words + (step & 1) * 2 * step_groups;
            std::uint32_t* const next = staged.words + (~step & 1) * 2 * step_groups;
            const bool active = step >= work.first_step;
            const int buffer = active ? step % buffers : 0;
            const std::uint32_t* by_column = staged.by_column + buffer * 8 * step_groups + n;
            const std::uint32_t* by_unit = staged.by_unit + buffer * 16 * step_groups + 4 * t;
            if (step + 2 < work.steps) this->draw(grid, step + 2, work.c, now);
            if (step + 1 >= work.first_step && step + 1 < work.steps)
                this->spread(grid, step + 1, next, staged);
            if constexpr (alone) {
                FNTK_UNROLL_BY(1)
                for (int group = 0; active && group < step_groups; group += batch) {
                    std::uint32_t word[4][batch];
                    FNTK_UNROLL
                    for (int tile = 0; tile < 4; tile += tiles) {
                        find(step, group, tile, word + tile);
                        if (gradients.data == nullptr) continue;
                        FNTK_UNROLL
                        for (int i = tile; i < tile + tiles; ++i)
                            transform_gates(word[i], by_unit + 16 * group + i);
                        if constexpr (parks) {
                            if (tile > 0) continue;
                            FNTK_UNROLL
                            for (int g = 0; g < batch; ++g)
                                staged.parked[g * warp_size] = {{word[0][g], word[1][g]}};
                            grid.sync_warp();  // or the compiler keeps what it has stored
                        }
                    }
                    if (gradients.data == nullptr) continue;
                    FNTK_UNROLL
                    for (int g = 0; g < batch; ++g) {
                        Pair low{{word[0][g], word[1][g]}};
                        if constexpr (parks) low = staged.parked[g * warp_size];
                        add_group(grid, hadamard, {low.word[0], low.word[1], word[2][g], word[3][g]},
                                  by_column[8 * (group + g)], sums[g % groups]);
                    }
                }
                if (active) done(step);
                grid.sync();
            } else {
                std::uint32_t* const words = staged.tile_words + (step & 1) * step_groups * 4 * warp_size;
                const int group = grid.warp() / 4 * groups, tile = grid.warp() % 4;
                if (active) {
                    std::uint32_t word[1][batch];
                    find(step, group, tile, word);
                    if (gradients.data != nullptr) {
                        transform_gates(word[0], by_unit + 16 * group + tile);
                        FNTK_UNROLL
                        for (int g = 0; g < batch; ++g)
                            words[((group + g) * 4 + tile) * warp_size + grid.lane()] = word[0][g];
                    }
                }
                grid.sync();
                if (active) done(step);
                if (!active || gradients.data == nullptr) continue;
                FNTK_UNROLL
                for (int i = 0; i < 2 * own_groups; ++i) {
                    const int of = i / own_groups * groups + grid.warp() * own_groups + i % own_groups;
                    const std::uint32_t* from = words + of * 4 * warp_size + grid.lane();
                    add_group(grid, hadamard,
                              {from[0], from[warp_size], from[2 * warp_size], from[3 * warp_size]},
                              by_column[8 * of], sums[i % own_groups]);
                }
            }
        }
        if (gradients.data != nullptr) add_to_rows(grid, work, sums);
    }

    /// The first sample of the warp of a thread.
    FNTK_DEVICE static std::int64_t first_row(const Work& work, int thread) {
        return work.row + (alone ? thread / warp_size * 16 : 0);
    }

  private:
    template <class Grid>
    FNTK_DEVICE void add_to_rows(Grid& grid, const Work& work, const OwnSums& sums) const {
        const int first = alone ? 0 : grid.warp() * own_groups;
        FNTK_UNROLL
        for (int entry = 0; entry < own_groups * 16; ++entry) {
            const int group = entry / 16, tile = entry / 4 % 4, i = entry % 4;
            const std::int64_t row = first_row(work, grid.thread()) + grid.lane() / 4 + 8 * (i / 2);
            std::int64_t q = 32 * (first + group) + 8 * tile + 2 * (grid.lane() % 4) + i % 2;
            if (!whole) q &= next_power_of_two(p) - 1;
            if (row < gradients.rows && q < p)
                grid.atomic_add(gradients.row(row) + work.c * p + q, sums[group][tile][i]);
        }
    }
};

/// f(padded), an integral_constant, with the SrhtSums of a rank p. False, and no call, for p > 1024.
template <int padded = 16, class F>
bool with_srht_rank(std::int64_t p, F&& f) {
    if (p <= padded)
        f(std::integral_constant<int, padded>{});
    else if constexpr (padded < 1024)
        with_srht_rank<2 * padded>(p, f);
    return p <= 1024;
}

}  // namespace fntk::kernels

// S (int32, k × p), S_cq += Σ_r a_rc V_rq for a seeded V, rademacher or srht.
//
// a_rc V_rq = +1 where the bits of a and V agree, so S_cq is twice a count of agreements minus the number
// of rows. A thread counts for 4 words of V, 128 columns, over a slice of the rows, in bit-sliced counters:
// bit j of plane b of a word is bit b of the count of column j, and a row's word is added to the 32 counts
// of its columns by one ripple through the planes. What residue ρ does in step τ:
//     rademacher   one Philox block, ρ + ⌈p/32⌉·τ: words 4ρ + l, l < 4, of rows 4τ to 4τ + 3 laid end to
//                  end; which row and which word of it l means is the same in every step
//     srht         words 4ρ + l of row τ; the signs are drawn once for each Hadamard block
// The bits of a come from one block per 128 rows.
//
// A block takes items (output, group of residues, several slices of steps): consecutive threads have
// consecutive residues. Shared memory: sums[residue of the group][l][column], to which threads add their
// slices by atomics, each beginning at another column, and from which one atomic per entry goes to S.
// Barriers: after the sums are zeroed, after they are complete, and before the next item zeroes them.
#pragma once

#include "sign_words.hpp"

namespace fntk::kernels {

template <bool srht>
struct OpenSum {
    static constexpr int max_threads = 256;

    std::uint64_t up_seed = 0, readout_seed = 0;
    std::int64_t m = 0;
    Rows<std::int32_t> sum;  // k × p, zeroed by the caller
    int steps = 128;         // of a slice, at most 128: so far the counters count

    /// Steps that give every multiprocessor an item, 16 at least: fewer do not pay for their sums.
    int steps_for(const DeviceLimits& limits) const {
        OpenSum of = *this;
        of.steps = 128;
        while (of.steps > 16 && of.split_over(max_threads).items < limits.multiprocessors) of.steps /= 2;
        return of.steps;
    }

    Launch launch(const DeviceLimits& limits) const {
        const Split split = split_over(max_threads);
        return {smaller(split.items, std::int64_t{32} * limits.multiprocessors), max_threads,
                shared_size<std::int32_t>(split.group * 128)};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const Split split = split_over(grid.threads());
        std::int32_t* sums = grid.template shared<std::int32_t>(split.group * 128);
        for (std::int64_t item = grid.block(); item < split.items; item += grid.blocks()) {
            const std::int64_t c = item % sum.rows, first = item / sum.rows % split.groups * split.group;
            const std::int64_t slice =
                item / sum.rows / split.groups * split.slices + grid.thread() / split.group;
            const int local = grid.thread() % static_cast<int>(split.group);
            for (std::int64_t i = grid.thread(); i < split.group * 128; i += grid.threads()) sums[i] = 0;
            grid.sync();
            if (grid.thread() < split.group * split.slices && first + local < residues())
                count(grid, c, first + local, slice, sums + 128 * local);
            grid.sync();
            for (std::int64_t i = grid.thread(); i < split.group * 128; i += grid.threads())
                add(grid, c, 4 * first + i / 32, i % 32, sums[i]);
            grid.sync();
        }
    }

  private:
    static constexpr int planes = 8;  // count to 128
    static constexpr int step_rows = srht ? 1 : 4;

    /// How the work falls into items of `group` residues and `slices` slices.
    struct Split {
        std::int64_t group, groups, slices, items;
    };

    FNTK_HD std::int64_t words() const { return sign_words(sum.cols); }
    FNTK_HD std::int64_t residues() const { return srht ? ceil_div(words(), 4) : words(); }
    FNTK_HD Split split_over(int threads) const {
        Split split{};
        if (sum.rows == 0 || sum.cols == 0) return split;
        split.group = smaller<std::int64_t>(32, residues());
        split.groups = ceil_div(residues(), split.group);
        split.slices = threads / split.group;
        split.items = sum.rows * split.groups * ceil_div(m, std::int64_t{steps} * step_rows * split.slices);
        return split;
    }

    template <class Grid>
    FNTK_DEVICE void count(Grid& grid, std::int64_t c, std::int64_t residue, std::int64_t slice,
                           std::int32_t* sums) const {
        std::uint32_t counts[4][planes] = {};
        std::int32_t rows[4] = {};  // that entered counts[l]
        Philox4 a{}, signs{};
        const std::int64_t padded = next_power_of_two(sum.cols), begin = slice * steps;
        std::int64_t offset[4];  // of the row of word l from the step's first
        for (int l = 0; l < 4; ++l) offset[l] = srht ? 0 : (4 * residue + l) / words();
        for (std::int64_t step = begin; step < begin + steps && step * step_rows < m; ++step) {
            if (step == begin || step * step_rows % 128 == 0)
                a = random_block(readout_seed, Stream::readout,
                                 (readout_word(c) + static_cast<std::uint64_t>(step * step_rows / 32)) / 4);
            if (!srht)
                signs =
                    random_block(up_seed, Stream::up, static_cast<std::uint64_t>(residue + words() * step));
            else if (step == begin || step % padded == 0)
                for (int l = 0; l < 4; ++l) signs.word[l] = block_signs(step, 4 * residue + l, padded);
            const std::int64_t first = step * step_rows;
            const std::uint32_t a_bits = word_of(a, static_cast<std::uint64_t>(first / 32));
            FNTK_UNROLL
            for (int l = 0; l < 4; ++l) {
                const std::int64_t word = 4 * residue + l, r = first + offset[l];
                if (r >= m || (srht && word >= words())) continue;
                const std::uint32_t v =
                    srht ? signs.word[l] ^ hadamard_bits(step % padded, word) : signs.word[l];
                add_bits(counts[l], a_bits >> (r % 32) & 1U ? v : ~v);
                ++rows[l];
            }
        }
        for (int i = 0; i < 32; ++i) {
            const int column = (i + grid.lane()) % 32;
            FNTK_UNROLL
            for (int l = 0; l < 4; ++l)
                if (rows[l] != 0)
                    grid.atomic_add(sums + 32 * l + column, 2 * count_of(counts[l], column) - rows[l]);
        }
    }

    FNTK_DEVICE std::uint32_t block_signs(std::int64_t r, std::int64_t w, std::int64_t padded) const {
        return word_at(up_seed, Stream::up_signs,
                       srht_word(r / padded, padded) + static_cast<std::uint64_t>(w));
    }
    static FNTK_DEVICE void add_bits(std::uint32_t (&counts)[planes], std::uint32_t bits) {
        FNTK_UNROLL
        for (std::uint32_t& plane : counts) {
            const std::uint32_t carry = plane & bits;
            plane ^= bits;
            bits = carry;
        }
    }
    static FNTK_DEVICE std::int32_t count_of(const std::uint32_t (&counts)[planes], int column) {
        std::int32_t count = 0;
        FNTK_UNROLL
        for (int plane = 0; plane < planes; ++plane)
            count |= static_cast<std::int32_t>(counts[plane] >> column & 1U) << plane;
        return count;
    }

    /// word: of four rademacher rows laid end to end, or of one srht row.
    template <class Grid>
    FNTK_DEVICE void add(Grid& grid, std::int64_t c, std::int64_t word, std::int64_t bit,
                         std::int32_t value) const {
        const std::int64_t q = 32 * (srht ? word : word % words()) + bit;
        if (value != 0 && word < 4 * residues() && q < sum.cols) grid.atomic_add(sum.row(c) + q, value);
    }
};

}  // namespace fntk::kernels

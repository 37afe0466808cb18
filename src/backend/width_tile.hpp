// One tile of the width: the signs of V and A of its units, and what they do to a group of 64 samples.
#pragma once

#include <backend/aligned.hpp>
#include <backend/simd/lanes.hpp>

#include <fntk/factors.hpp>

namespace fntk::backend {

class WidthTile {
  public:
    WidthTile(const UpFactor& up, const Readout& readout);

    /// Units of a full tile: a multiple of 64 and of the block of an srht V.
    [[nodiscard]] std::int64_t units() const { return units_; }
    [[nodiscard]] std::int64_t words() const { return units_ / 64; }
    /// Draws the signs of units [first, first + units), as far as the width goes.
    void move_to(std::int64_t first);

    /// Entries of a group of Z, and of the scratch array of gates().
    [[nodiscard]] std::int64_t group_size() const;
    [[nodiscard]] std::int64_t scratch_size() const;
    template <class Z>
    void load(const GroupRows<Z>& h, Z* group) const;
    /// gates: one word per unit, bit l for sample l, 0 past the width.
    template <class Z>
    void gates(const Z* group, std::int64_t rows, Z* scratch, std::uint64_t* gates) const;
    /// sums (rank × 64) += Σ_r a_rc gate_r V_r. bits: the same gates sample by sample, 64 × words().
    void gradients(const std::uint64_t* gates, const std::uint64_t* bits, std::int64_t c,
                   std::int32_t* sums);

  private:
    void draw_srht(std::int64_t first);
    void draw_rademacher(std::int64_t first);

    const UpFactor& up_;
    const Readout& readout_;
    std::int64_t rank_, padded_, units_, count_ = 0;
    Aligned<std::uint32_t> random_;
    // srht
    Aligned<std::uint32_t> picks_;
    Aligned<std::int32_t> negatives_;
    Aligned<std::uint8_t> negative_readout_;  // outputs × units
    // rademacher: a set bit is +1
    Aligned<std::uint32_t> rows_;          // units × ⌈rank/32⌉
    Aligned<std::uint64_t> columns_;       // ⌈rank/64⌉·64 × words
    Aligned<std::uint64_t> readout_bits_;  // outputs × words
    Aligned<std::uint64_t> products_;      // rank × words: signs of a_r V_rq
    Aligned<std::int32_t> scratch_;
};

}  // namespace fntk::backend

#include <backend/simd/bits.hpp>
#include <backend/simd/random.hpp>
#include <backend/width_tile.hpp>

#include <signs.hpp>

#include <algorithm>
#include <bit>
#include <cstring>

namespace fntk::backend {

WidthTile::WidthTile(const UpFactor& up, const Readout& readout)
    : up_(up),
      readout_(readout),
      rank_(up.rank),
      padded_(kernels::next_power_of_two(up.rank)),
      units_(std::max<std::int64_t>(4096, up.family == Up::srht ? padded_ : 0)) {
    while (units_ / 2 >= std::max<std::int64_t>(up.width, 64) && units_ / 2 >= padded_) units_ /= 2;
    const std::int64_t k = readout.outputs;
    if (up.family == Up::srht) {
        random_ = Aligned<std::uint32_t>(std::max(padded_, units_) / 32 + 1);
        picks_ = Aligned<std::uint32_t>(units_);
        negatives_ = Aligned<std::int32_t>(padded_);
        negative_readout_ = Aligned<std::uint8_t>(k * units_);
        scratch_ = Aligned<std::int32_t>((padded_ + rank_) * group_samples);
    } else {
        const std::int64_t columns = (rank_ + 63) / 64 * 64;
        rows_ = Aligned<std::uint32_t>(units_ * ((rank_ + 31) / 32));
        columns_ = Aligned<std::uint64_t>(columns * words());
        readout_bits_ = Aligned<std::uint64_t>(k * words());
        products_ = Aligned<std::uint64_t>(rank_ * words());
        scratch_ = Aligned<std::int32_t>(rank_ * group_samples);
    }
}

std::int64_t WidthTile::group_size() const {
    return up_.family == Up::srht ? 2 * padded_ * group_samples : (rank_ + 3) / 4 * 16 * group_samples;
}
std::int64_t WidthTile::scratch_size() const { return up_.family == Up::srht ? 16 * padded_ : 16 * 256; }

void WidthTile::move_to(std::int64_t first) {
    count_ = std::min(units_, up_.width - first);
    up_.family == Up::srht ? draw_srht(first) : draw_rademacher(first);
}

void WidthTile::draw_srht(std::int64_t first) {
    const std::int64_t words = (padded_ + 31) / 32;
    std::fill_n(negatives_.data(), padded_, 0);
    for (std::int64_t b = 0; b < units_ / padded_; ++b) {
        random_words(up_.seed, kernels::Stream::up_signs, kernels::srht_word(first / padded_ + b, padded_),
                     words, random_.data());
        std::uint32_t* picks = picks_.data() + b * padded_;
        for (std::int64_t q = 0; q < padded_; ++q) {
            const std::uint32_t negative = ~random_[q / 32] >> (q % 32) & 1U;
            picks[q] = static_cast<std::uint32_t>(2 * q) + negative;
            negatives_[q] += static_cast<std::int32_t>(negative);
        }
    }
    for (std::int64_t c = 0; c < readout_.outputs; ++c) {
        random_words(readout_.seed, kernels::Stream::readout,
                     kernels::readout_word(c) + static_cast<std::uint64_t>(first / 32), units_ / 32,
                     random_.data());
        std::uint8_t* flags = negative_readout_.data() + c * units_;
        for (std::int64_t r = 0; r < units_; ++r)
            flags[r] = static_cast<std::uint8_t>(~random_[r / 32] >> (r % 32) & 1U);
    }
}

void WidthTile::draw_rademacher(std::int64_t first) {
    const std::int64_t per_row = (rank_ + 31) / 32;
    random_words(up_.seed, kernels::Stream::up, kernels::rademacher_word(first, rank_), units_ * per_row,
                 rows_.data());
    std::uint64_t block[64];
    for (std::int64_t word = 0; word < words(); ++word)
        for (std::int64_t q = 0; q < rank_; q += 64) {
            for (std::int64_t r = 0; r < 64; ++r) {
                const std::uint32_t* row = rows_.data() + (64 * word + r) * per_row + q / 32;
                block[r] = row[0] | (q + 32 < rank_ ? static_cast<std::uint64_t>(row[1]) << 32 : 0);
            }
            transpose_bits(block, columns_.data() + q * words() + word, words());
        }
    for (std::int64_t c = 0; c < readout_.outputs; ++c)
        random_words(readout_.seed, kernels::Stream::readout,
                     kernels::readout_word(c) + static_cast<std::uint64_t>(first / 32), 2 * words(),
                     reinterpret_cast<std::uint32_t*>(readout_bits_.data() + c * words()));
}

template <class Z>
void WidthTile::load(const GroupRows<Z>& h, Z* group) const {
    up_.family == Up::srht ? srht_group(h, padded_, group) : rademacher_group(h, group);
}

template <class Z>
void WidthTile::gates(const Z* group, std::int64_t rows, Z* scratch, std::uint64_t* gates) const {
    if (up_.family == Up::srht)
        srht_gates({units_ / padded_, padded_, picks_.data(), negatives_.data()}, group, rows, scratch,
                   gates);
    else
        rademacher_gates(rows_.data(), count_, rank_, group, rows, scratch, gates);
    std::fill(gates + count_, gates + units_, std::uint64_t{0});
}

void WidthTile::gradients(const std::uint64_t* gates, const std::uint64_t* bits, std::int64_t c,
                          std::int32_t* sums) {
    if (up_.family == Up::srht)
        return srht_gradients({units_ / padded_, padded_, picks_.data(), negatives_.data()}, gates,
                              negative_readout_.data() + c * units_, rank_, scratch_.data(), sums);
    // Ĝ_q = #(gate, a V_q = +1) − #(gate, a V_q = −1) = 2·popcount(B & P_q) − popcount(B)
    const std::uint64_t* a = readout_bits_.data() + c * words();
    for (std::int64_t q = 0; q < rank_; ++q)
        for (std::int64_t w = 0; w < words(); ++w)
            products_[q * words() + w] = ~(columns_[q * words() + w] ^ a[w]);
    std::fill_n(scratch_.data(), rank_ * group_samples, 0);
    and_popcounts({products_.data(), words(), rank_}, {bits, words(), group_samples}, words(),
                  scratch_.data(), group_samples);
    std::int32_t open[group_samples];
    for (std::int64_t l = 0; l < group_samples; ++l) {
        open[l] = 0;
        for (std::int64_t w = 0; w < words(); ++w) open[l] += std::popcount(bits[l * words() + w]);
    }
    for (std::int64_t q = 0; q < rank_; ++q)
        for (std::int64_t l = 0; l < group_samples; ++l)
            sums[q * group_samples + l] += 2 * scratch_[q * group_samples + l] - open[l];
}

template void WidthTile::load(const GroupRows<std::int32_t>&, std::int32_t*) const;
template void WidthTile::load(const GroupRows<std::int64_t>&, std::int64_t*) const;
template void WidthTile::gates(const std::int32_t*, std::int64_t, std::int32_t*, std::uint64_t*) const;
template void WidthTile::gates(const std::int64_t*, std::int64_t, std::int64_t*, std::uint64_t*) const;

}  // namespace fntk::backend

// What stands between the int8 products of a library when the wide pass runs in chunks of b rows of V, for
// any rank p and both seeded families. With ĥ = H₀ + 256 H₁ (+ 256² H₂), digits −128..127, the chain of a
// chunk is
//     Z_d = H_d Vᵀ in one product, the H_d below one another,   Ĝ^c += E^c V,
//     E^c_ir = a_rc·(z_ir > 0),   Z = Z₀ + 256 Z₁ (+ 256² Z₂)
// ExpandSigns    V, rows r0.. as int8 ±1, b × cols, zero in columns ≥ p
// SplitDigits    H₀, H₁ and H₂, n × cols int8 each, from ĥ (int32, n × p), zero in columns ≥ p
// GateBytes      E^c, n × cols int8, zero in columns ≥ b, from the Z_d (int32, n × b); the gates as bits
//
// The int8 matrices are padded to `cols`, a multiple of 16, with data and stride multiples of 16 as well,
// as such libraries ask; the padding adds nothing to a product. No kernel here uses shared memory.
#pragma once

#include "sign_words.hpp"

namespace fntk::kernels {

/// Threads that stride over `items`, a launch of full blocks of 256, at most 32 blocks per multiprocessor.
inline Launch launch_over(std::int64_t items, const DeviceLimits& limits) {
    return {smaller(ceil_div(items, 256), std::int64_t{32} * limits.multiprocessors), 256, 0};
}

/// A thread takes one 16-byte group of one row, half a word of signs: neighbours write neighbouring groups.
template <bool srht>
struct ExpandSigns {
    static constexpr int max_threads = 256;

    std::uint64_t seed = 0;
    std::int64_t p = 0, r0 = 0;
    Rows<std::int8_t> v;  // b × cols

    Launch launch(const DeviceLimits& limits) const { return launch_over(v.rows * (v.cols / 16), limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const std::int64_t groups = v.cols / 16, padded = next_power_of_two(p);
        for (std::int64_t i = grid.block() * grid.threads() + grid.thread(); i < v.rows * groups;
             i += grid.blocks() * grid.threads()) {
            const std::int64_t row = i / groups, q = i % groups * 16, r = r0 + row;
            Quad bytes{};
            if (q < p) {
                const std::uint32_t word =
                    srht ? srht_bits(seed, r, q / 32, padded) : rademacher_bits(seed, r, q / 32, p);
                const std::uint32_t bits = word >> (q % 32), valid = low_bits(p - q);
                FNTK_UNROLL
                for (int l = 0; l < 4; ++l)
                    bytes.word[l] = sign_bytes(bits >> (4 * l)) & mask_of_bits(valid >> (4 * l));
            }
            *reinterpret_cast<Quad*>(v.row(row) + q) = bytes;
        }
    }
};

/// A thread takes four columns of one row.
struct SplitDigits {
    static constexpr int max_threads = 256;

    Rows<const std::int32_t> h;   // n × p
    Rows<std::int8_t> digits[3];  // n × cols: H₀, H₁, H₂; no data: ĥ has fewer

    Launch launch(const DeviceLimits& limits) const {
        return launch_over(digits[0].rows * (digits[0].cols / 4), limits);
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const std::int64_t groups = digits[0].cols / 4;
        for (std::int64_t i = grid.block() * grid.threads() + grid.thread(); i < digits[0].rows * groups;
             i += grid.blocks() * grid.threads()) {
            const std::int64_t row = i / groups, q = i % groups * 4;
            std::uint32_t bytes[3] = {};
            FNTK_UNROLL
            for (int j = 0; j < 4; ++j) {
                std::int32_t rest = q + j < h.cols ? h.row(row)[q + j] : 0;
                FNTK_UNROLL
                for (std::uint32_t& word : bytes)
                    word |= (static_cast<std::uint32_t>(take_low_digit(rest)) & 255U) << (8 * j);
            }
            FNTK_UNROLL
            for (int digit = 0; digit < 3; ++digit)
                if (digits[digit].data != nullptr)
                    *reinterpret_cast<std::uint32_t*>(digits[digit].row(row) + q) = bytes[digit];
        }
    }
};

/// A warp takes 64 units, which are one word of gates, of up to 64 rows: lane l has units l and l + 32, a
/// ballot gives their bits, and a_c is drawn once for all the rows.
struct GateBytes {
    static constexpr int max_threads = 256;

    std::uint64_t readout_seed = 0;
    std::int64_t r0 = 0, c = 0;  // first unit of the chunk, a multiple of 64; the output
    Rows<std::int32_t> z[3];     // n × b: Z₀, Z₁ and Z₂; no data: there are fewer
    bool keep_sum = false;       // Z takes the place of Z₀
    Rows<std::int8_t> bytes;     // n × cols; no data: not wanted
    Rows<std::uint64_t>
        gates;  // n rows; words r0/64 to r0/64 + ⌈b/64⌉ − 1 are written; no data: not wanted

    Launch launch(const DeviceLimits& limits) const { return launch_over(items() * warp_size, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const std::int64_t words = unit_words(), warps = grid.threads() / warp_size;
        for (std::int64_t item = grid.block() * warps + grid.warp(); item < items();
             item += grid.blocks() * warps) {
            const std::int64_t word = item % words, first = item / words * item_rows;
            const std::int64_t units[2] = {64 * word + grid.lane(), 64 * word + 32 + grid.lane()};
            std::int8_t a[2];
            for (int i = 0; i < 2; ++i)
                a[i] =
                    readout_bits(readout_seed, (r0 + 64 * word) / 32 + i, c) >> grid.lane() & 1U ? 1 : -1;
            for (std::int64_t row = first; row < smaller(first + item_rows, z[0].rows); ++row) {
                std::uint32_t bits[2];
                for (int i = 0; i < 2; ++i) {
                    const bool open = units[i] < z[0].cols && sum_at(row, units[i]) > 0;
                    if (bytes.data != nullptr && units[i] < bytes.cols)
                        bytes.row(row)[units[i]] = open ? a[i] : std::int8_t{0};
                    bits[i] = grid.ballot(open);
                }
                if (gates.data != nullptr && grid.lane() == 0 && 64 * word < z[0].cols)
                    gates.row(row)[r0 / 64 + word] = std::uint64_t{bits[1]} << 32 | bits[0];
            }
        }
    }

  private:
    static constexpr std::int64_t item_rows = 64;

    FNTK_DEVICE std::int32_t sum_at(std::int64_t row, std::int64_t unit) const {
        std::uint32_t sum = 0;  // |ẑ| < 2^31: a sum modulo 2^32 is ẑ
        FNTK_UNROLL
        for (int digit = 2; digit >= 0; --digit)
            if (z[digit].data != nullptr)
                sum = 256 * sum + static_cast<std::uint32_t>(z[digit].row(row)[unit]);
        if (keep_sum) z[0].row(row)[unit] = static_cast<std::int32_t>(sum);
        return static_cast<std::int32_t>(sum);
    }
    FNTK_HD std::int64_t unit_words() const {
        return ceil_div(bytes.data == nullptr ? z[0].cols : larger(z[0].cols, bytes.cols), 64);
    }
    FNTK_HD std::int64_t items() const { return ceil_div(z[0].rows, item_rows) * unit_words(); }
};

}  // namespace fntk::kernels

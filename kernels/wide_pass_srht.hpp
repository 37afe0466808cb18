// The wide pass over an srht V by fast transforms, V never in memory: for ĥ (int32, n × p) and the blocks b
// of P = next_power_of_two(p) rows of V, with s_b their signs and ĥ padded by zeros to P,
//     ẑ_b = H_P (s_b ∘ ĥ),  gate_b = ẑ_b > 0,  Ĝ^c += s_b ∘ H_P (a^c_b ∘ gate_b)
//         gates: n × m bits          Ĝ: n × (k·p), added to: zeroed by the caller
// in 2·log2 P additions per row of V and sample, instead of 2·p. All sums are exact, whatever the launch.
//
// A sample is held by L = max(P, 64)/32 threads, entry 32l + j of ĥ, of ẑ_b and of the sums in register j
// of thread l (hadamard.hpp); a block of 256 threads has 256/L such places. A step of a place is one unit
// of 32·L rows: one srht block, or 64/P of them when P < 64, whose sums are added in the end. A thread's 32
// signs of ẑ are the 32 bits of its half of a word of gates; it exchanges them with its neighbour, and
// every other thread writes the word. a ∘ gate is −1, 0 or 1 and its transform at most P/2 before the last
// stage over registers, so that the second transform works on 16 words of two fields.
//
// The width goes in tiles of 8192 rows: 256/L units, 256 words of s and of each a^c, drawn by the block
// into shared memory for all its samples. Places share the work on a tile in `ways` ways: each has one of
// `ways` parts of the units, and block/ways samples are in work at once.
//
// Shared memory:
//     signs      256 words: bit j of word u·L + l is the sign of entry 32l + j in unit u
//     readout    outputs_at_once × 256 words: bit j of word u·L + l is a of row 32(u·L + l) + j of the tile
//     exchange   P > 1024 only: 32 × 256 words for the stages between warps
// Barriers: words are read only after all are drawn, and drawn only after those of the tile before have
// been read.
//
// A block takes tasks (outputs_at_once outputs, range of tiles, samples) in turn. Ranges of one sample add
// to the same sums, atomically.
#pragma once

#include "hadamard.hpp"
#include "sign_words.hpp"

namespace fntk::kernels {

/// outputs_at_once: gradients per pass over the width, 1 or 2; one more transform saved per output and
/// pass, for 32 more registers.
template <int outputs_at_once_>
struct WidePassSrht {
    static constexpr int outputs_at_once = outputs_at_once_;
    static constexpr int max_threads = 256;
    static constexpr std::int64_t max_padded = 32 * max_threads;
    static constexpr std::int64_t tile_rows = 32 * max_threads;

    std::uint64_t up_seed = 0, readout_seed = 0;
    std::int64_t m = 0, p = 0, k = 0;
    Rows<const std::int32_t> h;    // n × p
    Rows<std::uint64_t> gates;     // n × ⌈m/64⌉ words, written in full; no data: not wanted
    Rows<std::int32_t> gradients;  // n × (k·p), added to; no data: not wanted

    /// Why a rank cannot be had, or null.
    static const char* unsupported(std::int64_t p, const DeviceLimits& limits) {
        const std::int64_t padded = next_power_of_two(p);
        if (padded > max_padded)
            return "a block of 256 threads holds 32 entries per thread: rank at most 8192";
        if (shared_bytes(padded) > limits.shared_bytes_per_block)
            return "the stages between warps (rank above 1024) need 32 KiB of shared memory and the signs "
                   "3";
        return nullptr;
    }

    /// Two blocks per multiprocessor, each with a few tasks to even the load out.
    Launch launch(const DeviceLimits& limits) const {
        if (h.rows == 0 || m == 0 || chunks() == 0) return {};
        const std::int64_t most = smaller<std::int64_t>(h.rows * tiles() * chunks(), 0x7FFFFFFF);
        return {smaller<std::int64_t>(most, std::int64_t{2} * limits.multiprocessors), max_threads,
                shared_bytes(next_power_of_two(p))};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const Shape shape(*this, grid.blocks());
        auto* signs = grid.template shared<std::uint32_t>(max_threads);
        auto* readout = grid.template shared<std::uint32_t>(outputs_at_once * max_threads);
        std::int32_t* exchange = nullptr;
        if (shape.padded > warp_size * warp_size)
            exchange = grid.template shared<std::int32_t>(32 * max_threads);

        for (std::int64_t task = grid.block(); task < shape.tasks(); task += grid.blocks()) {
            const std::int64_t group = task % shape.groups, rest = task / shape.groups;
            const std::int64_t slice = rest % shape.slices, chunk = rest / shape.slices;
            const Place place(shape, grid.thread(), group);
            std::int32_t entries[32], x[32], sums[outputs_at_once][32] = {};
            load(place, shape.padded, entries);
            // Warps without a sample only draw, where no other warp needs them.
            const bool work = grid.ballot(place.sample < h.rows) != 0 || exchange != nullptr;

            const std::int64_t end = (slice + 1) * tiles() / shape.slices;
            for (std::int64_t tile = slice * tiles() / shape.slices; tile < end; ++tile) {
                grid.sync();  // the words of the tile before have been read
                draw(grid.thread(), tile, chunk, shape.padded, signs, readout);
                grid.sync();  // all words are there
                const std::int64_t units =
                    smaller<std::int64_t>(shape.places, ceil_div(m - tile * tile_rows, shape.unit_rows()));
                for (std::int64_t u = 0; work && u < units; u += shape.ways) {
                    const std::int64_t word = (u + place.way) * shape.threads + place.part;
                    const std::int64_t row = tile * tile_rows + 32 * word;
                    const std::uint32_t sign = signs[word];
                    apply_signs(entries, sign, x);
                    transform_registers(x, shape.padded);
                    transform_lanes(grid, x, shape.padded);
                    transform_warps<max_threads>(grid, x, shape.padded, exchange);
                    const std::uint32_t open = positive(x) & low_bits(m - row);
                    if (gates.data != nullptr && chunk == 0) write_gates(grid, place, row, open);
                    if (gradients.data == nullptr) continue;
                    FNTK_UNROLL
                    for (int c = 0; c < outputs_at_once; ++c)
                        add_gradients(grid, shape.padded, exchange, open, readout[c * max_threads + word],
                                      sign, sums[c]);
                }
            }
            if (gradients.data == nullptr || place.sample >= h.rows) continue;
            FNTK_UNROLL
            for (int c = 0; c < outputs_at_once; ++c)
                add(grid, place, shape.padded, chunk * outputs_at_once + c, sums[c]);
        }
    }

  private:
    FNTK_HD std::int64_t tiles() const { return ceil_div(m, tile_rows); }
    /// Passes over the width.
    FNTK_HD std::int64_t chunks() const {
        return gradients.data != nullptr && k > 0 ? ceil_div(k, outputs_at_once)
                                                  : (gates.data != nullptr ? 1 : 0);
    }
    static constexpr std::int64_t shared_bytes(std::int64_t padded) {
        return shared_size<std::uint32_t>(max_threads) +
               shared_size<std::uint32_t>(outputs_at_once * max_threads) +
               (padded > warp_size * warp_size ? shared_size<std::int32_t>(32 * max_threads) : 0);
    }

    /// How samples and rows go to places and tasks, such that every block has work.
    struct Shape {
        std::int64_t padded, threads, places;  // P, L, 256/L
        std::int64_t ways = 1, groups = 0, slices = 1, chunks;

        FNTK_HD Shape(const WidePassSrht& pass, std::int64_t blocks)
            : padded(next_power_of_two(pass.p)),
              threads(larger<std::int64_t>(padded, 64) / 32),
              places(max_threads / threads),
              chunks(pass.chunks()) {
            const std::int64_t n = pass.h.rows, tiles = pass.tiles();
            while (ways < places &&
                   (2 * ways * n <= places || ceil_div(n, places / ways) * tiles * chunks < blocks))
                ways *= 2;
            groups = ceil_div(n, places / ways);
            slices = larger<std::int64_t>(1, smaller(tiles, ceil_div(4 * blocks, groups * chunks)));
        }
        FNTK_HD std::int64_t tasks() const { return groups * slices * chunks; }
        FNTK_HD std::int64_t unit_rows() const { return 32 * threads; }
    };

    /// What a thread works on: its part of a sample, and its share of a tile's units.
    struct Place {
        std::int64_t part, way, sample;

        FNTK_HD Place(const Shape& shape, int thread, std::int64_t group)
            : part(thread % shape.threads),
              way(thread / shape.threads % shape.ways),
              sample(group * (shape.places / shape.ways) + thread / shape.threads / shape.ways) {}
    };

    /// The columns of a thread are first, first + 1, ...; those from p on are zeros. For P < 32 the entries
    /// repeat.
    FNTK_DEVICE static std::int64_t first_column(const Place& place, std::int64_t padded) {
        return 32 * place.part & (padded - 1);
    }
    FNTK_DEVICE void load(const Place& place, std::int64_t padded, std::int32_t (&entries)[32]) const {
        const std::int64_t first = first_column(place, padded);
        const std::int64_t count = place.sample < h.rows ? p - first : 0;
        const std::int32_t* row = count > 0 ? h.row(place.sample) + first : nullptr;
        FNTK_UNROLL
        for (int j = 0; j < 32; ++j) entries[j] = j < count ? row[j] : 0;
        FNTK_UNROLL
        for (int j = 1; j < 32; ++j) {  // j − half: j without its highest bit
            const int half = j >= 16 ? 16 : j >= 8 ? 8 : j >= 4 ? 4 : j >= 2 ? 2 : 1;
            if (padded <= half) entries[j] = entries[j - half];
        }
    }

    /// The words of a tile. For P ≥ 32 those of s follow one another as those of a do: four to a Philox
    /// block. For P < 32 a word gathers the signs of the 32/P srht blocks of its 32 rows.
    FNTK_DEVICE void draw(int thread, std::int64_t tile, std::int64_t chunk, std::int64_t padded,
                          std::uint32_t* signs, std::uint32_t* readout) const {
        const auto first = static_cast<std::uint64_t>(tile * max_threads);
        const int stream = thread / (max_threads / 4), four = thread % (max_threads / 4);
        if (padded < 32) {
            const int vectors = static_cast<int>(32 / padded);
            std::uint32_t word = 0;
            for (int v = 0; v < vectors; ++v)
                word |=
                    (word_at(up_seed, Stream::up_signs, (first + thread) * vectors + v) & low_bits(padded))
                    << (v * padded);
            signs[thread] = word;
        } else if (stream == 0) {
            put(random_block(up_seed, Stream::up_signs, first / 4 + four), signs + 4 * four);
        }
        const std::int64_t output = chunk * outputs_at_once + stream - 1;
        if (stream >= 1 && stream <= outputs_at_once && output < k)
            put(random_block(readout_seed, Stream::readout, (readout_word(output) + first) / 4 + four),
                readout + (stream - 1) * max_threads + 4 * four);
    }
    FNTK_DEVICE static void put(const Philox4& block, std::uint32_t* words) {
        FNTK_UNROLL
        for (int w = 0; w < 4; ++w) words[w] = block.word[w];
    }

    FNTK_DEVICE static void apply_signs(const std::int32_t (&entries)[32], std::uint32_t sign,
                                        std::int32_t (&x)[32]) {
        FNTK_UNROLL
        for (int j = 0; j < 32; ++j) x[j] = (sign >> j & 1U) != 0 ? entries[j] : -entries[j];
    }

    /// Bit j: x_j > 0, the sign bit of −x_j.
    FNTK_DEVICE static std::uint32_t positive(const std::int32_t (&x)[32]) {
        std::uint32_t bits = 0;
        FNTK_UNROLL
        for (int j = 31; j >= 0; --j) bits = bits << 1 | static_cast<std::uint32_t>(-x[j]) >> 31;
        return bits;
    }

    /// Rows `row` to row + 31 of a sample; its even parts begin a word.
    template <class Grid>
    FNTK_DEVICE void write_gates(Grid& grid, const Place& place, std::int64_t row,
                                 std::uint32_t open) const {
        const std::uint64_t other = grid.shuffle_xor(open, 1);
        if (place.part % 2 == 0 && row < m && place.sample < h.rows)
            gates.row(place.sample)[row / 64] = open | other << 32;
    }

    /// sums += s ∘ H (a ∘ gate), with entries j and j + 16 in the two fields of word j.
    template <class Grid>
    FNTK_DEVICE void add_gradients(Grid& grid, std::int64_t padded, std::int32_t* exchange,
                                   std::uint32_t open, std::uint32_t readout, std::uint32_t sign,
                                   std::int32_t (&sums)[32]) const {
        constexpr std::uint32_t fields = 0x00010001U;
        const std::uint32_t plus = open & readout, minus = open & ~readout;
        std::int32_t word[16];
        FNTK_UNROLL
        for (int j = 0; j < 16; ++j)
            word[j] = static_cast<std::int32_t>(plus >> j & fields) -
                      static_cast<std::int32_t>(minus >> j & fields);
        transform_registers(word, padded);
        transform_lanes(grid, word, padded);
        transform_warps<max_threads>(grid, word, padded, exchange);
        FNTK_UNROLL
        for (int j = 0; j < 16; ++j) {
            std::int32_t low = static_cast<std::int16_t>(word[j]), high = (word[j] - low) >> 16;
            if (padded > 16) {
                const std::int32_t sum = low + high;
                high = low - high;
                low = sum;
            }
            sums[j] += (sign >> j & 1U) != 0 ? low : -low;
            sums[j + 16] += (sign >> (j + 16) & 1U) != 0 ? high : -high;
        }
    }

    /// A thread's sums to those of output c; for P < 32 registers P apart belong to one column.
    template <class Grid>
    FNTK_DEVICE void add(Grid& grid, const Place& place, std::int64_t padded, std::int64_t c,
                         std::int32_t (&sums)[32]) const {
        if (c >= k) return;
        FNTK_UNROLL
        for (int j = 31; j >= 1; --j) {
            const int half = j >= 16 ? 16 : j >= 8 ? 8 : j >= 4 ? 4 : j >= 2 ? 2 : 1;
            if (padded <= half) sums[j - half] += sums[j];
        }
        const std::int64_t first = first_column(place, padded), count = p - first;
        std::int32_t* row = count > 0 ? gradients.row(place.sample) + c * p + first : nullptr;
        FNTK_UNROLL
        for (int j = 0; j < 32; ++j)
            if (j < count && sums[j] != 0) grid.atomic_add(row + j, sums[j]);
    }
};

}  // namespace fntk::kernels

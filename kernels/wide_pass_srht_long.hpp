// The wide pass over an srht V by additions alone, for ranks that wide_pass_srht.hpp has no room for, from
// 513 on; V never in memory. For ĥ (int32, n × p) and the blocks b of P = next_power_of_two(p) rows of V,
// with s_b their signs and ĥ padded by zeros to P,
//     ẑ_b = H_P (s_b ∘ ĥ),  gate_b = ẑ_b > 0,  Ĝ^c += s_b ∘ H_P (a^c_b ∘ gate_b)
//         gates: n × m bits          Ĝ: n × (k·p), added to: zeroed by the caller
// in 2·log2 P additions per row of V and sample, instead of 2·p. All sums are exact, whatever the launch.
//
// Two samples are held by L = P/32 threads, whole warps, their entries 32l + j of ĥ and of ẑ_b in registers
// j of thread l (hadamard.hpp); a block of 256 threads has 256/L such places. A step of a place is one unit
// of P rows, one srht block. A thread's 32 signs of ẑ are the 32 bits of its half of a word of gates; it
// exchanges them with its neighbour, and every other thread writes the word. ẑ − 1 in place of ẑ, from one
// entry that is one less, makes the sign bit of every entry its closed gate.
//
// a ∘ gate is −1, 0 or 1, so that the two samples, whose s and a are the same, share 32 words of two fields
// of 16 bits in the second transform and in the sums, which go to memory before a field is full.
//
// The width goes in tiles of 8192 rows: 256/L units, whose s and a^c are drawn by the block into shared
// memory for all its samples, ±1 in 32 bits each: a sign is a factor of a multiply-add. Places share the
// work on a tile in `ways` ways: each has one of `ways` parts of the units, and 2·places/ways samples are
// in work at once.
//
// Shared memory:
//     signs      8 × 256 quads: word i of quad 256q + u·L + l is the sign of entry 32l + 4q + i in unit u
//     readout    outputs_at_once times as many: that word is a of row 32(u·L + l) + 4q + i of the tile
//     exchange   P > 1024 only: 32 × 256 words for the stages between warps
// Barriers: signs are read only after all are there, and drawn only after those of the tile before have
// been read.
//
// A block takes tasks (outputs_at_once outputs, range of tiles, samples) in turn. Ranges of one sample add
// to the same sums, atomically.
#pragma once

#include "hadamard.hpp"
#include "quad.hpp"
#include "sign_words.hpp"

namespace fntk::kernels {

/// outputs_at_once: gradients per pass over the width, 1 or 2; one more transform saved per output and
/// pass, for 32 more registers and 32 KiB of shared memory.
template <int outputs_at_once_>
struct WidePassSrhtLong {
    static constexpr int outputs_at_once = outputs_at_once_;
    static constexpr int max_threads = 256;
    static constexpr std::int64_t max_padded = 32 * max_threads;
    static constexpr std::int64_t tile_rows = 32 * max_threads;

    std::uint64_t up_seed = 0, readout_seed = 0;
    std::int64_t m = 0, p = 0, k = 0;
    Rows<const std::int32_t> h;    // n × p
    Rows<std::uint64_t> gates;     // n × ⌈m/64⌉ words, written in full; no data: not wanted
    Rows<std::int32_t> gradients;  // n × (k·p), added to; no data: not wanted
    int largest_field = 0x7FFF;    // of the sums; at least P

    /// Why a rank cannot be had, or null.
    static const char* unsupported(std::int64_t p, const DeviceLimits& limits) {
        const std::int64_t padded = next_power_of_two(p);
        if (padded > max_padded)
            return "a block of 256 threads holds 32 entries per thread: rank at most 8192";
        if (padded < warp_size * warp_size) return "a warp holds 32 entries per thread: rank at least 513";
        if (shared_bytes(padded) > limits.shared_bytes_per_block)
            return "the signs of 8192 rows need 32 KiB of shared memory, the readouts of each output as "
                   "much, and so do the stages between warps (rank above 1024)";
        return nullptr;
    }

    /// Two blocks per multiprocessor, one after the other, each with a few tasks to even the load out.
    Launch launch(const DeviceLimits& limits) const {
        if (h.rows == 0 || m == 0 || chunks() == 0) return {};
        const std::int64_t most = smaller<std::int64_t>(h.rows * tiles() * chunks(), 0x7FFFFFFF);
        return {smaller<std::int64_t>(most, std::int64_t{2} * limits.multiprocessors), max_threads,
                shared_bytes(next_power_of_two(p))};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const Shape shape(*this, grid.blocks());
        auto* signs = grid.template shared<Quad>(quads_of_tile);
        auto* readout = grid.template shared<Quad>(outputs_at_once * quads_of_tile);
        std::int32_t* exchange = nullptr;
        if (shape.padded > warp_size * warp_size)
            exchange = grid.template shared<std::int32_t>(32 * max_threads);
        run(grid, shape, signs, readout, exchange);
    }

  private:
    static constexpr int samples_at_once = 2;
    static constexpr int quads_of_tile = 8 * max_threads;

    FNTK_HD std::int64_t tiles() const { return ceil_div(m, tile_rows); }
    /// Passes over the width.
    FNTK_HD std::int64_t chunks() const {
        return gradients.data != nullptr && k > 0 ? ceil_div(k, outputs_at_once)
                                                  : (gates.data != nullptr ? 1 : 0);
    }
    static constexpr std::int64_t shared_bytes(std::int64_t padded) {
        return shared_size<Quad>(quads_of_tile) + shared_size<Quad>(outputs_at_once * quads_of_tile) +
               (padded > warp_size * warp_size ? shared_size<std::int32_t>(32 * max_threads) : 0);
    }

    /// How samples and rows go to places and tasks, such that every block has work.
    struct Shape {
        int padded, threads, places;  // P, L, 256/L
        int ways = 1;
        std::int64_t groups = 0, slices = 1, chunks;

        FNTK_HD Shape(const WidePassSrhtLong& pass, std::int64_t blocks)
            : padded(static_cast<int>(next_power_of_two(pass.p))),
              threads(padded / 32),
              places(max_threads / threads),
              chunks(pass.chunks()) {
            const std::int64_t pairs = ceil_div(pass.h.rows, samples_at_once), tiles = pass.tiles();
            while (ways < places &&
                   (2 * ways * pairs <= places || ceil_div(pairs, places / ways) * tiles * chunks < blocks))
                ways *= 2;
            groups = ceil_div(pairs, places / ways);
            slices = larger<std::int64_t>(1, smaller(tiles, ceil_div(4 * blocks, groups * chunks)));
        }
        FNTK_HD std::int64_t tasks() const { return groups * slices * chunks; }
    };

    /// What a thread works on: its part of `sample` and the next one, and its share of a tile's units.
    struct Place {
        int part, way;
        std::int64_t sample;

        FNTK_HD Place(const Shape& shape, int thread, std::int64_t group)
            : part(thread % shape.threads),
              way(thread / shape.threads % shape.ways),
              sample(samples_at_once *
                     (group * (shape.places / shape.ways) + thread / shape.threads / shape.ways)) {}
    };

    /// Columns 32·part, 32·part + 1, ...; those from p on are zeros.
    FNTK_DEVICE void load(const Place& place, std::int64_t sample, std::int32_t (&entries)[32]) const {
        const int first = 32 * place.part;
        const int count = sample < h.rows ? static_cast<int>(p) - first : 0;
        const std::int32_t* row = count > 0 ? h.row(sample) + first : nullptr;
        FNTK_UNROLL
        for (int j = 0; j < 32; ++j) entries[j] = j < count ? row[j] : 0;
    }

    FNTK_HD int room_of_sums(int padded) const { return largest_field >> ceil_log2(padded); }

    template <class Grid>
    FNTK_DEVICE void run(Grid& grid, const Shape& shape, Quad* signs, Quad* readout,
                         std::int32_t* exchange) const {
        for (std::int64_t task = grid.block(); task < shape.tasks(); task += grid.blocks()) {
            const std::int64_t group = task % shape.groups, rest = task / shape.groups;
            const std::int64_t slice = rest % shape.slices;
            const auto chunk = static_cast<int>(rest / shape.slices);
            const Place place(shape, grid.thread(), group);
            std::int32_t entries[samples_at_once][32], sums[outputs_at_once][32] = {};
            FNTK_UNROLL
            for (int a = 0; a < samples_at_once; ++a) load(place, place.sample + a, entries[a]);
            // Warps without a sample only draw, where no other warp needs them.
            const bool work = grid.ballot(place.sample < h.rows) != 0 || exchange != nullptr;
            int room = room_of_sums(shape.padded);  // units that still fit their fields

            const auto end = static_cast<int>((slice + 1) * tiles() / shape.slices);
            for (auto tile = static_cast<int>(slice * tiles() / shape.slices); tile < end; ++tile) {
                grid.sync();  // the signs of the tile before have been read
                draw(grid.thread(), tile, chunk, signs, readout);
                grid.sync();  // all signs are there
                const auto rows = static_cast<int>(smaller(m - tile * tile_rows, tile_rows));
                for (int u = 0; work && u * shape.padded < rows; u += shape.ways) {
                    const int word = (u + place.way) * shape.threads + place.part;
                    std::uint32_t open[samples_at_once];
                    find_open(grid, place, shape.padded, exchange, signs + word, entries, open);
                    FNTK_UNROLL
                    for (int a = 0; a < samples_at_once; ++a) {
                        open[a] &= low_bits(rows - 32 * word);
                        if (gates.data != nullptr && chunk == 0)
                            write_gates(grid, place, place.sample + a, tile, rows, word, open[a]);
                    }
                    if (gradients.data == nullptr) continue;
                    FNTK_UNROLL
                    for (int c = 0; c < outputs_at_once; ++c)
                        add_gradients(grid, shape.padded, exchange, open,
                                      readout + c * quads_of_tile + word, signs + word, sums[c]);
                    const bool last = tile + 1 == end && (u + shape.ways) * shape.padded >= rows;
                    if (--room > 0 && !last) continue;
                    room = room_of_sums(shape.padded);
                    FNTK_UNROLL
                    for (int c = 0; c < outputs_at_once; ++c)
                        give(grid, place, shape.padded, chunk * outputs_at_once + c, sums[c]);
                }
            }
        }
    }

    /// The signs and readouts of a tile, a word of 32 to each thread: those of s follow one another as
    /// those of a do.
    FNTK_DEVICE void draw(int thread, int tile, int chunk, Quad* signs, Quad* readout) const {
        const auto index = static_cast<std::uint64_t>(tile) * max_threads + thread;
        expand(word_at(up_seed, Stream::up_signs, index), signs + thread);
        FNTK_UNROLL
        for (int c = 0; c < outputs_at_once; ++c)
            expand(
                word_at(readout_seed, Stream::readout, readout_word(chunk * outputs_at_once + c) + index),
                readout + c * quads_of_tile + thread);
    }
    /// Bit j to ±1: word j % 4 of quad j / 4, max_threads quads apart.
    FNTK_DEVICE static void expand(std::uint32_t word, Quad* to) {
        FNTK_UNROLL
        for (int q = 0; q < 8; ++q) {
            Quad quad;
            FNTK_UNROLL
            for (int i = 0; i < 4; ++i) quad.word[i] = 2 * (word >> (4 * q + i) & 1U) - 1;
            to[q * max_threads] = quad;
        }
    }

    /// x = sign ∘ x, and the stage of index bit 0 of its transform.
    FNTK_DEVICE static void apply_signs(const Quad& sign, std::int32_t* x) {
        FNTK_UNROLL
        for (int i = 0; i < 4; i += 2) {
            const std::int32_t first = x[i] * static_cast<std::int32_t>(sign.word[i]),
                               second = x[i + 1] * static_cast<std::int32_t>(sign.word[i + 1]);
            x[i] = first + second;
            x[i + 1] = first - second;
        }
    }
    template <class Grid>
    FNTK_DEVICE static void transform(Grid& grid, std::int32_t (&x)[32], int padded,
                                      std::int32_t* exchange) {
        butterflies<2>(x);
        butterflies<4>(x);
        butterflies<8>(x);
        butterflies<16>(x);
        transform_lanes(grid, x);
        transform_warps<max_threads>(grid, x, padded, exchange);
    }

    /// Bit j: ẑ of row j of the unit's 32 rows of this thread is above 0.
    template <class Grid>
    FNTK_DEVICE static void find_open(Grid& grid, const Place& place, int padded, std::int32_t* exchange,
                                      const Quad* signs, const std::int32_t (&entries)[samples_at_once][32],
                                      std::uint32_t (&open)[samples_at_once]) {
        const std::int32_t one = place.part == 0 ? 1 : 0;
        FNTK_UNROLL
        for (int a = 0; a < samples_at_once; ++a) {
            std::int32_t x[32];
            FNTK_UNROLL
            for (int q = 0; q < 8; ++q) {
                FNTK_UNROLL
                for (int i = 0; i < 4; ++i) x[4 * q + i] = entries[a][4 * q + i];
                apply_signs(signs[q * max_threads], x + 4 * q);
            }
            x[0] -= one;  // entry 0 is in both of the first sums
            x[1] -= one;
            transform(grid, x, padded, exchange);
            std::uint32_t closed = 0;
            FNTK_UNROLL
            for (int j = 31; j >= 0; --j) closed = closed << 1 | static_cast<std::uint32_t>(x[j]) >> 31;
            open[a] = ~closed;
        }
    }

    /// The 32 rows of a word of a tile, which has `rows` rows; even parts begin a word of gates.
    template <class Grid>
    FNTK_DEVICE void write_gates(Grid& grid, const Place& place, std::int64_t sample, int tile, int rows,
                                 int word, std::uint32_t open) const {
        const std::uint64_t other = grid.shuffle_xor(open, 1);
        if (place.part % 2 == 0 && 32 * word < rows && sample < h.rows)
            gates.row(sample)[tile * (tile_rows / 64) + word / 2] = open | other << 32;
    }

    /// sums += s ∘ H (a ∘ gate), of both samples in the two fields of a word.
    template <class Grid>
    FNTK_DEVICE static void add_gradients(Grid& grid, int padded, std::int32_t* exchange,
                                          const std::uint32_t (&open)[samples_at_once], const Quad* readout,
                                          const Quad* signs, std::int32_t (&sums)[32]) {
        constexpr std::uint32_t fields = 0x00010001U;
        const std::uint32_t low = (open[0] & 0xFFFFU) | open[1] << 16,
                            high = open[0] >> 16 | (open[1] & 0xFFFF0000U);
        std::int32_t word[32];
        FNTK_UNROLL
        for (int q = 0; q < 8; ++q) {
            FNTK_UNROLL
            for (int i = 0; i < 4; ++i)
                word[4 * q + i] =
                    static_cast<std::int32_t>((q < 4 ? low : high) >> (4 * q + i) % 16 & fields);
            apply_signs(readout[q * max_threads], word + 4 * q);
        }
        transform(grid, word, padded, exchange);
        FNTK_UNROLL
        for (int q = 0; q < 8; ++q) {
            const Quad sign = signs[q * max_threads];
            FNTK_UNROLL
            for (int i = 0; i < 4; ++i)
                sums[4 * q + i] += word[4 * q + i] * static_cast<std::int32_t>(sign.word[i]);
        }
    }

    /// A thread's sums to those of output c, and zero again.
    template <class Grid>
    FNTK_DEVICE void give(Grid& grid, const Place& place, int padded, int c,
                          std::int32_t (&sums)[32]) const {
        // late: 32 columns are not to be kept for the next time.
        const int part = grid.late_thread() & (padded / 32 - 1), lane = part & (warp_size - 1);
        swap_lanes_and_registers(grid, lane, sums);
        const bool first = c < k && place.sample < h.rows, second = c < k && place.sample + 1 < h.rows;
        std::int32_t* row = first ? gradients.row(place.sample) + c * p : nullptr;
        FNTK_UNROLL
        for (int j = 0; j < 32; ++j) {
            const std::int32_t low = static_cast<std::int16_t>(sums[j]), high = (sums[j] - low) >> 16;
            sums[j] = 0;
            const int column = 32 * (part - lane + j) + lane;  // register `lane` of lane j
            if (column >= p) continue;
            if (first && low != 0) grid.atomic_add(row + column, low);
            if (second && high != 0) grid.atomic_add(row + gradients.stride + column, high);
        }
    }
};

}  // namespace fntk::kernels

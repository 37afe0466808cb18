// The Hadamard transform y = H_P x over the registers of threads, P = 2^t, H[i, j] = (−1)^popcount(i & j).
// Thread l of the L ≥ P/32 that share one x holds entries 32l to 32l + 31, entry 32l + j in register j.
// Bits 0 to 4 of the index are then stages between registers, bits 5 to 9 between lanes, and those above
// between warps.
// Two entries can share a register as fields lo + 2^16·hi: sums and differences of such words are those of
// both fields while these stay within 16 bits.
#pragma once

#include "grid.hpp"

#include <type_traits>

namespace fntk::kernels {

/// The stage of one index bit: (a, b) → (a + b, a − b) for registers j and j + half.
template <int half, int count>
FNTK_DEVICE void butterflies(std::int32_t (&x)[count]) {
    FNTK_UNROLL
    for (int j = 0; j < count; ++j)
        if ((j & half) == 0) {
            const std::int32_t a = x[j], b = x[j + half];
            x[j] = a + b;
            x[j + half] = a - b;
        }
}

/// The stages of index bits 5 to 9: between lanes of a warp, all of which take part.
template <class Grid, int count>
FNTK_DEVICE void transform_lanes(Grid& grid, std::int32_t (&x)[count]) {
    for (int step = 1; step < warp_size; step *= 2) {
        const std::int32_t sign = (grid.lane() & step) != 0 ? -1 : 1;
        FNTK_UNROLL
        for (int j = 0; j < count; ++j) x[j] = grid.shuffle_xor(x[j], step) + sign * x[j];
    }
}

/// The stages of index bits 10 and above: between the P/1024 neighbouring warps that share x, through
/// `exchange` (count × threads words). All `threads` threads of the block take part: a constant, so that
/// the distance between two registers' words is no address of its own.
template <int threads, class Grid, int count>
FNTK_DEVICE void transform_warps(Grid& grid, std::int32_t (&x)[count], std::int64_t padded,
                                 std::int32_t* exchange) {  // NOLINT(readability-non-const-parameter)
    const int warps = static_cast<int>(padded / (warp_size * warp_size));
    if (warps <= 1) return;
    const int mine = grid.warp() % warps, first = grid.thread() - mine * warp_size;
    FNTK_UNROLL
    for (int j = 0; j < count; ++j) {
        exchange[j * threads + grid.thread()] = x[j];
        x[j] = 0;
    }
    grid.sync();  // all of x is in `exchange`
    for (int w = 0; w < warps; ++w) {
        const std::int32_t sign = popcount(static_cast<std::uint64_t>(w & mine)) % 2 != 0 ? -1 : 1;
        FNTK_UNROLL
        for (int j = 0; j < count; ++j) x[j] += sign * exchange[j * threads + first + w * warp_size];
    }
    grid.sync();  // `exchange` has been read and may be written again
}

/// Register j of lane l and register l of lane j change places: then neighbouring lanes have neighbouring
/// entries, and a warp's atomics few sectors.
template <class Grid>
FNTK_DEVICE void swap_lanes_and_registers(Grid& grid, int lane, std::int32_t (&x)[32]) {
    const auto swap = [&](auto step_) {
        constexpr int step = decltype(step_)::value;
        const bool upper = (lane & step) != 0;
        FNTK_UNROLL
        for (int j = 0; j < 32; ++j)
            if ((j & step) == 0) {
                const std::int32_t other = grid.shuffle_xor(upper ? x[j] : x[j + step], step);
                x[j] = upper ? other : x[j];
                x[j + step] = upper ? x[j + step] : other;
            }
    };
    swap(std::integral_constant<int, 1>{});
    swap(std::integral_constant<int, 2>{});
    swap(std::integral_constant<int, 4>{});
    swap(std::integral_constant<int, 8>{});
    swap(std::integral_constant<int, 16>{});
}

}  // namespace fntk::kernels

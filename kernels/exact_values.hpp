// f̂_ic = <ĥ_i, Ĝ_ic>, the values of the exact wide pass: ĥ (n × p), Ĝ (int32, n × (k·p)), f̂ (n × k)
//     int32 ĥ: f̂ is int64, exact        int64 ĥ: f̂ is the double nearest to the exact sum, ties to even
// where |f̂| ≤ p·|ĥ|·m < 2^62 in the first case and 2^94 in the second.
//
// A warp takes one (sample, output) at a time; its lanes stride over the columns, and their sums are added
// by shuffles. No shared memory, no barrier.
#pragma once

#include "grid.hpp"

#include <cmath>
#include <type_traits>

namespace fntk::kernels {

__extension__ using int128 = __int128;

/// The double nearest to x, ties to even. A number of more than 64 bits keeps its top 64, the last of which
/// collects all that is dropped: 53 are left in the end, so that it decides only between equal halves.
FNTK_HD inline double nearest_double(int128 x) {
    const bool negative = x < 0;
    const auto low = static_cast<std::uint64_t>(negative ? -x : x);
    const auto high = static_cast<std::uint64_t>((negative ? -x : x) >> 64);
    int shift = 0;
    while (shift < 64 && high >> shift != 0) ++shift;
    std::uint64_t top = low;
    if (shift == 64)
        top = high | (low != 0 ? 1 : 0);
    else if (shift > 0)
        top = high << (64 - shift) | low >> shift | (low << (64 - shift) != 0 ? 1 : 0);
    const double magnitude = std::ldexp(static_cast<double>(top), shift);
    return negative ? -magnitude : magnitude;
}

template <class Hidden>
struct ExactValues {
    using Sum = std::conditional_t<sizeof(Hidden) == 8, int128, std::int64_t>;
    using Value = std::conditional_t<sizeof(Hidden) == 8, double, std::int64_t>;
    static constexpr int max_threads = 256;

    Rows<const Hidden> h;                // n × p
    Rows<const std::int32_t> gradients;  // n × (k·p)
    Rows<Value> values;                  // n × k

    Launch launch(const DeviceLimits& limits) const {
        const std::int64_t blocks = ceil_div(values.rows * values.cols, max_threads / warp_size);
        return {smaller<std::int64_t>(blocks, std::int64_t{16} * limits.multiprocessors), max_threads, 0};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const std::int64_t warps = grid.threads() / warp_size, p = h.cols;
        for (std::int64_t x = grid.block() * warps + grid.warp(); x < values.rows * values.cols;
             x += grid.blocks() * warps) {
            const std::int64_t i = x / values.cols, c = x % values.cols;
            const Hidden* hidden = h.row(i);
            const std::int32_t* gradient = gradients.row(i) + c * p;
            Sum sum = 0;
            for (std::int64_t q = grid.lane(); q < p; q += warp_size)
                sum += static_cast<Sum>(hidden[q]) * gradient[q];
            for (int step = warp_size / 2; step > 0; step /= 2) sum += of_lane(grid, sum, step);
            if (grid.lane() == 0) store(values.row(i) + c, sum);
        }
    }

  private:
    template <class Grid>
    FNTK_DEVICE static std::int64_t of_lane(Grid& grid, std::int64_t sum, int step) {
        return grid.shuffle_xor(sum, step);
    }
    template <class Grid>
    FNTK_DEVICE static int128 of_lane(Grid& grid, int128 sum, int step) {
        const auto high = grid.shuffle_xor(static_cast<std::int64_t>(sum >> 64), step);
        const auto low = grid.shuffle_xor(static_cast<std::uint64_t>(sum), step);
        return static_cast<int128>(high) * (static_cast<int128>(1) << 64) + low;
    }
    FNTK_DEVICE static void store(std::int64_t* to, std::int64_t sum) { *to = sum; }
    FNTK_DEVICE static void store(double* to, int128 sum) { *to = nearest_double(sum); }
};

}  // namespace fntk::kernels

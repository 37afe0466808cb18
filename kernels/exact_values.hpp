// f̂_ic = <ĥ_i, Ĝ_ic>, the values of the exact wide pass: ĥ (n × p), Ĝ (int32, n × (k·p)), f̂ (n × k)
//     int32 ĥ: f̂ is int64, exact        int64 ĥ: f̂ is the double nearest to the exact sum, ties to even
// where |f̂| ≤ p·|ĥ|·m < 2^62 in the first case and 2^94 in the second; and the real numbers that f̂ and Ĝ
// stand for, float32 with int32 ĥ, float64 with int64:
//     f_ic = values_unit·2^(e_i)·f̂_ic        G_icq = gradients_unit·Ĝ_icq + offset_unit·S_cq
// in double, rounded once. Any of the three may be absent.
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
    using Real = std::conditional_t<sizeof(Hidden) == 8, double, float>;
    static constexpr int max_threads = 256;

    Rows<const Hidden> h;                // n × p
    Rows<const std::int32_t> gradients;  // n × (k·p)
    std::int64_t outputs = 1;
    Rows<Value> values;  // n × k

    Rows<const std::int32_t> exponents;    // n × 1
    Rows<Real> real_values;                // n × k, beside f̂
    Rows<Real> real_gradients;             // n × (k·p)
    const std::int32_t* offset = nullptr;  // S, k·p; null: 0
    double values_unit = 1, gradients_unit = 1, offset_unit = 0;

    Launch launch(const DeviceLimits& limits) const {
        if (values.data == nullptr && real_gradients.data == nullptr) return {};
        const std::int64_t blocks = ceil_div(h.rows * outputs, max_threads / warp_size);
        return {smaller<std::int64_t>(blocks, std::int64_t{16} * limits.multiprocessors), max_threads, 0};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const std::int64_t warps = grid.threads() / warp_size;
        for (std::int64_t x = grid.block() * warps + grid.warp(); x < h.rows * outputs;
             x += grid.blocks() * warps) {
            const std::int64_t i = x / outputs, c = x % outputs;
            Sum sum = pass_over(grid, i, c);
            if (values.data == nullptr) continue;
            for (int step = warp_size / 2; step > 0; step /= 2) sum += of_lane(grid, sum, step);
            if (grid.lane() == 0) store(i, c, value_of(sum));
        }
    }

  private:
    static constexpr int batch = 4;  // columns that a lane reads before it writes

    /// This lane's part of f̂_ic; writes its part of G.
    template <class Grid>
    FNTK_DEVICE Sum pass_over(Grid& grid, std::int64_t i, std::int64_t c) const {
        const std::int64_t p = h.cols;
        const Hidden* hidden = h.row(i);
        const std::int32_t* gradient = gradients.row(i) + c * p;
        Real* real = real_gradients.data == nullptr ? nullptr : real_gradients.row(i) + c * p;
        Sum sum = 0;
        for (std::int64_t q0 = grid.lane(); q0 < p; q0 += batch * warp_size) {
            Hidden of_h[batch];
            std::int32_t of_g[batch];
            FNTK_UNROLL
            for (int l = 0; l < batch; ++l) {
                const std::int64_t q = q0 + l * warp_size;
                of_h[l] = q < p ? hidden[q] : 0;
                of_g[l] = q < p ? gradient[q] : 0;
            }
            FNTK_UNROLL
            for (int l = 0; l < batch; ++l) {
                const std::int64_t q = q0 + l * warp_size;
                sum += static_cast<Sum>(of_h[l]) * of_g[l];
                if (real == nullptr || q >= p) continue;
                double scaled = gradients_unit * static_cast<double>(of_g[l]);
                if (offset != nullptr) scaled += offset_unit * offset[c * p + q];
                real[q] = static_cast<Real>(scaled);
            }
        }
        return sum;
    }

    FNTK_DEVICE void store(std::int64_t i, std::int64_t c, Value value) const {
        values.row(i)[c] = value;
        if (real_values.data != nullptr)
            real_values.row(i)[c] =
                static_cast<Real>(std::ldexp(values_unit, *exponents.row(i)) * static_cast<double>(value));
    }
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
    FNTK_DEVICE static std::int64_t value_of(std::int64_t sum) { return sum; }
    FNTK_DEVICE static double value_of(int128 sum) { return nearest_double(sum); }
};

}  // namespace fntk::kernels

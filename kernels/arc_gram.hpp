// K_ij = |x_i||x'_j|·kernel(θ_ij) (arc.hpp) in place of the cosines <u_i, u'_j>.
//     warp      strips of 32 columns of one row, one after the other
//     lane      column lane of its strip
// A lane whose cosine is ill-conditioned is served by its whole warp: the 32 lanes sum |u − u'|² or |u +
// u'|² over the columns l, l + 32, ..., so that rows are read in whole sectors and a strip without such a
// lane, nearly every one, costs nothing. The sum's order does not depend on which row is u: where the
// cosines are symmetric, so is K.
#pragma once

#include "arc.hpp"
#include "row_lanes.hpp"

#include <cmath>

namespace fntk::kernels {

template <class T>
struct ArcGram {
    static constexpr int max_threads = 256;

    ArcKernel kernel;
    Rows<const T> u, u_cols;          // n × d, n' × d
    Rows<const T> norms, norms_cols;  // n × 1, n' × 1
    Rows<T> out;                      // n × n', on entry the cosines

    Launch launch(const DeviceLimits& limits) const {
        const std::int64_t blocks = ceil_div(out.rows * across(), max_threads / warp_size);
        return {smaller<std::int64_t>(blocks, 8 * limits.multiprocessors), max_threads, 0};
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const int warps = grid.threads() / warp_size;
        const std::int64_t first = grid.block() * warps + grid.warp(), step = grid.blocks() * warps;
        const std::int64_t step_down = step / across(), step_across = step - step_down * across();
        std::int64_t i = first / across(), strip = first - i * across();
        while (i < out.rows) {
            strip_of(grid, i, strip * warp_size);
            i += step_down;
            strip += step_across;
            if (strip < across()) continue;
            strip -= across();
            ++i;
        }
    }

  private:
    FNTK_HD std::int64_t across() const { return ceil_div(out.cols, warp_size); }

    template <class Grid>
    FNTK_DEVICE void strip_of(Grid& grid, std::int64_t i, std::int64_t j0) const {
        const std::int64_t j = j0 + grid.lane();
        const bool active = j < out.cols;
        const T cos = active ? out.row(i)[j] : T(0);
        T value = at_cosine(cos);
        std::uint32_t ill = grid.ballot(std::fabs(cos) >= static_cast<T>(well_conditioned));
        for (; ill != 0; ill &= ill - 1) {  // the same in all lanes
            const int from = popcount((ill & (0 - ill)) - 1);
            const bool opposite = grid.shuffle(cos, from) < T(0);
            const T square = chord(grid, u.row(i), u_cols.row(j0 + from), opposite ? T(-1) : T(1));
            if (grid.lane() == from)
                value = static_cast<T>(kernel.at_chord(static_cast<double>(square), opposite));
        }
        if (!active) return;
        const T a = *norms.row(i), b = *norms_cols.row(j);
        out.row(i)[j] = value * larger(a, b) * smaller(a, b);
    }

    FNTK_DEVICE T at_cosine(T cos) const {
        const T line = static_cast<T>(kernel.slope()) * std::acos(-cos) + static_cast<T>(kernel.level());
        return cos * line + static_cast<T>(kernel.bend()) * std::sqrt((T(1) - cos) * (T(1) + cos));
    }

    /// |u − v|², or |u + v|² with sign = −1; every lane of the warp gets it.
    template <class Grid>
    FNTK_DEVICE T chord(Grid& grid, const T* row, const T* other, T sign) const {
        T sum = 0;
        for (std::int64_t q = grid.lane(); q < u.cols; q += warp_size) {
            const T difference = row[q] - sign * other[q];
            sum += difference * difference;
        }
        return reduce_lanes(grid, sum, warp_size, Sum());
    }
};

}  // namespace fntk::kernels

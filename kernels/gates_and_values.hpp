// The homogeneous activations over a block of b units, from Z (n × b) of a floating-point product:
//     gates     bit r of words (r0 + r)/64 of row i is z_ir > 0; bits past the block are 0
//     values    v_ic += Σ_r a_rc σ(z_ir), σ of slope 1 where z > 0, else `closed`
// Either may be absent. A warp has a row; each lane reads every 32nd unit, two ballots make a word of
// gates. Values go through the row once for every four outputs (two in double), with their partial sums in
// registers; the lanes' sums are combined in a fixed tree, so that results do not depend on the launch.
#pragma once

#include "activation.hpp"
#include "row_lanes.hpp"

namespace fntk::kernels {

template <class T>
struct GatesAndValues {
    static constexpr int max_threads = row_threads;
    static constexpr int outputs_at_once = sizeof(T) == 4 ? 4 : 2;

    Rows<const T> z;
    T closed = 0;
    Rows<std::uint64_t> gates;  // from the word of the block's first unit, r0 a multiple of 64; or no data
    Rows<const T> a;            // b × k
    Rows<T> values;             // n × k; or no data
    bool add = true;            // else values are written, not read

    Launch launch(const DeviceLimits& limits) const { return row_launch(z.rows, warp_size, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_row(grid, z.rows, warp_size, [&](const RowLane& at) {
            if (gates.data != nullptr) pack(grid, at);
            if (values.data != nullptr)
                for (std::int64_t c = 0; c < values.cols; c += outputs_at_once) sum_values(grid, at, c);
        });
    }

  private:
    template <class Grid>
    FNTK_DEVICE void pack(Grid& grid, const RowLane& at) const {
        const T* row = z.row(at.row);
        for (std::int64_t r = 0; r < z.cols; r += 64) {
            const std::int64_t low = r + at.lane, high = low + warp_size;
            const std::uint32_t first = grid.ballot(low < z.cols && row[low] > T(0)),
                                second = grid.ballot(high < z.cols && row[high] > T(0));
            if (at.first()) gates.row(at.row)[r / 64] = static_cast<std::uint64_t>(second) << 32 | first;
        }
    }

    template <class Grid>
    FNTK_DEVICE void sum_values(Grid& grid, const RowLane& at, std::int64_t c0) const {
        T sum[outputs_at_once] = {};
        const T* row = z.row(at.row);
        at.columns(z.cols, [&](std::int64_t r) {
            const T s = piecewise_linear(row[r], closed);
            FNTK_UNROLL
            for (int c = 0; c < outputs_at_once; ++c)
                if (c0 + c < a.cols) sum[c] += a.row(r)[c0 + c] * s;
        });
        FNTK_UNROLL
        for (int c = 0; c < outputs_at_once; ++c) {
            const T total = reduce_lanes(grid, sum[c], warp_size, Sum());
            if (!at.first() || c0 + c >= a.cols) continue;
            T& value = values.row(at.row)[c0 + c];
            value = add ? value + total : total;
        }
    }
};

}  // namespace fntk::kernels

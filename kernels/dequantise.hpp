// out_ij = scale·(open − closed)·in_ij·2^(e_i) + scale·closed·offset_j: integers of the exact path as real
// numbers, elementwise (elements.hpp).
//     in: n × p, int32, int64 or double     e: n × 1 or absent (0)     offset: 1 × p or absent (0)
//     out: n × p, float or double; the arithmetic is double
#pragma once

#include "elements.hpp"

#include <cmath>

namespace fntk::kernels {

template <class In, class Out>
struct Dequantise {
    static constexpr int max_threads = element_threads;

    Rows<const In> in;
    Rows<const std::int32_t> exponents;
    double scale = 1, closed = 0, open = 1;
    const std::int32_t* offset = nullptr;
    Rows<Out> out;

    Launch launch(const DeviceLimits& limits) const { return element_launch(in.rows, in.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        const double gated = scale * (open - closed), constant = scale * closed;
        for_each_element(grid, in.rows, in.cols, [&](std::int64_t i, std::int64_t j) {
            const double unit = exponents.data == nullptr ? gated : std::ldexp(gated, *exponents.row(i));
            double value = unit * static_cast<double>(in.row(i)[j]);
            if (offset != nullptr) value += constant * offset[j];
            out.row(i)[j] = static_cast<Out>(value);
        });
    }
};

}  // namespace fntk::kernels

// Slopes times weights over a block of b units: the left operand of the products of the wide pass.
//     SlopesTimes       out_ir = σ'(z_ir)·w_ir; w of its own for each entry, or one for each unit (a column
//                       of A)
//     WeightedSlopes    out_ir = (gate_ir ? 1 : closed)·Σ_c e_ic a_rc, from the packed gates
//                       Z: n × b     gates: n × m     e: n × k     A: b × k     out: n × b
// Elementwise (elements.hpp). out may be z or w.
#pragma once

#include "activation_rows.hpp"

namespace fntk::kernels {

template <class T, Sigma sigma>
struct SlopesTimes {
    static constexpr int max_threads = element_threads;

    Rows<const T> z;
    T closed = 0;
    const T* w = nullptr;                // w_ir at i·w_row + r·w_unit
    std::int64_t w_row = 0, w_unit = 1;  // column c of A: w = A + c, w_row = 0, w_unit = stride of A
    Rows<T> out;

    Launch launch(const DeviceLimits& limits) const { return element_launch(z.rows, z.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_element(grid, z.rows, z.cols, [&](std::int64_t i, std::int64_t r) {
            out.row(i)[r] = activation<sigma, true>(z.row(i)[r], closed) * w[i * w_row + r * w_unit];
        });
    }
};

template <class T>
struct WeightedSlopes {
    static constexpr int max_threads = element_threads;

    Rows<const std::uint64_t> gates;  // from the word of the block's first unit, r0 a multiple of 64
    T closed = 0;
    Rows<const T> e, a;
    Rows<T> out;

    Launch launch(const DeviceLimits& limits) const { return element_launch(out.rows, out.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_element(grid, out.rows, out.cols, [&](std::int64_t i, std::int64_t r) {
            T weight = 0;
            for (std::int64_t c = 0; c < e.cols; ++c) weight += e.row(i)[c] * a.row(r)[c];
            const bool open = (gates.row(i)[r / 64] >> (r % 64) & 1U) != 0;
            out.row(i)[r] = open ? weight : closed * weight;
        });
    }
};

}  // namespace fntk::kernels

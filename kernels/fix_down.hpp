// U (p × d, double) into fixed point: one exponent from the largest magnitude, digits of 21 bits, and U
// replaced by the numbers that the digits stand for (kernels/fixed_point.hpp). Two steps:
//     ReduceElements<Magnitude<double>>    largest magnitudes into slots (norm.hpp, reduce.hpp)
//     FixDown                              every block finds the exponent from the slots, then rounds its
//                                          elements; thread 0 of block 0 writes the exponent
// Digits are int32, or double for the products of a library.
#pragma once

#include "norm.hpp"

namespace fntk::kernels {

/// places: digits, 1 or 3.
template <class Digit, int places>
struct FixDown {
    static constexpr int max_threads = element_threads;

    const double* slots = nullptr;  // largest magnitudes
    std::int64_t slot_count = 0;    // reduction_slots(p, d)
    Rows<double> u;
    Rows<Digit> digits[places];  // p × d, most significant first
    std::int32_t* exponent = nullptr;

    Launch launch(const DeviceLimits& limits) const {
        Launch result = element_launch(u.rows, u.cols, limits);
        result.shared_bytes = shared_size<double>(block_warps);
        return result;
    }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        double* of_warp = grid.template shared<double>(block_warps);
        const int shared_exponent =
            down_exponent(reduce_slots(grid, of_warp, slots, slot_count, 0.0, Largest()));
        if (grid.block() == 0 && grid.thread() == 0) *exponent = shared_exponent;
        constexpr double digit_unit = 1.0 / (1 << down_digit_bits);
        const PowerOfTwo to_one(-shared_exponent), back(shared_exponent);
        for_each_element(grid, u.rows, u.cols, [&](std::int64_t i, std::int64_t j) {
            const double entry = u.row(i)[j];
            double rest = is_finite(entry) ? to_one.times(entry) : 0, rounded = 0, unit = 1;
            FNTK_UNROLL
            for (int a = 0; a < places; ++a) {
                const std::int32_t digit = take_digit(rest, down_digit_bits);
                digits[a].row(i)[j] = static_cast<Digit>(digit);
                unit *= digit_unit;
                rounded += unit * digit;
            }
            u.row(i)[j] = back.times(rounded);
        });
    }
};

}  // namespace fntk::kernels

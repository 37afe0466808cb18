// Reductions over a matrix X: what ReduceElements (reduce.hpp) takes of each element.
//     Magnitude       largest |x|
//     ScaledSquare    Σ (x·2^−E)², E the exponent of the largest |x|: ‖X‖_F = 2^E·√sum, where no square
//                     that counts over- or underflows; in double
//     NonFinite       the first NaN or infinity in row order, as i·cols + j; no_element when there is none
//     Number          Σ x of n doubles, in double
// FinishNorm makes ‖X‖_F of the first two.
#pragma once

#include "fixed_point.hpp"
#include "reduce.hpp"

namespace fntk::kernels {

template <class T>
struct Magnitude {
    using Value = double;
    using Op = Largest;
    Rows<const T> x;

    FNTK_HD static double identity() { return 0; }
    FNTK_DEVICE auto element() const {
        return
            [x = x](std::int64_t i, std::int64_t j) { return static_cast<double>(std::fabs(x.row(i)[j])); };
    }
};

template <class T>
struct ScaledSquare {
    using Value = double;
    using Op = Sum;
    Rows<const T> x;
    const double* largest = nullptr;  // one element

    FNTK_HD static double identity() { return 0; }
    FNTK_DEVICE auto element() const {
        return [x = x, to_one = PowerOfTwo(-exponent_of(*largest))](std::int64_t i, std::int64_t j) {
            const double scaled = to_one.times(static_cast<double>(x.row(i)[j]));
            return scaled * scaled;
        };
    }
};

/// *out = 2^E·√found[1], E the exponent of found[0]; not finite where one of them is not.
struct FinishNorm {
    static constexpr int max_threads = warp_size;

    const double* found = nullptr;
    double* out = nullptr;

    Launch launch(const DeviceLimits&) const { return {1, warp_size, 0}; }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        if (grid.thread() == 0) *out = std::ldexp(std::sqrt(found[1]), exponent_of(found[0]));
    }
};

inline constexpr std::uint64_t no_element = ~std::uint64_t{0};

template <class T>
struct NonFinite {
    using Value = std::uint64_t;
    using Op = Smallest;
    Rows<const T> x;

    FNTK_HD static std::uint64_t identity() { return no_element; }
    FNTK_DEVICE auto element() const {
        return [x = x](std::int64_t i, std::int64_t j) {
            const T v = x.row(i)[j];  // ∞ − ∞ is NaN
            return v - v == T(0) ? no_element : static_cast<std::uint64_t>(i * x.cols + j);
        };
    }
};

struct Number {
    using Value = double;
    using Op = Sum;
    const double* x = nullptr;  // n × 1

    FNTK_HD static double identity() { return 0; }
    FNTK_DEVICE auto element() const {
        return [x = x](std::int64_t i, std::int64_t) { return x[i]; };
    }
};

}  // namespace fntk::kernels

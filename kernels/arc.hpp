// The infinite-width kernel of relu, leaky_relu and abs (slope α at z < 0) as a function of the angle θ of
// two rows, φ = π − θ (Cho & Saul 2009):
//     derivative·cos θ·(α + (1 − α)²·φ/2π) + product·(α cos θ + (1 − α)²·(sin θ + φ cos θ)/2π)
// Where |cos θ| ≥ well_conditioned a rounded cosine no longer holds the angle; the chord, the shorter of
// u − u' and u + u' of the unit rows, does: its length is 2 sin(ε/2), ε the smaller of θ and φ.
#pragma once

#include "host_device.hpp"

#include <cmath>

namespace fntk::kernels {

inline constexpr double well_conditioned = 0.99;  // below it acos loses at most a digit

/// sin φ − φ cos φ = φ³/3 − φ⁵/30 + φ⁷/840 − ..., for φ < 0.15 to the last bit.
FNTK_HD inline double small_arc(double open) {
    const double x = open * open;
    return open * x * (1.0 / 3 - x * (1.0 / 30 - x * (1.0 / 840 - x * (1.0 / 45360 - x / 3991680))));
}

struct ArcKernel {
    double alpha = 0, gain = 0;  // (1 − α)²/2π
    double derivative = 0, product = 0;

    ArcKernel() = default;
    ArcKernel(double alpha_, double derivative_, double product_)
        : alpha(alpha_),
          gain((1 - alpha_) * (1 - alpha_) * 0.15915494309189533577),
          derivative(derivative_),
          product(product_) {}

    /// The same as cos θ·(level + slope·φ) + bend·sin θ, where nothing cancels that matters.
    FNTK_HD double level() const { return alpha * (derivative + product); }
    FNTK_HD double slope() const { return gain * (derivative + product); }
    FNTK_HD double bend() const { return gain * product; }

    /// arc = sin θ + φ cos θ.
    FNTK_HD double at(double cos, double open, double arc) const {
        return derivative * cos * (alpha + gain * open) + product * (alpha * cos + gain * arc);
    }
    /// From |chord|²; opposite: the chord is u + u'.
    FNTK_HD double at_chord(double square, bool opposite) const {
        const double q = square / 4;  // sin²(ε/2)
        const double cos = 1 - 2 * q, angle = 2 * std::asin(std::sqrt(q));
        if (opposite) return at(-cos, angle, small_arc(angle));
        const double open = 3.14159265358979323846 - angle;
        return at(cos, open, 2 * std::sqrt(q * (1 - q)) + open * cos);
    }
};

}  // namespace fntk::kernels

// σ and σ' of the activations in floating point. At z = 0 the piecewise linear ones take their left
// derivative.
#pragma once

#include "host_device.hpp"

#include <cmath>

namespace fntk::kernels {

/// relu, leaky_relu, abs: one function with the slope where z ≤ 0 (0, α, −1).
template <class T>
FNTK_HD inline T piecewise_linear(T z, T closed) {
    return z > T(0) ? z : closed * z;
}
template <class T>
FNTK_HD inline T piecewise_linear_slope(T z, T closed) {
    return z > T(0) ? T(1) : closed;
}

template <class T>
FNTK_HD inline T erf_slope(T z) {
    return T(1.12837916709551257390) * std::exp(-z * z);  // 2/√π
}

/// gelu(z) = z·Φ(z), the exact form.
template <class T>
FNTK_HD inline T gelu(T z) {
    return z * T(0.5) * std::erfc(-z * T(0.70710678118654752440));
}
template <class T>
FNTK_HD inline T gelu_slope(T z) {
    return T(0.5) * std::erfc(-z * T(0.70710678118654752440)) +
           z * T(0.39894228040143267794) * std::exp(T(-0.5) * z * z);  // Φ + zφ
}

template <class T>
FNTK_HD inline T tanh_slope(T z) {
    const T t = std::tanh(z);
    return T(1) - t * t;
}

/// log(1 + e^z) without overflow.
template <class T>
FNTK_HD inline T softplus(T z) {
    return (z > T(0) ? z : T(0)) + std::log1p(std::exp(z > T(0) ? -z : z));
}
template <class T>
FNTK_HD inline T softplus_slope(T z) {
    return z >= T(0) ? T(1) / (T(1) + std::exp(-z)) : std::exp(z) / (T(1) + std::exp(z));
}

}  // namespace fntk::kernels

// What backends share on the host: entries of the factors, σ by kind, and the choice of element type.
#pragma once

#include <fntk/error.hpp>
#include <fntk/factors.hpp>

#include <activation.hpp>
#include <signs.hpp>

namespace fntk::backend {

/// Whether two views are one: same memory, same shape.
inline bool same(ConstMatrixView a, ConstMatrixView b) {
    return a.data == b.data && a.rows == b.rows && a.cols == b.cols && a.stride == b.stride;
}

/// f(T{}) with T = float or double.
template <class F>
decltype(auto) with_real(DType dtype, F&& f) {
    if (dtype == DType::f32) return f(float{});
    detail::check_dtype(dtype, DType::f64);
    return f(double{});
}

/// f(T{}) with T = int32 or int64.
template <class F>
decltype(auto) with_int(DType dtype, F&& f) {
    if (dtype == DType::i32) return f(std::int32_t{});
    detail::check_dtype(dtype, DType::i64);
    return f(std::int64_t{});
}

/// E of a U in fixed point; 0 for the identity.
inline int down_exponent(const FixedPoint& u) { return u.empty() ? 0 : u.exponent.at<std::int32_t>(0, 0); }

/// V_rq of a seeded ±1 factor.
inline int up_sign(const UpFactor& up, std::int64_t r, std::int64_t q) {
    return up.family == Up::srht ? kernels::srht_sign(up.seed, r, q, up.rank)
                                 : kernels::rademacher_sign(up.seed, r, q, up.rank);
}

/// V_rq of any factor, in the precision of the network.
inline double up_entry(const UpFactor& up, DType precision, std::int64_t r, std::int64_t q) {
    if (up.values.data != nullptr) return value(up.values, r, q);
    if (up.signs()) return up_sign(up, r, q);
    const double normal =
        kernels::random_normal(up.seed, kernels::Stream::up, static_cast<std::uint64_t>(r * up.rank + q));
    return precision == DType::f32 ? static_cast<float>(normal) : normal;
}

inline double readout_entry(const Readout& readout, std::int64_t r, std::int64_t c) {
    return readout.signs() ? kernels::readout_sign(readout.seed, r, c) : value(readout.values, r, c);
}

/// f(φ) with φ: T → T the function σ, or σ' when `derivative` is set.
template <class T, class F>
void with_activation(const ActivationSpec& spec, bool derivative, F&& f) {
    const T closed = static_cast<T>(spec.homogeneous() ? spec.closed_slope() : 0.0);
    switch (spec.kind) {
        case Activation::relu:
        case Activation::leaky_relu:
        case Activation::abs:
            if (derivative) return f([closed](T z) { return kernels::piecewise_linear_slope(z, closed); });
            return f([closed](T z) { return kernels::piecewise_linear(z, closed); });
        case Activation::erf:
            if (derivative) return f([](T z) { return kernels::erf_slope(z); });
            return f([](T z) { return std::erf(z); });
        case Activation::gelu:
            if (derivative) return f([](T z) { return kernels::gelu_slope(z); });
            return f([](T z) { return kernels::gelu(z); });
        case Activation::tanh:
            if (derivative) return f([](T z) { return kernels::tanh_slope(z); });
            return f([](T z) { return std::tanh(z); });
        case Activation::softplus:
            if (derivative) return f([](T z) { return kernels::softplus_slope(z); });
            return f([](T z) { return kernels::softplus(z); });
    }
}

inline double sigma(const ActivationSpec& spec, bool derivative, double z) {
    double result = 0;
    with_activation<double>(spec, derivative, [&](auto phi) { result = phi(z); });
    return result;
}

}  // namespace fntk::backend

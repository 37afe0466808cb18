// z_ir ← φ(z_ir), φ = σ or σ', elementwise (elements.hpp), and φ itself by kind for the kernels that fuse
// it.
#pragma once

#include "activation.hpp"
#include "elements.hpp"

namespace fntk::kernels {

enum class Sigma : std::uint8_t { piecewise_linear, erf, gelu, tanh, softplus };

/// σ(z), or σ'(z) when `derivative` is set. `closed`: slope of the piecewise linear ones where z ≤ 0.
template <Sigma sigma, bool derivative, class T>
FNTK_HD inline T activation(T z, T closed) {
    if constexpr (sigma == Sigma::piecewise_linear)
        return derivative ? piecewise_linear_slope(z, closed) : piecewise_linear(z, closed);
    else if constexpr (sigma == Sigma::erf)
        return derivative ? erf_slope(z) : std::erf(z);
    else if constexpr (sigma == Sigma::gelu)
        return derivative ? gelu_slope(z) : gelu(z);
    else if constexpr (sigma == Sigma::tanh)
        return derivative ? tanh_slope(z) : std::tanh(z);
    else
        return derivative ? softplus_slope(z) : softplus(z);
}

template <class T, Sigma sigma, bool derivative>
struct ActivationRows {
    static constexpr int max_threads = element_threads;

    Rows<T> z;  // n × b
    T closed = 0;

    Launch launch(const DeviceLimits& limits) const { return element_launch(z.rows, z.cols, limits); }

    template <class Grid>
    FNTK_DEVICE void operator()(Grid& grid) const {
        for_each_element(grid, z.rows, z.cols, [&](std::int64_t i, std::int64_t r) {
            T& value = z.row(i)[r];
            value = activation<sigma, derivative>(value, closed);
        });
    }
};

}  // namespace fntk::kernels

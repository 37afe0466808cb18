// Infinite-width kernels, with θ the angle and ρ = <x, x'> of two inputs of any norm (Cho & Saul 2009 for relu):
//     relu        κ0 = E σ'σ' = (π − θ)/2π     κ1 = E σσ = |x||x'|(sin θ + (π − θ) cos θ)/2π
//     leaky_relu  α + (1 − α)²κ0,  αρ + (1 − α)²κ1     abs: the same with α = −1
//     erf         E σ'σ' = (4/π)/√((1 + 2|x|²)(1 + 2|x'|²) − 4ρ²),
//                 E σσ = (2/π) asin(2ρ/√((1 + 2|x|²)(1 + 2|x'|²)))              (Williams 1997)
//     K_down, K_up → ρ·E σ'σ'      K_readout → E σσ (the NNGP kernel)
// Angles come from |u − v| and |u + v| of the unit vectors where the cosine is ill-conditioned, so that equal,
// opposite and nearly collinear rows are exact; a row of zeros has kernel 0 (for erf: E σσ = 0 too).
#pragma once

#include <fntk/device.hpp>
#include <fntk/network.hpp>

namespace fntk {

/// Limit kernel n × n' of the trained factors as p and m grow; double arithmetic, result in `inputs`' element type.
/// The outputs decouple: the full kernel is this ⊗ I_k, the trace kernel and the sum-of-logits kernel are this.
/// `others` empty means `inputs` again, and an exactly symmetric result.
/// Throws NotSupported for gelu, tanh and softplus, ShapeError when the columns differ.
FNTK_API Matrix limit_kernel(const Device& device, ActivationSpec activation, Train train, ConstMatrixView inputs,
                             ConstMatrixView others = {});

/// m → ∞ at the network's own U: angles and norms are those of h = U x/√p. K_up and K_readout converge to it;
/// K_down = <x, x'>·E σ'σ'(h, h') is its mean over V and A, around which it stays random, of relative size 1/√p.
FNTK_API Matrix fixed_down_limit(const Device& device, const Network& network, ConstMatrixView inputs,
                                 ConstMatrixView others = {});

/// E‖K_m − K∞‖²_F/‖K∞‖²_F = A/p + B/m for relu: A = Σρ²(k_ii k_jj + k_ij²)/‖K∞‖²_F (train = down only),
/// B = Σρ²k_ij(1 − k_ij)/‖K∞‖²_F, k = κ0. B alone is the law of the dense network (and of train = up at an isometry).
struct ErrorLaw {
    double rank_term = 0;   // A
    double width_term = 0;  // B
};
FNTK_API ErrorLaw error_law(const Device& device, ConstMatrixView inputs);

/// The width m at which a dense network's kernel has relative Frobenius error `relative_error`: B/error².
FNTK_API double dense_width_of_equal_error(const ErrorLaw& law, double relative_error);

}  // namespace fntk

// Infinite-width kernels, with θ the angle and ρ = <x, x'> of two inputs (relu: Cho & Saul 2009):
//     relu        κ0 = E σ'σ' = (π − θ)/2π     κ1 = E σσ = |x||x'|(sin θ + (π − θ) cos θ)/2π
//     leaky_relu  α + (1 − α)²κ0,  αρ + (1 − α)²κ1     abs: the same with α = −1
//     erf         E σ'σ' = (4/π)/√((1 + 2|x|²)(1 + 2|x'|²) − 4ρ²),
//                 E σσ = (2/π) asin(2ρ/√((1 + 2|x|²)(1 + 2|x'|²)))              (Williams 1997)
//     gelu, tanh, softplus   Hermite series in cos θ to double precision, for rows of length up to 2
//     K_down, K_up → ρ·E σ'σ'      K_readout → E σσ (the NNGP kernel)
// Angles come from |u − v| and |u + v| of the unit vectors where the cosine is ill-conditioned, so that
// equal, opposite and nearly collinear rows are exact; a row of zeros has kernel 0. Norms meet last: rows
// of any scale are legal, and a value is infinite or 0 only where the kernel itself leaves the range of its
// element type. Inputs lie in host memory or the device's, kernels in host memory.
#pragma once

#include <fntk/device.hpp>
#include <fntk/network.hpp>

namespace fntk {

/// Limit kernel n × n' of the trained factors (their kernels' sum) as p and m grow; double arithmetic,
/// result in `inputs`' element type, f32 or f64. The outputs decouple: the full kernel is this ⊗ I_k, the
/// trace kernel and the sum-of-logits kernel are this. `others` 0 × 0 means `inputs` again, and an exactly
/// symmetric result; 0 × d is a batch without rows. Memory beside the result: O(1024·(d + 1024)) doubles.
/// gelu, tanh and softplus take up to 8 KiB a row more, 16 with readout beside another factor. Throws ShapeError when the columns differ, ValueError when `train` is empty, for
/// NaN and infinity (by row and column), for a matrix of integers, and for a row whose length takes gelu,
/// tanh or softplus more than 1024 terms: of tanh 2.2, of gelu 5, of softplus 5.3.
FNTK_API Matrix limit_kernel(const Device& device, ActivationSpec activation, Train train,
                             ConstMatrixView inputs, ConstMatrixView others = {});

/// m → ∞ at the network's own U: angles and norms are those of h = U x/√p (identity: h = x, limit_kernel).
/// K_up and K_readout converge to it; K_down = <x, x'>·E σ'σ'(h, h') is its mean over V and A, around which
/// it stays random, of relative size 1/√p. (V gaussian; the ±1 families tend to it as p grows.)
/// Where h = 0, σ' is what the network uses at z = 0. Arguments and errors as in limit_kernel, and
/// ShapeError unless the columns are the network's dim; p·(n + n') doubles of memory more.
FNTK_API Matrix fixed_down_limit(const Device& device, const Network& network, ConstMatrixView inputs,
                                 ConstMatrixView others = {});

/// E‖K_m − K∞‖²_F/‖K∞‖²_F = A/p + B/m for relu, to first order in 1/p, with k = κ0, sums over all i, j:
///     A = Σρ²(k_ii k_jj + k_ij²)/‖K∞‖²_F (train = down only)    B = Σρ²k_ij(1 − k_ij)/‖K∞‖²_F
/// B alone is the law of the dense network (and of train = up at an isometry). A is the share of a random
/// V; a U that is no isometry on the data moves the angles too: a gaussian one adds Σρ² sin²θ/4π²/‖K∞‖²_F
/// to A, at most a tenth of it.
struct ErrorLaw {
    double rank_term = 0;   // A
    double width_term = 0;  // B
};
/// Throws ValueError when every row is zero, for NaN and infinity.
FNTK_API ErrorLaw error_law(const Device& device, ConstMatrixView inputs);

/// The width m at which a dense network's kernel has relative Frobenius error `relative_error` > 0 (else
/// ValueError): B/error². 0 when B = 0: any width is exact.
FNTK_API double dense_width_of_equal_error(const ErrorLaw& law, double relative_error);

}  // namespace fntk

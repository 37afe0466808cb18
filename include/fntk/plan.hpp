// What a network costs, from its shapes alone: pure arithmetic, no device.
#pragma once

#include <fntk/kernel.hpp>

namespace fntk {

/// Counts for a batch of n samples; a multiply-add is two flops, an addition of ±a one. Products beyond
/// 2^63 − 1 saturate there. Lower-order terms (σ, scalings, n·k sums) are left out.
struct Cost {
    /// p·d (down) + m·p (up) + m·k (readout), of the factors in `train`.
    std::int64_t parameters_trained = 0;

    /// U, V and A as kept, 4 or 8 bytes (the precision) a value: p·d (identity: 0) + m·p (0 for seeded
    /// signs: rademacher or srht, up not trained) + m·k (0 unless readout is trained).
    std::int64_t bytes_stored = 0;

    /// 2ndp (H; identity: 0) + nmu (V h) + nmk (f) + nmuk (G; only with train.down), where u = 2p for a
    /// matrix product and u = ⌈log2 p⌉ for the Walsh–Hadamard transforms of a seeded srht V (one addition a
    /// stage).
    std::int64_t flops_tangent = 0;

    /// Trace kernel, one triangle: n(n + 1)·l, with l = d + kp (down) + p + m (up; the m gates are bits, a
    /// popcount for relu) + m (readout).
    std::int64_t flops_gram = 0;

    /// One full-batch step: flops_tangent + 2nkp + 2npd (down: e combined with G, then times X)
    /// + 2nmk + 2nmp (up: e Aᵀ gated, then times H) + 2nmk (readout: σ(Z)ᵀ e).
    std::int64_t flops_step = 0;
};

/// Reads dim, width, rank (0 stands for dim when down = identity), outputs, the families, train and
/// precision; an empty `train` costs its forward pass. Throws ValueError for an extent below 1, negative
/// samples, a precision other than f32 and f64, and an identity whose rank is not dim.
FNTK_API Cost cost(const NetworkSpec& spec, std::int64_t samples);

}  // namespace fntk

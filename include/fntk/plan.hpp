// What a network costs, from its shapes alone: pure arithmetic, no device.
#pragma once

#include <fntk/kernel.hpp>

namespace fntk {

/// Counts for a batch of n samples; a multiply-add is two flops. Products beyond 2^63 saturate.
struct Cost {
    std::int64_t parameters_trained = 0;  ///< down p·d, up m·p, readout m·k
    std::int64_t bytes_stored = 0;        ///< U, V, A as kept: seeded signs take none
    std::int64_t flops_tangent = 0;       ///< 2ndp + 2nmp (+ 2nmpk when G is needed); the transforms of srht do it in fewer
    std::int64_t flops_gram = 0;          ///< trace kernel, symmetric half
    std::int64_t flops_step = 0;          ///< forward and backward, one full-batch step
};
FNTK_API Cost cost(const NetworkSpec& spec, std::int64_t samples);

}  // namespace fntk

// What trace and sum-of-logits make of the k outputs: one effective output, with a readout or gradients of
// its own.
//     trace          (1/k)Σ_c a_rc²        → effective readout √((1/k)Σ_c a_rc²)
//     sum-of-logits  Σ_c f_c/√k           → effective readout Σ_c a_rc/√k, effective gradients Σ_c G^c/√k
#pragma once

#include <fntk/kernel.hpp>

namespace fntk {

/// Throws unless both tangents come from one network and keep what the kernel of `train` needs.
void check_pair(const Tangent& rows, const Tangent& cols, Train train);
/// m × 1 (f64, host): the single readout column whose up-kernel is the reduced one.
Matrix effective_readout(const Tangent& tangent, KernelOutput output);
/// 1 × m (f64, host): a_rc·a_rc'.
Matrix readout_product(const Tangent& tangent, std::int64_t c, std::int64_t c_col);
/// 1 × m bits (host) of a seeded ±1 readout: set where a_rc = a_rc'.
BitMatrix readout_agreement(const Network& network, std::int64_t c, std::int64_t c_col);
/// n × p, on the device: Σ_c G^c/√k of G (n × k·p).
Matrix summed_gradients(const Device& device, ConstMatrixView gradients, std::int64_t outputs);

}  // namespace fntk

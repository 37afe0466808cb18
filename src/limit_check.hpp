// Which kernels have a limit, and which way they go to it.
#pragma once

#include <fntk/limit.hpp>

namespace fntk {

/// Throws as limit_kernel does for an infinite slope, and where no factor is trained.
void require_limit(const ActivationSpec& activation, Train train);

/// Whether it has no closed form here.
inline bool is_series(const ActivationSpec& activation) {
    return !activation.homogeneous() && activation.kind != Activation::erf;
}
/// Of its series, at most.
inline constexpr std::int64_t hermite_terms = 1024;

}  // namespace fntk

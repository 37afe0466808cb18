// Which kernels have a limit here.
#pragma once

#include <fntk/limit.hpp>

namespace fntk {

/// Throws as limit_kernel does for an activation without a closed form or with an infinite slope, and where
/// no factor is trained.
void require_limit(const ActivationSpec& activation, Train train);

}  // namespace fntk

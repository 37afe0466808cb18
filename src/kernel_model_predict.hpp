// What predictions, their plan and the file of a model agree on.
#pragma once

#include <fntk/kernel_model.hpp>

namespace fntk {

/// What of M, X and α does not have the extents and type that the kernel and `targets` ask for; null: all
/// do.
const char* misfit(const KernelModel& model);

/// Samples a side of the tiles that K is made of where it is inverted.
inline constexpr std::int64_t inverse_tile = 1024;

}  // namespace fntk

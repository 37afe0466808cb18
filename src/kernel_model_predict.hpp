// What predictions and their plan agree on.
#pragma once

#include <cstdint>

namespace fntk {

/// Samples a side of the tiles that K is made of where it is inverted.
inline constexpr std::int64_t inverse_tile = 1024;

}  // namespace fntk

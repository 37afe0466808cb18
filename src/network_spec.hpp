// What is asked of a network before its factors are drawn.
#pragma once

#include <fntk/network.hpp>

namespace fntk {

/// The spec with its rank, which may be left out with down = identity. Throws ValueError for extents out of
/// range and for what does not go together.
NetworkSpec checked(NetworkSpec spec);

}  // namespace fntk

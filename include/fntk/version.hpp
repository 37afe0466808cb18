// The version of these headers, and that of the library that a program runs with: while the first number is
// 0, a new second one may change the interface.
#pragma once

#include <fntk/export.hpp>

#define FNTK_VERSION_MAJOR 0
#define FNTK_VERSION_MINOR 1
#define FNTK_VERSION_PATCH 0

namespace fntk {

/// "MAJOR.MINOR.PATCH" of the library.
FNTK_API const char* version();

}  // namespace fntk

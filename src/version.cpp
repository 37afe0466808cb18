#include <fntk/version.hpp>

#define FNTK_TEXT_OF(x) #x
#define FNTK_TEXT(x) FNTK_TEXT_OF(x)

namespace fntk {

const char* version() {
    return FNTK_TEXT(FNTK_VERSION_MAJOR) "." FNTK_TEXT(FNTK_VERSION_MINOR) "." FNTK_TEXT(
        FNTK_VERSION_PATCH);
}

}  // namespace fntk

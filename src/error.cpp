#include <fntk/error.hpp>

namespace fntk {

// Out of line, so that each type has one vtable and can be caught across a shared library's border.
Error::~Error() = default;
ShapeError::~ShapeError() = default;
ValueError::~ValueError() = default;
DeviceError::~DeviceError() = default;
MemoryError::~MemoryError() = default;
IoError::~IoError() = default;
Cancelled::~Cancelled() = default;
NotSupported::~NotSupported() = default;

}  // namespace fntk

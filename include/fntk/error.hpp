// Every failure is an exception derived from fntk::Error, but for memory of the standard library's containers
// that cannot be had (std::bad_alloc): what is large is a Matrix. The text of each one names the argument,
// its value, the limit it broke and the remedy, in one line.
#pragma once

#include <fntk/export.hpp>

#include <stdexcept>

namespace fntk {

class FNTK_API Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    ~Error() override;
};

/// Extents that do not fit together: rows, columns, a network made for another input dimension.
class FNTK_API ShapeError : public Error {
  public:
    using Error::Error;
    ~ShapeError() override;
};

/// A value outside its range: a width of 0, a negative ridge, NaN or infinity in the data.
class FNTK_API ValueError : public Error {
  public:
    using Error::Error;
    ~ValueError() override;
};

/// A device that is unknown, absent, or failed.
class FNTK_API DeviceError : public Error {
  public:
    using Error::Error;
    ~DeviceError() override;
};

/// Memory that could not be had.
class FNTK_API MemoryError : public Error {
  public:
    using Error::Error;
    ~MemoryError() override;
};

/// A file that could not be read or written, or whose content is not what its name says.
class FNTK_API IoError : public Error {
  public:
    using Error::Error;
    ~IoError() override;
};

/// A call that its `progress` ended by returning false, and that has nothing to return.
class FNTK_API Cancelled : public Error {
  public:
    using Error::Error;
    ~Cancelled() override;
};

/// A combination that has no implementation.
class FNTK_API NotSupported : public Error {
  public:
    using Error::Error;
    ~NotSupported() override;
};

}  // namespace fntk

// A device handle: which backend does the work, and with how many threads. Cheap to copy; one handle per
// thread of the caller.
#pragma once

#include <fntk/export.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fntk {

namespace backend {
class Ops;
}

struct DeviceInfo {
    std::string name;         ///< "reference", "cpu", "cuda"
    bool available = false;   ///< whether Device::open(name) works here and now
    std::string description;  ///< what it is, or why it is not available
};

/// Every backend this library knows of, available or not.
FNTK_API std::vector<DeviceInfo> devices();

/// An OpenBLAS that is older than the processor falls back to kernels without AVX, several times slower.
/// This is the value of the environment variable OPENBLAS_CORETYPE that cures it, to be set before the
/// process starts (the program does so by itself); empty when the BLAS in use is no such one.
FNTK_API std::string better_blas_core();

class FNTK_API Device {
  public:
    /// name: "reference" (plain loops in double and int64, the oracle), "cpu" (BLAS and threads), "cuda",
    /// or "auto": the environment variable FNTK_DEVICE if it is set, else the fastest backend available.
    /// threads: 0 takes the environment variable FNTK_THREADS if it is set, else all processors.
    /// The cpu backend uses the best instruction set of the machine, or the one that the environment
    /// variable FNTK_SIMD names (`fntk info` shows the one in use); the bits are the same.
    /// Throws DeviceError for an unknown or absent device, ValueError for a thread count outside [0, 4096]
    /// or an instruction set that is not there.
    static Device open(std::string_view name = "auto", int threads = 0);

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] int threads() const;
    /// The operations behind the handle; src/backend/ops.hpp has the contract.
    [[nodiscard]] backend::Ops& ops() const { return *ops_; }

  private:
    Device(std::string name, std::shared_ptr<backend::Ops> ops);

    std::string name_;
    std::shared_ptr<backend::Ops> ops_;
};

}  // namespace fntk

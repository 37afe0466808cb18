// A device handle: which backend does the work, with how many threads, and in whose memory. Cheap to copy;
// copies are the same handle. Threads of the caller may share one of "cpu" and "reference", and then take
// turns, operation by operation; to work side by side each opens its own. One of "cuda" belongs to one
// thread at a time. Callbacks run on the thread that called.
//
// Memory. Every matrix that a backend works on lies in its own memory: the host's for "reference" and
// "cpu", the handle's for "cuda". The functions of this library take matrices of the host or of the handle
// and copy what is on the other side; what they return says where it lies (docs/memory.md). Two handles of
// GPUs, be they of one GPU, have streams of their own: what lies in the memory of one is refused by the
// other (ValueError), and goes there by way of the host.
//
// What the process shares. An operation of "cpu" lowers the number of OpenBLAS's threads to 1 while it runs;
// opening "cpu", or making a network, chooses Highway's instruction set for the process where FNTK_SIMD
// names one; memory_use() counts all handles. A child of fork() opens handles of its own.
#pragma once

#include <fntk/export.hpp>
#include <fntk/matrix.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

struct CUstream_st;  // cudaStream_t is a pointer to it

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

/// A view, and the copy behind it where one had to be made, or the matrix that was given away. Else it
/// refers to the caller's memory.
template <class Owner, class View>
class BasicStaged {
  public:
    BasicStaged() = default;
    explicit BasicStaged(View view) : view_(view) {}
    explicit BasicStaged(Owner owner) : owner_(std::move(owner)), view_(std::as_const(owner_).view()) {}
    BasicStaged(BasicStaged&& other) noexcept
        : owner_(std::move(other.owner_)), view_(std::exchange(other.view_, View{})) {}
    BasicStaged& operator=(BasicStaged&& other) noexcept {
        owner_ = std::move(other.owner_);
        view_ = std::exchange(other.view_, View{});
        return *this;
    }

    [[nodiscard]] View view() const { return view_; }
    operator View() const { return view_; }

  private:
    Owner owner_;
    View view_;
};
using Staged = BasicStaged<Matrix, ConstMatrixView>;
using StagedBits = BasicStaged<BitMatrix, ConstBitView>;

class FNTK_API Device {
  public:
    /// name: "reference" (plain loops in double and int64, the oracle), "cpu" (BLAS and threads), "cuda" or
    /// "cuda:N" (the N-th GPU), or "auto": the environment variable FNTK_DEVICE if it is set, else the
    /// first GPU where it is usable and this build has code for it, else cpu. A program that opens "auto"
    /// and reads elements itself, or shares the handle between threads, keeps to what "cuda" asks above:
    /// to_host, one thread at a time. threads are those of the CPU: 0 takes the environment variable
    /// FNTK_THREADS if it is set, else all processors. The cpu backend uses the best instruction set of the
    /// machine, or the one that the environment variable FNTK_SIMD names (`fntk info` shows the one in
    /// use); the bits are the same. Throws DeviceError for an unknown or absent device, ValueError for a
    /// thread count outside [0, 4096] or an instruction set that is not there.
    static Device open(std::string_view name = "auto", int threads = 0);
    /// The GPU `ordinal`, as open("cuda") and open("cuda:1") do, on a stream of the caller's
    /// (cudaStream_t), which has to belong to that GPU and to outlive the handle and its matrices; null: on
    /// one of its own, which no default stream waits for: an application that uses that gives
    /// cudaStreamLegacy. Work is issued in the order of that stream; the host waits only where a number or a
    /// matrix comes back to it. Throws DeviceError for a GPU, a driver or a stream that cannot be used, and
    /// says why.
    static Device cuda(int ordinal = 0, CUstream_st* stream = nullptr);
    /// A handle on operations from elsewhere (src/backend/ops.hpp): how tests put a backend of their own
    /// under the library.
    static Device wrap(std::string name, std::shared_ptr<backend::Ops> ops);
    /// Moving copies, so that a handle always is one.
    Device(const Device&) = default;
    Device& operator=(const Device&) = default;
    ~Device() = default;

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] int threads() const;
    /// The operations behind the handle; src/backend/ops.hpp has the contract.
    [[nodiscard]] backend::Ops& ops() const { return *ops_; }

    /// Where the device's matrices lie. A view of memory of the caller's on that GPU says so by it:
    /// ConstMatrixView(pointer, rows, cols, stride, device.place()), in the order of stream().
    [[nodiscard]] Place place() const;
    /// What the work of a GPU's handle is issued to, in order (cudaStream_t); null for the others.
    [[nodiscard]] CUstream_st* stream() const;
    /// Waits for all that has been issued. Throws DeviceError for what failed meanwhile.
    void synchronize() const;
    /// Gives memory that the handle keeps for later, and nothing uses, back to the GPU: waits.
    void release_unused() const;
    /// Memory of the device, zeroed. Throws ValueError for a negative extent, MemoryError when the memory
    /// cannot be had.
    [[nodiscard]] Matrix zeros(std::int64_t rows, std::int64_t cols, DType dtype) const;
    [[nodiscard]] BitMatrix zero_bits(std::int64_t rows, std::int64_t cols) const;

    /// A contiguous copy in the device's memory. Throws ValueError for memory of another device.
    [[nodiscard]] Matrix to_device(ConstMatrixView matrix) const;
    /// The same of an owner, which is moved where it lies there already.
    [[nodiscard]] Matrix to_device(Matrix&& matrix) const;
    [[nodiscard]] BitMatrix to_device(BitMatrix&& bits) const;
    /// A contiguous copy in host memory. Throws ValueError for memory of another device.
    [[nodiscard]] Matrix to_host(ConstMatrixView matrix) const;
    [[nodiscard]] Matrix to_host(Matrix&& matrix) const;
    [[nodiscard]] BitMatrix to_host(ConstBitView bits) const;

    /// The matrix in the device's memory: itself where it lies there, which must then outlive the result
    /// unless it is given away, else a copy.
    [[nodiscard]] Staged staged(ConstMatrixView matrix) const;
    [[nodiscard]] Staged staged(Matrix&& matrix) const { return Staged(to_device(std::move(matrix))); }
    /// The matrix in host memory, in the same way.
    [[nodiscard]] Staged on_host(ConstMatrixView matrix) const;
    [[nodiscard]] Staged on_host(Matrix&& matrix) const { return Staged(to_host(std::move(matrix))); }
    [[nodiscard]] StagedBits on_host(ConstBitView bits) const;
    [[nodiscard]] StagedBits on_host(BitMatrix&& bits) const;

  private:
    Device(std::string name, std::shared_ptr<backend::Ops> ops);

    std::string name_;
    std::shared_ptr<backend::Ops> ops_;
};

}  // namespace fntk

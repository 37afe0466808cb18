// What a CUDA handle owns: one device, one stream, a pool of memory on it, the libraries' handles.
// Everything the backend does goes to that stream in order, so that memory may be given back as soon as its
// last use has been issued; the host waits only where a number or a matrix comes back to it.
#pragma once

#include <backend/ops.hpp>

#include <grid.hpp>

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cusolverDn.h>

#include <memory>
#include <string>

namespace fntk::backend::cuda {

class Context {
  public:
    /// stream: the caller's, which has to outlive the handle and belong to the device; null: one of its
    /// own. Throws DeviceError.
    Context(int ordinal, cudaStream_t stream);
    ~Context();
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;

    [[nodiscard]] int ordinal() const { return ordinal_; }
    /// Of all memory that it gives.
    [[nodiscard]] Place place() const { return place_; }
    [[nodiscard]] cudaStream_t stream() const { return stream_; }
    [[nodiscard]] const kernels::DeviceLimits& limits() const { return limits_; }
    /// Made when first asked for.
    cublasHandle_t blas();
    cusolverDnHandle_t solver();
    /// Its defaults.
    cusolverDnParams_t solver_parameters();

    /// Throws what a failed call means: MemoryError, or DeviceError. An error that CUDA does not let a
    /// process recover from makes the handle refuse all further work.
    void check(cudaError_t code, const char* what);
    void check(cublasStatus_t code, const char* what);
    void check(cusolverStatus_t code, const char* what);
    /// Throws DeviceError once an error has made the device unusable.
    void require_usable() const;

    /// In the order of the stream; not zeroed. Null for no bytes. From a pool, where the device has pools;
    /// what the pool keeps goes back to the device before it has nothing. Throws MemoryError.
    std::byte* allocate(std::int64_t bytes);
    void release(std::byte* memory) noexcept;
    /// Memory that the pool and graphs keep and nobody uses, to the device: waits. False where that is not
    /// possible.
    bool give_back_unused() noexcept;
    /// call() once more where it found no memory and some could be given back: a kernel's first launch takes
    /// some, as its code is loaded then.
    template <class Call>
    cudaError_t again_with_memory(const Call& call) {
        const cudaError_t code = call();
        return code == cudaErrorMemoryAllocation && give_back_unused() ? call() : code;
    }
    /// Whether the stream is being recorded as a graph: by the handle, or by the caller whose it is.
    [[nodiscard]] bool is_recorded() const;
    void wait();
    /// Returns when they are there.
    void copy_to_host(void* to, const void* from, std::int64_t bytes, const char* what);

    /// Starts a kernel of kernels/; its launch may be empty.
    template <class Kernel>
    void run(const Kernel& kernel) {
        run_at(reinterpret_cast<const void*>(&kernels::entry<Kernel>), kernel);
    }
    /// The same by an entry that takes the kernel as its one argument.
    template <class Kernel>
    void run_at(const void* entry, const Kernel& kernel) {
        const kernels::Launch launch = kernel.launch(limits_);
        if (launch.blocks == 0) return;
        prepare(entry, launch);
        void* arguments[] = {const_cast<Kernel*>(&kernel)};
        check(again_with_memory([&] {
                  return cudaLaunchKernel(entry, dim3(static_cast<unsigned>(launch.blocks)),
                                          dim3(static_cast<unsigned>(launch.threads)), arguments,
                                          static_cast<std::size_t>(launch.shared_bytes), stream_);
              }),
              "a kernel's launch");
    }

    /// As long as one lives, kernels are started as on a device of so many multiprocessors: blocks take
    /// several pieces of what is little work.
    class Narrowed {
      public:
        Narrowed(Context& context, int multiprocessors)
            : context_(context), before_(context.limits_.multiprocessors) {
            context.limits_.multiprocessors = multiprocessors;
        }
        ~Narrowed() { context_.limits_.multiprocessors = before_; }
        Narrowed(const Narrowed&) = delete;
        Narrowed& operator=(const Narrowed&) = delete;

      private:
        Context& context_;
        int before_;
    };

    /// What became of the kernels for compute capability 9.0 alone on this device: of the wide
    /// pass (cuda_wide_wgmma.cu), the Grams of tangents (cuda_gram.cu) and of gates (cuda_gate_gram.cu) and
    /// moments (cuda_moments.cu).
    enum class Trial : std::uint8_t { open, passed, failed };
    Trial wgmma = Trial::open, gram_wgmma = Trial::open, gates_wgmma = Trial::open,
          moments_wgmma = Trial::open;

  private:
    /// Throws NotSupported for a launch beyond the device, and asks for shared memory beyond 48 KiB: for all
    /// that a block may have, since what is asked for holds for every handle of the process.
    void prepare(const void* entry, const kernels::Launch& launch);
    [[nodiscard]] std::string name() const;
    /// An error that the device has met and does not recover from, if any.
    [[nodiscard]] cudaError_t of_device();
    /// Throws MemoryError; the next try finds what the pool has kept.
    [[noreturn]] void refuse_without_memory(const char* what, const char* library);

    int ordinal_;
    Place place_ = Place::unique();
    cudaStream_t stream_ = nullptr;
    bool owns_stream_ = false;
    cudaMemPool_t pool_ = nullptr;  // null: the device has none
    cublasHandle_t blas_ = nullptr;
    std::byte* blas_workspace_ = nullptr;
    cusolverDnHandle_t solver_ = nullptr;
    cusolverDnParams_t solver_parameters_ = nullptr;
    kernels::DeviceLimits limits_;
    std::string broken_;  // the error that did it
};

/// Of what the kernels for compute capability 9.0 are compared on: 32 bits at a time, of which the highest
/// are the most random.
class TrialNumbers {
  public:
    std::uint32_t operator()() { return last_ = last_ * 1664525U + 1013904223U; }

  private:
    std::uint32_t last_ = 1;
};

/// For the length of one operation: its device is the thread's current one, its arguments lie in its
/// handle's memory (require_argument), and a profiler sees its name.
class Scope {
  public:
    Scope(Context& context, const char* operation);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

  private:
    int before_ = 0;
    Place place_before_;
    bool changed_ = false;
};

/// Memory for the length of one operation.
class Workspace {
  public:
    Workspace(Context& context, std::int64_t bytes) : context_(context), memory_(context.allocate(bytes)) {}
    ~Workspace() { context_.release(memory_); }
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;

    [[nodiscard]] std::byte* data() const { return memory_; }
    [[nodiscard]] Place place() const { return context_.place(); }

  private:
    Context& context_;
    std::byte* memory_;
};

/// Throw ValueError unless an argument of the operation under way lies in its handle's memory, and holds
/// what is wanted.
void require_place(Place place);
void require_argument(Place place, DType have, DType want);

/// rows × cols elements of T for the length of one operation, not zeroed.
template <class T>
class Scratch {
  public:
    Scratch(Context& context, std::int64_t rows, std::int64_t cols)
        : memory_(context, rows * cols * static_cast<std::int64_t>(sizeof(T))), rows_(rows), cols_(cols) {}

    [[nodiscard]] T* data() const { return reinterpret_cast<T*>(memory_.data()); }
    [[nodiscard]] kernels::Rows<T> rows() const { return {data(), rows_, cols_, cols_}; }
    [[nodiscard]] kernels::Rows<const T> read() const { return {data(), rows_, cols_, cols_}; }
    /// For T of a matrix.
    [[nodiscard]] MatrixView view() const {
        return {memory_.data(), rows_, cols_, cols_, dtype_of<T>, memory_.place()};
    }

  private:
    Workspace memory_;
    std::int64_t rows_, cols_;
};

/// A view in the kernels' words. Throws ValueError for other memory than the handle's and for another type.
template <class T>
kernels::Rows<T> rows_of(MatrixView view) {
    if (view.data != nullptr) require_argument(view.place, view.dtype, dtype_of<T>);
    return {reinterpret_cast<T*>(view.data), view.rows, view.cols, view.stride};
}
template <class T>
kernels::Rows<const T> rows_of(ConstMatrixView view) {
    if (view.data != nullptr) require_argument(view.place, view.dtype, dtype_of<T>);
    return {reinterpret_cast<const T*>(view.data), view.rows, view.cols, view.stride};
}
/// The words of a bit matrix; a view without words stays without data.
inline kernels::Rows<std::uint64_t> words_of(BitView view) {
    if (view.words != nullptr) require_place(view.place);
    return {view.words, view.rows, (view.cols + 63) / 64, view.stride};
}
inline kernels::Rows<const std::uint64_t> words_of(ConstBitView view) {
    if (view.words != nullptr) require_place(view.place);
    return {view.words, view.rows, (view.cols + 63) / 64, view.stride};
}

}  // namespace fntk::backend::cuda

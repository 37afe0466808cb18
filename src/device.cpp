// The registry of backends, and the way of matrices between their memory and the host's.
#include <fntk/device.hpp>
#include <fntk/error.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace fntk {

namespace {

constexpr int max_threads = 4096;

int choose_threads(int threads) {
    if (threads < 0 || threads > max_threads)
        throw ValueError(fmt::format("threads is {}; it must lie in [0, {}], 0 for all processors", threads,
                                     max_threads));
    if (threads > 0) return threads;
    if (const char* text = std::getenv("FNTK_THREADS"); text != nullptr && *text != '\0') {
        const char* end = text + std::strlen(text);
        const auto [stop, error] = std::from_chars(text, end, threads);
        if (error != std::errc{} || stop != end || threads < 1 || threads > max_threads)
            throw ValueError(fmt::format("FNTK_THREADS is '{}'; it must be a whole number in [1, {}]", text,
                                         max_threads));
        return threads;
    }
    return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

/// The first GPU where it can be used, else nothing. That this build has code for it shows when a kernel
/// runs.
std::shared_ptr<backend::Ops> usable_gpu() {
    if (!backend::cuda_status().available) return nullptr;
    try {
        std::shared_ptr<backend::Ops> ops = backend::make_cuda(0, nullptr);
        const Device device = Device::wrap("cuda", ops);
        Matrix probe = device.zeros(1, 1, DType::f64);
        ops->square_roots(probe);
        (void)device.to_host(probe);
        return ops;
    } catch (const Error&) {
        return nullptr;
    }
}

DeviceError unknown(const std::string& name) {
    std::string known = "auto";
    for (const DeviceInfo& info : devices()) known += ", " + info.name;
    const char* forced = std::getenv("FNTK_DEVICE");
    return DeviceError(fmt::format("device '{}'{} is unknown; choose one of {}, cuda:1, ...", name,
                                   forced != nullptr && name == forced ? " of FNTK_DEVICE" : "", known));
}

/// 0 for "cuda", N for "cuda:N".
int ordinal_of(const std::string& name) {
    if (name == "cuda") return 0;
    const std::string prefix = "cuda:";
    int ordinal = 0;
    const char *begin = name.data() + prefix.size(), *end = name.data() + name.size();
    if (!name.starts_with(prefix) || begin == end) throw unknown(name);
    const auto [stop, error] = std::from_chars(begin, end, ordinal);
    if (error != std::errc{} || stop != end || ordinal < 0) throw unknown(name);
    return ordinal;
}

}  // namespace

std::vector<DeviceInfo> devices() {
    const backend::CudaStatus cuda = backend::cuda_status();
    return {
        {"reference", true, "plain loops in double and int64: the oracle, for small sizes"},
        {"cpu", true, backend::describe_cpu()},
        {"cuda", cuda.available, cuda.description},
    };
}

std::string better_blas_core() { return backend::better_blas_core(); }

Device::Device(std::string name, std::shared_ptr<backend::Ops> ops)
    : name_(std::move(name)), ops_(std::move(ops)) {}

Device Device::wrap(std::string name, std::shared_ptr<backend::Ops> ops) {
    if (ops == nullptr) throw ValueError(fmt::format("ops of device '{}' is null; give a backend", name));
    return {std::move(name), std::move(ops)};
}

int Device::threads() const { return ops_->threads(); }
CUstream_st* Device::stream() const { return ops_->stream(); }
void Device::synchronize() const { ops_->synchronize(); }
void Device::release_unused() const { ops_->release_unused(); }

Device Device::open(std::string_view name, int threads) {
    threads = choose_threads(threads);
    std::string wanted(name);
    if (wanted == "auto") {
        if (const char* forced = std::getenv("FNTK_DEVICE"); forced != nullptr && *forced != '\0')
            wanted = forced;
    }
    if (wanted == "auto") {
        if (std::shared_ptr<backend::Ops> gpu = usable_gpu()) return {"cuda", std::move(gpu)};
        wanted = "cpu";
    }
    if (wanted.starts_with("cuda")) return cuda(ordinal_of(wanted));
    if (wanted == "reference") return {wanted, backend::make_reference()};
    if (wanted == "cpu") {
        const char* simd = std::getenv("FNTK_SIMD");
        return {wanted, backend::make_cpu(threads, simd == nullptr ? "" : simd)};
    }
    throw unknown(wanted);
}

Device Device::cuda(int ordinal, CUstream_st* stream) {
    return {ordinal == 0 ? "cuda" : fmt::format("cuda:{}", ordinal), backend::make_cuda(ordinal, stream)};
}

// --- memory
// --------------------------------------------------------------------------------------------------------

namespace {

/// rows × cols elements of `matrix` at the place of `to`, which must be the host or the device's own.
template <class Owner, class View>
Owner copied(backend::Ops& ops, Owner to, View matrix) {
    if (matrix.rows > 0 && matrix.cols > 0) ops.copy(matrix, to);
    return to;
}

}  // namespace

Place Device::place() const { return ops_->place(); }

Matrix Device::zeros(std::int64_t rows, std::int64_t cols, DType dtype) const {
    return {ops_->allocate(rows, detail::row_bytes(cols, dtype)), rows, cols, dtype};
}

BitMatrix Device::zero_bits(std::int64_t rows, std::int64_t cols) const {
    return {ops_->allocate(rows, detail::bit_row_bytes(cols)), rows, cols};
}

Matrix Device::to_device(ConstMatrixView matrix) const {
    matrix.require_memory("a matrix");
    return copied(*ops_, zeros(matrix.rows, matrix.cols, matrix.dtype), matrix);
}
Matrix Device::to_device(Matrix&& matrix) const {
    return matrix.place() == place() ? std::move(matrix) : to_device(std::as_const(matrix).view());
}
BitMatrix Device::to_device(BitMatrix&& bits) const {
    if (bits.place() == place()) return std::move(bits);
    return copied(*ops_, zero_bits(bits.rows(), bits.cols()), std::as_const(bits).view());
}

Matrix Device::to_host(ConstMatrixView matrix) const {
    matrix.require_memory("a matrix");
    return copied(*ops_, Matrix(matrix.rows, matrix.cols, matrix.dtype), matrix);
}
Matrix Device::to_host(Matrix&& matrix) const {
    return matrix.place() == Place::host ? std::move(matrix) : to_host(std::as_const(matrix).view());
}
BitMatrix Device::to_host(ConstBitView bits) const {
    return copied(*ops_, BitMatrix(bits.rows, bits.cols), bits);
}

Staged Device::staged(ConstMatrixView matrix) const {
    matrix.require_memory("a matrix");
    const bool rows_meet = matrix.rows > 1 && matrix.stride < matrix.cols;
    if (rows_meet && matrix.place == Place::host)  // as no library takes them
        return Staged(to_device(Matrix::copy_of(matrix)));
    return matrix.place == place() ? Staged(matrix) : Staged(to_device(matrix));
}
Staged Device::on_host(ConstMatrixView matrix) const {
    matrix.require_memory("a matrix");
    return matrix.place == Place::host ? Staged(matrix) : Staged(to_host(matrix));
}
StagedBits Device::on_host(BitMatrix&& bits) const {
    return StagedBits(bits.place() == Place::host ? std::move(bits) : to_host(std::as_const(bits).view()));
}
StagedBits Device::on_host(ConstBitView bits) const {
    return bits.place == Place::host ? StagedBits(bits) : StagedBits(to_host(bits));
}

}  // namespace fntk

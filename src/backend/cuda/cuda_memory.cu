// Memory of the device: every matrix is one block of the handle's pool and keeps the handle alive.
#include <backend/cuda/cuda.hpp>

#include <fntk/error.hpp>

#include <elementwise.hpp>

#include <cstring>

namespace fntk::backend::cuda {

namespace {

/// rows × row_bytes bytes, rows `stride` bytes apart.
struct Bytes {
    const std::byte* data;
    std::int64_t rows, row_bytes, stride;
    Place place;

    [[nodiscard]] bool contiguous() const { return rows <= 1 || stride == row_bytes; }
};

cudaMemcpyKind direction(Place from, Place to) {
    if (from == Place::host) return to == Place::host ? cudaMemcpyHostToHost : cudaMemcpyHostToDevice;
    return to == Place::host ? cudaMemcpyDeviceToHost : cudaMemcpyDeviceToDevice;
}

void copy_bytes(Context& context, const Bytes& from, std::byte* to, std::int64_t to_stride,
                Place to_place) {
    if (from.rows == 0 || from.row_bytes == 0) return;
    for (const Place place : {from.place, to_place})
        if (place != Place::host) require_place(place);
    const cudaMemcpyKind kind = direction(from.place, to_place);
    const bool whole = from.contiguous() && (from.rows <= 1 || to_stride == from.row_bytes);
    constexpr std::int64_t max_pitch = 0x7FFFFFFF;  // of a strided copy
    const auto width = static_cast<std::size_t>(from.row_bytes);
    if (kind == cudaMemcpyHostToHost) {
        for (std::int64_t i = 0; i < from.rows; ++i)
            std::memcpy(to + i * to_stride, from.data + i * from.stride, width);
        return;
    }
    cudaError_t code = cudaSuccess;
    if (whole) {
        code = cudaMemcpyAsync(to, from.data, width * static_cast<std::size_t>(from.rows), kind,
                               context.stream());
    } else if (std::max(from.stride, to_stride) <= max_pitch) {
        code = cudaMemcpy2DAsync(to, static_cast<std::size_t>(to_stride), from.data,
                                 static_cast<std::size_t>(from.stride), width,
                                 static_cast<std::size_t>(from.rows), kind, context.stream());
    } else {
        for (std::int64_t i = 0; i < from.rows && code == cudaSuccess; ++i)
            code = cudaMemcpyAsync(to + i * to_stride, from.data + i * from.stride, width, kind,
                                   context.stream());
    }
    if (kind != cudaMemcpyDeviceToDevice) context.wait();  // where one row fails, for those under way
    context.check(code, "copying a matrix");
}

template <class View>
Bytes bytes_of(const View& view) {
    const auto element = static_cast<std::int64_t>(size_of(view.dtype));
    return {view.data, view.rows, view.cols * element, view.stride * element, view.place};
}

}  // namespace

void Cuda::synchronize() {
    const Scope scope(*context_, "synchronize");
    context_->wait();
}
void Cuda::release_unused() {
    const Scope scope(*context_, "release_unused");
    context_->give_back_unused();
}

detail::Buffer Cuda::allocate(std::int64_t rows, std::int64_t bytes_per_row) {
    detail::Buffer buffer = allocate_unwritten(rows, bytes_per_row);
    const Scope scope(*context_, "allocate");
    if (buffer != nullptr)
        context_->check(cudaMemsetAsync(buffer.get(), 0,
                                        static_cast<std::size_t>(detail::extent_bytes(rows, bytes_per_row)),
                                        context_->stream()),
                        "zeroing memory");
    return buffer;
}

detail::Buffer Cuda::allocate_unwritten(std::int64_t rows, std::int64_t bytes_per_row) {
    const Scope scope(*context_, "allocate_unwritten");
    const std::int64_t bytes = detail::extent_bytes(rows, bytes_per_row);
    return detail::adopt(context_->allocate(bytes), bytes, context_->place(),
                         [context = context_](std::byte* block) { context->release(block); });
}

void Cuda::copy(ConstMatrixView from, MatrixView to) {
    const Scope scope(*context_, "copy");
    copy_bytes(*context_, bytes_of(from), to.data, to.stride * static_cast<std::int64_t>(size_of(to.dtype)),
               to.place);
}

void Cuda::copy(ConstBitView from, BitView to) {
    const Scope scope(*context_, "copy");
    if (from.words == nullptr) return;
    const auto word = static_cast<std::int64_t>(sizeof(std::uint64_t));
    copy_bytes(*context_,
               {reinterpret_cast<const std::byte*>(from.words), from.rows, (from.cols + 63) / 64 * word,
                from.stride * word, from.place},
               reinterpret_cast<std::byte*>(to.words), to.stride * word, to.place);
}

void Cuda::zero(MatrixView matrix) {
    const Scope scope(*context_, "zero");
    if (matrix.empty()) return;
    const auto rows = static_cast<std::size_t>(matrix.rows), element = size_of(matrix.dtype),
               width = static_cast<std::size_t>(matrix.cols) * element,
               stride = static_cast<std::size_t>(matrix.stride) * element;
    const bool whole = rows == 1 || stride == width;
    context_->check(whole ? cudaMemsetAsync(matrix.data, 0, rows * width, context_->stream())
                          : cudaMemset2DAsync(matrix.data, stride, 0, width, rows, context_->stream()),
                    "zeroing a matrix");
}

void Cuda::gather_rows(ConstMatrixView from, ConstMatrixView indices, MatrixView out) {
    const Scope scope(*context_, "gather_rows");
    const std::int64_t* rows = rows_of<std::int64_t>(indices).data;
    const auto gather = [&](auto word) {  // whatever the words hold
        using Word = decltype(word);
        const DType dtype = dtype_of<Word>;
        ConstMatrixView in = from;
        MatrixView to = out;
        in.dtype = to.dtype = dtype;
        context_->run(kernels::GatherRows<Word>{rows_of<Word>(in), rows, rows_of<Word>(to)});
    };
    size_of(from.dtype) == 4 ? gather(std::int32_t{}) : gather(std::int64_t{});
}

}  // namespace fntk::backend::cuda

// Moments and products along them in float32 by products of digits on the matrix units of compute
// capability 9.0, where these work; cuBLAS's products elsewhere (ops.cpp).
#include <backend/cuda/cuda.hpp>
#include <backend/cuda/digits.hpp>
#include <backend/cuda/hopper.hpp>
#include <backend/cuda/wide_way.hpp>

#include <along_moment_wgmma.hpp>
#include <moment_wgmma.hpp>

#include <cstring>
#include <vector>

namespace fntk::backend::cuda {

namespace {

/// Below that the products of cuBLAS take a few launches' time, or tiles of 128 rows of M are mostly empty;
/// beyond 2^16 columns sums might leave int32.
bool worth_digits(std::int64_t n, std::int64_t p, std::int64_t d) {
    constexpr double least = 1 << 28;
    return p >= 32 && d >= 32 && d <= (1 << 16) &&
           static_cast<double>(n) * static_cast<double>(p) * static_cast<double>(d) >= least;
}

struct Magnitudes {
    const std::uint32_t *rows, *cols;
};
Magnitudes magnitudes_in(ConstMatrixView scales, std::int64_t n) {
    const auto* first = reinterpret_cast<const std::uint32_t*>(rows_of<std::int32_t>(scales).data);
    return {first, first + n};
}

/// The columns of W as digits, and their magnitudes.
template <class Source>
void pack_columns(Context& context, const Source& w, std::uint32_t* magnitudes, kernels::Quad* tiles) {
    context.check(cudaMemsetAsync(magnitudes, 0, static_cast<std::size_t>(4 * w.d()), context.stream()),
                  "zeroing memory");
    context.run(kernels::Magnitudes<Source>{w, nullptr, magnitudes});
    context.run(kernels::PackColumnDigits<Source>{w, magnitudes, tiles});
}

}  // namespace

Matrix Cuda::magnitudes(ConstMatrixView x) {
    const std::int64_t count = x.rows + x.cols;
    Matrix found(allocate(count, detail::row_bytes(1, DType::i32)), count, 1, DType::i32);
    auto* first = reinterpret_cast<std::uint32_t*>(rows_of<std::int32_t>(found.view()).data);
    context_->run(kernels::Magnitudes<kernels::FloatRows>{{rows_of<float>(x)}, first, first + x.rows});
    return found;
}

Matrix Cuda::moment_scales(ConstMatrixView x, std::int64_t p) {
    return worth_digits(x.rows, p, x.cols) ? digit_scales(x) : Matrix();
}

Matrix Cuda::digit_scales(ConstMatrixView x) {
    if (x.dtype != DType::f32 || context_->limits().compute_capability != 90) return {};
    const Scope scope(*context_, "moment_scales");
    return moments_wgmma_work() ? magnitudes(x) : Matrix();
}

Matrix digit_scales(Ops& ops, ConstMatrixView x) {
    auto* cuda = dynamic_cast<Cuda*>(&ops);
    return cuda == nullptr ? Matrix() : cuda->digit_scales(x);
}

void Cuda::moment(ConstMatrixView a, ConstMatrixView v, ConstMatrixView x, ConstMatrixView scales,
                  double alpha, MatrixView m) {
    if (scales.data == nullptr || x.rows == 0) return Ops::moment(a, v, x, scales, alpha, m);
    const Scope scope(*context_, "moment");
    using kernels::DigitTiles;
    const std::uint32_t* of_x = magnitudes_in(scales, x.rows).cols;
    const std::int64_t p = m.rows, block = std::min(moment_block(p), x.rows);
    const Scratch<std::uint32_t> of_w(*context_, 1, p);
    const Scratch<kernels::Quad> tiles(*context_, 1, DigitTiles::quads_of(p, block));
    const Scratch<float> sums(
        *context_, kernels::MomentRanges(block, p, m.cols, context_->limits()).count * p, m.cols);
    for (std::int64_t i = 0; i < x.rows; i += block) {
        const std::int64_t count = std::min(block, x.rows - i);
        const auto of_a = rows_of<float>(a.row_block(i, count)),
                   of_v = rows_of<float>(v.row_block(i, count));
        if (v.cols == 1)
            pack_columns(*context_, kernels::ScaledRows{of_a, of_v}, of_w.data(), tiles.data());
        else
            pack_columns(*context_, kernels::WeightedRows{of_a, of_v, p}, of_w.data(), tiles.data());
        const std::int64_t ranges = kernels::MomentRanges(count, p, m.cols, context_->limits()).count;
        const kernels::Rows<float> found{sums.data(), ranges * p, m.cols, m.cols};
        context_->run_at(moment_wgmma_entry(),
                         kernels::MomentWgmma{{tiles.data(), nullptr, p, DigitTiles::steps_of(count)},
                                              rows_of<float>(x.row_block(i, count)),
                                              of_x,
                                              found});
        context_->run(kernels::FinishMoment{{found.data, found.rows, found.cols, found.stride},
                                            of_w.data(),
                                            of_x,
                                            static_cast<float>(alpha),
                                            i > 0,
                                            rows_of<float>(m)});
    }
}

void Cuda::along_moment(ConstMatrixView a, ConstMatrixView x, ConstMatrixView scales, ConstMatrixView m,
                        MatrixView out) {
    if (scales.data == nullptr || x.rows == 0) return Ops::along_moment(a, x, scales, m, out);
    const Scope scope(*context_, "along_moment");
    const Digits of_m(*context_, m);
    context_->run_at(along_moment_wgmma_entry(),
                     kernels::AlongMomentWgmma{of_m.view(), rows_of<float>(x), rows_of<float>(a),
                                               magnitudes_in(scales, x.rows).rows, rows_of<float>(out)});
}

// Small whole numbers, whose products are exact in float32: the bits of cuBLAS's. Ragged extents; blocks
// that go round their stages, take several products, and share the sum over samples.
bool Cuda::moments_wgmma_work() {
    constexpr std::int64_t n = 330, k = 2;
    const auto agrees = [&] {
        const Context::Narrowed narrowed(*context_, 2);
        std::vector<float> entries(static_cast<std::size_t>(4 * n * 200));
        std::uint32_t random = 1;
        for (float& entry : entries) {
            random = random * 1664525U + 1013904223U;
            entry = static_cast<float>(static_cast<std::int32_t>(random >> 29) - 3);
        }
        const auto equal = [&](std::int64_t p, std::int64_t d) {
            const Scratch<float> a(*context_, n, k * p), v(*context_, n, k), x(*context_, n, d),
                m(*context_, p, d), sum(*context_, p, d), out(*context_, n, k);
            const auto fill = [&](const Scratch<float>& to, std::int64_t from) {
                copy(ConstMatrixView(entries.data() + from, to.view().rows, to.view().cols), to.view());
            };
            fill(a, 0);
            fill(v, 7);
            fill(x, 11);
            fill(m, 13);
            const Matrix scales = magnitudes(x.view());
            std::vector<float> found[2];
            for (const bool digits : {false, true}) {
                const ConstMatrixView with = digits ? scales.view() : ConstMatrixView();
                moment(a.view(), v.view(), x.view(), with, 0.5, sum.view());
                along_moment(a.view(), x.view(), with, m.view(), out.view());
                found[digits].resize(static_cast<std::size_t>(p * d + n * k));
                copy(sum.view(), MatrixView(found[digits].data(), p, d));
                copy(out.view(), MatrixView(found[digits].data() + p * d, n, k));
            }
            return std::memcmp(found[0].data(), found[1].data(), 4 * found[0].size()) == 0;
        };
        return equal(40, 100) && equal(150, 189);
    };
    return works(context_->moments_wgmma, agrees);
}

}  // namespace fntk::backend::cuda

// Moments and products along them in float32 by products of digits on the matrix units of compute
// capability 9.0, where these work; cuBLAS's products elsewhere (ops.cpp).
#include <backend/cuda/cuda.hpp>
#include <backend/cuda/digits.hpp>
#include <backend/cuda/hopper.hpp>
#include <backend/cuda/wide_way.hpp>

#include <along_moment_wgmma.hpp>
#include <moment_wgmma.hpp>

#include <algorithm>
#include <cstring>
#include <vector>

namespace fntk::backend::cuda {

namespace {

/// Below 32 rows or columns tiles of M are mostly empty; beyond 2^16 columns sums might leave int32; beyond
/// 2^23 elements of M its sums and digits take more than the products are worth.
bool may_be_digits(std::int64_t p, std::int64_t d) {
    return p >= 32 && d >= 32 && d <= (1 << 16) && p <= (1 << 23) / d;
}

/// Of a matrix that moment_scales() made.
struct Scales {
    const std::uint32_t *rows, *cols;

    Scales(ConstMatrixView scales, std::int64_t n)
        : rows(reinterpret_cast<const std::uint32_t*>(rows_of<std::int32_t>(scales).data)),
          cols(rows + n) {}
};

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
    const double products =
        static_cast<double>(x.rows) * static_cast<double>(p) * static_cast<double>(x.cols);
    if (x.dtype != DType::f32 || context_->limits().compute_capability != 90 || !may_be_digits(p, x.cols) ||
        products < digits_from_)
        return {};
    const Scope scope(*context_, "moment_scales");
    return moments_wgmma_work() ? magnitudes(x) : Matrix();
}

void Cuda::moment(ConstMatrixView a, ConstMatrixView v, ConstMatrixView x, ConstMatrixView scales,
                  double alpha, MatrixView m) {
    if (scales.data == nullptr || !wgmma_allowed_ || x.rows == 0)
        return Ops::moment(a, v, x, scales, alpha, m);
    const Scope scope(*context_, "moment");
    const std::int64_t padded = kernels::DigitTiles::padded_rows(m.rows);
    digit_moment(a, v, x, scales, alpha, m, std::max(moment_rows, (std::int64_t{1} << 25) / padded));
}

void Cuda::digit_moment(ConstMatrixView a, ConstMatrixView v, ConstMatrixView x, ConstMatrixView scales,
                        double alpha, MatrixView m, std::int64_t block) {
    using kernels::DigitTiles;
    block = std::min(block, x.rows);
    const kernels::DeviceLimits& limits = context_->limits();
    const Scales of_x(scales, x.rows);
    const std::int64_t p = m.rows, d = m.cols, most = kernels::moment_ranges(block, p, d, limits);
    const Scratch<std::uint32_t> of_w(*context_, 1, p);
    const Scratch<kernels::Quad> tiles(*context_, 1, DigitTiles::quads_of(p, block));
    const Scratch<float> sums(*context_, most * p, d);
    for (std::int64_t i = 0; i < x.rows; i += block) {
        const std::int64_t count = std::min(block, x.rows - i),
                           ranges = kernels::moment_ranges(count, p, d, limits, most);
        const auto of_a = rows_of<float>(a.row_block(i, count)),
                   of_v = rows_of<float>(v.row_block(i, count));
        if (v.cols == 1)
            pack_columns(*context_, kernels::ScaledRows{of_a, of_v}, of_w.data(), tiles.data());
        else
            pack_columns(*context_, kernels::WeightedRows{of_a, of_v, p}, of_w.data(), tiles.data());
        const kernels::Rows<float> found{sums.data(), ranges * p, d, d};
        context_->run_at(moment_wgmma_entry(),
                         kernels::MomentWgmma{{tiles.data(), nullptr, p, DigitTiles::steps_of(count)},
                                              rows_of<float>(x.row_block(i, count)),
                                              of_x.cols,
                                              found,
                                              ranges});
        context_->run(kernels::FinishMoment{{found.data, found.rows, d, d},
                                            of_w.data(),
                                            of_x.cols,
                                            static_cast<float>(alpha),
                                            i > 0,
                                            rows_of<float>(m)});
    }
}

void Cuda::along_moment(ConstMatrixView a, ConstMatrixView x, ConstMatrixView scales, ConstMatrixView m,
                        MatrixView out) {
    if (scales.data == nullptr || !wgmma_allowed_ || x.rows == 0)
        return Ops::along_moment(a, x, scales, m, out);
    const Scope scope(*context_, "along_moment");
    const Digits of_m(*context_, m);
    context_->run_at(along_moment_wgmma_entry(),
                     kernels::AlongMomentWgmma{of_m.view(), rows_of<float>(x), rows_of<float>(a),
                                               Scales(scales, x.rows).rows, rows_of<float>(out)});
}

// Small whole numbers, whose products are exact in float32: the bits of cuBLAS's. Ragged extents, blocks of
// samples of which the last is short; blocks of threads that go round their stages, take several products,
// and share the sum over samples.
bool Cuda::moments_wgmma_work() {
    constexpr std::int64_t n = 330, k = 2, samples = 150;
    const auto agrees = [&] {
        const Context::Narrowed narrowed(*context_, 2);
        std::vector<float> entries(static_cast<std::size_t>(4 * n * 200));
        TrialNumbers random;
        for (float& entry : entries) {
            entry = static_cast<float>(static_cast<std::int32_t>(random() >> 29) - 3);
        }
        const auto equal = [&](std::int64_t p, std::int64_t d, std::int64_t block) {
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
                if (digits)
                    digit_moment(a.view(), v.view(), x.view(), scales, 0.5, sum.view(), block);
                else
                    Ops::moment(a.view(), v.view(), x.view(), {}, 0.5, sum.view());
                along_moment(a.view(), x.view(), digits ? scales.view() : ConstMatrixView(), m.view(),
                             out.view());
                found[digits].resize(static_cast<std::size_t>(p * d + n * k));
                copy(sum.view(), MatrixView(found[digits].data(), p, d));
                copy(out.view(), MatrixView(found[digits].data() + p * d, n, k));
            }
            return std::memcmp(found[0].data(), found[1].data(), 4 * found[0].size()) == 0;
        };
        return equal(40, 100, n) && equal(150, 189, samples);
    };
    return works(context_->moments_wgmma, agrees);
}

void take_digits_from(Ops& ops, double products) {
    if (auto* cuda = dynamic_cast<Cuda*>(&ops)) cuda->take_digits_from(products);
}

}  // namespace fntk::backend::cuda

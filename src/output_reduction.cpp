#include "output_reduction.hpp"

#include <fntk/error.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <signs.hpp>

#include <algorithm>
#include <cmath>
#include <utility>

namespace fntk {

namespace {

/// body(r, a_r) with a_r the k entries of row r of A as double.
template <class Body>
void over_readout(const Tangent& tangent, Body&& body) {
    constexpr std::int64_t block = 4096;
    const Device& device = tangent.device();
    const Readout readout = tangent.network().readout();
    Matrix rows = device.zeros(std::min(block, readout.width), readout.outputs, DType::f64);
    for (std::int64_t r0 = 0; r0 < readout.width; r0 += block) {
        const MatrixView part = rows.view().row_block(0, std::min(block, readout.width - r0));
        device.ops().readout_rows(readout, r0, part);
        const Staged a = device.on_host(part);
        for (std::int64_t r = 0; r < part.rows; ++r) body(r0 + r, a.view().row<double>(r));
    }
}

}  // namespace

void check_pair(const Tangent& rows, const Tangent& cols, Train train) {
    if (!train.any()) throw ValueError("train is empty; name at least one of down, up, readout");
    const NetworkSpec &a = rows.network().spec(), &b = cols.network().spec();
    if (!rows.network().same_weights(cols.network()))
        throw ShapeError(fmt::format(
            "the two tangents belong to different networks (dim {} and {}, width {} and {}, rank {} "
            "and {}, outputs {} and {}, or another seed, family, activation, precision or rounding, or "
            "tensors of other values); take both from one network",
            a.dim, b.dim, a.width, b.width, a.rank, b.rank, a.outputs, b.outputs));
    for (const Tangent* tangent : {&rows, &cols})
        if (train.down && !tangent->has_gradients() && tangent->size() > 0)
            throw ValueError(
                "the kernel of down needs G and the tangent did not keep it; ask for it with "
                "TangentOptions{.gradients = true}");
}

Matrix effective_readout(const Tangent& tangent, KernelOutput output) {
    const std::int64_t k = tangent.outputs();
    Matrix result(tangent.network().spec().width, 1, DType::f64);
    over_readout(tangent, [&](std::int64_t r, const double* a) {
        double sum = 0, squares = 0;
        for (std::int64_t c = 0; c < k; ++c) {
            sum += a[c];
            squares += a[c] * a[c];
        }
        result.row<double>(r)[0] = output == KernelOutput::trace
                                       ? std::sqrt(squares / static_cast<double>(k))
                                       : sum / std::sqrt(static_cast<double>(k));
    });
    return result;
}

Matrix readout_product(const Tangent& tangent, std::int64_t c, std::int64_t c_col) {
    Matrix result(1, tangent.network().spec().width, DType::f64);
    over_readout(tangent,
                 [&](std::int64_t r, const double* a) { result.row<double>(0)[r] = a[c] * a[c_col]; });
    return result;
}

BitMatrix readout_agreement(const Network& network, std::int64_t c, std::int64_t c_col) {
    const Readout readout = network.readout();
    BitMatrix result(1, readout.width);
    std::uint64_t* words = result.view().row(0);
    for (std::int64_t w = 0; w < result.words_per_row(); ++w) {
        std::uint64_t bits = 0;
        for (std::uint64_t half = 0; half < 2; ++half) {
            const std::uint64_t index = 2 * static_cast<std::uint64_t>(w) + half;
            const auto word = [&](std::int64_t column) {
                return kernels::random_word(readout.seed, kernels::Stream::readout,
                                            kernels::readout_word(column) + index);
            };
            bits |= static_cast<std::uint64_t>(~(word(c) ^ word(c_col))) << (32 * half);
        }
        const std::int64_t left = readout.width - 64 * w;
        words[w] = left >= 64 ? bits : bits & ((std::uint64_t{1} << left) - 1);
    }
    return result;
}

Matrix summed_gradients(const Device& device, ConstMatrixView gradients, std::int64_t outputs) {
    const double weight = 1.0 / std::sqrt(static_cast<double>(outputs));
    Matrix weights(gradients.rows, outputs, gradients.dtype);
    const auto fill = [&](auto type) {
        using T = decltype(type);
        std::fill_n(weights.row<T>(0), weights.rows() * outputs, static_cast<T>(weight));
    };
    gradients.dtype == DType::f32 ? fill(float{}) : fill(double{});
    Matrix result = device.zeros(gradients.rows, gradients.cols / outputs, gradients.dtype);
    device.ops().row_combine(gradients, device.to_device(std::move(weights)), result);
    return result;
}

}  // namespace fntk

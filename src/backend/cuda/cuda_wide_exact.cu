// The wide pass in integers; wide_way.hpp chooses the kernel. Every way adds to Ĝ, which is zeroed here;
// f̂ = <ĥ, Ĝ> and what the two stand for come last (kernels/exact_values.hpp).
#include <backend/cuda/cuda.hpp>
#include <backend/cuda/wide_way.hpp>
#include <backend/scalar.hpp>

#include <exact_values.hpp>
#include <int8_chain.hpp>
#include <open_gradients.hpp>
#include <open_gradients_srht.hpp>
#include <open_sum.hpp>
#include <transpose.hpp>
#include <wide_pass_exact64.hpp>
#include <wide_pass_rademacher.hpp>
#include <wide_pass_srht.hpp>
#include <wide_pass_srht_long.hpp>

namespace fntk::backend::cuda {

namespace {

std::int64_t padded_16(std::int64_t n) { return kernels::round_up(n, 16); }

/// f(pass, open) with the kernels on mma.sync that find gates and the first output, and further ones of
/// them.
template <class F>
void with_fused(const UpFactor& up, int bits, const F& f) {
    if (up.family == Up::srht)
        kernels::with_srht_rank(up.rank, [&](auto padded) {
            constexpr int p = decltype(padded)::value;
            f(kernels::WidePassSrht<p>(), kernels::OpenGradientsSrht<p>());
        });
    else
        kernels::with_rank_columns(up.rank, [&](auto columns) {
            constexpr int p = decltype(columns)::value;
            kernels::with_digits(bits, [&](auto digits) {
                f(kernels::WidePassRademacher<p, decltype(digits)::value>(), kernels::OpenGradients<p>());
            });
        });
}

}  // namespace

void Cuda::wide_pass_exact(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                           const WideSums& out) {
    wide_pass_scaled(up, readout, h, bits, out, {});
}

void Cuda::wide_pass_scaled(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                            const WideSums& out, const RealSums& real) {
    const Scope scope(*context_, "wide_pass_exact");
    const bool sums = out.gradients.data != nullptr || out.values.data != nullptr;
    const Scratch<std::int32_t> scratch(*context_, sums && out.gradients.data == nullptr ? h.rows : 0,
                                        readout.outputs * up.rank);
    const MatrixView gradients = out.gradients.data != nullptr || !sums ? out.gradients : scratch.view();
    integer_sums(up, readout, h, bits, out.gates, gradients);
    with_int(h.dtype, [&](auto type) {
        using Values = kernels::ExactValues<decltype(type)>;
        Values kernel;
        kernel.h = rows_of<decltype(type)>(h);
        kernel.gradients = rows_of<std::int32_t>(ConstMatrixView(gradients));
        kernel.outputs = readout.outputs;
        kernel.values = rows_of<typename Values::Value>(out.values);
        kernel.exponents = rows_of<std::int32_t>(real.exponents);
        kernel.real_values = rows_of<typename Values::Real>(real.values);
        kernel.real_gradients = rows_of<typename Values::Real>(real.gradients);
        kernel.offset = rows_of<std::int32_t>(real.open_sum).data;
        kernel.values_unit = real.values_scale * (real.open - real.closed);
        kernel.gradients_unit = real.gradients_scale * (real.open - real.closed);
        kernel.offset_unit = real.gradients_scale * real.closed;
        context_->run(kernel);
    });
}

void Cuda::integer_sums(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                        BitView gates, MatrixView gradients) {
    if (gradients.data != nullptr) zero(gradients);
    switch (choose_wide_way(up.family, up.rank, h.dtype, context_->limits(), h.rows, has_wgmma()).way) {
        case WideWay::wgmma:
            return fused(up, readout, h, bits, gates, gradients, true);
        case WideWay::fused:
        case WideWay::transform:
            return fused(up, readout, h, bits, gates, gradients, false);
        case WideWay::long_transform:
            return long_transform(up, readout, h, gates, gradients);
        case WideWay::int8_chain:
            return int8_chain(up, readout, h, bits, gates, gradients);
        case WideWay::plain:
            return with_int(h.dtype, [&](auto type) {
                auto kernel =
                    pass_of<kernels::WidePassExact64<decltype(type)>>(up, readout, h, gates, gradients);
                kernel.srht = up.family == Up::srht;
                context_->run(kernel);
            });
    }
}

void Cuda::long_transform(const UpFactor& up, const Readout& readout, ConstMatrixView h, BitView gates,
                          MatrixView gradients) {
    using Two = kernels::WidePassSrhtLong<2>;
    if (readout.outputs > 1 && Two::unsupported(up.rank, context_->limits()) == nullptr)
        context_->run(pass_of<Two>(up, readout, h, gates, gradients));
    else
        context_->run(pass_of<kernels::WidePassSrhtLong<1>>(up, readout, h, gates, gradients));
}

void Cuda::fused(const UpFactor& up, const Readout& readout, ConstMatrixView h, int hidden_bits,
                 BitView gates, MatrixView gradients, bool wgmma) {
    // Outputs beyond the first, and all of a rademacher V of rank above 256, come from gates, which are
    // kept for as many rows as `most` words hold.
    constexpr std::int64_t most = std::int64_t{1} << 25;
    const bool first_too = up.family != Up::srht && up.rank > most_fused_rank,
               further = gradients.data != nullptr && (readout.outputs > 1 || first_too),
               kept = further && gates.empty();
    const std::int64_t words = (up.width + 63) / 64;
    const std::int64_t rows =
        kept ? std::clamp<std::int64_t>(most / words / 128 * 128, 128, std::max<std::int64_t>(h.rows, 128))
             : std::max<std::int64_t>(h.rows, 1);
    const Scratch<std::uint64_t> scratch(*context_, kept ? std::min(rows, h.rows) : 0, words);
    for (std::int64_t i = 0; i < h.rows; i += rows) {
        const std::int64_t n = std::min(rows, h.rows - i);
        const BitView bits = kept ? BitView{scratch.data(), n, up.width, words, context_->place()} : gates;
        const MatrixView sums = gradients.data == nullptr ? gradients : gradients.row_block(i, n);
        const ConstMatrixView part = h.row_block(i, n);
        if (wgmma && fused_wgmma(up, readout, part, hidden_bits, bits, sums)) continue;
        if (first_too) {  // all that is left, by what keeps no gates
            const ConstMatrixView left = h.row_block(i, h.rows - i);
            return int8_chain(up, readout, left, hidden_bits, gates,
                              gradients.data == nullptr ? gradients : gradients.row_block(i, left.rows));
        }
        with_fused(up, hidden_bits, [&](auto pass, auto open) {
            context_->run(pass_of<decltype(pass)>(up, readout, part, bits, sums));
            if (further) context_->run(further_of<decltype(open)>(up, readout, bits, sums));
        });
    }
}

void Cuda::int8_chain(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                      BitView gates, MatrixView gradients) {
    constexpr std::int64_t most_samples = 8192, bytes = std::int64_t{256} << 20;
    const std::int64_t p = up.rank, k = readout.outputs, depth = padded_16(p);
    const std::int64_t samples = padded_16(std::min(h.rows, most_samples));
    const int digits = kernels::byte_digits(bits);
    const std::int64_t units = std::clamp<std::int64_t>(
        bytes / ((4 * digits + 1) * std::max<std::int64_t>(samples, 1)) / 64 * 64, 256, 8192);
    const bool sums = gradients.data != nullptr;
    Context& gpu = *context_;
    const Scratch<std::int8_t> h_digits(gpu, digits * samples, depth), v(gpu, units, depth),
        v_transposed(gpu, depth, units),
        bytes_of_gates(gpu, samples, units);  // rows past n mean nothing: their sums are not copied
    const Scratch<std::int32_t> z(gpu, digits * samples, units), total(gpu, sums ? k * samples : 0, depth);
    const auto zeroed = [&](void* memory, std::int64_t count) {
        gpu.check(cudaMemsetAsync(memory, 0, static_cast<std::size_t>(count), gpu.stream()),
                  "zeroing memory");
    };

    for (std::int64_t i0 = 0; i0 < h.rows; i0 += samples) {
        const std::int64_t n = std::min(samples, h.rows - i0);
        if (sums) zeroed(total.data(), 4 * k * samples * depth);
        kernels::SplitDigits split;
        split.h = rows_of<std::int32_t>(h.row_block(i0, n));
        zeroed(h_digits.data(), digits * samples * depth);
        for (int digit = 0; digit < digits; ++digit)
            split.digits[digit] = {h_digits.data() + digit * samples * depth, n, depth, depth};
        gpu.run(split);
        for (std::int64_t r0 = 0; r0 < up.width; r0 += units) {
            const std::int64_t count = std::min(units, up.width - r0), padded = padded_16(count);
            const kernels::Rows<std::int8_t> block{v.data(), padded, depth, depth};
            if (up.family == Up::srht)
                gpu.run(kernels::ExpandSigns<true>{up.seed, p, r0, block});
            else
                gpu.run(kernels::ExpandSigns<false>{up.seed, p, r0, block});
            int8_product(gpu, h_digits.read(), {v.data(), padded, depth, depth}, false,
                         {z.data(), digits * samples, padded, padded});
            if (sums)
                gpu.run(kernels::Transpose<std::int8_t>{{v.data(), padded, depth, depth},
                                                        {v_transposed.data(), depth, padded, padded}});
            for (std::int64_t c = 0; c < std::max<std::int64_t>(1, sums ? k : 1); ++c) {
                kernels::GateBytes open;
                open.readout_seed = readout.seed;
                open.r0 = r0;
                open.c = c;
                for (int digit = 0; digit < (c == 0 ? digits : 1); ++digit)
                    open.z[digit] = {z.data() + digit * samples * padded, n, count, padded};
                open.keep_sum = c == 0 && sums && k > 1;
                if (sums) open.bytes = {bytes_of_gates.data(), n, padded, padded};
                if (c == 0 && !gates.empty()) {
                    open.gates = words_of(gates);
                    open.gates.data += i0 * open.gates.stride;
                    open.gates.rows = n;
                }
                gpu.run(open);
                if (sums)
                    int8_product(gpu, {bytes_of_gates.data(), samples, padded, padded},
                                 {v_transposed.data(), depth, padded, padded}, true,
                                 {total.data() + c * samples * depth, samples, depth, depth});
            }
        }
        for (std::int64_t c = 0; c < (sums ? k : 0); ++c)
            copy(total.view().row_block(c * samples, n).col_block(0, p),
                 gradients.row_block(i0, n).col_block(c * p, p));
    }
}

void Cuda::open_sum(const UpFactor& up, const Readout& readout, MatrixView sum) {
    const Scope scope(*context_, "open_sum");
    zero(sum);
    const auto run = [&](auto srht) {
        kernels::OpenSum<decltype(srht)::value> kernel;
        kernel.up_seed = up.seed;
        kernel.readout_seed = readout.seed;
        kernel.m = up.width;
        kernel.sum = rows_of<std::int32_t>(sum);
        kernel.steps = kernel.steps_for(context_->limits());
        context_->run(kernel);
    };
    up.family == Up::srht ? run(std::true_type{}) : run(std::false_type{});
}

}  // namespace fntk::backend::cuda

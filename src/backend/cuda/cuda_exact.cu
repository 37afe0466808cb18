// Into and out of the integers. The products of digits are int8 products of their bytes by cuBLAS, exact in
// int32 (kernels/down_product.hpp); rows go in blocks, so that the digits of X take a bounded workspace.
#include <backend/cuda/cuda.hpp>
#include <backend/scalar.hpp>

#include <dequantise.hpp>
#include <down_product.hpp>
#include <fix_down.hpp>
#include <hidden_rows.hpp>
#include <int8_chain.hpp>
#include <quantise_rows.hpp>

namespace fntk::backend::cuda {

namespace {

constexpr std::int64_t digit_bytes = std::int64_t{512} << 20;  // of a block of rows in digits and sums
constexpr int shifts = kernels::AddDigitProduct::shifts;

/// The bytes of U's digits, the lowest first (kernels::DigitBytes), rows padded to a multiple of 16.
struct DownDigits {
    int count;
    std::int64_t rows, cols, row_bytes = kernels::DigitBytes::row_bytes(cols);
    Scratch<std::int8_t> memory;

    DownDigits(Context& context, const FixedPoint& u)
        : count(static_cast<int>(u.count())),
          rows(kernels::round_up(u.rows, 16)),
          cols(u.digits.cols),
          memory(context, count * rows, row_bytes) {
        for (int b = 0; b < count; ++b)
            for (std::int64_t j = 0; j < cols; j += kernels::DigitBytes::chunk) {
                const std::int64_t pitch = kernels::DigitBytes::pitch(cols, j);
                kernels::SplitDigits split;
                split.h = rows_of<std::int32_t>(
                    u.digit(b).col_block(j, std::min(kernels::DigitBytes::chunk, cols - j)));
                for (int t = 0; t < 3; ++t) split.digits[t] = {plane(b, j, t), u.rows, pitch, row_bytes};
                context.run(split);
            }
    }
    /// `planes` planes from byte t on of the chunk from column j on.
    [[nodiscard]] kernels::Rows<const std::int8_t> bytes(int b, std::int64_t j, std::int64_t t,
                                                         std::int64_t planes) const {
        return {plane(b, j, t), rows, planes * kernels::DigitBytes::pitch(cols, j), row_bytes};
    }

  private:
    [[nodiscard]] std::int8_t* plane(int b, std::int64_t j, std::int64_t t) const {
        return memory.data() + b * rows * row_bytes + 3 * j + t * kernels::DigitBytes::pitch(cols, j);
    }
};

}  // namespace

void Cuda::fix_down(MatrixView u, MatrixView digits, MatrixView exponent) {
    const Scope scope(*context_, "fix_down");
    const kernels::Rows<double> values = rows_of<double>(u);
    const kernels::Rows<std::int32_t> all = rows_of<std::int32_t>(digits);
    const std::int64_t slot_count = kernels::reduction_slots(u.rows, u.cols);
    const Scratch<double> slots(*context_, 1, slot_count);
    using Source = kernels::Magnitude<double>;
    context_->run(kernels::ReduceElements<Source>{Source{rows_of<double>(ConstMatrixView(u))}, u.rows,
                                                  u.cols, slots.data()});
    const auto fix = [&](auto places) {
        kernels::FixDown<std::int32_t, decltype(places)::value> kernel;
        kernel.slots = slots.data();
        kernel.slot_count = slot_count;
        kernel.u = values;
        for (std::int64_t a = 0; a < decltype(places)::value; ++a)
            kernel.digits[a] = {all.row(a * u.rows), u.rows, u.cols, all.stride};
        kernel.exponent = rows_of<std::int32_t>(exponent).data;
        context_->run(kernel);
    };
    digits.rows == u.rows ? fix(std::integral_constant<int, 1>{}) : fix(std::integral_constant<int, 3>{});
}

void Cuda::down_product(ConstMatrixView x, const FixedPoint& u, double scale, MatrixView v,
                        MatrixView row_exponents) {
    const Scope scope(*context_, "down_product");
    with_real(x.dtype, [&](auto type) {
        using T = decltype(type);
        if (u.empty())
            return context_->run(kernels::ScaleRows<T>{rows_of<T>(x), rows_of<double>(v),
                                                       rows_of<std::int32_t>(row_exponents)});
        const DownDigits down(*context_, u);
        constexpr int places = kernels::SplitRows<T>::places;
        const std::int64_t p = u.rows, d = x.cols, padded_p = kernels::round_up(p, 16),
                           row_bytes = kernels::DigitBytes::row_bytes(d);
        const std::int64_t bytes_of_row = places * row_bytes + 4 * shifts * padded_p;
        const std::int64_t block = kernels::round_up(
            std::min(x.rows, std::max<std::int64_t>(digit_bytes / bytes_of_row, 256)), 16);
        const Scratch<std::int8_t> digits(*context_, places * block, row_bytes);
        const Scratch<std::int32_t> sums(*context_, shifts * block, padded_p);
        const Scratch<std::int64_t> total(*context_, d > kernels::DigitBytes::chunk ? block : 0, p);
        for (std::int64_t begin = 0; begin < x.rows; begin += block) {
            const std::int64_t rows = std::min(block, x.rows - begin);
            kernels::SplitRows<T> split;
            split.x = rows_of<T>(x.row_block(begin, rows));
            split.down_exponent = rows_of<std::int32_t>(u.exponent).data;
            split.exponents = rows_of<std::int32_t>(row_exponents.row_block(begin, rows));
            for (int a = 0; a < places; ++a) split.digits[a] = {digits.data() + a * block * row_bytes, d};
            context_->run(split);

            kernels::AddDigitProduct add;
            for (int s = 0; s < shifts; ++s)
                add.sums[s] = {sums.data() + s * block * padded_p, rows, p, padded_p};
            add.total = {total.data(), rows, p, p};
            add.v = rows_of<double>(v.row_block(begin, rows));
            add.scale = scale;
            for (add.a = places - 1; add.a >= 0; --add.a)
                for (add.b = down.count - 1; add.b >= 0; --add.b)
                    for (std::int64_t j = 0; j < std::max<std::int64_t>(d, 1);
                         j += kernels::DigitBytes::chunk) {
                        const std::int64_t pitch = kernels::DigitBytes::pitch(d, j);
                        for (int s = 0; s < shifts; ++s) {
                            const std::int64_t common = s < 3 ? s + 1 : shifts - s;  // bytes that meet
                            const kernels::Rows<const std::int8_t> of_x{
                                split.digits[add.a].data + 3 * j + (s < 3 ? 2 - s : 0) * pitch,
                                kernels::round_up(rows, 16), common * pitch, row_bytes};
                            int8_product(
                                *context_, of_x, down.bytes(add.b, j, s < 3 ? 0 : s - 2, common), false,
                                {sums.data() + s * block * padded_p, of_x.rows, padded_p, padded_p});
                        }
                        add.first_chunk = j == 0;
                        add.last_chunk = j + kernels::DigitBytes::chunk >= d;
                        add.first_pair = add.a == places - 1 && add.b == down.count - 1;
                        context_->run(add);
                    }
        }
    });
}

void Cuda::quantise_rows(ConstMatrixView v, int bits, MatrixView h, MatrixView row_exponents) {
    const Scope scope(*context_, "quantise_rows");
    with_int(h.dtype, [&](auto type) {
        using Z = decltype(type);
        context_->run(kernels::QuantiseRows<Z>{rows_of<double>(v), bits, rows_of<Z>(h),
                                               rows_of<std::int32_t>(row_exponents)});
    });
}

void Cuda::hidden_rows(ConstMatrixView x, const FixedPoint& u, double scale, int bits, MatrixView h,
                       MatrixView row_exponents, MatrixView hidden) {
    const Scope scope(*context_, "hidden_rows");
    with_real(x.dtype, [&](auto type) {
        using T = decltype(type);
        const auto run = [&](auto source) {
            using Kernel = kernels::HiddenRows<T, decltype(source)>;
            context_->run(Kernel{source, bits, rows_of<typename Kernel::Z>(h),
                                 rows_of<std::int32_t>(row_exponents), rows_of<T>(hidden)});
        };
        if (u.empty()) return run(kernels::ScaledInputs<T>{rows_of<T>(x)});
        const Scratch<double> v(*context_, h.rows, h.cols);
        down_product(x, u, scale, v.view(), row_exponents);
        run(kernels::DownProducts{v.read()});
    });
}

void Cuda::dequantise(ConstMatrixView in, ConstMatrixView exponents, double scale, double closed,
                      double open, ConstMatrixView offset, MatrixView out) {
    const Scope scope(*context_, "dequantise");
    with_real(out.dtype, [&](auto out_type) {
        using Out = decltype(out_type);
        const auto run = [&](auto in_type) {
            using In = decltype(in_type);
            context_->run(kernels::Dequantise<In, Out>{
                rows_of<In>(in), rows_of<std::int32_t>(exponents), scale, closed, open,
                rows_of<std::int32_t>(offset).data, rows_of<Out>(out)});
        };
        in.dtype == DType::f64 ? run(double{}) : with_int(in.dtype, run);
    });
}

}  // namespace fntk::backend::cuda

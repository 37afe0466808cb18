// Into and out of the integers. The products of digits are those of whole numbers in double by cuBLAS, in
// chunks of 1024 columns, each exact in any order (docs/contract.md); rows go in blocks, so that the digits
// of X take a bounded workspace.
#include <backend/cuda/cuda.hpp>
#include <backend/scalar.hpp>

#include <dequantise.hpp>
#include <down_product.hpp>
#include <fix_down.hpp>
#include <gate_gram.hpp>
#include <quantise_rows.hpp>

namespace fntk::backend::cuda {

namespace {

constexpr std::int64_t digit_bytes = std::int64_t{256} << 20;  // of a block of rows in digits

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
        constexpr int places = kernels::SplitRows<T>::places;
        const std::int64_t p = u.rows, d = x.cols, places_u = u.count();
        const Scratch<double> u_digits(*context_, places_u * p, d);
        context_->run(kernels::Dequantise<std::int32_t, double>{
            rows_of<std::int32_t>(u.digits), {}, 1, 0, 1, nullptr, u_digits.rows()});

        const std::int64_t most = digit_bytes / (places * std::max<std::int64_t>(d, 1) * 8);
        const std::int64_t block = std::min(x.rows, std::max<std::int64_t>(most, 256));
        const Scratch<double> x_digits(*context_, places * block, d), partial(*context_, block, p);
        const Scratch<std::int64_t> total(*context_, d > kernels::exact_columns ? block : 0, p);
        for (std::int64_t begin = 0; begin < x.rows; begin += block) {
            const std::int64_t rows = std::min(block, x.rows - begin);
            kernels::SplitRows<T> split;
            split.x = rows_of<T>(x.row_block(begin, rows));
            split.down_exponent = rows_of<std::int32_t>(u.exponent).data;
            split.exponents = rows_of<std::int32_t>(row_exponents.row_block(begin, rows));
            for (int a = 0; a < places; ++a)
                split.digits[a] = {x_digits.data() + a * block * d, rows, d, d};
            context_->run(split);

            for (int a = places - 1; a >= 0; --a)
                for (int b = static_cast<int>(places_u) - 1; b >= 0; --b)
                    for (std::int64_t j = 0; j < d; j += kernels::exact_columns) {
                        const std::int64_t cols = std::min(kernels::exact_columns, d - j);
                        product(false, true, 1,
                                x_digits.view().row_block(a * block, rows).col_block(j, cols),
                                u_digits.view().row_block(b * p, p).col_block(j, cols), 0,
                                partial.view().row_block(0, rows));
                        kernels::AddDigitProduct add;
                        add.partial = {partial.data(), rows, p, p};
                        add.total = {total.data(), rows, p, p};
                        add.v = rows_of<double>(v.row_block(begin, rows));
                        add.a = a;
                        add.b = b;
                        add.first_chunk = j == 0;
                        add.last_chunk = j + cols == d;
                        add.first_pair = a == places - 1 && b == places_u - 1;
                        add.scale = scale;
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

void Cuda::gate_gram(ConstBitView rows, ConstBitView cols, ConstBitView weights, MatrixView counts) {
    const Scope scope(*context_, "gate_gram");
    const auto run = [&](auto kernel) {
        kernel.width = rows.cols;
        kernel.a = words_of(rows);
        kernel.b = words_of(cols);
        kernel.w = weights.empty() ? nullptr : weights.words;
        kernel.counts = rows_of<std::int32_t>(counts);
        kernel.slices = kernel.slices_for(context_->limits());
        if (kernel.slices > 1) zero(counts);
        context_->run(kernel);
    };
    weights.empty() ? run(kernels::GateGram<false>{}) : run(kernels::GateGram<true>{});
}

}  // namespace fntk::backend::cuda

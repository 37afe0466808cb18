// Rows of V and A: from their seed, or copied where they are stored.
#include <backend/cuda/cuda.hpp>
#include <backend/scalar.hpp>

#include <per_sample_gradients.hpp>
#include <readout_rows.hpp>
#include <up_rows.hpp>

namespace fntk::backend::cuda {

void Cuda::up_rows(const UpFactor& up, std::int64_t r0, MatrixView rows) {
    const Scope scope(*context_, "up_rows");
    if (up.values.data != nullptr) return axpby(1, up.values.row_block(r0, rows.rows), 0, rows);
    with_real(rows.dtype, [&](auto type) {
        using T = decltype(type);
        switch (up.family) {
            case Up::gaussian:
                return context_->run(kernels::UpRowsOfNormals<T>{up.seed, r0, rows_of<T>(rows)});
            case Up::rademacher:
                return context_->run(kernels::UpRowsOfSigns<T, false>{up.seed, r0, rows_of<T>(rows)});
            case Up::srht:
                return context_->run(kernels::UpRowsOfSigns<T, true>{up.seed, r0, rows_of<T>(rows)});
        }
    });
}

void Cuda::readout_rows(const Readout& readout, std::int64_t r0, MatrixView rows) {
    const Scope scope(*context_, "readout_rows");
    if (!readout.signs()) return axpby(1, readout.values.row_block(r0, rows.rows), 0, rows);
    with_real(rows.dtype, [&](auto type) {
        using T = decltype(type);
        context_->run(kernels::ReadoutRows<T>{readout.seed, r0, rows_of<T>(rows)});
    });
}

void Cuda::slope_rows(ConstBitView gates, std::int64_t first, const Readout& readout, std::int64_t c,
                      double scale, double closed, double open, MatrixView out) {
    const Scope scope(*context_, "slope_rows");
    with_real(out.dtype, [&](auto type) {
        using T = decltype(type);
        const Scratch<T> a(*context_, readout.width, readout.outputs);
        readout_rows(readout, 0, a.view());
        kernels::SlopeRows<T> kernel;
        kernel.gates = words_of(gates);
        kernel.gates.data += first * kernel.gates.stride;
        kernel.scale = scale;
        kernel.closed = closed;
        kernel.open = open;
        kernel.a = a.read();
        kernel.c = c;
        kernel.left = rows_of<T>(out);
        context_->run(kernel);
    });
}

}  // namespace fntk::backend::cuda

// The floating path of the oracle: any V, any A, any σ, unit by unit of the width.
#include <backend/reference.hpp>
#include <backend/scalar.hpp>

#include <vector>

namespace fntk::backend {

void store(MatrixView view, std::int64_t i, std::int64_t j, double x) {
    with_real(view.dtype, [&](auto type) {
        using T = decltype(type);
        view.at<T>(i, j) = static_cast<T>(x);
    });
}

namespace {

void add(MatrixView view, std::int64_t i, std::int64_t j, double x) {
    store(view, i, j, value(view, i, j) + x);
}

/// Row r of V and of A as double.
struct Unit {
    std::vector<double> v, a;

    Unit(const UpFactor& up, const Readout& readout, DType precision, std::int64_t r)
        : v(up.rank), a(readout.outputs) {
        for (std::int64_t q = 0; q < up.rank; ++q) v[q] = up_entry(up, precision, r, q);
        for (std::int64_t c = 0; c < readout.outputs; ++c) a[c] = readout_entry(readout, r, c);
    }
    [[nodiscard]] double preactivation(ConstMatrixView h, std::int64_t i) const {
        double z = 0;
        for (std::int64_t q = 0; q < h.cols; ++q) z += v[q] * value(h, i, q);
        return z;
    }
};

}  // namespace

void Reference::wide_pass_real(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                               ConstMatrixView h, const WideSums& out) {
    const std::int64_t n = h.rows, p = up.rank, k = readout.outputs;
    std::vector<double> gradients(n * k * p), values(n * k);
    if (!out.gates.empty())
        for (std::int64_t i = 0; i < n; ++i)
            std::fill_n(out.gates.row(i), out.gates.stride, std::uint64_t{0});
    for (std::int64_t r = 0; r < up.width; ++r) {
        const Unit unit(up, readout, h.dtype, r);
        for (std::int64_t i = 0; i < n; ++i) {
            const double z = unit.preactivation(h, i);
            const double s = sigma(activation, false, z), d = sigma(activation, true, z);
            if (z > 0 && !out.gates.empty()) out.gates.row(i)[r / 64] |= std::uint64_t{1} << (r % 64);
            for (std::int64_t c = 0; c < k; ++c) {
                values[i * k + c] += unit.a[c] * s;
                for (std::int64_t q = 0; q < p; ++q)
                    gradients[(i * k + c) * p + q] += d * unit.a[c] * unit.v[q];
            }
        }
    }
    for (std::int64_t i = 0; i < n; ++i) {
        if (out.values.data != nullptr)
            for (std::int64_t c = 0; c < k; ++c) store(out.values, i, c, values[i * k + c]);
        if (out.gradients.data != nullptr)
            for (std::int64_t q = 0; q < k * p; ++q) store(out.gradients, i, q, gradients[i * k * p + q]);
    }
}

void Reference::feature_gram(const UpFactor& up, const ActivationSpec& activation, bool derivative,
                             ConstMatrixView weights, ConstMatrixView rows, ConstMatrixView cols,
                             MatrixView out) {
    std::vector<double> sum(rows.rows * cols.rows), phi(rows.rows), phi_cols(cols.rows);
    for (std::int64_t r = 0; r < up.width; ++r) {
        const Unit unit(up, Readout{}, rows.dtype, r);
        const double w = weights.data == nullptr ? 1.0 : value(weights, 0, r);
        for (std::int64_t i = 0; i < rows.rows; ++i)
            phi[i] = sigma(activation, derivative, unit.preactivation(rows, i));
        for (std::int64_t j = 0; j < cols.rows; ++j)
            phi_cols[j] = sigma(activation, derivative, unit.preactivation(cols, j));
        for (std::int64_t i = 0; i < rows.rows; ++i)
            for (std::int64_t j = 0; j < cols.rows; ++j)
                sum[i * cols.rows + j] += w * (phi[i] * phi_cols[j]);
    }
    for (std::int64_t i = 0; i < rows.rows; ++i)
        for (std::int64_t j = 0; j < cols.rows; ++j) store(out, i, j, sum[i * cols.rows + j]);
}

void Reference::wide_gradient(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                              ConstMatrixView h, ConstMatrixView e, ConstBitView gates, std::int64_t r0,
                              MatrixView up_rows, MatrixView readout_rows) {
    const std::int64_t block = up_rows.data != nullptr ? up_rows.rows : readout_rows.rows;
    for (std::int64_t b = 0; b < block; ++b) {
        const Unit unit(up, readout, h.dtype, r0 + b);
        std::vector<double> dv(up.rank), da(readout.outputs);
        for (std::int64_t i = 0; i < h.rows; ++i) {
            const double z = unit.preactivation(h, i);
            const double s = sigma(activation, false, z);
            const double d = gates.empty()          ? sigma(activation, true, z)
                             : gates.get(i, r0 + b) ? activation.open_slope()
                                                    : activation.closed_slope();
            double ea = 0;
            for (std::int64_t c = 0; c < readout.outputs; ++c) {
                ea += value(e, i, c) * unit.a[c];
                da[c] += s * value(e, i, c);
            }
            for (std::int64_t q = 0; q < up.rank; ++q) dv[q] += ea * d * value(h, i, q);
        }
        if (up_rows.data != nullptr)
            for (std::int64_t q = 0; q < up.rank; ++q) store(up_rows, b, q, dv[q]);
        if (readout_rows.data != nullptr)
            for (std::int64_t c = 0; c < readout.outputs; ++c) store(readout_rows, b, c, da[c]);
    }
}

void Reference::wide_apply(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                           WideTrain train, ConstMatrixView h, ConstMatrixView h_from, ConstMatrixView e,
                           MatrixView out) {
    const std::int64_t k = readout.outputs;
    std::vector<double> sum(h.rows * k);
    for (std::int64_t r = 0; r < up.width; ++r) {
        const Unit unit(up, readout, h.dtype, r);
        std::vector<double> dv(up.rank), da(k);  // Jᵀe in row r
        for (std::int64_t j = 0; j < h_from.rows; ++j) {
            const double z = unit.preactivation(h_from, j);
            for (std::int64_t c = 0; c < k; ++c) {
                da[c] += sigma(activation, false, z) * value(e, j, c);
                for (std::int64_t q = 0; q < up.rank; ++q)
                    dv[q] += value(e, j, c) * unit.a[c] * sigma(activation, true, z) * value(h_from, j, q);
            }
        }
        for (std::int64_t i = 0; i < h.rows; ++i) {
            const double z = unit.preactivation(h, i);
            double along = 0;
            for (std::int64_t q = 0; q < up.rank; ++q) along += dv[q] * value(h, i, q);
            for (std::int64_t c = 0; c < k; ++c) {
                if (train.up) sum[i * k + c] += unit.a[c] * sigma(activation, true, z) * along;
                if (train.readout) sum[i * k + c] += sigma(activation, false, z) * da[c];
            }
        }
    }
    for (std::int64_t i = 0; i < h.rows; ++i)
        for (std::int64_t c = 0; c < k; ++c) add(out, i, c, sum[i * k + c]);
}

void Reference::up_rows(const UpFactor& up, std::int64_t r0, MatrixView rows) {
    for (std::int64_t b = 0; b < rows.rows; ++b)
        for (std::int64_t q = 0; q < rows.cols; ++q) store(rows, b, q, up_entry(up, rows.dtype, r0 + b, q));
}

void Reference::readout_rows(const Readout& readout, std::int64_t r0, MatrixView rows) {
    for (std::int64_t b = 0; b < rows.rows; ++b)
        for (std::int64_t c = 0; c < rows.cols; ++c) store(rows, b, c, readout_entry(readout, r0 + b, c));
}

void Reference::slope_rows(ConstBitView gates, std::int64_t first, const Readout& readout, std::int64_t c,
                           double scale, double closed, double open, MatrixView out) {
    for (std::int64_t i = 0; i < out.rows; ++i)
        for (std::int64_t r = 0; r < out.cols; ++r) {
            store(out, i, r, scale * (gates.get(first + i, r) ? open : closed));
            store(out, i, r, value(out, i, r) * readout_entry(readout, r, c));
        }
}

}  // namespace fntk::backend

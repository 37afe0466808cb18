// The exact path of the oracle: fixed point, quantisation, and integer sums over the width.
#include <backend/reference.hpp>
#include <backend/scalar.hpp>

#include <fixed_point.hpp>

#include <algorithm>

namespace fntk::backend {

__extension__ using int128 = __int128;

namespace {

/// Row i of X scaled to |x| ≤ 1, and the exponent taken out.
int scaled_row(ConstMatrixView x, std::int64_t i, std::vector<double>& row) {
    double largest = 0;
    for (std::int64_t j = 0; j < x.cols; ++j) largest = std::max(largest, std::abs(value(x, i, j)));
    const int exponent = kernels::exponent_of(largest);
    for (std::int64_t j = 0; j < x.cols; ++j) row[j] = std::ldexp(value(x, i, j), -exponent);
    return exponent;
}

}  // namespace

void Reference::fix_down(MatrixView u, MatrixView digits, MatrixView exponent) {
    double largest = 0;
    for (std::int64_t q = 0; q < u.rows; ++q)
        for (std::int64_t j = 0; j < u.cols; ++j) largest = std::max(largest, std::abs(u.at<double>(q, j)));
    const int e = kernels::down_exponent(largest);
    exponent.at<std::int32_t>(0, 0) = e;
    for (std::int64_t q = 0; q < u.rows; ++q)
        for (std::int64_t j = 0; j < u.cols; ++j) {
            const double entry = u.at<double>(q, j);
            double rest = kernels::is_finite(entry) ? std::ldexp(entry, -e) : 0, rounded = 0;
            for (std::int64_t digit = 0; digit < digits.rows / u.rows; ++digit) {
                const std::int32_t taken = kernels::take_digit(rest, kernels::down_digit_bits);
                digits.at<std::int32_t>(digit * u.rows + q, j) = taken;
                rounded += std::ldexp(taken, -kernels::down_digit_bits * static_cast<int>(digit + 1));
            }
            u.at<double>(q, j) = std::ldexp(rounded, e);
        }
}

void Reference::down_product(ConstMatrixView x, const FixedPoint& u, double scale, MatrixView v,
                             MatrixView row_exponents) {
    const int x_digits = x.dtype == DType::f32 ? 1 : 3;
    std::vector<double> row(x.cols);
    for (std::int64_t i = 0; i < x.rows; ++i) {
        const int exponent = scaled_row(x, i, row);
        row_exponents.at<std::int32_t>(i, 0) = exponent + down_exponent(u);
        if (u.empty()) {
            std::copy(row.begin(), row.end(), v.row<double>(i));
            continue;
        }
        std::vector<std::vector<std::int64_t>> digits(x_digits, std::vector<std::int64_t>(x.cols));
        for (auto& digit : digits)
            for (std::int64_t j = 0; j < x.cols; ++j)
                digit[j] = kernels::take_digit(row[j], kernels::input_digit_bits);
        for (std::int64_t q = 0; q < u.rows; ++q) {
            double sum = 0;
            for (int a = x_digits - 1; a >= 0; --a)
                for (int b = u.count() - 1; b >= 0; --b) {
                    std::int64_t product = 0;
                    for (std::int64_t j = 0; j < x.cols; ++j)
                        product += digits[a][j] * u.digit(b).at<std::int32_t>(q, j);
                    sum += kernels::digit_term(product, a, b);
                }
            v.at<double>(i, q) = sum * scale;
        }
    }
}

void Reference::quantise_rows(ConstMatrixView v, int bits, MatrixView h, MatrixView row_exponents) {
    for (std::int64_t i = 0; i < v.rows; ++i) {
        const double* row = v.row<double>(i);
        double largest = 0;
        for (std::int64_t q = 0; q < v.cols; ++q) largest = std::max(largest, std::abs(row[q]));
        const int shift = bits - kernels::exponent_of(largest);
        auto& exponent = row_exponents.at<std::int32_t>(i, 0);
        exponent = largest == 0 ? 0 : exponent - shift;
        with_int(h.dtype, [&](auto type) {
            using T = decltype(type);
            for (std::int64_t q = 0; q < v.cols; ++q)
                h.at<T>(i, q) = static_cast<T>(kernels::quantise(row[q], shift));
        });
    }
}

void Reference::dequantise(ConstMatrixView in, ConstMatrixView exponents, double scale, double closed,
                           double open, ConstMatrixView offset, MatrixView out) {
    for (std::int64_t i = 0; i < in.rows; ++i) {
        const int exponent = exponents.data == nullptr ? 0 : exponents.at<std::int32_t>(i, 0);
        for (std::int64_t j = 0; j < in.cols; ++j) {
            const double gated = std::ldexp(scale * (open - closed) * value(in, i, j), exponent);
            const double constant = offset.data == nullptr ? 0.0 : scale * closed * value(offset, 0, j);
            store(out, i, j, gated + constant);
        }
    }
}

void Reference::wide_pass_exact(const UpFactor& up, const Readout& readout, ConstMatrixView h, int /*bits*/,
                                const WideSums& out) {
    const std::int64_t m = up.width, p = up.rank, k = readout.outputs;
    for (std::int64_t i = 0; i < h.rows; ++i) {
        std::vector<std::int64_t> gradients(k * p);
        std::vector<int128> values(k);
        if (!out.gates.empty()) std::fill_n(out.gates.row(i), out.gates.stride, std::uint64_t{0});
        for (std::int64_t r = 0; r < m; ++r) {
            std::int64_t z = 0;
            for (std::int64_t q = 0; q < p; ++q) {
                const std::int64_t hq =
                    h.dtype == DType::i32 ? h.at<std::int32_t>(i, q) : h.at<std::int64_t>(i, q);
                z += up_sign(up, r, q) * hq;
            }
            if (z <= 0) continue;
            if (!out.gates.empty()) out.gates.row(i)[r / 64] |= std::uint64_t{1} << (r % 64);
            for (std::int64_t c = 0; c < k; ++c) {
                const int a = kernels::readout_sign(readout.seed, r, c);
                values[c] += static_cast<int128>(a) * z;
                for (std::int64_t q = 0; q < p; ++q) gradients[c * p + q] += a * up_sign(up, r, q);
            }
        }
        if (out.gradients.data != nullptr)
            for (std::int64_t q = 0; q < k * p; ++q)
                out.gradients.at<std::int32_t>(i, q) = static_cast<std::int32_t>(gradients[q]);
        if (out.values.data != nullptr)
            for (std::int64_t c = 0; c < k; ++c) {
                if (out.values.dtype == DType::i64)
                    out.values.at<std::int64_t>(i, c) = static_cast<std::int64_t>(values[c]);
                else
                    out.values.at<double>(i, c) = static_cast<double>(values[c]);
            }
    }
}

void Reference::open_sum(const UpFactor& up, const Readout& readout, MatrixView sum) {
    for (std::int64_t c = 0; c < readout.outputs; ++c)
        for (std::int64_t q = 0; q < up.rank; ++q) {
            std::int64_t total = 0;
            for (std::int64_t r = 0; r < up.width; ++r)
                total += kernels::readout_sign(readout.seed, r, c) * up_sign(up, r, q);
            sum.at<std::int32_t>(c, q) = static_cast<std::int32_t>(total);
        }
}

void Reference::gate_gram(ConstBitView rows, ConstBitView cols, ConstBitView weights, MatrixView counts) {
    for (std::int64_t i = 0; i < rows.rows; ++i)
        for (std::int64_t j = 0; j < cols.rows; ++j) {
            std::int64_t count = 0;
            for (std::int64_t r = 0; r < rows.cols; ++r)
                if (rows.get(i, r) && cols.get(j, r))
                    count += weights.empty() || weights.get(0, r) ? 1 : -1;
            counts.at<std::int32_t>(i, j) = static_cast<std::int32_t>(count);
        }
}

}  // namespace fntk::backend

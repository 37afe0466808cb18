// Into and out of the integers. X̂Ûᵀ is a product of integer-valued doubles by BLAS, in chunks of 1024
// columns: every partial sum stays below 2^53, so the result is exact in any order; the chunks are added in
// int64.
#include <backend/aligned.hpp>
#include <backend/blas.hpp>
#include <backend/cpu.hpp>
#include <backend/scalar.hpp>
#include <backend/simd/bits.hpp>
#include <backend/simd/digits.hpp>

#include <fixed_point.hpp>

#include <algorithm>
#include <cmath>

namespace fntk::backend {

namespace {

constexpr std::int64_t row_block = 128;
constexpr std::int64_t gate_rows = 32, gate_words = 512;  // two blocks of gates: 256 KiB

}  // namespace

void Cpu::over_rows(std::int64_t rows, const Range& body) {
    pool_.run(rows, std::max<std::int64_t>(1, rows / (8 * pool_.threads())), body);
}

void Cpu::fix_down(MatrixView u, MatrixView digits, MatrixView exponent) {
    std::vector<double> of_row(u.rows);
    over_rows(u.rows, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t q = begin; q < end; ++q) of_row[q] = largest_magnitude(u.row<double>(q), u.cols);
    });
    const int e = kernels::down_exponent(*std::max_element(of_row.begin(), of_row.end()));
    exponent.at<std::int32_t>(0, 0) = e;
    const kernels::PowerOfTwo to_one(-e), back(e);
    constexpr double digit_unit = 1.0 / (1 << kernels::down_digit_bits);
    over_rows(u.rows, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t q = begin; q < end; ++q) {
            double* row = u.row<double>(q);
            std::int32_t* planes[3] = {};
            const auto count = static_cast<int>(digits.rows / u.rows);
            for (int digit = 0; digit < count; ++digit)
                planes[digit] = digits.row<std::int32_t>(digit * u.rows + q);
            for (std::int64_t j = 0; j < u.cols; ++j) {
                double rest = kernels::is_finite(row[j]) ? to_one.times(row[j]) : 0, rounded = 0, unit = 1;
                for (int digit = 0; digit < count; ++digit) {
                    const std::int32_t taken = kernels::take_digit(rest, kernels::down_digit_bits);
                    planes[digit][j] = taken;
                    unit *= digit_unit;
                    rounded += unit * taken;
                }
                row[j] = back.times(rounded);
            }
        }
    });
}

void Cpu::down_product(ConstMatrixView x, const FixedPoint& u, double scale, MatrixView v,
                       MatrixView row_exponents) {
    with_real(x.dtype, [&](auto type) {
        using T = decltype(type);
        if (u.empty())
            over_rows(x.rows, [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t i = begin; i < end; ++i) {
                    const T* row = x.row<T>(i);
                    const int exponent = kernels::exponent_of(largest_magnitude(row, x.cols));
                    row_exponents.at<std::int32_t>(i, 0) = exponent;
                    const kernels::PowerOfTwo to_one(-exponent);
                    for (std::int64_t j = 0; j < x.cols; ++j) v.row<double>(i)[j] = to_one.times(row[j]);
                }
            });
        else
            digit_product<T>(x, u, scale, v, row_exponents);
    });
}

template <class T>
void Cpu::digit_product(ConstMatrixView x, const FixedPoint& u, double scale, MatrixView v,
                        MatrixView row_exponents) {
    const BlasThreads one(1);
    std::vector<Matrix> u_digits;
    const int u_exponent = down_exponent(u);
    for (int b = 0; b < u.count(); ++b) u_digits.push_back(Matrix::converted(u.digit(b), DType::f64));
    const int last = sizeof(T) == 4 ? 0 : 2, last_u = static_cast<int>(u_digits.size()) - 1;
    const std::int64_t chunk = std::min(x.cols, kernels::exact_columns);
    const bool chunked = x.cols > chunk;  // else one product is the exact integer

    const std::int64_t block = std::clamp<std::int64_t>(x.rows / (2 * threads()), 16, row_block);
    pool_.run(x.rows, block, [&](std::int64_t begin, std::int64_t end) {
        const std::int64_t rows = end - begin;
        std::vector<Matrix> x_digits, totals;  // of one chunk, so that no buffer grows with the columns
        for (int a = 0; a <= last; ++a) x_digits.emplace_back(rows, chunk, DType::f64);
        for (int b = 0; b <= last_u; ++b) totals.emplace_back(chunked ? rows : 0, u.rows, DType::i64);
        Matrix partial(rows, u.rows, DType::f64);
        std::vector<int> exponents(rows);
        for (std::int64_t i = 0; i < rows; ++i) {
            exponents[i] = kernels::exponent_of(largest_magnitude(x.row<T>(begin + i), x.cols));
            row_exponents.at<std::int32_t>(begin + i, 0) = exponents[i] + u_exponent;
        }
        const auto split = [&](int a, std::int64_t j, std::int64_t cols) {
            for (std::int64_t i = 0; i < rows; ++i) {
                double* digits[3] = {};
                for (int place = 0; place <= a; ++place) digits[place] = x_digits[place].row<double>(i);
                split_digits(x.row<T>(begin + i) + j, cols, exponents[i], digits, a + 1);
            }
        };
        const auto add_to_total = [&](int b, bool first) {
            for (std::int64_t i = 0; i < rows; ++i)
                for (std::int64_t q = 0; q < u.rows; ++q) {
                    const auto exact = static_cast<std::int64_t>(partial.row<double>(i)[q]);
                    auto& sum = totals[b].row<std::int64_t>(i)[q];
                    sum = first ? exact : sum + exact;
                }
        };
        const auto add_to_product = [&](int a, int b) {
            const double weight = kernels::digit_term(1, a, b);
            for (std::int64_t i = 0; i < rows; ++i) {
                double* to = v.row<double>(begin + i);
                for (std::int64_t q = 0; q < u.rows; ++q) {
                    const double term =
                        weight * (chunked ? static_cast<double>(totals[b].row<std::int64_t>(i)[q])
                                          : partial.row<double>(i)[q]);
                    to[q] = (a == last && b == last_u ? 0.0 : to[q]) + term;
                    if (a == 0 && b == 0) to[q] *= scale;
                }
            }
        };
        for (int a = last; a >= 0; --a) {
            for (std::int64_t j = 0; j < x.cols; j += chunk) {
                const std::int64_t cols = std::min(chunk, x.cols - j);
                split(a, j, cols);
                for (int b = last_u; b >= 0; --b) {
                    blas_gemm(false, true, 1, x_digits[a].view().col_block(0, cols),
                              u_digits[b].view().col_block(j, cols), 0, partial);
                    chunked ? add_to_total(b, j == 0) : add_to_product(a, b);
                }
            }
            for (int b = last_u; b >= 0 && chunked; --b) add_to_product(a, b);
        }
    });
}

void Cpu::quantise_rows(ConstMatrixView v, int bits, MatrixView h, MatrixView row_exponents) {
    with_int(h.dtype, [&](auto type) {
        using Z = decltype(type);
        over_rows(v.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) {
                const double largest = largest_magnitude(v.row<double>(i), v.cols);
                const int shift = bits - kernels::exponent_of(largest);
                auto& exponent = row_exponents.at<std::int32_t>(i, 0);
                exponent = largest == 0 ? 0 : exponent - shift;
                quantise(v.row<double>(i), v.cols, shift, h.row<Z>(i));
            }
        });
    });
}

void Cpu::dequantise(ConstMatrixView in, ConstMatrixView exponents, double scale, double closed,
                     double open, ConstMatrixView offset, MatrixView out) {
    const auto rows = [&](auto in_type, auto out_type) {
        using In = decltype(in_type);
        using Out = decltype(out_type);
        over_rows(in.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) {
                const double gated =
                    std::ldexp(scale * (open - closed),
                               exponents.data == nullptr ? 0 : exponents.at<std::int32_t>(i, 0));
                const In* from = in.row<In>(i);
                Out* to = out.row<Out>(i);
                if (offset.data == nullptr)
                    for (std::int64_t j = 0; j < in.cols; ++j)
                        to[j] = static_cast<Out>(gated * static_cast<double>(from[j]));
                else
                    for (std::int64_t j = 0; j < in.cols; ++j)
                        to[j] = static_cast<Out>(gated * static_cast<double>(from[j]) +
                                                 scale * closed * offset.row<std::int32_t>(0)[j]);
            }
        });
    };
    with_real(out.dtype, [&](auto out_type) {
        if (in.dtype == DType::f64) return rows(double{}, out_type);
        with_int(in.dtype, [&](auto in_type) { rows(in_type, out_type); });
    });
}

void Cpu::gate_gram(ConstBitView rows, ConstBitView cols, ConstBitView weights, MatrixView counts) {
    const bool symmetric = rows.words == cols.words && rows.rows == cols.rows, weighted = !weights.empty();
    const std::int64_t words = (rows.cols + 63) / 64;
    over_tiles(
        rows.rows, cols.rows, gate_rows, symmetric,
        [&](std::int64_t i0, std::int64_t ni, std::int64_t j0, std::int64_t nj) {
            std::vector<std::int32_t> open(gate_rows * gate_rows),
                positive(weighted ? gate_rows * gate_rows : 0);
            Aligned<std::uint64_t> plus(weighted ? gate_rows * gate_words : 0);
            for (std::int64_t w0 = 0; w0 < words; w0 += gate_words) {
                const std::int64_t w = std::min(gate_words, words - w0);
                const BitRows a{rows.row(i0) + w0, rows.stride, ni}, b{cols.row(j0) + w0, cols.stride, nj};
                and_popcounts(a, b, w, open.data(), gate_rows);
                if (!weighted) continue;
                for (std::int64_t i = 0; i < ni; ++i)
                    for (std::int64_t x = 0; x < w; ++x)
                        plus[i * gate_words + x] = a.first[i * a.stride + x] & weights.row(0)[w0 + x];
                and_popcounts({plus.data(), gate_words, ni}, b, w, positive.data(), gate_rows);
            }
            for (std::int64_t i = 0; i < ni; ++i)
                for (std::int64_t j = 0; j < nj; ++j) {
                    const std::int64_t at = i * gate_rows + j;
                    counts.row<std::int32_t>(i0 + i)[j0 + j] =
                        weighted ? 2 * positive[at] - open[at] : open[at];
                }
        });
    if (symmetric) mirror(counts);
}

}  // namespace fntk::backend

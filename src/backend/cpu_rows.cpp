// Row by row: products of a row with its own companions, and lengths.
#include <backend/blas.hpp>
#include <backend/cpu.hpp>
#include <backend/scalar.hpp>
#include <backend/simd/digits.hpp>

#include <fixed_point.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

namespace fntk::backend {

namespace {

/// <a, b> in double, whose order of additions fits vector registers.
template <class T>
double dot(const T* a, const T* b, std::int64_t count) {
    constexpr int lanes = 8;
    double sums[lanes] = {};
    std::int64_t q = 0;
    for (; q + lanes <= count; q += lanes)
        for (int l = 0; l < lanes; ++l) sums[l] += static_cast<double>(a[q + l]) * b[q + l];
    for (; q < count; ++q) sums[0] += static_cast<double>(a[q]) * b[q];
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

/// out_ic = <A_i block c, B_i>.
template <class T>
void dots(ConstMatrixView a, ConstMatrixView b, MatrixView out) {
    for (std::int64_t i = 0; i < out.rows; ++i)
        for (std::int64_t c = 0; c < out.cols; ++c)
            out.row<T>(i)[c] = static_cast<T>(dot(a.row<T>(i) + c * b.cols, b.row<T>(i), b.cols));
}

/// out_i = Σ_c v_ic · A_i block c.
template <class T>
void combine(ConstMatrixView a, ConstMatrixView v, MatrixView out) {
    for (std::int64_t i = 0; i < out.rows; ++i) {
        T* to = out.row<T>(i);
        for (std::int64_t c = 0; c < v.cols; ++c) {
            const T* from = a.row<T>(i) + c * out.cols;
            const T weight = v.row<T>(i)[c];
            for (std::int64_t q = 0; q < out.cols; ++q) to[q] = (c == 0 ? T(0) : to[q]) + weight * from[q];
        }
    }
}

/// Rows of A and X that stay in the second-level cache, but enough to be worth a product.
std::int64_t cached_rows(ConstMatrixView a, ConstMatrixView x) {
    const auto bytes = static_cast<std::int64_t>(size_of(x.dtype)) * (a.cols + x.cols);
    return std::clamp<std::int64_t>((std::int64_t{384} << 10) / bytes, 512, Ops::moment_rows);
}

}  // namespace

void Cpu::row_dot(ConstMatrixView a, ConstMatrixView b, MatrixView out) {
    with_real(out.dtype, [&](auto type) {
        over_rows(out.rows, [&](std::int64_t begin, std::int64_t end) {
            const std::int64_t count = end - begin;
            dots<decltype(type)>(a.row_block(begin, count), b.row_block(begin, count),
                                 out.row_block(begin, count));
        });
    });
}

void Cpu::row_combine(ConstMatrixView a, ConstMatrixView v, MatrixView out) {
    with_real(out.dtype, [&](auto type) {
        over_rows(out.rows, [&](std::int64_t begin, std::int64_t end) {
            const std::int64_t count = end - begin;
            combine<decltype(type)>(a.row_block(begin, count), v.row_block(begin, count),
                                    out.row_block(begin, count));
        });
    });
}

// A thread goes through its share of the rows once, from block to block in its cache, and adds to sums of
// its own; where these are large, one product by all threads is as good.
void Cpu::moment(ConstMatrixView a, ConstMatrixView v, ConstMatrixView x, double alpha, MatrixView m) {
    constexpr std::int64_t most_bytes = std::int64_t{8} << 20;
    const std::int64_t parts = threads(), block = cached_rows(a, x);
    const auto bytes = static_cast<std::int64_t>(size_of(m.dtype));
    if (x.rows < parts * block || m.rows > most_bytes / (parts * m.cols * bytes))
        return Ops::moment(a, v, x, alpha, m);
    const BlasThreads one(1);
    std::vector<Matrix> sums(parts);
    pool_.run(parts, 1, [&](std::int64_t part, std::int64_t) {
        sums[part] = Matrix(m.rows, m.cols, m.dtype);
        Matrix owner(block, m.rows, m.dtype);
        const std::int64_t end = x.rows * (part + 1) / parts;
        for (std::int64_t i = x.rows * part / parts; i < end; i += block) {
            const std::int64_t count = std::min(block, end - i);
            const MatrixView weighted = owner.view().row_block(0, count);
            with_real(m.dtype, [&](auto type) {
                combine<decltype(type)>(a.row_block(i, count), v.row_block(i, count), weighted);
            });
            blas_gemm(true, false, alpha, weighted, x.row_block(i, count), 1, sums[part]);
        }
    });
    for (std::int64_t part = 0; part < parts; ++part) axpby(1, sums[part], part == 0 ? 0 : 1, m);
}

void Cpu::along_moment(ConstMatrixView a, ConstMatrixView x, ConstMatrixView m, MatrixView out) {
    const BlasThreads one(1);
    const std::int64_t block = std::min(cached_rows(a, x), (x.rows + threads() - 1) / threads());
    pool_.run(x.rows, std::max<std::int64_t>(block, 1), [&](std::int64_t begin, std::int64_t end) {
        const std::int64_t count = end - begin;
        Matrix moved(count, m.rows, m.dtype);
        blas_gemm(false, true, 1, x.row_block(begin, count), m, 0, moved);
        with_real(m.dtype, [&](auto type) {
            dots<decltype(type)>(a.row_block(begin, count), moved, out.row_block(begin, count));
        });
    });
}

void Cpu::slope_rows(ConstBitView gates, std::int64_t first, const Readout& readout, std::int64_t c,
                     double scale, double closed, double open, MatrixView out) {
    with_real(out.dtype, [&](auto type) {
        using T = decltype(type);
        std::vector<T> a(out.cols);
        for (std::int64_t r = 0; r < out.cols; ++r) a[r] = static_cast<T>(readout_entry(readout, r, c));
        const T slopes[2] = {static_cast<T>(scale * closed), static_cast<T>(scale * open)};
        over_rows(out.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) {
                const std::uint64_t* bits = gates.row(first + i);
                T* oi = out.row<T>(i);
                for (std::int64_t r = 0; r < out.cols; ++r)
                    oi[r] = slopes[bits[r / 64] >> (r % 64) & 1U] * a[r];
            }
        });
    });
}

void Cpu::outer_rows(ConstMatrixView left, ConstMatrixView right, MatrixView out) {
    with_real(out.dtype, [&](auto type) {
        using T = decltype(type);
        over_rows(out.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) {
                const T* li = left.row<T>(i);
                const T* ri = right.row<T>(i);
                T* to = out.row<T>(i);
                for (std::int64_t q = 0; q < left.cols; ++q, to += right.cols)
                    for (std::int64_t j = 0; j < right.cols; ++j) to[j] = li[q] * ri[j];
            }
        });
    });
}

namespace {

/// Σ (scale·x_j)² in eight interleaved partial sums: one order everywhere.
template <class T>
double scaled_squares(const T* x, std::int64_t count, double scale) {
    double part[8] = {};
    std::int64_t j = 0;
    for (; j + 8 <= count; j += 8)
        for (int lane = 0; lane < 8; ++lane) {
            const double scaled = scale * static_cast<double>(x[j + lane]);
            part[lane] += scaled * scaled;
        }
    for (; j < count; ++j)
        part[j % 8] += scale * static_cast<double>(x[j]) * (scale * static_cast<double>(x[j]));
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

}  // namespace

double Cpu::norm(ConstMatrixView a) {
    double result = 0;
    with_real(a.dtype, [&](auto type) {
        using T = decltype(type);
        std::vector<double> of_row(a.rows);
        over_rows(a.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) of_row[i] = largest_magnitude(a.row<T>(i), a.cols);
        });
        double largest = 0;
        for (const double x : of_row) largest = std::max(largest, x);
        if (!std::isfinite(largest)) {
            result = largest;
            return;
        }
        const int exponent = kernels::norm_exponent(largest);
        const double scale = std::ldexp(1.0, -exponent);
        over_rows(a.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i)
                of_row[i] = scaled_squares(a.row<T>(i), a.cols, scale);
        });
        double sum = 0;  // a NaN may have passed the maximum; it ends here
        for (const double x : of_row) sum += x;
        result = std::ldexp(std::sqrt(sum), exponent);
    });
    return result;
}

}  // namespace fntk::backend

// Moments and products along them: one pass over the rows in blocks that stay in a core's cache.
//     M = alpha·Σ_i w_i x_iᵀ,  w_i = Σ_c v_ic · A_i block c          T = X Mᵀ,  out_ic = <A_i block c, T_i>
#include <backend/aligned.hpp>
#include <backend/cpu.hpp>
#include <backend/row_products.hpp>
#include <backend/scalar.hpp>

#include <algorithm>
#include <optional>
#include <vector>

namespace fntk::backend {

namespace {

constexpr std::int64_t block = 96;  // rows: 24 kB of X and 25 kB of w or T for a hundred columns

/// Room for rows of T between which no columns share a set of the cache: an odd number of lines.
template <class T>
std::int64_t spaced(std::int64_t cols) {
    constexpr std::int64_t line = 64 / sizeof(T);
    return ((panelled<T>(cols) + line - 1) / line | 1) * line;
}

/// What the next block of rows reads.
template <class T>
Ahead next_rows(ConstMatrixView of, std::int64_t first, std::int64_t end) {
    const std::int64_t rows = std::min(block, end - first);
    if (rows <= 0) return {};
    return {of.row<T>(first), ((rows - 1) * of.stride + of.cols) * static_cast<std::int64_t>(sizeof(T))};
}

/// A thread's own sum of w_i x_iᵀ.
template <class T>
class MomentSum {
  public:
    MomentSum(std::int64_t p, std::int64_t d)
        : p_(p),
          d_(d),
          stride_(panelled<T>(d)),
          spaced_(spaced<T>(p)),
          sum_(p * stride_),
          panels_(block * stride_),
          weighted_(block * spaced_) {}

    /// Rows [begin, end).
    void add(ConstMatrixView a, ConstMatrixView v, ConstMatrixView x, std::int64_t begin,
             std::int64_t end) {
        const bool one = v.cols == 1 && v.stride == 1;  // then x_i takes v_i, and w_i is a_i itself
        for (std::int64_t i = begin; i < end; i += block) {
            const std::int64_t rows = std::min(block, end - i);
            for (std::int64_t l = 0; l < (one ? 0 : rows); ++l)
                combine_blocks(a.row<T>(i + l), v.row<T>(i + l), p_, v.cols, &weighted_[l * spaced_]);
            pack_panels(x.row<T>(i), x.stride, rows, d_, one ? v.row<T>(i) : nullptr, panels_.data());
            const Strides<T> w =
                one ? Strides<T>{a.row<T>(i), 1, a.stride} : Strides<T>{weighted_.data(), 1, spaced_};
            multiply(BlockProduct<T>{
                .a = w,
                .rows = p_,
                .depth = rows,
                .cols = d_,
                .panels = panels_.data(),
                .accumulate = true,
                .c = sum_.data(),
                .stride = stride_,
                .ahead = {next_rows<T>(a, i + block, end), next_rows<T>(x, i + block, end)}});
        }
    }
    [[nodiscard]] const T* row(std::int64_t q) const { return sum_.data() + q * stride_; }

  private:
    std::int64_t p_, d_, stride_, spaced_;
    Aligned<T> sum_, panels_, weighted_;
};

template <class T>
void bilinear_rows(ConstMatrixView a, ConstMatrixView x, std::int64_t p, const T* panels, MatrixView out) {
    const std::int64_t stride = spaced<T>(p);
    Aligned<T> moved(block * stride);
    for (std::int64_t i = 0; i < x.rows; i += block) {
        const std::int64_t rows = std::min(block, x.rows - i);
        multiply(BlockProduct<T>{
            .a = {x.row<T>(i), x.stride, 1},
            .rows = rows,
            .depth = x.cols,
            .cols = p,
            .panels = panels,
            .accumulate = false,
            .c = moved.data(),
            .stride = stride,
            .ahead = {next_rows<T>(a, i + block, x.rows), next_rows<T>(x, i + block, x.rows)}});
        for (std::int64_t l = 0; l < rows; ++l)
            block_dots(a.row<T>(i + l), &moved[l * stride], p, out.cols, out.row<T>(i + l));
    }
}

/// Copies of M that fit a plan's workspaces; beyond them one product by all threads is as good.
bool fits(ConstMatrixView m, std::int64_t copies) {
    constexpr std::int64_t most_bytes = std::int64_t{8} << 20;
    const auto bytes = static_cast<std::int64_t>(size_of(m.dtype));
    return m.rows <= most_bytes / (copies * std::max<std::int64_t>(m.cols, 1) * bytes);
}

}  // namespace

void Cpu::moment(ConstMatrixView a, ConstMatrixView v, ConstMatrixView x, ConstMatrixView scales,
                 double alpha, MatrixView m) {
    const std::int64_t parts = std::clamp<std::int64_t>(x.rows / block, 1, threads());
    if (!fits(m, parts)) return Ops::moment(a, v, x, scales, alpha, m);
    with_real(m.dtype, [&](auto type) {
        using T = decltype(type);
        std::vector<std::optional<MomentSum<T>>> sums(parts);
        pool_.run(parts, 1, [&](std::int64_t part, std::int64_t) {
            sums[part].emplace(m.rows, m.cols);
            sums[part]->add(a, v, x, x.rows * part / parts, x.rows * (part + 1) / parts);
        });
        over_rows(m.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t q = begin; q < end; ++q)
                for (std::int64_t j = 0; j < m.cols; ++j) {
                    T sum = 0;
                    for (const auto& one : sums) sum += one->row(q)[j];
                    m.row<T>(q)[j] = static_cast<T>(alpha * sum);
                }
        });
    });
}

void Cpu::along_moment(ConstMatrixView a, ConstMatrixView x, ConstMatrixView scales, ConstMatrixView m,
                       MatrixView out) {
    if (!fits(m, 1)) return Ops::along_moment(a, x, scales, m, out);
    with_real(out.dtype, [&](auto type) {
        using T = decltype(type);
        const std::int64_t width = panel_width<T>();
        Aligned<T> panels(m.cols * panelled<T>(m.rows));  // of Mᵀ
        over_rows(m.rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t q = begin; q < end; ++q)
                for (std::int64_t j = 0; j < m.cols; ++j)
                    panels[(q / width * m.cols + j) * width + q % width] = m.row<T>(q)[j];
        });
        over_rows(x.rows, [&](std::int64_t begin, std::int64_t end) {
            const std::int64_t rows = end - begin;
            bilinear_rows<T>(a.row_block(begin, rows), x.row_block(begin, rows), m.rows, panels.data(),
                             out.row_block(begin, rows));
        });
    });
}

}  // namespace fntk::backend

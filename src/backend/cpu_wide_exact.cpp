// The wide pass in integers.
//     srht         z of one block = H_P (s ∘ ĥ), an integer Walsh–Hadamard transform; Ĝ += s ∘ H_P (a ∘
//     gate) rademacher   z = ĥ Vᵀ by double BLAS on integers (|z| ≤ 2^30 exact; int64 ĥ in two limbs of 26
//     bits);
//                  Ĝ += (a ∘ gate) V by float BLAS, sums of at most 2^24 ones
// V and A are generated tile by tile of the width. f̂ = <ĥ, Ĝ>, or Σ gate a z when Ĝ is not wanted: the same
// integer.
#include <backend/blas.hpp>
#include <backend/cpu.hpp>
#include <backend/cpu_signs.hpp>
#include <backend/scalar.hpp>
#include <backend/simd/srht.hpp>

#include <algorithm>

namespace fntk::backend {

namespace {

/// Units [first, first + count) of the width: signs of A, output by output.
struct Tile {
    std::int64_t first, count;
    std::vector<std::int32_t> a;  // k × count

    Tile(const Readout& readout, std::int64_t first_, std::int64_t count_)
        : first(first_), count(count_), a(readout.outputs * count_) {
        for (std::int64_t c = 0; c < readout.outputs; ++c)  // `first` is a multiple of 64
            expand_signs(readout.seed, kernels::Stream::readout,
                         kernels::readout_word(c) + static_cast<std::uint64_t>(first / 32), count,
                         &a[c * count]);
    }
    [[nodiscard]] const std::int32_t* column(std::int64_t c) const { return &a[c * count]; }
};

/// Adds the gates of z[0..count) to bits [first, first + count).
template <class Z>
void pack_gates(const Z* z, std::int64_t first, std::int64_t count, std::uint64_t* words) {
    for (std::int64_t i = 0; i < count;) {
        const std::int64_t shift = (first + i) % 64, take = std::min(64 - shift, count - i);
        std::uint64_t bits = 0;
        for (std::int64_t j = 0; j < take; ++j) bits |= static_cast<std::uint64_t>(z[i + j] > 0) << j;
        words[(first + i) / 64] |= bits << shift;
        i += take;
    }
}

/// One row's running sums over the width.
struct RowSums {
    std::vector<std::int32_t> gradients;  // k·p, empty when not wanted
    std::vector<int128> values;           // k, empty when they follow from Ĝ

    RowSums(bool want_gradients, std::int64_t k, std::int64_t p)
        : gradients(want_gradients ? k * p : 0), values(want_gradients ? 0 : k) {}
    /// Outputs whose values are summed directly.
    [[nodiscard]] std::int64_t direct() const { return static_cast<std::int64_t>(values.size()); }
    template <class Z>
    void add_values(std::int64_t c, const Z* z, const std::int32_t* a, std::int64_t count) {
        int128 sum = 0;
        for (std::int64_t r = 0; r < count; ++r)
            if (z[r] > 0) sum += a[r] * static_cast<int128>(z[r]);
        values[c] += sum;
    }
};

template <class Z>
void finish_row(const WideSums& out, std::int64_t i, const Z* h, std::int64_t p, std::int64_t k,
                const RowSums& sums) {
    if (out.gradients.data != nullptr)
        std::copy(sums.gradients.begin(), sums.gradients.end(), out.gradients.row<std::int32_t>(i));
    if (out.values.data == nullptr) return;
    for (std::int64_t c = 0; c < k; ++c) {
        int128 value = sums.values.empty() ? 0 : sums.values[c];
        if (sums.values.empty())
            for (std::int64_t q = 0; q < p; ++q)
                value += static_cast<int128>(h[q]) * sums.gradients[c * p + q];
        if (out.values.dtype == DType::i64)
            out.values.row<std::int64_t>(i)[c] = static_cast<std::int64_t>(value);
        else
            out.values.row<double>(i)[c] = static_cast<double>(value);
    }
}

/// All of the width for rows [begin, end), tile by tile.
template <class Z>
void srht_rows(const UpFactor& up, const Readout& readout, ConstMatrixView h, const WideSums& out,
               std::int64_t begin, std::int64_t end) {
    const std::int64_t p = up.rank, k = readout.outputs, padded = kernels::next_power_of_two(p);
    const std::int64_t tile_width = std::max<std::int64_t>(padded, 4096);
    std::vector<RowSums> sums(end - begin, RowSums(out.gradients.data != nullptr, k, p));
    std::vector<Z> z(padded);
    std::vector<std::int32_t> gated(padded), masks(tile_width);
    for (std::int64_t first = 0; first < up.width; first += tile_width) {
        const Tile tile(readout, first, std::min(tile_width, up.width - first));
        for (std::int64_t b = 0; b < tile.count; b += padded)
            expand_signs(up.seed, kernels::Stream::up_signs,
                         kernels::srht_word((first + b) / padded, padded), padded, &masks[b]);
        for (std::int32_t& mask : masks) mask = mask < 0 ? -1 : 0;
        const SrhtTile block{first, tile.count, padded, masks.data(), tile.a.data(), k};
        for (std::int64_t i = begin; i < end; ++i) {
            RowSums& row = sums[i - begin];
            srht_row(block, {h.row<Z>(i), p, z.data(), gated.data(),
                             out.gates.empty() ? nullptr : out.gates.row(i),
                             row.gradients.empty() ? nullptr : row.gradients.data(),
                             row.values.empty() ? nullptr : row.values.data()});
        }
    }
    for (std::int64_t i = begin; i < end; ++i) finish_row(out, i, h.row<Z>(i), p, k, sums[i - begin]);
}

constexpr std::int64_t tile_rows = 512;
constexpr std::int64_t tile_units = 512;  // a multiple of 64
constexpr int limb_bits = 26;

/// ĥ as one (int32) or two (int64: h = h1·2^26 + h0) matrices of integer-valued doubles.
template <class Z>
std::vector<Matrix> limbs(ConstMatrixView h) {
    std::vector<Matrix> result;
    for (int limb = 0; limb < (sizeof(Z) == 8 ? 2 : 1); ++limb)
        result.emplace_back(h.rows, h.cols, DType::f64);
    for (std::int64_t i = 0; i < h.rows; ++i)
        for (std::int64_t q = 0; q < h.cols; ++q) {
            const Z x = h.row<Z>(i)[q];
            if constexpr (sizeof(Z) == 8) {
                const Z low = x & ((Z{1} << limb_bits) - 1);
                result[0].template row<double>(i)[q] = static_cast<double>(low);
                result[1].template row<double>(i)[q] = static_cast<double>((x - low) >> limb_bits);
            } else {
                result[0].template row<double>(i)[q] = x;
            }
        }
    return result;
}

}  // namespace

void Cpu::wide_pass_exact(const UpFactor& up, const Readout& readout, ConstMatrixView h,
                          const WideSums& out) {
    for (std::int64_t i = 0; i < h.rows && !out.gates.empty(); ++i)
        std::fill_n(out.gates.row(i), out.gates.stride, std::uint64_t{0});
    with_int(h.dtype, [&](auto type) {
        using Z = decltype(type);
        if (up.family == Up::srht) {
            pool_.run(h.rows, 32, [&](std::int64_t begin, std::int64_t end) {
                srht_rows<Z>(up, readout, h, out, begin, end);
            });
        } else {
            for (std::int64_t i0 = 0; i0 < h.rows; i0 += tile_rows)
                product_pass<Z>(up, readout, h, out, i0, std::min(tile_rows, h.rows - i0));
        }
    });
}

template <class Z>
void Cpu::product_pass(const UpFactor& up, const Readout& readout, ConstMatrixView h, const WideSums& out,
                       std::int64_t i0, std::int64_t rows) {
    set_blas_threads(threads());
    const std::int64_t p = up.rank, k = readout.outputs, units = std::min(tile_units, up.width);
    const bool gradients = out.gradients.data != nullptr;
    const std::vector<Matrix> h_limbs = limbs<Z>(h.row_block(i0, rows));
    std::vector<Matrix> z_limbs;
    for (std::size_t limb = 0; limb < h_limbs.size(); ++limb) z_limbs.emplace_back(rows, units, DType::f64);
    Matrix v(units, p, DType::f64), v_float(units, p, DType::f32);
    Matrix z(rows, units, dtype_of<Z>), gated(rows, units, DType::f32), partial(rows, p, DType::f32);
    std::vector<RowSums> sums(rows, RowSums(gradients, k, p));

    for (std::int64_t first = 0; first < up.width; first += units) {
        const Tile tile(readout, first, std::min(units, up.width - first));
        up_rows(up, first, v.view().row_block(0, tile.count));
        for (std::size_t limb = 0; limb < h_limbs.size(); ++limb)
            blas_gemm(false, true, 1, h_limbs[limb], v.view().row_block(0, tile.count), 0,
                      z_limbs[limb].view().col_block(0, tile.count));
        over_rows(rows, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) {
                Z* zi = z.row<Z>(i);
                for (std::int64_t r = 0; r < tile.count; ++r)
                    zi[r] = static_cast<Z>(z_limbs[0].row<double>(i)[r]);
                if constexpr (sizeof(Z) == 8)
                    for (std::int64_t r = 0; r < tile.count; ++r)
                        zi[r] += static_cast<Z>(z_limbs[1].row<double>(i)[r]) * (Z{1} << limb_bits);
                if (!out.gates.empty()) pack_gates(zi, first, tile.count, out.gates.row(i0 + i));
                for (std::int64_t c = 0; c < sums[i].direct(); ++c)
                    sums[i].add_values(c, zi, tile.column(c), tile.count);
            }
        });
        if (!gradients) continue;
        up_rows(up, first, v_float.view().row_block(0, tile.count));
        for (std::int64_t c = 0; c < k; ++c) {
            over_rows(rows, [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t i = begin; i < end; ++i) {
                    const Z* zi = z.row<Z>(i);
                    float* g = gated.row<float>(i);
                    for (std::int64_t r = 0; r < tile.count; ++r)
                        g[r] = zi[r] > 0 ? static_cast<float>(tile.column(c)[r]) : 0.0F;
                }
            });
            blas_gemm(false, false, 1, gated.view().col_block(0, tile.count),
                      v_float.view().row_block(0, tile.count), 0, partial);
            for (std::int64_t i = 0; i < rows; ++i)
                for (std::int64_t q = 0; q < p; ++q)
                    sums[i].gradients[c * p + q] += static_cast<std::int32_t>(partial.row<float>(i)[q]);
        }
    }
    for (std::int64_t i = 0; i < rows; ++i) finish_row(out, i0 + i, h.row<Z>(i0 + i), p, k, sums[i]);
}

void Cpu::open_sum(const UpFactor& up, const Readout& readout, MatrixView sum) {
    const std::int64_t p = up.rank, units = std::min<std::int64_t>(4096, up.width);
    for (std::int64_t c = 0; c < readout.outputs; ++c) std::fill_n(sum.row<std::int32_t>(c), p, 0);
    Matrix v(units, p, DType::f32);
    for (std::int64_t first = 0; first < up.width; first += units) {
        const Tile tile(readout, first, std::min(units, up.width - first));
        up_rows(up, first, v.view().row_block(0, tile.count));
        for (std::int64_t c = 0; c < readout.outputs; ++c)
            for (std::int64_t r = 0; r < tile.count; ++r)
                for (std::int64_t q = 0; q < p; ++q)
                    sum.row<std::int32_t>(c)[q] +=
                        tile.column(c)[r] * static_cast<std::int32_t>(v.row<float>(r)[q]);
    }
}

}  // namespace fntk::backend

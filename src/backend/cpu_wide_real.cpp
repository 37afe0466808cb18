// The wide pass in floating point: Z = H Vᵀ by BLAS, one block of the width at a time, so that memory is n
// × block.
#include <backend/blas.hpp>
#include <backend/cpu.hpp>
#include <backend/cpu_signs.hpp>
#include <backend/scalar.hpp>
#include <backend/simd/normals.hpp>
#include <backend/simd/random.hpp>
#include <backend/simd/slopes.hpp>

#include <algorithm>

namespace fntk::backend {

namespace {

constexpr std::int64_t block_bytes = std::int64_t{4} << 20;  // an n × block array that stays in the cache

/// z ← φ(z) on rows [begin, end).
template <class T>
void map_rows(const ActivationSpec& activation, bool derivative, MatrixView z, std::int64_t begin,
              std::int64_t end) {
    with_activation<T>(activation, derivative, [&](auto phi) {
        for (std::int64_t i = begin; i < end; ++i) {
            T* row = z.row<T>(i);
            for (std::int64_t r = 0; r < z.cols; ++r) row[r] = phi(row[r]);
        }
    });
}

/// out_ir = σ'(z_ir)·w_ir on rows [begin, end); w one row for all when it has one row.
template <class T>
void slope_times(const ActivationSpec& activation, ConstMatrixView z, ConstMatrixView w, MatrixView out,
                 std::int64_t begin, std::int64_t end) {
    with_activation<T>(activation, true, [&](auto slope) {
        for (std::int64_t i = begin; i < end; ++i) {
            const T* zi = z.row<T>(i);
            const T* wi = w.row<T>(w.rows == 1 ? 0 : i);
            T* oi = out.row<T>(i);
            for (std::int64_t r = 0; r < z.cols; ++r) oi[r] = slope(zi[r]) * wi[r];
        }
    });
}

}  // namespace

std::int64_t Cpu::width_block(std::int64_t samples, std::int64_t width, DType dtype) {
    const std::int64_t row_bytes =
        std::max<std::int64_t>(samples, 1) * static_cast<std::int64_t>(size_of(dtype));
    return std::min(width, std::clamp<std::int64_t>(block_bytes / row_bytes, 64, 4096) / 64 * 64);
}

void Cpu::over_width(const UpFactor& up, ConstMatrixView h,
                     const std::function<void(std::int64_t, ConstMatrixView, MatrixView)>& body) {
    const std::int64_t block = width_block(h.rows, up.width, h.dtype);
    const bool stored = up.values.data != nullptr && up.values.dtype == h.dtype;
    Matrix v(stored ? 0 : block, up.rank, h.dtype), z(h.rows, block, h.dtype);
    for (std::int64_t r0 = 0; r0 < up.width; r0 += block) {
        const std::int64_t count = std::min(block, up.width - r0);
        const ConstMatrixView v_block =
            stored ? up.values.row_block(r0, count) : v.view().row_block(0, count);
        if (!stored) up_rows(up, r0, v.view().row_block(0, count));
        const MatrixView z_block = z.view().col_block(0, count);
        gemm(false, true, 1, h, v_block, 0, z_block);
        body(r0, v_block, z_block);
    }
}

void Cpu::wide_pass_real(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                         ConstMatrixView h, const WideSums& out) {
    const std::int64_t n = h.rows, p = up.rank, k = readout.outputs;
    const std::int64_t block = width_block(n, up.width, h.dtype);
    const bool gradients = out.gradients.data != nullptr, values = out.values.data != nullptr;
    Matrix a_owner(block, k, h.dtype), a_columns(k, block, h.dtype),
        gated(gradients ? n : 0, block, h.dtype);
    over_width(up, h, [&](std::int64_t r0, ConstMatrixView v, MatrixView z) {
        const MatrixView a = a_owner.view().row_block(0, z.cols);
        readout_rows(readout, r0, a);
        const double beta = r0 == 0 ? 0 : 1;
        with_real(h.dtype, [&](auto type) {
            using T = decltype(type);
            for (std::int64_t c = 0; c < k; ++c)
                for (std::int64_t r = 0; r < z.cols; ++r) a_columns.row<T>(c)[r] = a.row<T>(r)[c];
            if (activation.homogeneous() && (values || !out.gates.empty()))
                over_rows(n, [&](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t i = begin; i < end; ++i) {
                        if (values && r0 == 0) std::fill_n(out.values.row<T>(i), k, T(0));
                        gates_and_values(z.row<T>(i), z.cols, static_cast<T>(activation.closed_slope()),
                                         ReadoutColumns<T>{a_columns.row<T>(0), block, k},
                                         out.gates.empty() ? nullptr : out.gates.row(i) + r0 / 64,
                                         values ? out.values.row<T>(i) : nullptr);
                    }
                });
            for (std::int64_t c = 0; c < (gradients ? k : 0); ++c) {
                const MatrixView d = gated.view().col_block(0, z.cols);
                over_rows(n, [&](std::int64_t begin, std::int64_t end) {
                    slope_times<T>(activation, z, a_columns.view().row_block(c, 1), d, begin, end);
                });
                gemm(false, false, 1, d, v, beta, out.gradients.col_block(c * p, p));
            }
            if (!values || activation.homogeneous()) return;
            over_rows(n, [&](std::int64_t begin, std::int64_t end) {
                map_rows<T>(activation, false, z, begin, end);
            });
            gemm(false, false, 1, z, a, beta, out.values);
        });
    });
}

void Cpu::feature_gram(const UpFactor& up, const ActivationSpec& activation, bool derivative,
                       ConstMatrixView weights, ConstMatrixView rows, ConstMatrixView cols,
                       MatrixView out) {
    const bool symmetric = same(rows, cols), weighted = weights.data != nullptr;
    const std::int64_t block = width_block(std::max(rows.rows, cols.rows), up.width, rows.dtype);
    Matrix other(symmetric && !weighted ? 0 : cols.rows, block, rows.dtype);
    UpFactor slice = up;  // `block` rows of V at a time, so that both sides see the same ones
    Matrix v(block, up.rank, rows.dtype);
    for (std::int64_t r0 = 0; r0 < up.width; r0 += block) {
        slice.width = std::min(block, up.width - r0);
        slice.values = v.view().row_block(0, slice.width);
        up_rows(up, r0, v.view().row_block(0, slice.width));
        over_width(slice, rows, [&](std::int64_t, ConstMatrixView, MatrixView phi) {
            with_real(rows.dtype, [&](auto type) {
                using T = decltype(type);
                const auto map = [&](MatrixView z) {
                    over_rows(z.rows, [&](std::int64_t b, std::int64_t e) {
                        map_rows<T>(activation, derivative, z, b, e);
                    });
                };
                map(phi);
                const double beta = r0 == 0 ? 0 : 1;
                if (symmetric && !weighted) return inner(1, phi, phi, beta, out);
                const MatrixView phi_cols = other.view().col_block(0, phi.cols);
                if (symmetric) {
                    axpby(1, phi, 0, phi_cols);
                } else {
                    gemm(false, true, 1, cols, slice.values, 0, phi_cols);
                    map(phi_cols);
                }
                if (weighted)
                    for (std::int64_t j = 0; j < phi_cols.rows; ++j)
                        for (std::int64_t r = 0; r < phi.cols; ++r)
                            phi_cols.row<T>(j)[r] *= static_cast<T>(weights.row<double>(0)[r0 + r]);
                gemm(false, true, 1, phi, phi_cols, beta, out);
            });
        });
    }
    if (symmetric && weighted) mirror(out);
}

void Cpu::wide_gradient(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                        ConstMatrixView h, ConstMatrixView e, ConstBitView gates, std::int64_t r0,
                        MatrixView up_rows_out, MatrixView readout_rows_out) {
    const bool up_wanted = up_rows_out.data != nullptr, readout_wanted = readout_rows_out.data != nullptr;
    const bool product = readout_wanted || gates.empty();
    const std::int64_t count = up_wanted ? up_rows_out.rows : readout_rows_out.rows, k = readout.outputs;
    const std::int64_t n = h.rows;
    Matrix a(count, k, h.dtype), a_columns(k, count, h.dtype);
    Matrix v(product ? count : 0, up.rank, h.dtype), z(product ? n : 0, count, h.dtype);
    Matrix weight(up_wanted ? n : 0, count, h.dtype);
    readout_rows(readout, r0, a);
    if (product) {
        up_rows(up, r0, v);
        gemm(false, true, 1, h, v, 0, z);
    }
    with_real(h.dtype, [&](auto type) {
        using T = decltype(type);
        if (up_wanted) {
            for (std::int64_t c = 0; c < k; ++c)
                for (std::int64_t r = 0; r < count; ++r) a_columns.row<T>(c)[r] = a.row<T>(r)[c];
            if (gates.empty()) gemm(false, true, 1, e, a, 0, weight);
            over_rows(n, [&](std::int64_t begin, std::int64_t end) {
                if (gates.empty()) return slope_times<T>(activation, z, weight, weight, begin, end);
                for (std::int64_t i = begin; i < end; ++i)
                    weighted_slopes(
                        gates.row(i) + r0 / 64, count, static_cast<T>(activation.closed_slope()),
                        ReadoutColumns<T>{a_columns.row<T>(0), count, k}, e.row<T>(i), weight.row<T>(i));
            });
            gemm(true, false, 1, weight, h, 0, up_rows_out);
        }
        if (readout_wanted) {
            over_rows(n, [&](std::int64_t begin, std::int64_t end) {
                map_rows<T>(activation, false, z, begin, end);
            });
            gemm(true, false, 1, z, e, 0, readout_rows_out);
        }
    });
}

void Cpu::wide_apply(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                     WideTrain train, ConstMatrixView h, ConstMatrixView h_from, ConstMatrixView e,
                     MatrixView out) {
    const std::int64_t k = readout.outputs;
    const std::int64_t block = width_block(std::max(h.rows, h_from.rows), up.width, h.dtype);
    Matrix v_owner(block, up.rank, h.dtype), dv_owner(block, up.rank, h.dtype);
    Matrix a_owner(block, k, h.dtype), da_owner(block, k, h.dtype);
    const bool shared = same(h, h_from);
    Matrix z_owner(h.rows, block, h.dtype), along_owner(h.rows, block, h.dtype);
    Matrix z_from_owner(shared ? 0 : h_from.rows, block, h.dtype),
        weight_owner(h_from.rows, block, h.dtype);
    for (std::int64_t r0 = 0; r0 < up.width; r0 += block) {
        const std::int64_t count = std::min(block, up.width - r0);
        const MatrixView v = v_owner.view().row_block(0, count), a = a_owner.view().row_block(0, count);
        const MatrixView dv = dv_owner.view().row_block(0, count), da = da_owner.view().row_block(0, count);
        const MatrixView z = z_owner.view().col_block(0, count),
                         along = along_owner.view().col_block(0, count);
        const MatrixView z_from = shared ? z : z_from_owner.view().col_block(0, count);
        const MatrixView weight = weight_owner.view().col_block(0, count);
        up_rows(up, r0, v);
        readout_rows(readout, r0, a);
        gemm(false, true, 1, h, v, 0, z);
        if (!shared) gemm(false, true, 1, h_from, v, 0, z_from);
        with_real(h.dtype, [&](auto type) {
            using T = decltype(type);
            if (train.up) {  // dV = (D' ∘ e Aᵀ)ᵀ H', then (D ∘ H dVᵀ) A
                gemm(false, true, 1, e, a, 0, weight);
                over_rows(h_from.rows, [&](std::int64_t begin, std::int64_t end) {
                    slope_times<T>(activation, z_from, weight, weight, begin, end);
                });
                gemm(true, false, 1, weight, h_from, 0, dv);
                gemm(false, true, 1, h, dv, 0, along);
                over_rows(h.rows, [&](std::int64_t begin, std::int64_t end) {
                    slope_times<T>(activation, z, along, along, begin, end);
                });
                gemm(false, false, 1, along, a, 1, out);
            }
            if (train.readout) {  // dA = σ(Z')ᵀ e, then σ(Z) dA
                const auto map = [&](MatrixView view) {
                    over_rows(view.rows, [&](std::int64_t begin, std::int64_t end) {
                        map_rows<T>(activation, false, view, begin, end);
                    });
                };
                map(z);
                if (!shared) map(z_from);
                gemm(true, false, 1, z_from, e, 0, da);
                gemm(false, false, 1, z, da, 1, out);
            }
        });
    }
}

void Cpu::up_rows(const UpFactor& up, std::int64_t r0, MatrixView rows) {
    if (up.values.data != nullptr) return axpby(1, up.values.row_block(r0, rows.rows), 0, rows);
    const std::int64_t p = up.rank, padded = kernels::next_power_of_two(p);
    with_real(rows.dtype, [&](auto type) {
        using T = decltype(type);
        over_rows(rows.rows, [&](std::int64_t begin, std::int64_t end) {
            std::vector<std::uint32_t> words;
            std::vector<double> normals;
            for (std::int64_t b = begin; b < end; ++b) {
                T* out = rows.row<T>(b);
                const std::int64_t r = r0 + b;
                if (up.family == Up::rademacher) {
                    expand_signs(up.seed, kernels::Stream::up, kernels::rademacher_word(r, p), p, out);
                } else if (up.family == Up::srht) {
                    expand_signs(up.seed, kernels::Stream::up_signs, kernels::srht_word(r / padded, padded),
                                 p, out);
                    for (std::int64_t q = 0; q < p; ++q)
                        if (kernels::hadamard_negative(r % padded, q)) out[q] = -out[q];
                } else {  // from the start of the first entry's block
                    const std::int64_t skip = r * p % 4, count = (skip + p + 3) / 4 * 4;
                    words.resize(count);
                    normals.resize(count);
                    random_words(up.seed, kernels::Stream::up, static_cast<std::uint64_t>(r * p - skip),
                                 count, words.data());
                    box_muller(words.data(), count / 2, normals.data());
                    for (std::int64_t q = 0; q < p; ++q) out[q] = static_cast<T>(normals[skip + q]);
                }
            }
        });
    });
}

void Cpu::readout_rows(const Readout& readout, std::int64_t r0, MatrixView rows) {
    if (!readout.signs()) return axpby(1, readout.values.row_block(r0, rows.rows), 0, rows);
    with_real(rows.dtype, [&](auto type) {
        using T = decltype(type);
        for (std::int64_t c = 0; c < rows.cols; ++c) {
            std::vector<T> column(rows.rows + 32);  // from the start of r0's word
            const std::int64_t skip = r0 % 32;
            expand_signs(readout.seed, kernels::Stream::readout,
                         kernels::readout_word(c) + static_cast<std::uint64_t>(r0 / 32), rows.rows + skip,
                         column.data());
            for (std::int64_t b = 0; b < rows.rows; ++b) rows.row<T>(b)[c] = column[b + skip];
        }
    });
}

}  // namespace fntk::backend

// What tiles of a kernel cost, from extents alone: bytes of a batch made ready, of a tile and what makes
// it, and flops of a pair of samples. Fits and files of kernels are planned by them.
#pragma once

#include "byte_counts.hpp"
#include "limit_check.hpp"

#include <fntk/kernel_function.hpp>

#include <algorithm>
#include <cmath>

namespace fntk {

/// Extents of a kernel as doubles, which do not overflow.
struct KernelExtents {
    double d = 0, p = 0, m = 0, k = 0;  // of the network; p, m and k are 0 for a limit
    double effective = 1;               // rows of the kernel for a sample
    double bytes = 4;                   // of one number in the kernel's precision
    Train train{};
    KernelOutput output = KernelOutput::trace;
    bool limit = false, moments = false;
    bool on_host = false;   // a limit that is made on the host: that of smooth activations
    double series = 0;      // bytes of a row's coefficients in it
    bool by_units = false;  // summed over the width in blocks of units: readout, and up without gates
    bool weighted = false;  // up without gates: a weight for every unit
    bool exact = false;     // ĥ and Ĝ are kept beside H and G
    double digits = 0;      // of U, each a matrix p × d; 0 where U is the identity
    double gate_row = 0;    // bytes of one sample's gates

    [[nodiscard]] int factors() const { return train.down + train.up + train.readout; }
    [[nodiscard]] bool full() const { return output == KernelOutput::full; }
    [[nodiscard]] bool summed() const { return output == KernelOutput::sum_of_logits; }
    /// Columns of the gradients behind one row of the kernel.
    [[nodiscard]] double gradients() const { return full() || summed() ? p : p * k; }
    /// Of K = ΦΦᵀ; 0 where it has none but a row of the kernel for each output.
    [[nodiscard]] double features() const { return moments && !full() ? gradients() * d : 0; }
};

inline KernelExtents kernel_extents(const KernelFunction& function) {
    KernelExtents x{.d = static_cast<double>(function.dim()),
                    .effective = static_cast<double>(function.outputs()),
                    .bytes = static_cast<double>(size_of(function.precision())),
                    .train = function.train(),
                    .output = function.output(),
                    .limit = function.is_limit(),
                    .moments = function.has_moments()};
    if (x.limit) {
        x.on_host = !function.activation().homogeneous();
        if (is_series(function.activation()))
            x.series = 8.0 * hermite_terms * ((x.train.down || x.train.up) + x.train.readout);
        return x;
    }
    const NetworkSpec& spec = function.network().spec();
    x.p = static_cast<double>(spec.rank);
    x.m = static_cast<double>(spec.width);
    x.k = static_cast<double>(spec.outputs);
    x.exact = function.network().exactness() == Exactness::integer;
    x.digits = function.network().fixed_down().count();
    x.gate_row = 8 * static_cast<double>(BitMatrix::stride_of(spec.width));
    x.weighted = x.train.up && !(spec.activation.homogeneous() && function.network().readout().signs());
    x.by_units = x.train.readout || x.weighted;
    return x;
}

/// What a KernelBatch of n samples keeps: unit rows and norms (nothing of a limit that is made on the
/// host), or H, f, G with their integers and the gates.
inline double batch_bytes(const KernelExtents& x, double n) {
    if (x.limit) return x.on_host ? 0 : n * (x.d + 1) * x.bytes;
    const double gradients = x.train.down ? x.k * x.p : 0;
    return n * ((x.p + x.k + gradients) * x.bytes + (x.train.up ? x.gate_row : 0) +
                (x.exact ? x.p * x.bytes + 4 * gradients + 8 * x.k + 4 : 0));
}

/// Samples × units of σ(Z) or of its like in the network's precision: 4 MiB of them at a time, 64 units at
/// least.
inline double unit_block(const KernelExtents& x, double n) {
    const double units =
        std::floor(std::clamp(4 * mib / std::max(n * x.bytes, 1.0), 64.0, 4096.0) / 64) * 64;
    return n * std::min(units, x.m) * x.bytes;
}

/// What making it takes beside: H in double and the digits of U; in floating point then Z and what its
/// units become.
inline double making_bytes(const KernelExtents& x, double n) {
    if (x.limit) return 0;
    return std::max(n * (8 * x.p + 4) + x.digits * x.p * x.d * 8, x.exact ? 0 : 2 * unit_block(x, n));
}

/// A tile of rows × cols samples and what makes it: arrays of its size (a block of the full kernel and XXᵀ,
/// HHᵀ and the counts of the gates, one pair of outputs, the share of a second factor), the gradients of
/// summed outputs, and blocks of units or of rows in double.
inline double tile_bytes(const KernelExtents& x, double rows, double cols) {
    if (x.limit)  // on the host in blocks of 512 unit vectors of each side, in double
        return rows * cols * x.bytes * (x.on_host ? 2 : 1) +
               (x.on_host ? (std::min(rows, 512.0) + std::min(cols, 512.0)) * 8 * x.d : 0) +
               (rows + cols) * x.series;
    const double arrays = (x.full() ? 2 * x.bytes : 0) + (x.train.up ? x.bytes + 4 : 0) +
                          (x.train.up && x.summed() ? x.bytes : 0) + (x.factors() > 1 ? x.bytes : 0);
    const double gradients = x.train.down && x.summed() ? (rows + cols) * (x.p + 2 * x.k) * x.bytes : 0;
    return rows * cols * (x.effective * x.effective * x.bytes + arrays) + gradients +
           (x.by_units ? std::min(x.m, 4096.0) * x.p * x.bytes : 0) +
           (x.weighted   ? 32 * x.m
            : x.train.up ? x.m / 2
                         : 0);
}

/// Flops of the kernel of one pair of samples; a popcount of 64 gates is two.
inline double pair_flops(const KernelExtents& x) {
    if (x.limit) return 2 * x.d;
    const double pairs = x.full() || x.summed() ? x.k * x.k : 1;
    return (x.train.down ? 2 * x.d + 2 * x.p *
                                         (x.full()     ? pairs
                                          : x.summed() ? 1
                                                       : x.k)
                         : 0) +
           (x.train.up ? (x.weighted ? 2 * x.m : x.m / 32) * pairs + 2 * x.p : 0) +
           (x.train.readout ? 2 * x.m * (x.full() ? x.k : 1) : 0);
}

/// A product of K with one vector without K, beside the vector and the result; `tile` samples a side where
/// it is made of tiles, those of a limit.
inline double product_bytes(const KernelExtents& x, double n, double tile, double moment_rows) {
    const double vectors = 3 * n * x.effective * x.bytes;
    if (x.limit) {  // a tile that is all of K has one side's coefficients
        const double side = std::min(n, tile);
        return vectors + tile_bytes(x, side, side) - (n <= tile ? side * x.series : 0);
    }
    const double down = x.train.down ? (std::min(n, moment_rows) + x.d) * x.gradients() * x.bytes : 0,
                 wide = x.train.up || x.train.readout
                            ? 3 * unit_block(x, n) + 2 * std::min(x.m, 4096.0) * (x.p + x.k) * x.bytes
                            : 0;
    return vectors + std::max(down, wide);
}
/// Its flops.
inline double product_flops(const KernelExtents& x, double n) {
    if (x.limit) return n * n / 2 * (2 * x.d) + 2 * n * n;
    return (x.train.down ? 4 * n * x.gradients() * x.d : 0) + (x.train.up ? 6 * n * x.m * x.p : 0) +
           (x.train.readout ? 2 * n * x.m * (x.p + 2 * x.k) : 0);
}

}  // namespace fntk

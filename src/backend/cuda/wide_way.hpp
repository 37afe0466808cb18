// Which way the exact wide pass takes on a GPU: a pure function of the network, the device and the build.
#pragma once

#include <fntk/factors.hpp>

#include <backend/ops.hpp>

#include <grid.hpp>

namespace fntk::backend::cuda {

enum class WideWay : std::uint8_t {
    transform,       ///< kernels/wide_pass_srht.hpp: int8 matrix units and butterflies, p ≤ 512, or 1024
    long_transform,  ///< kernels/wide_pass_srht_long.hpp: fast transforms by additions alone, p ≤ 8192
    wgmma,  ///< kernels/wide_pass_wgmma.hpp: compute capability 9.0, p ≤ 256; gates_wgmma.hpp, p ≤ 1024
    fused,  ///< kernels/wide_pass_rademacher.hpp: int8 matrix units, V made on the spot, p ≤ 256
    int8_chain,  ///< kernels/int8_chain.hpp and cuBLAS, chunks of V in memory: any p
    plain,       ///< kernels/wide_pass_exact64.hpp: integer additions, for float64 networks
};

/// Ranks above the first have sums that do not fit the registers of a block: Ĝ comes from the gates, which
/// kernels/gates_wgmma.hpp finds up to the second.
inline constexpr std::int64_t most_fused_rank = 256, most_gated_rank = 1024;
/// Up to this rank of a srht V the products of wgmma are chosen before the transform (docs/cuda.md).
inline constexpr std::int64_t most_srht_product = 128;

struct WideChoice {
    WideWay way = WideWay::plain;
    const char* reason = "";
};

/// h: the type of ĥ, rows: its samples. has_wgmma: this build has that kernel and it may be used.
WideChoice choose_wide_way(Up family, std::int64_t rank, DType h, const kernels::DeviceLimits& limits,
                           std::int64_t rows, bool has_wgmma);

/// Whether `ops` is a GPU on which the kernels of WideWay::wgmma, of the Gram and of moments are built,
/// allowed and have passed their checks against the portable ones, which this runs at the first call.
bool uses_wgmma(Ops& ops);
/// For tests and benches: from now on `ops` does without it, or no longer.
void allow_wgmma(Ops& ops, bool allowed);
/// For tests: from now on moments of so many products n·p·d are worth digits.
void take_digits_from(Ops& ops, double products);

}  // namespace fntk::backend::cuda

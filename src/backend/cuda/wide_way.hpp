// Which way the exact wide pass takes on a GPU: a pure function of the network and the device.
#pragma once

#include <fntk/factors.hpp>

#include <grid.hpp>

namespace fntk::backend::cuda {

enum class WideWay : std::uint8_t {
    transform,   ///< kernels/wide_pass_srht.hpp: fast transforms, 2·log2 P additions per unit and sample
    fused,       ///< kernels/wide_pass_rademacher.hpp: int8 matrix units, V made on the spot, p ≤ 256
    int8_chain,  ///< kernels/int8_chain.hpp and cuBLAS, chunks of V in memory: any p
    plain,       ///< kernels/wide_pass_exact64.hpp: integer additions, for float64 networks
};

struct WideChoice {
    WideWay way = WideWay::plain;
    const char* reason = "";
};

/// h: the type of ĥ.
WideChoice choose_wide_way(Up family, std::int64_t rank, DType h, const kernels::DeviceLimits& limits);

}  // namespace fntk::backend::cuda

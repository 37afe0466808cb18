// The kernels for compute capability 9.0 alone, sm_90a: hopper/, compiled apart. A build may lack them.
#pragma once

namespace fntk::backend::cuda {

/// The entry of kernels::WidePassWgmma<columns>, columns 64, 128 or 256. Null in a build without it.
const void* wide_wgmma_entry(int columns);

}  // namespace fntk::backend::cuda

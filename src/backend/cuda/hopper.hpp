// The kernels for compute capability 9.0 alone, sm_90a: hopper/, compiled apart. A build may lack them.
#pragma once

namespace fntk::backend::cuda {

/// The entries of kernels::WidePassWgmma<columns, digits> and kernels::OpenGradientsWgmma<columns>, columns
/// 64, 128 or 256, of the first 512 too, digits 2 or 3. Null in a build without them.
const void* wide_wgmma_entry(int columns, int digits);
const void* open_gradients_wgmma_entry(int columns);
/// That of kernels::HadamardGramWgmma.
const void* hadamard_wgmma_entry();

}  // namespace fntk::backend::cuda

// The kernels for compute capability 9.0 alone, sm_90a: hopper/, compiled apart. A build may lack them.
#pragma once

namespace fntk::backend::cuda {

/// The entries of kernels::WidePassWgmma<columns, digits> and kernels::OpenGradientsWgmma<columns>, columns
/// 64, 128 or 256, digits 2 or 3. Null in a build without them.
const void* wide_wgmma_entry(int columns, int digits);
const void* open_gradients_wgmma_entry(int columns);
/// Those of kernels::GatesWgmma<digits, words>, words 1 or 2, of kernels::HadamardGramWgmma, GateGramWgmma,
/// MomentWgmma and AlongMomentWgmma.
const void* gates_wgmma_entry(int digits, int words);
const void* hadamard_wgmma_entry();
const void* gate_gram_wgmma_entry();
const void* moment_wgmma_entry();
const void* along_moment_wgmma_entry();

}  // namespace fntk::backend::cuda

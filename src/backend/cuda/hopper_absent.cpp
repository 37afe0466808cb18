// In place of hopper/ in a build without code for compute capability 9.0.
#include <backend/cuda/hopper.hpp>

namespace fntk::backend::cuda {

const void* wide_wgmma_entry(int, int) { return nullptr; }
const void* open_gradients_wgmma_entry(int) { return nullptr; }
const void* gates_wgmma_entry(int, int) { return nullptr; }
const void* hadamard_wgmma_entry() { return nullptr; }
const void* gate_gram_wgmma_entry() { return nullptr; }
const void* moment_wgmma_entry() { return nullptr; }
const void* along_moment_wgmma_entry() { return nullptr; }

}  // namespace fntk::backend::cuda

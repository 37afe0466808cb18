#include <backend/cuda/hopper.hpp>

#include <gate_gram_wgmma.hpp>
#include <hadamard_gram_wgmma.hpp>

namespace fntk::backend::cuda {

const void* hadamard_wgmma_entry() {
    return reinterpret_cast<const void*>(&kernels::warpgroup_entry<kernels::HadamardGramWgmma>);
}
const void* gate_gram_wgmma_entry() {
    return reinterpret_cast<const void*>(&kernels::warpgroup_entry<kernels::GateGramWgmma>);
}

}  // namespace fntk::backend::cuda

#include <backend/cuda/hopper.hpp>

#include <hadamard_gram_wgmma.hpp>

namespace fntk::backend::cuda {

const void* hadamard_wgmma_entry() {
    return reinterpret_cast<const void*>(&kernels::warpgroup_entry<kernels::HadamardGramWgmma>);
}

}  // namespace fntk::backend::cuda

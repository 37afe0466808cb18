#include <backend/cuda/hopper.hpp>

#include <along_moment_wgmma.hpp>
#include <moment_wgmma.hpp>

namespace fntk::backend::cuda {

const void* moment_wgmma_entry() {
    return reinterpret_cast<const void*>(&kernels::warpgroup_entry<kernels::MomentWgmma>);
}
const void* along_moment_wgmma_entry() {
    return reinterpret_cast<const void*>(&kernels::warpgroup_entry<kernels::AlongMomentWgmma>);
}

}  // namespace fntk::backend::cuda

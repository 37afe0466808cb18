#include <backend/cuda/wide_wgmma.hpp>

#include <wide_pass_wgmma.hpp>

namespace fntk::backend::cuda {

const void* wide_wgmma_entry(int columns) {
    switch (columns) {
        case 64:
            return reinterpret_cast<const void*>(&kernels::warpgroup_entry<kernels::WidePassWgmma<64>>);
        case 128:
            return reinterpret_cast<const void*>(&kernels::warpgroup_entry<kernels::WidePassWgmma<128>>);
        case 256:
            return reinterpret_cast<const void*>(&kernels::warpgroup_entry<kernels::WidePassWgmma<256>>);
        default:
            return nullptr;
    }
}

}  // namespace fntk::backend::cuda

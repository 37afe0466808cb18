#include <backend/cuda/hopper.hpp>

#include <open_gradients_wgmma.hpp>
#include <wide_pass_wgmma.hpp>

namespace fntk::backend::cuda {

namespace {

template <template <int> class Kernel>
const void* entry(int columns) {
    switch (columns) {
        case 64:
            return reinterpret_cast<const void*>(&kernels::warpgroup_entry<Kernel<64>>);
        case 128:
            return reinterpret_cast<const void*>(&kernels::warpgroup_entry<Kernel<128>>);
        case 256:
            return reinterpret_cast<const void*>(&kernels::warpgroup_entry<Kernel<256>>);
        default:
            return nullptr;
    }
}

}  // namespace

const void* wide_wgmma_entry(int columns) { return entry<kernels::WidePassWgmma>(columns); }
const void* open_gradients_wgmma_entry(int columns) { return entry<kernels::OpenGradientsWgmma>(columns); }

}  // namespace fntk::backend::cuda

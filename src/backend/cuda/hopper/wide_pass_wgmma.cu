#include <backend/cuda/hopper.hpp>

#include <wide_pass_wgmma.hpp>

namespace fntk::backend::cuda {

namespace {

template <int columns>
const void* entry() {
    return reinterpret_cast<const void*>(&kernels::warpgroup_entry<kernels::WidePassWgmma<columns>>);
}

}  // namespace

const void* wide_wgmma_entry(int columns) {
    switch (columns) {
        case 64:
            return entry<64>();
        case 128:
            return entry<128>();
        case 256:
            return entry<256>();
        default:
            return nullptr;
    }
}

}  // namespace fntk::backend::cuda

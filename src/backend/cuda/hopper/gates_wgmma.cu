#include <backend/cuda/hopper.hpp>

#include <gates_wgmma.hpp>

namespace fntk::backend::cuda {

namespace {

template <int digits, int words>
const void* entry() {
    return reinterpret_cast<const void*>(&kernels::warpgroup_entry<kernels::GatesWgmma<digits, words>>);
}

}  // namespace

const void* gates_wgmma_entry(int digits, int words) {
    if (digits == 2) return words == 1 ? entry<2, 1>() : entry<2, 2>();
    return words == 1 ? entry<3, 1>() : entry<3, 2>();
}

}  // namespace fntk::backend::cuda

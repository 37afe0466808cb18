#include <backend/cuda/hopper.hpp>

#include <open_gradients_wgmma.hpp>
#include <wide_pass_wgmma.hpp>

namespace fntk::backend::cuda {

namespace {

template <class Kernel>
const void* entry() {
    return reinterpret_cast<const void*>(&kernels::warpgroup_entry<Kernel>);
}
template <template <int> class Kernel>
const void* entry(int columns) {
    switch (columns) {
        case 64:
            return entry<Kernel<64>>();
        case 128:
            return entry<Kernel<128>>();
        case 256:
            return entry<Kernel<256>>();
        default:
            return nullptr;
    }
}

template <int columns>
using OfTwoDigits = kernels::WidePassWgmma<columns, 2>;
template <int columns>
using OfThreeDigits = kernels::WidePassWgmma<columns, 3>;

}  // namespace

const void* wide_wgmma_entry(int columns, int digits) {
    return digits == 2 ? entry<OfTwoDigits>(columns) : entry<OfThreeDigits>(columns);
}
const void* open_gradients_wgmma_entry(int columns) { return entry<kernels::OpenGradientsWgmma>(columns); }

}  // namespace fntk::backend::cuda

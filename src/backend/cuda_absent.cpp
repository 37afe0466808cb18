// In place of src/backend/cuda/ in a build without CUDA.
#include <backend/cuda/wide_way.hpp>
#include <backend/ops.hpp>

#include <fntk/error.hpp>

namespace fntk::backend {

CudaStatus cuda_status() {
    return {false,
            "this build has no CUDA backend; configure with -DFNTK_CUDA=ON where a CUDA toolkit is, or use "
            "cpu, which gives the same integers"};
}

std::unique_ptr<Ops> make_cuda(int, CUstream_st*) {
    throw DeviceError("device 'cuda' is not available: " + cuda_status().description);
}

namespace cuda {

bool uses_wgmma(Ops&) { return false; }
void allow_wgmma(Ops&, bool) {}

}  // namespace cuda

}  // namespace fntk::backend

#include <backend/cpu.hpp>
#include <backend/simd/target.hpp>

namespace fntk::backend {

std::unique_ptr<Ops> make_cpu(int threads, const std::string& simd) {
    if (!simd.empty()) use_simd_target(simd);
    return std::make_unique<Cpu>(threads);
}

std::string describe_cpu() { return "BLAS, LAPACK and threads; " + simd_target(); }

}  // namespace fntk::backend

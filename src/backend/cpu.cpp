#include <backend/cpu.hpp>
#include <backend/simd/target.hpp>

#include <fntk/error.hpp>

#include <fmt/format.h>

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>

namespace fntk::backend {

namespace {

/// OpenBLAS maps a buffer of this size for each thread that calls it, and tries for ever where it cannot.
constexpr std::int64_t blas_buffer = std::int64_t{128} << 20;

/// Throws MemoryError where the address space is limited (ulimit -v) to less than those buffers.
void require_address_space(int threads) {
    rlimit limit{};
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    std::int64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const std::int64_t used = pages * sysconf(_SC_PAGESIZE), needed = used + threads * blas_buffer;
    if (limit.rlim_cur < static_cast<rlim_t>(needed))
        throw MemoryError(fmt::format(
            "the address space is limited to {} MiB (ulimit -v); {} threads take {} MiB for BLAS and the "
            "process has {} MiB: raise the limit or take fewer threads",
            limit.rlim_cur >> 20, threads, (threads * blas_buffer) >> 20, used >> 20));
}

}  // namespace

std::unique_ptr<Ops> make_cpu(int threads, const std::string& simd) {
    if (!simd.empty()) use_simd_target(simd);
    require_address_space(threads);
    return std::make_unique<Cpu>(threads);
}

std::string describe_cpu() { return "BLAS, LAPACK and threads; " + simd_target(); }

}  // namespace fntk::backend

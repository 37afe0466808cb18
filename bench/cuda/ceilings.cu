// What this GPU reaches at most, to divide every other number by: one JSON line a ceiling on standard
// output.
//     copy, write                device memory, bytes read and written
//     fp64, fp32, tf32, bf16     cuBLAS, 8192 × 8192 × 8192 (fp64: 4096), 2n³ flops, random data
//     int8                       cuBLAS, int8 into int32
//     mma_s8, mma_b1             the instructions of kernels/grid.hpp from registers: 2·16·8·32 and
//     2·16·8·256
//                                operations each
//     popcount                   64-bit AND and popcount from registers, 2·64 operations each
//     wgmma_*                    ceilings_wgmma.cu, on compute capability 9.0
// Times are CUDA events: 3 calls first, then at least 20 calls and half a second; median, 10th and 90th
// percentile. Exit code 77 where there is no GPU, 1 where a call fails.
#include "ceilings.hpp"

#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <grid.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

namespace {

using namespace fntk::kernels;

void check(cudaError_t status, int line) {
    if (status == cudaSuccess) return;
    std::fprintf(stderr, "ceilings.cu:%d: %s\n", line, cudaGetErrorString(status));
    std::exit(1);
}
void check(cublasStatus_t status, int line) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    std::fprintf(stderr, "ceilings.cu:%d: cuBLAS status %d\n", line, static_cast<int>(status));
    std::exit(1);
}
#define CHECK(call) check((call), __LINE__)

/// Device memory of this many bytes.
class Buffer {
  public:
    explicit Buffer(std::int64_t bytes) { CHECK(cudaMalloc(&data_, static_cast<std::size_t>(bytes))); }
    ~Buffer() { cudaFree(data_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    void* get() const { return data_; }

  private:
    void* data_ = nullptr;
};

/// Uniform in [−1, 1), of int8 in [−127, 127].
template <class T>
__global__ void fill(T* to, std::int64_t count) {
    for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count;
         i += std::int64_t{gridDim.x} * blockDim.x) {
        const float x = static_cast<float>(mixed(i + 1)) * 0x1p-31F - 1.0F;
        to[i] = static_cast<T>(sizeof(T) == 1 ? 127.0F * x : x);
    }
}
template <class T>
void fill_randomly(const Buffer& buffer, std::int64_t count) {
    fill<<<4096, 256>>>(static_cast<T*>(buffer.get()), count);
    CHECK(cudaGetLastError());
}

constexpr int products = 8, rounds = 2048;  // independent sums of a thread, and how often each is added to

/// Mma: operation()(grid, acc, a, b), an instruction of a warp.
template <class Mma>
__global__ void __launch_bounds__(256) mma_from_registers(std::int32_t* out) {
    CudaGrid grid;
    std::int32_t acc[products][4] = {};
    std::uint32_t a[4], b[2];
    for (int i = 0; i < 4; ++i) a[i] = mixed(threadIdx.x * 4 + i);
    for (int i = 0; i < 2; ++i) b[i] = mixed(threadIdx.x * 2 + i + 9999);
#pragma unroll 1
    for (int round = 0; round < rounds; ++round) {
#pragma unroll
        for (int i = 0; i < products; ++i) Mma()(grid, acc[i], a, b);
    }
    std::int32_t sum = 0;
    for (int i = 0; i < products; ++i)
        for (int j = 0; j < 4; ++j) sum += acc[i][j];
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
struct MmaS8 {
    static constexpr double operations = 2.0 * 16 * 8 * 32;
    template <class... Registers>
    __device__ void operator()(CudaGrid& grid, Registers&... registers) const {
        grid.mma_s8(registers...);
    }
};
struct MmaB1 {
    static constexpr double operations = 2.0 * 16 * 8 * 256;
    template <class... Registers>
    __device__ void operator()(CudaGrid& grid, Registers&... registers) const {
        grid.mma_b1(registers...);
    }
};

__global__ void __launch_bounds__(256) popcounts_from_registers(std::int32_t* out) {
    std::int32_t sums[products] = {};
    std::uint64_t word = (std::uint64_t{mixed(threadIdx.x)} << 32) + mixed(blockIdx.x + 7);
#pragma unroll 1
    for (int round = 0; round < rounds; ++round) {
        word = (word << 1) ^ static_cast<std::uint64_t>(round);
#pragma unroll
        for (int i = 0; i < products; ++i)
            sums[i] += popcount(word & (0x9E3779B97F4A7C15ULL * static_cast<unsigned>(i + 1)));
    }
    std::int32_t sum = 0;
    for (const std::int32_t s : sums) sum += s;
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

class Measure {
  public:
    Measure() {
        int device = 0, driver = 0, runtime = 0;
        CHECK(cudaGetDevice(&device));
        CHECK(cudaGetDeviceProperties(&properties_, device));
        CHECK(cudaDriverGetVersion(&driver));
        CHECK(cudaRuntimeGetVersion(&runtime));
        CHECK(cudaEventCreate(&begin_));
        CHECK(cudaEventCreate(&end_));
        CHECK(cublasCreate(&blas));
        char text[512];
        std::snprintf(text, sizeof(text),
                      R"({"name":"%s","compute_capability":"%d.%d","sm":%d,"driver":%d,"cuda":%d})",
                      properties_.name, properties_.major, properties_.minor,
                      properties_.multiProcessorCount, driver, runtime);
        device_ = text;
    }
    ~Measure() {
        cublasDestroy(blas);
        cudaEventDestroy(begin_);
        cudaEventDestroy(end_);
    }
    Measure(const Measure&) = delete;
    Measure& operator=(const Measure&) = delete;

    int multiprocessors() const { return properties_.multiProcessorCount; }
    bool has_wgmma() const { return properties_.major == 9 && properties_.minor == 0; }

    /// One line: `amount` of `unit` a call of body.
    void line(const char* what, const char* unit, double amount, const std::function<void()>& body) {
        for (int i = 0; i < 3; ++i) body();
        std::vector<float> ms;
        double total = 0;
        while (ms.size() < 20 || total < 500) {
            CHECK(cudaEventRecord(begin_));
            body();
            CHECK(cudaEventRecord(end_));
            CHECK(cudaEventSynchronize(end_));
            float took = 0;
            CHECK(cudaEventElapsedTime(&took, begin_, end_));
            ms.push_back(took);
            total += took;
        }
        CHECK(cudaGetLastError());
        std::sort(ms.begin(), ms.end());
        const auto at = [&](double share) {
            return ms[static_cast<std::size_t>(share * static_cast<double>(ms.size() - 1))];
        };
        std::printf(R"({"schema":1,"op":"ceiling","case":"%s","unit":"%s/s","rate":%.5g,)"
                    R"("ms":{"median":%.5g,"p10":%.5g,"p90":%.5g,"reps":%zu},"device":%s})"
                    "\n",
                    what, unit, amount / (1e-3 * at(0.5)), at(0.5), at(0.1), at(0.9), ms.size(),
                    device_.c_str());
        std::fflush(stdout);
    }

    cublasHandle_t blas = nullptr;

  private:
    cudaDeviceProp properties_{};
    cudaEvent_t begin_ = nullptr, end_ = nullptr;
    std::string device_;
};

void memory(Measure& measure) {
    constexpr std::int64_t bytes = std::int64_t{1} << 30;
    const Buffer from(bytes), to(bytes);
    fill_randomly<float>(from, bytes / 4);
    measure.line("copy", "byte", 2.0 * bytes,
                 [&] { CHECK(cudaMemcpyAsync(to.get(), from.get(), bytes, cudaMemcpyDeviceToDevice)); });
    measure.line("write", "byte", 1.0 * bytes, [&] { CHECK(cudaMemsetAsync(to.get(), 1, bytes)); });
}

/// C = AᵀB, n × n × n: the form that int8 products ask for.
template <class In, class Out, class Scale>
void product(Measure& measure, const char* what, int n, cudaDataType in, cudaDataType out,
             cublasComputeType_t compute) {
    const auto count = std::int64_t{n} * n;
    const Buffer a(count * static_cast<std::int64_t>(sizeof(In))),
        b(count * static_cast<std::int64_t>(sizeof(In))), c(count * static_cast<std::int64_t>(sizeof(Out)));
    fill_randomly<In>(a, count);
    fill_randomly<In>(b, count);
    const Scale one = 1, zero = 0;
    measure.line(what, "op", 2.0 * n * n * n, [&] {
        CHECK(cublasGemmEx(measure.blas, CUBLAS_OP_T, CUBLAS_OP_N, n, n, n, &one, a.get(), in, n, b.get(),
                           in, n, &zero, c.get(), out, n, compute, CUBLAS_GEMM_DEFAULT));
    });
}

void instructions(Measure& measure) {
    const int blocks = 8 * measure.multiprocessors(), threads = 256;
    const Buffer out(std::int64_t{4} * blocks * threads);
    auto* const to = static_cast<std::int32_t*>(out.get());
    const double repeats = 1.0 * blocks * products * rounds;
    measure.line("mma_s8", "op", repeats * threads / 32 * MmaS8::operations,
                 [&] { mma_from_registers<MmaS8><<<blocks, threads>>>(to); });
    measure.line("mma_b1", "op", repeats * threads / 32 * MmaB1::operations,
                 [&] { mma_from_registers<MmaB1><<<blocks, threads>>>(to); });
    measure.line("popcount", "op", repeats * threads * 2 * 64,
                 [&] { popcounts_from_registers<<<blocks, threads>>>(to); });
#ifdef FNTK_WGMMA_CEILINGS
    if (!measure.has_wgmma()) return;
    for (const WgmmaCeiling& ceiling : wgmma_ceilings())
        measure.line(ceiling.name, "op", ceiling.operations * measure.multiprocessors(), [&] {
            ceiling.start(measure.multiprocessors(), to);
            CHECK(cudaGetLastError());
        });
#endif
}

}  // namespace

int main() {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        std::fprintf(stderr, "SKIPPED: there is no GPU\n");
        return 77;
    }
    Measure measure;
    memory(measure);
    product<double, double, double>(measure, "fp64", 4096, CUDA_R_64F, CUDA_R_64F, CUBLAS_COMPUTE_64F);
    product<float, float, float>(measure, "fp32", 8192, CUDA_R_32F, CUDA_R_32F,
                                 CUBLAS_COMPUTE_32F_PEDANTIC);
    product<float, float, float>(measure, "tf32", 8192, CUDA_R_32F, CUDA_R_32F,
                                 CUBLAS_COMPUTE_32F_FAST_TF32);
    product<__nv_bfloat16, __nv_bfloat16, float>(measure, "bf16", 8192, CUDA_R_16BF, CUDA_R_16BF,
                                                 CUBLAS_COMPUTE_32F);
    product<std::int8_t, std::int32_t, std::int32_t>(measure, "int8", 8192, CUDA_R_8I, CUDA_R_32I,
                                                     CUBLAS_COMPUTE_32I);
    instructions(measure);
    return 0;
}

#include <backend/blas.hpp>
#include <backend/scalar.hpp>

#include <fntk/error.hpp>

#include <cblas.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <climits>

namespace fntk::backend {

namespace {

using SetThreads = void (*)(int);

SetThreads find_set_threads() {
    for (const char* name :
         {"openblas_set_num_threads", "MKL_Set_Num_Threads", "bli_thread_set_num_threads"})
        if (void* symbol = dlsym(RTLD_DEFAULT, name)) return reinterpret_cast<SetThreads>(symbol);
    return nullptr;
}

int extent(std::int64_t n) {
    if (n > INT_MAX)
        throw ShapeError(
            fmt::format("an extent of {} exceeds the {} of this BLAS; work in blocks of rows", n, INT_MAX));
    return static_cast<int>(n);
}

int stride_of(ConstMatrixView view) { return extent(view.stride > 0 ? view.stride : 1); }

}  // namespace

void set_blas_threads(int threads) {
    static const SetThreads set = find_set_threads();
    if (set != nullptr) set(threads);
}

std::string blas_core() {
    using CoreName = char* (*)();
    const auto core = reinterpret_cast<CoreName>(dlsym(RTLD_DEFAULT, "openblas_get_corename"));
    return core == nullptr ? "" : core();
}

std::string better_blas_core() {
#if defined(__x86_64__)
    const std::string core = blas_core();
    const bool without_avx =
        core == "Prescott" || core == "Core2" || core == "Nehalem" || core == "Generic";
    if (!without_avx) return "";
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return "SkylakeX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "Haswell";
#endif
    return "";
}

void blas_gemm(bool transpose_a, bool transpose_b, double alpha, ConstMatrixView a, ConstMatrixView b,
               double beta, MatrixView c) {
    if (c.empty()) return;
    const auto ta = transpose_a ? CblasTrans : CblasNoTrans, tb = transpose_b ? CblasTrans : CblasNoTrans;
    const int rows = extent(c.rows), cols = extent(c.cols), depth = extent(transpose_a ? a.rows : a.cols);
    if (c.dtype == DType::f32)
        cblas_sgemm(CblasRowMajor, ta, tb, rows, cols, depth, static_cast<float>(alpha), a.row<float>(0),
                    stride_of(a), b.row<float>(0), stride_of(b), static_cast<float>(beta), c.row<float>(0),
                    stride_of(c));
    else
        cblas_dgemm(CblasRowMajor, ta, tb, rows, cols, depth, alpha, a.row<double>(0), stride_of(a),
                    b.row<double>(0), stride_of(b), beta, c.row<double>(0), stride_of(c));
}

void blas_syrk(double alpha, ConstMatrixView a, double beta, MatrixView c) {
    if (c.empty()) return;
    const int rows = extent(c.rows), depth = extent(a.cols);
    if (c.dtype == DType::f32)
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasNoTrans, rows, depth, static_cast<float>(alpha),
                    a.row<float>(0), stride_of(a), static_cast<float>(beta), c.row<float>(0), stride_of(c));
    else
        cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, rows, depth, alpha, a.row<double>(0),
                    stride_of(a), beta, c.row<double>(0), stride_of(c));
}

}  // namespace fntk::backend

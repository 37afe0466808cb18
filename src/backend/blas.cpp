#include <backend/blas.hpp>
#include <backend/ops.hpp>
#include <backend/scalar.hpp>

#include <fntk/error.hpp>

#include <cblas.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <climits>
#include <mutex>

namespace fntk::backend {

namespace {

/// How the BLAS in use is told its number of threads; null for one that cannot be told.
struct Control {
    void (*set)(int) = nullptr;
    int (*get)() = nullptr;
};

Control find_control() {
    constexpr const char* names[][2] = {{"openblas_set_num_threads", "openblas_get_num_threads"},
                                        {"MKL_Set_Num_Threads", "MKL_Get_Max_Threads"},
                                        {"bli_thread_set_num_threads", "bli_thread_get_num_threads"}};
    for (const auto& [set, get] : names) {
        void *setter = dlsym(RTLD_DEFAULT, set), *getter = dlsym(RTLD_DEFAULT, get);
        if (setter != nullptr && getter != nullptr)
            return {reinterpret_cast<void (*)(int)>(setter), reinterpret_cast<int (*)()>(getter)};
    }
    return {};
}

const Control& control() {
    static const Control found = find_control();
    return found;
}

std::mutex g_scopes_mutex;
int g_scopes = 0;  // alive
int g_before = 1;  // threads before the first of them

int extent(std::int64_t n) {
    if (n > INT_MAX)
        throw ShapeError(
            fmt::format("an extent of {} exceeds the {} of this BLAS; work in blocks of rows", n, INT_MAX));
    return static_cast<int>(n);
}

/// Of one row any stride is right, and BLAS wants none below the columns.
int stride_of(ConstMatrixView view) {
    return extent(std::max<std::int64_t>(view.rows > 1 ? view.stride : view.cols, 1));
}

}  // namespace

BlasThreads::BlasThreads(int threads) {
    if (control().set == nullptr) return;
    const std::lock_guard lock(g_scopes_mutex);
    if (g_scopes++ > 0) return;
    g_before = control().get();
    if (g_before > threads) control().set(threads);
}

BlasThreads::~BlasThreads() {
    if (control().set == nullptr) return;
    const std::lock_guard lock(g_scopes_mutex);
    if (--g_scopes == 0 && control().get() != g_before) control().set(g_before);
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

}  // namespace fntk::backend

// Products by cuBLAS, spectra and solutions by cuSOLVER. Both count by columns: a row-major A is their Aᵀ,
// so that C = op(A) op(B) is asked for as Cᵀ = op(B)ᵀ op(A)ᵀ, and a lower triangle as an upper one. float32
// products stay float32: no TF32, whatever the settings of the process. float64 products may take the
// matrix units, which round as IEEE 754 says: products of whole numbers stay exact.
#include <backend/cuda/cuda.hpp>
#include <backend/scalar.hpp>

#include <transpose.hpp>

#include <type_traits>
#include <vector>

namespace fntk::backend::cuda {

namespace {

/// Of one row any stride is right, and cuBLAS wants none below the columns.
std::int64_t leading(ConstMatrixView view) {
    return std::max<std::int64_t>(view.rows > 1 ? view.stride : view.cols, 1);
}

cublasOperation_t operation(bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; }

template <class T>
const T* values(ConstMatrixView view) {
    return rows_of<T>(view).data;
}

/// Of the products that follow. A pedantic one does without matrix units.
void choose_arithmetic(Context& context, DType dtype) {
    const cublasMath_t mode = dtype == DType::f32 ? CUBLAS_PEDANTIC_MATH : CUBLAS_DEFAULT_MATH;
    context.check(cublasSetMathMode(context.blas(), mode), "choosing the arithmetic of products");
}

/// y = alpha·op(A) x + beta·y, entries of x and y x_step and y_step apart; A is not empty.
template <class T>
void matrix_vector(Context& context, bool transpose, double alpha, ConstMatrixView a, const T* x,
                   std::int64_t x_step, double beta, T* y, std::int64_t y_step) {
    const auto scale = static_cast<T>(alpha), old = static_cast<T>(beta);
    const cublasOperation_t of_columns = operation(!transpose);
    cublasStatus_t code{};
    if constexpr (std::is_same_v<T, float>)
        code = cublasSgemv_64(context.blas(), of_columns, a.cols, a.rows, &scale, values<T>(a), leading(a),
                              x, x_step, &old, y, y_step);
    else
        code = cublasDgemv_64(context.blas(), of_columns, a.cols, a.rows, &scale, values<T>(a), leading(a),
                              x, x_step, &old, y, y_step);
    context.check(code, "a product with a vector");
}

/// Memory of the host that work on the stream uses: it ends when that has, whatever else fails.
class HostWorkspace {
  public:
    HostWorkspace(Context& context, std::size_t bytes) : context_(context), bytes_(bytes) {}
    ~HostWorkspace() {
        if (!bytes_.empty() && cudaStreamSynchronize(context_.stream()) != cudaSuccess) cudaGetLastError();
    }
    HostWorkspace(const HostWorkspace&) = delete;
    HostWorkspace& operator=(const HostWorkspace&) = delete;

    [[nodiscard]] std::byte* data() { return bytes_.data(); }

  private:
    Context& context_;
    std::vector<std::byte> bytes_;
};

}  // namespace

void Cuda::product(bool transpose_a, bool transpose_b, double alpha, ConstMatrixView a, ConstMatrixView b,
                   double beta, MatrixView c) {
    if (c.empty()) return;
    const std::int64_t depth = transpose_a ? a.rows : a.cols;
    cublasHandle_t blas = context_->blas();
    choose_arithmetic(*context_, c.dtype);
    if (depth > 0 && (c.cols == 1 || c.rows == 1))
        return with_real(c.dtype, [&](auto type) {
            using T = decltype(type);
            if (c.cols == 1)
                matrix_vector(*context_, transpose_a, alpha, a, values<T>(b), transpose_b ? 1 : leading(b),
                              beta, rows_of<T>(c).data, leading(c));
            else
                matrix_vector(*context_, !transpose_b, alpha, b, values<T>(a), transpose_a ? leading(a) : 1,
                              beta, rows_of<T>(c).data, 1);
        });
    if (c.dtype == DType::f32) {
        const auto scale = static_cast<float>(alpha), old = static_cast<float>(beta);
        context_->check(cublasSgemm_64(blas, operation(transpose_b), operation(transpose_a), c.cols, c.rows,
                                       depth, &scale, values<float>(b), leading(b), values<float>(a),
                                       leading(a), &old, rows_of<float>(c).data, leading(c)),
                        "a product");
    } else {
        context_->check(cublasDgemm_64(blas, operation(transpose_b), operation(transpose_a), c.cols, c.rows,
                                       depth, &alpha, values<double>(b), leading(b), values<double>(a),
                                       leading(a), &beta, rows_of<double>(c).data, leading(c)),
                        "a product");
    }
}

// In cuBLAS's order Cᵀ = (Bᵀ)ᵀ Aᵀ, the form that its int8 products ask for; other scales than 0 and 1 they
// do not promise. Pedantic products would do without matrix units.
void int8_product(Context& context, const kernels::Rows<const std::int8_t>& a,
                  const kernels::Rows<const std::int8_t>& b, bool add,
                  const kernels::Rows<std::int32_t>& c) {
    cublasHandle_t blas = context.blas();
    const std::int32_t alpha = 1, beta = add ? 1 : 0;
    context.check(cublasSetMathMode(blas, CUBLAS_DEFAULT_MATH), "choosing integer products");
    context.check(cublasGemmEx_64(blas, CUBLAS_OP_T, CUBLAS_OP_N, b.rows, a.rows, a.cols, &alpha, b.data,
                                  CUDA_R_8I, b.stride, a.data, CUDA_R_8I, a.stride, &beta, c.data,
                                  CUDA_R_32I, c.stride, CUBLAS_COMPUTE_32I, CUBLAS_GEMM_DEFAULT),
                  "an int8 product");
}

void Cuda::gemm(bool transpose_a, bool transpose_b, double alpha, ConstMatrixView a, ConstMatrixView b,
                double beta, MatrixView c) {
    const Scope scope(*context_, "gemm");
    product(transpose_a, transpose_b, alpha, a, b, beta, c);
}

void Cuda::inner(double alpha, ConstMatrixView a, ConstMatrixView b, double beta, MatrixView c) {
    const Scope scope(*context_, "inner");
    if (!same(a, b) || c.empty()) return product(false, true, alpha, a, b, beta, c);
    cublasHandle_t blas = context_->blas();
    choose_arithmetic(*context_, c.dtype);
    if (c.dtype == DType::f32) {
        const auto scale = static_cast<float>(alpha), old = static_cast<float>(beta);
        context_->check(
            cublasSsyrk_64(blas, CUBLAS_FILL_MODE_UPPER, CUBLAS_OP_T, c.rows, a.cols, &scale,
                           values<float>(a), leading(a), &old, rows_of<float>(c).data, leading(c)),
            "a symmetric product");
        context_->run(kernels::MirrorLower<float>{rows_of<float>(c)});
    } else {
        context_->check(
            cublasDsyrk_64(blas, CUBLAS_FILL_MODE_UPPER, CUBLAS_OP_T, c.rows, a.cols, &alpha,
                           values<double>(a), leading(a), &beta, rows_of<double>(c).data, leading(c)),
            "a symmetric product");
        context_->run(kernels::MirrorLower<double>{rows_of<double>(c)});
    }
}

bool Cuda::eigh(ConstMatrixView k, std::vector<double>& eigenvalues, MatrixView vectors) {
    const Scope scope(*context_, "eigh");
    const std::int64_t n = k.rows;
    eigenvalues.resize(static_cast<std::size_t>(n));
    if (n == 0) return true;
    const bool wanted = vectors.data != nullptr;
    const cusolverEigMode_t mode = wanted ? CUSOLVER_EIG_MODE_VECTOR : CUSOLVER_EIG_MODE_NOVECTOR;
    cusolverDnHandle_t solver = context_->solver();
    cusolverDnParams_t parameters = context_->solver_parameters();
    const Scratch<double> work(*context_, n, n), found(*context_, 1, n);
    const Scratch<int> info(*context_, 1, 1);
    copy(k, work.view());
    std::size_t device_bytes = 0, host_bytes = 0;
    context_->check(cusolverDnXsyevd_bufferSize(solver, parameters, mode, CUBLAS_FILL_MODE_UPPER, n,
                                                CUDA_R_64F, work.data(), n, CUDA_R_64F, found.data(),
                                                CUDA_R_64F, &device_bytes, &host_bytes),
                    "planning an eigendecomposition");
    const Workspace on_device(*context_, static_cast<std::int64_t>(device_bytes));
    HostWorkspace on_host(*context_, host_bytes);
    context_->check(cusolverDnXsyevd(solver, parameters, mode, CUBLAS_FILL_MODE_UPPER, n, CUDA_R_64F,
                                     work.data(), n, CUDA_R_64F, found.data(), CUDA_R_64F, on_device.data(),
                                     device_bytes, on_host.data(), host_bytes, info.data()),
                    "an eigendecomposition");
    if (fetch(info.data()) != 0) return false;
    copy(found.view(), MatrixView(eigenvalues.data(), 1, n));
    if (wanted)  // cuSOLVER's columns are the rows of `work`
        context_->run(kernels::Transpose<double>{work.read(), rows_of<double>(vectors)});
    return true;
}

std::int64_t Cuda::solve_spd(MatrixView k, MatrixView b) {
    const Scope scope(*context_, "solve_spd");
    const std::int64_t n = k.rows;
    if (n == 0) return 0;
    cusolverDnHandle_t solver = context_->solver();
    cusolverDnParams_t parameters = context_->solver_parameters();
    double* factor = rows_of<double>(k).data;
    const Scratch<int> info(*context_, 1, 1);
    std::size_t device_bytes = 0, host_bytes = 0;
    context_->check(cusolverDnXpotrf_bufferSize(solver, parameters, CUBLAS_FILL_MODE_UPPER, n, CUDA_R_64F,
                                                factor, leading(k), CUDA_R_64F, &device_bytes, &host_bytes),
                    "planning a Cholesky factorisation");
    const Workspace on_device(*context_, static_cast<std::int64_t>(device_bytes));
    HostWorkspace on_host(*context_, host_bytes);
    context_->check(cusolverDnXpotrf(solver, parameters, CUBLAS_FILL_MODE_UPPER, n, CUDA_R_64F, factor,
                                     leading(k), CUDA_R_64F, on_device.data(), device_bytes, on_host.data(),
                                     host_bytes, info.data()),
                    "a Cholesky factorisation");
    const int minor = fetch(info.data());
    if (minor != 0 || b.cols == 0) return minor;
    const Scratch<double> columns(*context_, b.cols, n);
    context_->run(kernels::Transpose<double>{rows_of<double>(ConstMatrixView(b)), columns.rows()});
    context_->check(cusolverDnXpotrs(solver, parameters, CUBLAS_FILL_MODE_UPPER, n, b.cols, CUDA_R_64F,
                                     factor, leading(k), CUDA_R_64F, columns.data(), n, info.data()),
                    "a Cholesky solution");
    context_->run(kernels::Transpose<double>{columns.read(), rows_of<double>(b)});
    return 0;
}

}  // namespace fntk::backend::cuda

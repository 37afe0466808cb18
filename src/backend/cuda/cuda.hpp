// The CUDA backend: kernels of kernels/, cuBLAS and cuSOLVER on one stream of one device. cuda_*.cu hold
// the operations under the names of ops.hpp; each starts kernels and library calls and returns without
// waiting, but for those that return a number or fill a std::vector.
#pragma once

#include <backend/cuda/context.hpp>

namespace fntk::backend::cuda {

class Cuda final : public Ops {
  public:
    explicit Cuda(std::shared_ptr<Context> context) : context_(std::move(context)) {}
    [[nodiscard]] int threads() const override { return 1; }

    // cuda_memory.cu
    [[nodiscard]] Place place() const override { return context_->place(); }
    [[nodiscard]] CUstream_st* stream() const override { return context_->stream(); }
    void synchronize() override;
    void release_unused() override;
    [[nodiscard]] detail::Buffer allocate(std::int64_t rows, std::int64_t bytes_per_row) override;
    [[nodiscard]] detail::Buffer allocate_unwritten(std::int64_t rows, std::int64_t bytes_per_row) override;
    void copy(ConstMatrixView from, MatrixView to) override;
    void copy(ConstBitView from, BitView to) override;
    void zero(MatrixView matrix) override;
    void gather_rows(ConstMatrixView from, ConstMatrixView indices, MatrixView out) override;

    // cuda_exact.cu
    void fix_down(MatrixView u, MatrixView digits, MatrixView exponent) override;
    void down_product(ConstMatrixView x, const FixedPoint& u, double scale, MatrixView v,
                      MatrixView row_exponents) override;
    void quantise_rows(ConstMatrixView v, int bits, MatrixView h, MatrixView row_exponents) override;
    void hidden_rows(ConstMatrixView x, const FixedPoint& u, double scale, int bits, MatrixView h,
                     MatrixView row_exponents, MatrixView hidden) override;
    void dequantise(ConstMatrixView in, ConstMatrixView exponents, double scale, double closed, double open,
                    ConstMatrixView offset, MatrixView out) override;
    void gate_gram(ConstBitView rows, ConstBitView cols, ConstBitView weights, MatrixView counts) override;

    // cuda_wide_exact.cu
    void wide_pass_exact(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                         const WideSums& out) override;
    void wide_pass_scaled(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                          const WideSums& out, const RealSums& real) override;
    void open_sum(const UpFactor& up, const Readout& readout, MatrixView sum) override;

    // cuda_wide_wgmma.cu
    [[nodiscard]] bool uses_wgmma();
    void allow_wgmma(bool allowed) { wgmma_allowed_ = allowed; }

    // cuda_wide_real.cu
    void wide_pass_real(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                        ConstMatrixView h, const WideSums& out) override;
    void feature_gram(const UpFactor& up, const ActivationSpec& activation, bool derivative,
                      ConstMatrixView weights, ConstMatrixView rows, ConstMatrixView cols,
                      MatrixView out) override;
    void wide_gradient(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                       ConstMatrixView h, ConstMatrixView e, ConstBitView gates, std::int64_t r0,
                       MatrixView up_rows, MatrixView readout_rows) override;
    void wide_apply(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                    WideTrain train, ConstMatrixView h, ConstMatrixView h_from, ConstMatrixView e,
                    MatrixView out) override;

    // cuda_factors.cu
    void up_rows(const UpFactor& up, std::int64_t r0, MatrixView rows) override;
    void readout_rows(const Readout& readout, std::int64_t r0, MatrixView rows) override;
    void slope_rows(ConstBitView gates, std::int64_t first, const Readout& readout, std::int64_t c,
                    double scale, double closed, double open, MatrixView out) override;

    // cuda_gram.cu
    void hadamard_gram(ConstMatrixView x, ConstMatrixView x_cols, ConstMatrixView g, ConstMatrixView g_cols,
                       double alpha, MatrixView k) override;
    void arc_gram(ConstMatrixView u, ConstMatrixView norms, ConstMatrixView u_cols,
                  ConstMatrixView norms_cols, double alpha, double derivative, double product,
                  MatrixView out) override;

    // cuda_moments.cu
    void moment(ConstMatrixView a, ConstMatrixView v, ConstMatrixView x, ConstMatrixView scales,
                double alpha, MatrixView m) override;
    void along_moment(ConstMatrixView a, ConstMatrixView x, ConstMatrixView scales, ConstMatrixView m,
                      MatrixView out) override;
    [[nodiscard]] Matrix moment_scales(ConstMatrixView x, std::int64_t p) override;
    void take_digits_from(double products) { digits_from_ = products; }

    // cuda_algebra.cu
    void affine_hadamard(ConstMatrixView counts, ConstMatrixView s, ConstMatrixView t, double alpha,
                         double beta, double gamma, MatrixView k) override;
    void multiply(ConstMatrixView a, MatrixView k) override;
    void add_output_block(ConstMatrixView block, std::int64_t outputs, std::int64_t c, std::int64_t c_col,
                          MatrixView k) override;
    void transpose(MatrixView k) override;
    void row_dot(ConstMatrixView a, ConstMatrixView b, MatrixView out) override;
    void row_combine(ConstMatrixView a, ConstMatrixView v, MatrixView out) override;
    void outer_rows(ConstMatrixView left, ConstMatrixView right, MatrixView out) override;
    void norm(ConstMatrixView a, MatrixView out) override;
    void axpby(double alpha, ConstMatrixView x, double beta, MatrixView y) override;
    void residual(Residual loss, ConstMatrixView f, ConstMatrixView y, MatrixView e,
                  MatrixView total) override;

    // cuda_columns.cu
    void combine_columns(double a, ConstMatrixView alpha, ConstMatrixView x, double b, ConstMatrixView beta,
                         MatrixView y) override;
    void column_dots(ConstMatrixView a, ConstMatrixView b, MatrixView sums) override;
    void square_roots(MatrixView v) override;
    void divide(ConstMatrixView a, ConstMatrixView b, MatrixView quotients, MatrixView least) override;
    void keep_above(ConstMatrixView x, ConstMatrixView limit, MatrixView v, MatrixView count) override;
    [[nodiscard]] int look_every() const override { return 8; }
    /// 128 MiB of float32: products that fill the device.
    [[nodiscard]] std::int64_t moment_block(std::int64_t rank) const override {
        return std::max(moment_rows, (std::int64_t{1} << 25) / std::max<std::int64_t>(rank, 1));
    }
    [[nodiscard]] std::unique_ptr<Repeated> repeated(std::function<void()> work) override;

    // cuda_libraries.cu
    void gemm(bool transpose_a, bool transpose_b, double alpha, ConstMatrixView a, ConstMatrixView b,
              double beta, MatrixView c) override;
    void inner(double alpha, ConstMatrixView a, ConstMatrixView b, double beta, MatrixView c) override;
    bool eigh(ConstMatrixView k, std::vector<double>& eigenvalues, MatrixView vectors) override;
    std::int64_t solve_spd(MatrixView k, MatrixView b) override;

  private:
    /// The library's product of two views; the arguments of gemm.
    void product(bool transpose_a, bool transpose_b, double alpha, ConstMatrixView a, ConstMatrixView b,
                 double beta, MatrixView c);
    /// Gates and Ĝ of wide_pass_exact.
    void integer_sums(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                      BitView gates, MatrixView gradients);
    /// wide_pass_exact of a srht V of a rank that srht_fits() refuses.
    void long_transform(const UpFactor& up, const Readout& readout, ConstMatrixView h, BitView gates,
                        MatrixView gradients);
    /// wide_pass_exact by one kernel, that for compute capability 9.0 where it works, and one more for
    /// outputs beyond the first; of a rademacher V of a rank above 256 by that kernel or int8_chain().
    void fused(const UpFactor& up, const Readout& readout, ConstMatrixView h, int hidden_bits,
               BitView gates, MatrixView gradients, bool wgmma);
    /// wide_pass_exact by int8 products of cuBLAS, a chunk of V at a time.
    void int8_chain(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits, BitView gates,
                    MatrixView gradients);
    /// fused() by the kernels for compute capability 9.0; false when those do not work here. gates: needed
    /// for several outputs, and for Ĝ of ranks above 256.
    bool fused_wgmma(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits, BitView gates,
                     MatrixView gradients);
    [[nodiscard]] static bool wgmma_wanted();                // unless FNTK_WGMMA is 0
    [[nodiscard]] bool may_try(Context::Trial trial) const;  // built, allowed, and not known to fail
    /// may_try, and `agrees` with the portable kernels, which is asked once.
    bool works(Context::Trial& trial, const std::function<bool()>& agrees);
    [[nodiscard]] bool has_wgmma() const;  // may_try of the wide pass
    bool wgmma_works();
    bool wgmma_agrees(Up family, std::int64_t p, std::int64_t width, int bits);
    bool gram_wgmma_works();
    bool gate_gram_wgmma_works();
    bool moments_wgmma_work();
    /// moment() by digits, so many samples at a time.
    void digit_moment(ConstMatrixView a, ConstMatrixView v, ConstMatrixView x, ConstMatrixView scales,
                      double alpha, MatrixView m, std::int64_t block);
    /// Magnitudes of the rows and columns of X (f32), n + d of them.
    [[nodiscard]] Matrix magnitudes(ConstMatrixView x);
    /// gate_gram by one of its kernels.
    template <class Kernel>
    void count_gates(Kernel kernel, const void* entry, ConstBitView rows, ConstBitView cols,
                     MatrixView counts);
    /// hadamard_gram in float32.
    void digit_gram(ConstMatrixView x, ConstMatrixView x_cols, ConstMatrixView g, ConstMatrixView g_cols,
                    double alpha, MatrixView k, bool wgmma);
    void start_wgmma(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits, BitView gates,
                     MatrixView gradients, std::int64_t panel_bytes);
    /// One number from the device.
    template <class T>
    T fetch(const T* number);

    std::shared_ptr<Context> context_;
    bool wgmma_allowed_ = wgmma_wanted();
    double digits_from_ = 1 << 28;  // products n·p·d of a moment; below, cuBLAS takes a few launches' time
};

/// C (int32) = A Bᵀ, or C += A Bᵀ, of int8; all extents and strides are multiples of 16.
void int8_product(Context& context, const kernels::Rows<const std::int8_t>& a,
                  const kernels::Rows<const std::int8_t>& b, bool add,
                  const kernels::Rows<std::int32_t>& c);

/// What all kernels of the exact wide pass take alike.
template <class Kernel>
Kernel pass_of(const UpFactor& up, const Readout& readout, ConstMatrixView h, BitView gates,
               MatrixView gradients) {
    Kernel kernel;
    kernel.up_seed = up.seed;
    kernel.readout_seed = readout.seed;
    kernel.m = up.width;
    kernel.p = up.rank;
    if constexpr (requires { kernel.srht; }) kernel.srht = up.family == Up::srht;
    if constexpr (requires { kernel.k; }) kernel.k = readout.outputs;
    kernel.h = rows_of<std::remove_const_t<std::remove_pointer_t<decltype(kernel.h.data)>>>(h);
    if (!gates.empty()) kernel.gates = words_of(gates);
    if (gradients.data != nullptr) kernel.gradients = rows_of<std::int32_t>(gradients);
    return kernel;
}
/// What the kernels of outputs beyond the first take alike.
template <class Kernel>
Kernel further_of(const UpFactor& up, const Readout& readout, ConstBitView gates, MatrixView gradients) {
    Kernel kernel;
    if constexpr (requires { kernel.up_seed; }) kernel.up_seed = up.seed;
    kernel.readout_seed = readout.seed;
    kernel.m = up.width;
    kernel.p = up.rank;
    if constexpr (requires { kernel.srht; }) kernel.srht = up.family == Up::srht;
    kernel.first = 1;
    kernel.outputs = readout.outputs;
    kernel.gates = words_of(gates);
    kernel.gradients = rows_of<std::int32_t>(gradients);
    return kernel;
}

template <class T>
T Cuda::fetch(const T* number) {
    T result{};
    context_->copy_to_host(&result, number, sizeof(T), "copying a number to the host");
    return result;
}

}  // namespace fntk::backend::cuda

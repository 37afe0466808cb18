// The CPU backend: BLAS and LAPACK for products, a pool of threads for the rest.
#pragma once

#include <backend/host_memory.hpp>
#include <backend/parallel.hpp>

#include <functional>

namespace fntk::backend {

class Cpu final : public HostMemory {
  public:
    explicit Cpu(int threads) : pool_(threads) {}
    [[nodiscard]] int threads() const override { return pool_.threads(); }

    // cpu_exact.cpp
    void fix_down(MatrixView u, MatrixView digits, MatrixView exponent) override;
    void down_product(ConstMatrixView x, const FixedPoint& u, double scale, MatrixView v,
                      MatrixView row_exponents) override;
    void quantise_rows(ConstMatrixView v, int bits, MatrixView h, MatrixView row_exponents) override;
    void dequantise(ConstMatrixView in, ConstMatrixView exponents, double scale, double closed, double open,
                    ConstMatrixView offset, MatrixView out) override;
    void gate_gram(ConstBitView rows, ConstBitView cols, ConstBitView weights, MatrixView counts) override;

    // cpu_wide_exact.cpp
    void wide_pass_exact(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                         const WideSums& out) override;
    void open_sum(const UpFactor& up, const Readout& readout, MatrixView sum) override;

    // cpu_wide_real.cpp
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
    void up_rows(const UpFactor& up, std::int64_t r0, MatrixView rows) override;
    void readout_rows(const Readout& readout, std::int64_t r0, MatrixView rows) override;

    // cpu_algebra.cpp
    void hadamard_gram(ConstMatrixView x, ConstMatrixView x_cols, ConstMatrixView g, ConstMatrixView g_cols,
                       double alpha, MatrixView k) override;
    void affine_hadamard(ConstMatrixView counts, ConstMatrixView s, ConstMatrixView t, double alpha,
                         double beta, double gamma, MatrixView k) override;
    void arc_gram(ConstMatrixView u, ConstMatrixView norms, ConstMatrixView u_cols,
                  ConstMatrixView norms_cols, double alpha, double derivative, double product,
                  MatrixView out) override;
    void multiply(ConstMatrixView a, MatrixView k) override;
    void add_output_block(ConstMatrixView block, std::int64_t outputs, std::int64_t c, std::int64_t c_col,
                          MatrixView k) override;
    void transpose(MatrixView k) override;
    void gemm(bool transpose_a, bool transpose_b, double alpha, ConstMatrixView a, ConstMatrixView b,
              double beta, MatrixView c) override;
    void inner(double alpha, ConstMatrixView a, ConstMatrixView b, double beta, MatrixView c) override;
    void axpby(double alpha, ConstMatrixView x, double beta, MatrixView y) override;
    void combine_columns(double a, ConstMatrixView alpha, ConstMatrixView x, double b, ConstMatrixView beta,
                         MatrixView y) override;
    void column_dots(ConstMatrixView a, ConstMatrixView b, MatrixView sums) override;
    void residual(Residual loss, ConstMatrixView f, ConstMatrixView y, MatrixView e,
                  MatrixView total) override;
    bool eigh(ConstMatrixView k, std::vector<double>& eigenvalues, MatrixView vectors) override;
    std::int64_t solve_spd(MatrixView k, MatrixView b) override;

    // cpu_moments.cpp
    void moment(ConstMatrixView a, ConstMatrixView v, ConstMatrixView x, ConstMatrixView scales,
                double alpha, MatrixView m) override;
    void along_moment(ConstMatrixView a, ConstMatrixView x, ConstMatrixView scales, ConstMatrixView m,
                      MatrixView out) override;

    // cpu_rows.cpp
    void row_dot(ConstMatrixView a, ConstMatrixView b, MatrixView out) override;
    void row_combine(ConstMatrixView a, ConstMatrixView v, MatrixView out) override;
    void slope_rows(ConstBitView gates, std::int64_t first, const Readout& readout, std::int64_t c,
                    double scale, double closed, double open, MatrixView out) override;
    void outer_rows(ConstMatrixView left, ConstMatrixView right, MatrixView out) override;
    void norm(ConstMatrixView a, MatrixView out) override;

  private:
    using Range = std::function<void(std::int64_t, std::int64_t)>;
    /// body(begin, end) over rows, in chunks that share the work evenly.
    void over_rows(std::int64_t rows, const Range& body);
    /// down_product of an X of T with a U that is not the identity.
    template <class T>
    void digit_product(ConstMatrixView x, const FixedPoint& u, double scale, MatrixView v,
                       MatrixView row_exponents);
    using Tile =
        std::function<void(std::int64_t i0, std::int64_t rows, std::int64_t j0, std::int64_t cols)>;
    /// body over the tiles of a rows × cols array, from all threads. Of a symmetric one over those that
    /// meet the lower triangle, cut off at the diagonal tile by tile.
    void over_tiles(std::int64_t rows, std::int64_t cols, std::int64_t tile, bool symmetric,
                    const Tile& body);
    /// Copies the lower triangle over the upper one.
    void mirror(MatrixView k);

    /// body(r0, V_block, Z_block) over blocks of the width, Z = H V_blockᵀ (n × b) in the type of H.
    void over_width(const UpFactor& up, ConstMatrixView h,
                    const std::function<void(std::int64_t, ConstMatrixView, MatrixView)>& body);
    /// Units of the width in one block for n samples of a real type.
    static std::int64_t width_block(std::int64_t samples, std::int64_t width, DType dtype);

    Pool pool_;
};

}  // namespace fntk::backend

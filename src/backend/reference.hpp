// The oracle: every operation as plain loops in double and int64, written to be read beside its formula in
// ops.hpp.
#pragma once

#include <backend/host_memory.hpp>

namespace fntk::backend {

class Reference final : public HostMemory {
  public:
    [[nodiscard]] int threads() const override { return 1; }

    // reference_exact.cpp
    void fix_down(MatrixView u, MatrixView digits, MatrixView exponent) override;
    void down_product(ConstMatrixView x, const FixedPoint& u, double scale, MatrixView v,
                      MatrixView row_exponents) override;
    void quantise_rows(ConstMatrixView v, int bits, MatrixView h, MatrixView row_exponents) override;
    void dequantise(ConstMatrixView in, ConstMatrixView exponents, double scale, double closed, double open,
                    ConstMatrixView offset, MatrixView out) override;
    void wide_pass_exact(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                         const WideSums& out) override;
    void open_sum(const UpFactor& up, const Readout& readout, MatrixView sum) override;
    void gate_gram(ConstBitView rows, ConstBitView cols, ConstBitView weights, MatrixView counts) override;

    // reference_real.cpp
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
    void slope_rows(ConstBitView gates, std::int64_t first, const Readout& readout, std::int64_t c,
                    double scale, double closed, double open, MatrixView out) override;

    // reference_algebra.cpp
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
    void row_dot(ConstMatrixView a, ConstMatrixView b, MatrixView out) override;
    void row_combine(ConstMatrixView a, ConstMatrixView v, MatrixView out) override;
    void outer_rows(ConstMatrixView left, ConstMatrixView right, MatrixView out) override;
    void norm(ConstMatrixView a, MatrixView out) override;
    void axpby(double alpha, ConstMatrixView x, double beta, MatrixView y) override;
    void combine_columns(double a, ConstMatrixView alpha, ConstMatrixView x, double b, ConstMatrixView beta,
                         MatrixView y) override;
    void column_dots(ConstMatrixView a, ConstMatrixView b, MatrixView sums) override;
    void residual(Residual loss, ConstMatrixView f, ConstMatrixView y, MatrixView e,
                  MatrixView total) override;
    bool eigh(ConstMatrixView k, std::vector<double>& eigenvalues, MatrixView vectors) override;
    std::int64_t solve_spd(MatrixView k, MatrixView b) override;
};

/// Stores a double in a view of either real type.
void store(MatrixView view, std::int64_t i, std::int64_t j, double x);

}  // namespace fntk::backend

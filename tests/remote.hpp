// A backend whose memory the host cannot read, without a device: it forwards every operation to a backend
// of the host. Its addresses are the host's plus 2^47, which no process can touch: code that reads or
// writes its memory by hand is killed, and an operation that is given host memory fails the test by name.
#pragma once

#include <fntk/device.hpp>

#include <backend/ops.hpp>

#include <cstdint>
#include <memory>
#include <vector>

namespace fntk::test {

class Remote final : public backend::Ops {
  public:
    explicit Remote(std::unique_ptr<backend::Ops> inner) : inner_(std::move(inner)) {}

    /// Copies of matrices and bits to host memory so far, and the elements they had.
    [[nodiscard]] std::int64_t copies_to_host() const { return copies_; }
    [[nodiscard]] std::int64_t elements_to_host() const { return elements_; }

    [[nodiscard]] int threads() const override { return inner_->threads(); }
    [[nodiscard]] Place place() const override { return place_; }
    [[nodiscard]] detail::Buffer allocate(std::int64_t rows, std::int64_t bytes_per_row) override;
    /// Its bytes are 0xFF, of reals NaN.
    [[nodiscard]] detail::Buffer allocate_unwritten(std::int64_t rows, std::int64_t bytes_per_row) override;
    void copy(ConstMatrixView from, MatrixView to) override;
    void copy(ConstBitView from, BitView to) override;
    void zero(MatrixView matrix) override;
    void gather_rows(ConstMatrixView from, ConstMatrixView indices, MatrixView out) override;

    void fix_down(MatrixView u, MatrixView digits, MatrixView exponent) override;
    void down_product(ConstMatrixView x, const FixedPoint& u, double scale, MatrixView v,
                      MatrixView row_exponents) override;
    void quantise_rows(ConstMatrixView v, int bits, MatrixView h, MatrixView row_exponents) override;
    void hidden_rows(ConstMatrixView x, const FixedPoint& u, double scale, int bits, MatrixView h,
                     MatrixView row_exponents, MatrixView hidden) override;
    void dequantise(ConstMatrixView in, ConstMatrixView exponents, double scale, double closed, double open,
                    ConstMatrixView offset, MatrixView out) override;
    void wide_pass_exact(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                         const backend::WideSums& out) override;
    void wide_pass_scaled(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                          const backend::WideSums& out, const backend::RealSums& real) override;
    void open_sum(const UpFactor& up, const Readout& readout, MatrixView sum) override;
    void gate_gram(ConstBitView rows, ConstBitView cols, ConstBitView weights, MatrixView counts) override;

    void wide_pass_real(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                        ConstMatrixView h, const backend::WideSums& out) override;
    void feature_gram(const UpFactor& up, const ActivationSpec& activation, bool derivative,
                      ConstMatrixView weights, ConstMatrixView rows, ConstMatrixView cols,
                      MatrixView out) override;
    void wide_gradient(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                       ConstMatrixView h, ConstMatrixView e, ConstBitView gates, std::int64_t r0,
                       MatrixView up_rows, MatrixView readout_rows) override;
    void wide_apply(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                    backend::WideTrain train, ConstMatrixView h, ConstMatrixView h_from, ConstMatrixView e,
                    MatrixView out) override;
    void up_rows(const UpFactor& up, std::int64_t r0, MatrixView rows) override;
    void readout_rows(const Readout& readout, std::int64_t r0, MatrixView rows) override;
    void slope_rows(ConstBitView gates, std::int64_t first, const Readout& readout, std::int64_t c,
                    double scale, double closed, double open, MatrixView out) override;

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
    void square_roots(MatrixView v) override;
    void divide(ConstMatrixView a, ConstMatrixView b, MatrixView quotients, MatrixView least) override;
    void keep_above(ConstMatrixView x, ConstMatrixView limit, MatrixView v, MatrixView count) override;
    [[nodiscard]] int look_every() const override { return 8; }
    [[nodiscard]] std::unique_ptr<backend::Repeated> repeated(std::function<void()> work) override;
    void moment(ConstMatrixView a, ConstMatrixView v, ConstMatrixView x, ConstMatrixView scales,
                double alpha, MatrixView m) override;
    void along_moment(ConstMatrixView a, ConstMatrixView x, ConstMatrixView scales, ConstMatrixView m,
                      MatrixView out) override;
    [[nodiscard]] Matrix moment_scales(ConstMatrixView x, std::int64_t p) override;
    void residual(backend::Residual loss, ConstMatrixView f, ConstMatrixView y, MatrixView e,
                  MatrixView total) override;
    bool eigh(ConstMatrixView k, std::vector<double>& eigenvalues, MatrixView vectors) override;
    std::int64_t solve_spd(MatrixView k, MatrixView b) override;

  private:
    std::unique_ptr<backend::Ops> inner_;
    Place place_ = Place::unique();
    std::int64_t copies_ = 0, elements_ = 0;
};

/// A device over a Remote of the cpu backend with one thread, and that Remote.
struct RemoteDevice {
    std::shared_ptr<Remote> ops = std::make_shared<Remote>(backend::make_cpu(1));
    Device device = Device::wrap("remote", ops);
};

}  // namespace fntk::test

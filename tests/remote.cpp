#include "remote.hpp"

#include <fntk/error.hpp>

#include <gtest/gtest.h>

#include <cstring>

namespace fntk::test {

namespace {

constexpr std::uintptr_t shift = std::uintptr_t{1} << 47;

template <class T>
T* shifted(T* pointer, std::uintptr_t by) {
    return pointer == nullptr ? nullptr
                              : reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(pointer) + by);
}

/// The view as the host reads it, wherever it lies.
template <class Byte>
BasicMatrixView<Byte> as_host(BasicMatrixView<Byte> view) {
    if (view.place != Place::host) view.data = shifted(view.data, std::uintptr_t{0} - shift);
    view.place = Place::host;
    return view;
}
template <class Word>
BasicBitView<Word> as_host(BasicBitView<Word> view) {
    if (view.place != Place::host) view.words = shifted(view.words, std::uintptr_t{0} - shift);
    view.place = Place::host;
    return view;
}

/// The arguments of one operation, which must lie on the device where they are not empty.
class Arguments {
  public:
    explicit Arguments(const char* operation) : operation_(operation) {}

    template <class View>
    View operator()(View view) const {
        if (!view.empty() && view.place == Place::host)
            ADD_FAILURE() << operation_ << " is given a matrix of host memory, " << view.rows << " × "
                          << view.cols;
        return as_host(view);
    }
    UpFactor operator()(UpFactor up) const {
        up.values = (*this)(up.values);
        return up;
    }
    Readout operator()(Readout readout) const {
        readout.values = (*this)(readout.values);
        return readout;
    }
    FixedPoint operator()(FixedPoint u) const {
        u.digits = (*this)(u.digits);
        u.exponent = (*this)(u.exponent);
        return u;
    }
    backend::WideSums operator()(const backend::WideSums& out) const {
        return {(*this)(out.gates), (*this)(out.gradients), (*this)(out.values)};
    }
    backend::RealSums operator()(backend::RealSums real) const {
        real.exponents = (*this)(real.exponents);
        real.values = (*this)(real.values);
        real.open_sum = (*this)(real.open_sum);
        real.gradients = (*this)(real.gradients);
        return real;
    }

  private:
    const char* operation_;
};

}  // namespace

detail::Buffer Remote::allocate(std::int64_t rows, std::int64_t bytes_per_row) {
    auto memory = std::make_shared<detail::Buffer>(inner_->allocate(rows, bytes_per_row));
    std::byte* const address = shifted(memory->get(), shift);
    return detail::adopt(address, detail::extent_bytes(rows, bytes_per_row), place_,
                         [memory](std::byte*) { memory->reset(); });
}
detail::Buffer Remote::allocate_unwritten(std::int64_t rows, std::int64_t bytes_per_row) {
    detail::Buffer memory = allocate(rows, bytes_per_row);
    if (memory != nullptr)
        std::memset(shifted(memory.get(), std::uintptr_t{0} - shift), 0xFF,
                    static_cast<std::size_t>(rows * bytes_per_row));
    return memory;
}

void Remote::copy(ConstMatrixView from, MatrixView to) {
    EXPECT_TRUE(from.rows == to.rows && from.cols == to.cols && from.dtype == to.dtype) << "copy";
    if (to.place == Place::host) ++copies_, elements_ += to.size();
    inner_->copy(as_host(from), as_host(to));
}
void Remote::copy(ConstBitView from, BitView to) {
    EXPECT_TRUE(from.rows == to.rows && from.cols == to.cols) << "copy";
    if (to.place == Place::host) ++copies_, elements_ += to.rows * to.cols;
    inner_->copy(as_host(from), as_host(to));
}
void Remote::zero(MatrixView matrix) { inner_->zero(Arguments("zero")(matrix)); }
void Remote::gather_rows(ConstMatrixView from, ConstMatrixView indices, MatrixView out) {
    const Arguments on("gather_rows");
    inner_->gather_rows(on(from), on(indices), on(out));
}

void Remote::fix_down(MatrixView u, MatrixView digits, MatrixView exponent) {
    const Arguments on("fix_down");
    inner_->fix_down(on(u), on(digits), on(exponent));
}
void Remote::down_product(ConstMatrixView x, const FixedPoint& u, double scale, MatrixView v,
                          MatrixView row_exponents) {
    const Arguments on("down_product");
    inner_->down_product(on(x), on(u), scale, on(v), on(row_exponents));
}
void Remote::quantise_rows(ConstMatrixView v, int bits, MatrixView h, MatrixView row_exponents) {
    const Arguments on("quantise_rows");
    inner_->quantise_rows(on(v), bits, on(h), on(row_exponents));
}
void Remote::hidden_rows(ConstMatrixView x, const FixedPoint& u, double scale, int bits, MatrixView h,
                         MatrixView row_exponents, MatrixView hidden) {
    const Arguments on("hidden_rows");
    inner_->hidden_rows(on(x), on(u), scale, bits, on(h), on(row_exponents), on(hidden));
}
void Remote::dequantise(ConstMatrixView in, ConstMatrixView exponents, double scale, double closed,
                        double open, ConstMatrixView offset, MatrixView out) {
    const Arguments on("dequantise");
    inner_->dequantise(on(in), on(exponents), scale, closed, open, on(offset), on(out));
}
void Remote::wide_pass_exact(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                             const backend::WideSums& out) {
    const Arguments on("wide_pass_exact");
    inner_->wide_pass_exact(on(up), on(readout), on(h), bits, on(out));
}
void Remote::wide_pass_scaled(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                              const backend::WideSums& out, const backend::RealSums& real) {
    const Arguments on("wide_pass_scaled");
    inner_->wide_pass_scaled(on(up), on(readout), on(h), bits, on(out), on(real));
}
void Remote::open_sum(const UpFactor& up, const Readout& readout, MatrixView sum) {
    const Arguments on("open_sum");
    inner_->open_sum(on(up), on(readout), on(sum));
}
void Remote::gate_gram(ConstBitView rows, ConstBitView cols, ConstBitView weights, MatrixView counts) {
    const Arguments on("gate_gram");
    inner_->gate_gram(on(rows), on(cols), on(weights), on(counts));
}

void Remote::wide_pass_real(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                            ConstMatrixView h, const backend::WideSums& out) {
    const Arguments on("wide_pass_real");
    inner_->wide_pass_real(on(up), on(readout), activation, on(h), on(out));
}
void Remote::feature_gram(const UpFactor& up, const ActivationSpec& activation, bool derivative,
                          ConstMatrixView weights, ConstMatrixView rows, ConstMatrixView cols,
                          MatrixView out) {
    const Arguments on("feature_gram");
    inner_->feature_gram(on(up), activation, derivative, on(weights), on(rows), on(cols), on(out));
}
void Remote::wide_gradient(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                           ConstMatrixView h, ConstMatrixView e, ConstBitView gates, std::int64_t r0,
                           MatrixView up_rows, MatrixView readout_rows) {
    const Arguments on("wide_gradient");
    inner_->wide_gradient(on(up), on(readout), activation, on(h), on(e), on(gates), r0, on(up_rows),
                          on(readout_rows));
}
void Remote::wide_apply(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                        backend::WideTrain train, ConstMatrixView h, ConstMatrixView h_from,
                        ConstMatrixView e, MatrixView out) {
    const Arguments on("wide_apply");
    inner_->wide_apply(on(up), on(readout), activation, train, on(h), on(h_from), on(e), on(out));
}
void Remote::up_rows(const UpFactor& up, std::int64_t r0, MatrixView rows) {
    const Arguments on("up_rows");
    inner_->up_rows(on(up), r0, on(rows));
}
void Remote::readout_rows(const Readout& readout, std::int64_t r0, MatrixView rows) {
    const Arguments on("readout_rows");
    inner_->readout_rows(on(readout), r0, on(rows));
}
void Remote::slope_rows(ConstBitView gates, std::int64_t first, const Readout& readout, std::int64_t c,
                        double scale, double closed, double open, MatrixView out) {
    const Arguments on("slope_rows");
    inner_->slope_rows(on(gates), first, on(readout), c, scale, closed, open, on(out));
}

void Remote::hadamard_gram(ConstMatrixView x, ConstMatrixView x_cols, ConstMatrixView g,
                           ConstMatrixView g_cols, double alpha, MatrixView k) {
    const Arguments on("hadamard_gram");
    inner_->hadamard_gram(on(x), on(x_cols), on(g), on(g_cols), alpha, on(k));
}
void Remote::affine_hadamard(ConstMatrixView counts, ConstMatrixView s, ConstMatrixView t, double alpha,
                             double beta, double gamma, MatrixView k) {
    const Arguments on("affine_hadamard");
    inner_->affine_hadamard(on(counts), on(s), on(t), alpha, beta, gamma, on(k));
}
void Remote::arc_gram(ConstMatrixView u, ConstMatrixView norms, ConstMatrixView u_cols,
                      ConstMatrixView norms_cols, double alpha, double derivative, double product,
                      MatrixView out) {
    const Arguments on("arc_gram");
    inner_->arc_gram(on(u), on(norms), on(u_cols), on(norms_cols), alpha, derivative, product, on(out));
}
void Remote::multiply(ConstMatrixView a, MatrixView k) {
    const Arguments on("multiply");
    inner_->multiply(on(a), on(k));
}
void Remote::add_output_block(ConstMatrixView block, std::int64_t outputs, std::int64_t c,
                              std::int64_t c_col, MatrixView k) {
    const Arguments on("add_output_block");
    inner_->add_output_block(on(block), outputs, c, c_col, on(k));
}
void Remote::transpose(MatrixView k) { inner_->transpose(Arguments("transpose")(k)); }

void Remote::gemm(bool transpose_a, bool transpose_b, double alpha, ConstMatrixView a, ConstMatrixView b,
                  double beta, MatrixView c) {
    const Arguments on("gemm");
    inner_->gemm(transpose_a, transpose_b, alpha, on(a), on(b), beta, on(c));
}
void Remote::inner(double alpha, ConstMatrixView a, ConstMatrixView b, double beta, MatrixView c) {
    const Arguments on("inner");
    inner_->inner(alpha, on(a), on(b), beta, on(c));
}
void Remote::row_dot(ConstMatrixView a, ConstMatrixView b, MatrixView out) {
    const Arguments on("row_dot");
    inner_->row_dot(on(a), on(b), on(out));
}
void Remote::row_combine(ConstMatrixView a, ConstMatrixView v, MatrixView out) {
    const Arguments on("row_combine");
    inner_->row_combine(on(a), on(v), on(out));
}
void Remote::outer_rows(ConstMatrixView left, ConstMatrixView right, MatrixView out) {
    const Arguments on("outer_rows");
    inner_->outer_rows(on(left), on(right), on(out));
}
void Remote::norm(ConstMatrixView a, MatrixView out) {
    const Arguments on("norm");
    inner_->norm(on(a), on(out));
}
void Remote::axpby(double alpha, ConstMatrixView x, double beta, MatrixView y) {
    const Arguments on("axpby");
    inner_->axpby(alpha, on(x), beta, on(y));
}
void Remote::combine_columns(double a, ConstMatrixView alpha, ConstMatrixView x, double b,
                             ConstMatrixView beta, MatrixView y) {
    const Arguments on("combine_columns");
    inner_->combine_columns(a, on(alpha), on(x), b, on(beta), on(y));
}
void Remote::column_dots(ConstMatrixView a, ConstMatrixView b, MatrixView sums) {
    const Arguments on("column_dots");
    inner_->column_dots(on(a), on(b), on(sums));
}
void Remote::square_roots(MatrixView v) { inner_->square_roots(Arguments("square_roots")(v)); }
void Remote::divide(ConstMatrixView a, ConstMatrixView b, MatrixView quotients, MatrixView least) {
    const Arguments on("divide");
    inner_->divide(on(a), on(b), on(quotients), on(least));
}
void Remote::keep_above(ConstMatrixView x, ConstMatrixView limit, MatrixView v, MatrixView count) {
    const Arguments on("keep_above");
    inner_->keep_above(on(x), on(limit), on(v), on(count));
}
std::unique_ptr<backend::Repeated> Remote::repeated(std::function<void()> work) {
    return Ops::repeated([this, work = std::move(work)] {
        const std::int64_t before = copies_;
        work();
        EXPECT_EQ(copies_, before) << "repeated work brought something to the host";
    });
}
/// Those of X, where they are given.
static void expect_scales(ConstMatrixView scales, ConstMatrixView x) {
    if (scales.data == nullptr) return;
    EXPECT_EQ(scales.rows, x.rows + x.cols);
    EXPECT_EQ(scales.row<std::int32_t>(0)[0], x.rows);
}
void Remote::moment(ConstMatrixView a, ConstMatrixView v, ConstMatrixView x, ConstMatrixView scales,
                    double alpha, MatrixView m) {
    const Arguments on("moment");
    expect_scales(scales, x);
    inner_->moment(on(a), on(v), on(x), {}, alpha, on(m));
}
void Remote::along_moment(ConstMatrixView a, ConstMatrixView x, ConstMatrixView scales, ConstMatrixView m,
                          MatrixView out) {
    const Arguments on("along_moment");
    expect_scales(scales, x);
    inner_->along_moment(on(a), on(x), {}, on(m), on(out));
}
/// Something that is recognised, of any X with rows or columns.
Matrix Remote::moment_scales(ConstMatrixView x, std::int64_t /*p*/) {
    const Arguments on("moment_scales");
    (void)on(x);
    Matrix scales(x.rows + x.cols, 1, DType::i32);
    if (scales.rows() > 0) scales.at<std::int32_t>(0, 0) = static_cast<std::int32_t>(x.rows);
    return scales;
}
void Remote::residual(backend::Residual loss, ConstMatrixView f, ConstMatrixView y, MatrixView e,
                      MatrixView total) {
    const Arguments on("residual");
    inner_->residual(loss, on(f), on(y), on(e), on(total));
}
bool Remote::eigh(ConstMatrixView k, std::vector<double>& eigenvalues, MatrixView vectors) {
    const Arguments on("eigh");
    return inner_->eigh(on(k), eigenvalues, on(vectors));
}
std::int64_t Remote::solve_spd(MatrixView k, MatrixView b) {
    const Arguments on("solve_spd");
    return inner_->solve_spd(on(k), on(b));
}

}  // namespace fntk::test

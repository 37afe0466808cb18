// The whole backend contract. The domain (network, tangent, kernel, ...) speaks to a device only through
// these operations; a backend knows nothing of the domain.
//
// Conventions. X: n × d, H and ĥ: n × p, G and Ĝ: n × (k·p) output by output, V: m × p, A: m × k, D: n × m.
// "real" is f32 or f64, the same for all real arguments of one call unless a type is written beside it.
// Extents have been checked by the caller; results are written in full. Extents of 0 are legal everywhere.
// Every matrix and bit matrix that is an argument lies in the backend's memory, place(), where `copy` does
// not say otherwise; numbers that are returned come to the host.
// Integer results are exact: equal for every backend, thread count and tile size (design section
// "exact-integer contract", docs/contract.md).
#pragma once

#include <fntk/factors.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace fntk::backend {

/// What one pass over the width leaves behind; empty members are not wanted.
struct WideSums {
    BitView gates;         // n × m, z > 0
    MatrixView gradients;  // n × (k·p), Σ_r D_ir a_rc V_r
    MatrixView values;     // n × k, Σ_r a_rc σ(z_ir)
};

/// The real numbers that the sums of an exact pass stand for: f32 for i32 ĥ, f64 for i64. Either matrix may
/// be empty.
struct RealSums {
    double closed = 0, open = 1;  // slopes
    ConstMatrixView exponents;    // e (i32, n × 1)
    double values_scale = 1;
    MatrixView values;  // n × k, values_scale · (open − closed) · f̂ · 2^e
    double gradients_scale = 1;
    ConstMatrixView open_sum;  // S (i32, k × p, without gaps); may be empty (0)
    MatrixView gradients;      // n × (k·p), gradients_scale · ((open − closed) · Ĝ + closed · S)
};

/// Which wide factors' gradients an operation runs over.
struct WideTrain {
    bool up = false;
    bool readout = false;
};

enum class Residual : std::uint8_t { squared, cross_entropy };

/// Work that is issued many times (Ops::repeated).
class Repeated {
  public:
    virtual ~Repeated() = default;
    virtual void run() = 0;
};

class Ops {
  public:
    virtual ~Ops() = default;
    [[nodiscard]] virtual int threads() const = 0;

    // --- memory
    // ------------------------------------------------------------------------------------------------

    /// Whose memory the arguments of all operations lie in.
    [[nodiscard]] virtual Place place() const = 0;
    /// Of a backend that issues its work: where to, the wait for it, and what it keeps of memory given back.
    [[nodiscard]] virtual CUstream_st* stream() const { return nullptr; }
    virtual void synchronize() {}
    virtual void release_unused() {}
    /// Zeroed memory at place(), aligned to 64 bytes at least; it keeps alive what frees it and may outlive
    /// this object (detail::adopt). Throws ValueError for a negative extent, MemoryError when the memory
    /// cannot be had.
    [[nodiscard]] virtual detail::Buffer allocate(std::int64_t rows, std::int64_t bytes_per_row) = 0;
    /// The same for what is wholly written before it is read: its bytes mean nothing. Not overridden:
    /// allocate.
    [[nodiscard]] virtual detail::Buffer allocate_unwritten(std::int64_t rows, std::int64_t bytes_per_row);
    /// Copies between host memory and place(), in any of the four directions; one shape and type, any
    /// strides. Returns when the host may read `to` and change `from`. Throws ValueError for memory of
    /// another place.
    virtual void copy(ConstMatrixView from, MatrixView to) = 0;
    virtual void copy(ConstBitView from, BitView to) = 0;
    virtual void zero(MatrixView matrix) = 0;
    /// Row i of out = row indices_i (i64, 1 × b) of `from`; any type.
    virtual void gather_rows(ConstMatrixView from, ConstMatrixView indices, MatrixView out) = 0;

    // --- the exact path
    // ----------------------------------------------------------------------------------------

    /// U (f64, p × d) in fixed point: exponent E (i32, 1 × 1) with |U| < 2^E after rounding, its one or
    /// three digits (i32, (count·p) × d, digit after digit), and U replaced by the sum of its digits. U is
    /// not empty. Rounding twice changes nothing. Entries that are not finite become 0.
    virtual void fix_down(MatrixView u, MatrixView digits, MatrixView exponent) = 0;
    /// v (f64, n × p) = scale · X̂ Ûᵀ · 2^−(row exponent) and row_exponents (i32, n × 1), where X̂ is X in
    /// fixed point (22-bit digits per row: one for f32, three for f64). Digit products are exact integers;
    /// their sum and the scaling are IEEE double in the order written in kernels/fixed_point.hpp. U empty:
    /// the identity, v = X scaled to its row.
    virtual void down_product(ConstMatrixView x, const FixedPoint& u, double scale, MatrixView v,
                              MatrixView row_exponents) = 0;
    /// Rounds each row of v (f64) half to even to ĥ (i32, or i64 when v comes from f64), |ĥ| ≤ 2^bits, and
    /// replaces row_exponents by those with h = ĥ·2^e. A zero row has e = 0.
    virtual void quantise_rows(ConstMatrixView v, int bits, MatrixView h, MatrixView row_exponents) = 0;
    /// ĥ, its exponents and H (real, of X's type) = ĥ·2^e of X: down_product, quantise_rows, dequantise.
    /// Not overridden: these.
    virtual void hidden_rows(ConstMatrixView x, const FixedPoint& u, double scale, int bits, MatrixView h,
                             MatrixView row_exponents, MatrixView hidden);
    /// out (real) = scale · (open − closed) · in · 2^(e_i) + scale · closed · offset_j; `exponents` may be
    /// empty (e = 0), `offset` (i32, 1 × cols) may be empty (0). `in` is i32, i64 or f64.
    virtual void dequantise(ConstMatrixView in, ConstMatrixView exponents, double scale, double closed,
                            double open, ConstMatrixView offset, MatrixView out) = 0;
    /// Seeded ±1 V, ĥ (i32 or i64), |ĥ| ≤ 2^bits. z = V ĥ; gate = z > 0; gradients (i32) Ĝ = Σ gate a V;
    /// values (i64 for i32 ĥ; f64, the exact integer rounded once, for i64 ĥ) = Σ gate a z = <ĥ, Ĝ>. A
    /// seeded.
    virtual void wide_pass_exact(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                                 const WideSums& out) = 0;
    /// wide_pass_exact, and `real` of those of its sums that are wanted. Not overridden: that and
    /// dequantise.
    virtual void wide_pass_scaled(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                                  const WideSums& out, const RealSums& real);
    /// S (i32, k × p) = Σ_r a_rc V_r for seeded V and A.
    virtual void open_sum(const UpFactor& up, const Readout& readout, MatrixView sum) = 0;
    /// counts (i32, n × n') = Σ_r w_r B_ir B'_jr, w_r = ±1 (bit set: +1) from the one row of `weights`, or
    /// 1 when it is empty. Exactly symmetric when both are one view.
    virtual void gate_gram(ConstBitView rows, ConstBitView cols, ConstBitView weights,
                           MatrixView counts) = 0;

    // --- the floating path: stored or gaussian V, real A, smooth σ
    // ---------------------------------------------

    /// Any V, A, σ; H real. Sums as in wide_pass_exact, in real arithmetic (gradients and values real);
    /// streams over the width. Gates only for homogeneous σ.
    virtual void wide_pass_real(const UpFactor& up, const Readout& readout,
                                const ActivationSpec& activation, ConstMatrixView h,
                                const WideSums& out) = 0;
    /// out (real, n × n') = Σ_r w_r φ_ir φ'_jr, φ = σ'(V h) when derivative is set, else σ(V h); weights
    /// (f64, 1 × m) or empty. Streams over the width; exactly symmetric when both are one view.
    virtual void feature_gram(const UpFactor& up, const ActivationSpec& activation, bool derivative,
                              ConstMatrixView weights, ConstMatrixView rows, ConstMatrixView cols,
                              MatrixView out) = 0;
    /// Gradients of Σ_ic e_ic f_ic·√m in the rows r0.. of V and A: up_rows (real, b × p) = Σ_i (Σ_c e_ic
    /// a_rc) D_ir h_i, readout_rows (real, b × k) = Σ_i σ(z_ir) e_i. Either may be empty. gates: those of
    /// h (n × m, homogeneous σ, r0 a multiple of 64), which save the product V h for up_rows; or empty.
    virtual void wide_gradient(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                               ConstMatrixView h, ConstMatrixView e, ConstBitView gates, std::int64_t r0,
                               MatrixView up_rows, MatrixView readout_rows) = 0;
    /// out (real, n × k) += m · J(H) J(H')ᵀ e, e: n' × k, J the Jacobian of f in the factors `train` names.
    /// Streams over the width: no m × p array is formed.
    virtual void wide_apply(const UpFactor& up, const Readout& readout, const ActivationSpec& activation,
                            WideTrain train, ConstMatrixView h, ConstMatrixView h_from, ConstMatrixView e,
                            MatrixView out) = 0;
    /// Rows r0.. of V (b × p) or A (b × k), as real values.
    virtual void up_rows(const UpFactor& up, std::int64_t r0, MatrixView rows) = 0;
    virtual void readout_rows(const Readout& readout, std::int64_t r0, MatrixView rows) = 0;
    /// out_ir (real, b × m) = scale · σ'_ir · a_rc, σ' = open where the gate (first + i, r) is open, else
    /// closed; scale · σ' is rounded to the type of `out` first.
    virtual void slope_rows(ConstBitView gates, std::int64_t first, const Readout& readout, std::int64_t c,
                            double scale, double closed, double open, MatrixView out) = 0;

    // --- kernels
    // -----------------------------------------------------------------------------------------------

    /// K (real) = alpha·(X X'ᵀ) ∘ (G G'ᵀ). Exactly symmetric when X is X' and G is G'. Errors of a product
    /// are those of float64, or a few times 2^−24·d·max|x_i|·max|x'_j| for float32.
    virtual void hadamard_gram(ConstMatrixView x, ConstMatrixView x_cols, ConstMatrixView g,
                               ConstMatrixView g_cols, double alpha, MatrixView k) = 0;
    /// K (real) ∘= alpha + beta·(s_i + t_j) + gamma·C_ij; counts C, s (n × 1), t (n' × 1) are i32.
    virtual void affine_hadamard(ConstMatrixView counts, ConstMatrixView s, ConstMatrixView t, double alpha,
                                 double beta, double gamma, MatrixView k) = 0;

    /// out (real, n × n') = |x_i||x'_j|·(derivative·cos θ·(α + (1 − α)²·φ/2π) + product·(α cos θ +
    /// (1 − α)²·(sin θ + φ cos θ)/2π)), θ the angle of the unit rows u_i and u'_j, φ = π − θ: the
    /// infinite-width kernel of relu (α = 0), leaky_relu and abs (α = −1), limit.hpp. u: n × d, norms:
    /// n × 1, real; a row of zeros with norm 0 gives 0. θ comes from <u, u'> where |<u, u'>| < 0.99, else
    /// from |u − u'| or |u + u'|, so that θ of equal and of opposite rows is exact. Errors relative to
    /// (derivative + product)·|x_i||x'_j|, |α| ≤ 1: f32 3e-6, f64 1e-13. Exactly symmetric when both sides
    /// are one view.
    virtual void arc_gram(ConstMatrixView u, ConstMatrixView norms, ConstMatrixView u_cols,
                          ConstMatrixView norms_cols, double alpha, double derivative, double product,
                          MatrixView out) = 0;

    /// K ∘= A.
    virtual void multiply(ConstMatrixView a, MatrixView k) = 0;
    /// K[i·k + c, j·k + c'] += block_ij; K is nk × n'k.
    virtual void add_output_block(ConstMatrixView block, std::int64_t outputs, std::int64_t c,
                                  std::int64_t c_col, MatrixView k) = 0;
    /// K = Kᵀ, K square, in place.
    virtual void transpose(MatrixView k) = 0;

    // --- linear algebra
    // ----------------------------------------------------------------------------------------

    /// C = alpha·op(A) op(B) + beta·C, op the identity or the transpose. With beta = 0 C is not read.
    virtual void gemm(bool transpose_a, bool transpose_b, double alpha, ConstMatrixView a,
                      ConstMatrixView b, double beta, MatrixView c) = 0;
    /// C = alpha·A Bᵀ + beta·C, exactly symmetric when A is B and C was symmetric.
    virtual void inner(double alpha, ConstMatrixView a, ConstMatrixView b, double beta, MatrixView c) = 0;
    /// out (n × k): out_ic = <A_i block c, B_i>; A: n × (k·p), B: n × p.
    virtual void row_dot(ConstMatrixView a, ConstMatrixView b, MatrixView out) = 0;
    /// out (n × p): out_i = Σ_c v_ic · A_i block c; A: n × (k·p), v: n × k.
    virtual void row_combine(ConstMatrixView a, ConstMatrixView v, MatrixView out) = 0;
    /// M (p × d) = alpha·Σ_i (Σ_c v_ic · A_i block c) x_iᵀ; A: n × (k·p), v: n × k, X: n × d. Not
    /// overridden: row_combine and gemm, moment_block rows at a time, so that its memory does not grow with
    /// n. scales: moment_scales(X, p), or empty.
    virtual void moment(ConstMatrixView a, ConstMatrixView v, ConstMatrixView x, ConstMatrixView scales,
                        double alpha, MatrixView m);
    /// out (n × k): out_ic = <A_i block c, M x_i>. Not overridden: gemm and row_dot in the same blocks.
    virtual void along_moment(ConstMatrixView a, ConstMatrixView x, ConstMatrixView scales,
                              ConstMatrixView m, MatrixView out);
    /// What a backend wants to know of X for many moments of p rows: without it they are products of
    /// matrices. Empty where it has no use for that.
    [[nodiscard]] virtual Matrix moment_scales(ConstMatrixView /*x*/, std::int64_t /*p*/) { return {}; }
    static constexpr std::int64_t moment_rows = 8192;
    [[nodiscard]] virtual std::int64_t moment_block(std::int64_t /*rank*/) const { return moment_rows; }
    /// Row i of out (n × p·d) = vec(left_i right_iᵀ), row-major; left: n × p, right: n × d.
    virtual void outer_rows(ConstMatrixView left, ConstMatrixView right, MatrixView out) = 0;
    /// out (f64, 1 × 1) = ‖A‖_F. It overflows only where it exceeds double, and is not finite when an entry
    /// is not. The same bits for every number of threads.
    virtual void norm(ConstMatrixView a, MatrixView out) = 0;
    /// The same, brought to the host.
    [[nodiscard]] double norm(ConstMatrixView a);
    /// y = alpha·x + beta·y elementwise, x and y real, each of any of the two types. With beta = 0 y is not
    /// read.
    virtual void axpby(double alpha, ConstMatrixView x, double beta, MatrixView y) = 0;
    /// y_ij = a·alpha_j·x_ij + b·beta_j·y_ij, x and y of one real type, alpha and beta numbers of the
    /// columns, or empty: 1. With b = 0 y is not read. y may be x.
    virtual void combine_columns(double a, ConstMatrixView alpha, ConstMatrixView x, double b,
                                 ConstMatrixView beta, MatrixView y) = 0;
    /// sums (numbers of the columns) = Σ_i a_ij b_ij, in double.
    virtual void column_dots(ConstMatrixView a, ConstMatrixView b, MatrixView sums) = 0;

    // --- numbers of the columns (f64, 1 × s), for methods whose iterations leave nothing to the host

    /// v_j = √v_j, of NaN and negative numbers NaN.
    virtual void square_roots(MatrixView v) = 0;
    /// quotients_j = a_j/b_j where b_j > 0, else 0. Where a_j ≠ 0, least_j becomes the smaller of it and
    /// b_j, until it is not positive or NaN: that stays. `least` may be empty, quotients may be a or b.
    virtual void divide(ConstMatrixView a, ConstMatrixView b, MatrixView quotients, MatrixView least) = 0;
    /// Where x_j > limit_j, count_j grows by one; elsewhere v_j = 0.
    virtual void keep_above(ConstMatrixView x, ConstMatrixView limit, MatrixView v, MatrixView count) = 0;
    /// How many iterations a method issues before it looks at its numbers: 1 where a look costs nothing.
    [[nodiscard]] virtual int look_every() const { return 1; }
    /// `work` for many times. It issues operations of this object, the same ones with the same arguments
    /// every time, none of which returns a number or copies to or from the host, and gives back what it
    /// allocates.
    [[nodiscard]] virtual std::unique_ptr<Repeated> repeated(std::function<void()> work);

    /// e (n × k, real) = f − y (squared) or softmax(f) − y (cross_entropy); total (f64, 1 × 1) is the loss,
    /// summed in double.
    virtual void residual(Residual loss, ConstMatrixView f, ConstMatrixView y, MatrixView e,
                          MatrixView total) = 0;
    /// Symmetric K (f64): eigenvalues ascending; the columns of vectors (f64, n × n) are eigenvectors
    /// unless it is empty. Returns false when the iteration fails.
    virtual bool eigh(ConstMatrixView k, std::vector<double>& eigenvalues, MatrixView vectors) = 0;
    /// Overwrites B (f64) by K⁻¹B, K (f64) symmetric positive definite, and K's lower triangle by L of
    /// K = L Lᵀ. Returns 0, or the 1-based order of the leading minor that is not positive: K and B are
    /// destroyed.
    virtual std::int64_t solve_spd(MatrixView k, MatrixView b) = 0;
};

/// Plain loops in double and int64.
std::unique_ptr<Ops> make_reference();
/// See fntk::better_blas_core().
std::string better_blas_core();
/// BLAS, LAPACK and `threads` threads. simd: the instruction set to use from now on in this process
/// (simd/target.hpp), "" the one in use. Throws ValueError for one that is not there.
std::unique_ptr<Ops> make_cpu(int threads, const std::string& simd = "");
/// What make_cpu gives on this machine, for people.
std::string describe_cpu();

/// Whether make_cuda works here and now, and on what, or why not. Never throws.
struct CudaStatus {
    bool available = false;
    std::string description;
};
CudaStatus cuda_status();
/// The GPU `ordinal`. stream: the caller's, which has to belong to that GPU and outlive the handle and its
/// matrices; null: one of its own. Throws DeviceError that says what to do.
std::unique_ptr<Ops> make_cuda(int ordinal, CUstream_st* stream);

}  // namespace fntk::backend

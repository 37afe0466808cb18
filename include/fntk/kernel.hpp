// Neural tangent kernels from tangents: dense Gram matrices and matrix-free products.
//     K_down = (X X'ᵀ) ∘ (G G'ᵀ)    K_up = (H H'ᵀ) ∘ (D diag(a²) D'ᵀ)/m    K_readout = σ(Z) σ(Z')ᵀ/m
// Several trained factors: the sum of their kernels.
#pragma once

#include <fntk/tangent.hpp>

namespace fntk {

/// What becomes of the k outputs.
enum class KernelOutput : std::uint8_t {
    full,           ///< nk × nk; sample i, output c is row i·k + c
    trace,          ///< n × n, (1/k)·Σ_c K^cc
    sum_of_logits,  ///< n × n, the kernel of Σ_c f_c/√k (pseudo-NTK): (1/k)·Σ_cc' K^cc'
};
FNTK_API const char* name(KernelOutput output);
FNTK_API KernelOutput parse_kernel_output(std::string_view text);

/// Gram matrix of the trained factors, exactly symmetric, in the network's precision and the device's
/// memory. Throws ValueError when `train` has down and the tangent did not keep G. Without kept gates K_up
/// is computed in floating point, from H.
FNTK_API Matrix gram(const Tangent& tangent, KernelOutput output, Train train);
FNTK_API Matrix gram(const Tangent& tangent, KernelOutput output = KernelOutput::trace);
/// Cross-Gram matrix K(X, X'), both tangents of one network.
FNTK_API Matrix cross_gram(const Tangent& rows, const Tangent& cols, KernelOutput output, Train train);
FNTK_API Matrix cross_gram(const Tangent& rows, const Tangent& cols,
                           KernelOutput output = KernelOutput::trace);

/// Rows first, first + 1, ..., first + count − 1 of a tangent's batch.
struct TangentRows {
    const Tangent* tangent = nullptr;
    std::int64_t first = 0, count = 0;
};
/// The block of K(X, X') of these rows and columns into `out` (count·k' × count'·k', k' = k for the full
/// kernel, else 1), in the network's precision and the device's memory: what a Gram larger than memory is
/// made of. Exactly symmetric when rows and columns are the same rows of one tangent. Throws as gram does,
/// ShapeError when a block leaves its batch or `out` has another shape, ValueError when `out` is of another
/// type or place.
FNTK_API void gram_tile(TangentRows rows, TangentRows cols, KernelOutput output, Train train,
                        MatrixView out);

/// Anything that maps vectors: dense or matrix-free.
class FNTK_API LinearOperator {
  public:
    virtual ~LinearOperator();
    [[nodiscard]] virtual std::int64_t rows() const = 0;
    [[nodiscard]] virtual std::int64_t cols() const = 0;
    [[nodiscard]] virtual DType dtype() const = 0;
    [[nodiscard]] virtual const Device& device() const = 0;
    /// out (rows × r) = this · v (cols × r), both in dtype(), each in host memory or the device's. They
    /// must not overlap.
    virtual void apply(ConstMatrixView v, MatrixView out) const = 0;
    /// Whether apply() of vectors in the device's memory does nothing but issue operations of device(), the
    /// same ones for the same arguments: no number comes to the host. A GPU then may record and replay it.
    [[nodiscard]] virtual bool only_issues() const { return false; }
};

/// K(X, X')·v without K. For down: M = G'ᵀ diag(v) X' (p × d), (K v)_i = G_iᵀ M x_i; 4npd flop, p·d
/// workspace. For up and readout: J (J'ᵀ v), one block of the width at a time. Refers to the tangents,
/// which must outlive it and stay where they are.
class FNTK_API KernelOperator final : public LinearOperator {
  public:
    KernelOperator(const Tangent& tangent, KernelOutput output, Train train);
    explicit KernelOperator(const Tangent& tangent, KernelOutput output = KernelOutput::trace);
    KernelOperator(const Tangent& rows, const Tangent& cols, KernelOutput output, Train train);
    // A temporary would be gone at the first product.
    KernelOperator(const Tangent&&, KernelOutput, Train) = delete;
    explicit KernelOperator(const Tangent&&, KernelOutput = KernelOutput::trace) = delete;
    KernelOperator(const Tangent&&, const Tangent&, KernelOutput, Train) = delete;
    KernelOperator(const Tangent&, const Tangent&&, KernelOutput, Train) = delete;

    [[nodiscard]] std::int64_t rows() const override;
    [[nodiscard]] std::int64_t cols() const override;
    [[nodiscard]] DType dtype() const override;
    [[nodiscard]] const Device& device() const override;
    void apply(ConstMatrixView v, MatrixView out) const override;
    /// For down alone: the blocks of the width are too many to record.
    [[nodiscard]] bool only_issues() const override { return train_ == Train{.down = true}; }

  private:
    [[nodiscard]] std::int64_t effective_outputs() const;
    void apply_on_device(ConstMatrixView v, MatrixView out) const;
    void apply_down(ConstMatrixView v, MatrixView out) const;

    const Tangent* rows_;
    const Tangent* cols_;
    KernelOutput output_;
    Train train_;
    Matrix readout_;                    // the one effective readout column of trace and sum-of-logits
    Matrix summed_rows_, summed_cols_;  // Σ_c G^c/√k for sum-of-logits
    Matrix scales_rows_, scales_cols_;  // of the inputs, for the closed form
};

/// A matrix as an operator; refers to it unless it had to be copied to the device, or keeps it.
class FNTK_API DenseOperator final : public LinearOperator {
  public:
    DenseOperator(const Device& device, ConstMatrixView matrix);
    DenseOperator(const Device& device, Matrix&& matrix);
    [[nodiscard]] std::int64_t rows() const override { return matrix_.view().rows; }
    [[nodiscard]] std::int64_t cols() const override { return matrix_.view().cols; }
    [[nodiscard]] DType dtype() const override { return matrix_.view().dtype; }
    [[nodiscard]] const Device& device() const override { return device_; }
    void apply(ConstMatrixView v, MatrixView out) const override;
    [[nodiscard]] bool only_issues() const override { return true; }

  private:
    Device device_;
    Staged matrix_;
};

/// The operator applied to the unit vectors, in the device's memory.
FNTK_API Matrix to_dense(const LinearOperator& op);

}  // namespace fntk

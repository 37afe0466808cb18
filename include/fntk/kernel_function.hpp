// A kernel as a function of two batches, evaluated tile by tile: what works on Gram matrices that no memory
// holds. The kernel is that of a network's trained factors, or the infinite-width limit.
#pragma once

#include <fntk/kernel.hpp>
#include <fntk/limit.hpp>

#include <memory>
#include <optional>

namespace fntk {

class FNTK_API KernelFunction {
  public:
    /// The kernel of the network's trained factors, in its precision.
    static KernelFunction of_network(Network network, KernelOutput output = KernelOutput::trace);
    /// The limit of that kernel as p and m grow, for inputs of `dim` columns, in float32 or float64. Throws
    /// ValueError as limit_kernel does, and for another precision or dim < 1.
    static KernelFunction limit(ActivationSpec activation, Train train, std::int64_t dim,
                                DType precision = DType::f32);

    [[nodiscard]] bool is_limit() const { return !network_.has_value(); }
    /// Throws ValueError for a limit.
    [[nodiscard]] const Network& network() const;
    [[nodiscard]] KernelOutput output() const { return output_; }
    [[nodiscard]] const ActivationSpec& activation() const { return activation_; }
    [[nodiscard]] Train train() const { return train_; }
    [[nodiscard]] std::int64_t dim() const { return dim_; }
    [[nodiscard]] DType precision() const { return precision_; }
    /// Rows of the kernel for a sample: k for the full kernel, else 1.
    [[nodiscard]] std::int64_t outputs() const;
    /// Whether the kernel is <Φ(x), Φ(x')> with Φ = G ⊗ x of p·d numbers: that of `down` alone.
    [[nodiscard]] bool has_moments() const { return !is_limit() && train_ == Train{.down = true}; }

  private:
    KernelFunction(std::optional<Network> network, KernelOutput output, ActivationSpec activation,
                   Train train, std::int64_t dim, DType precision);

    std::optional<Network> network_;
    KernelOutput output_;
    ActivationSpec activation_;
    Train train_;
    std::int64_t dim_;
    DType precision_;
};

/// A batch made ready for one kernel: its tangent, or its unit rows and norms. Refers to the inputs, which
/// must outlive it unless they had to be copied to the device. Of one that was moved from, nothing may be
/// asked.
class FNTK_API KernelBatch {
  public:
    /// inputs n × dim in the kernel's precision (ValueError otherwise), in host memory or the device's.
    /// Throws ShapeError for other columns, ValueError for NaN and infinity by row and column.
    KernelBatch(const Device& device, const KernelFunction& function, ConstMatrixView inputs);
    KernelBatch(const Device&, const KernelFunction&, const Matrix&&) = delete;  // it would be gone
    KernelBatch(const Device&, const KernelFunction&, const Staged&&) = delete;
    ~KernelBatch();
    KernelBatch(KernelBatch&&) noexcept;
    KernelBatch& operator=(KernelBatch&&) noexcept;

    [[nodiscard]] const KernelFunction& function() const;
    [[nodiscard]] const Device& device() const;
    /// X in the device's memory.
    [[nodiscard]] ConstMatrixView inputs() const;
    /// Samples, and rows of the kernel: samples·outputs.
    [[nodiscard]] std::int64_t size() const;
    [[nodiscard]] std::int64_t rows() const { return size() * function().outputs(); }
    /// The tangent behind the kernel of a network. Throws ValueError for a limit.
    [[nodiscard]] const Tangent& tangent() const;

    /// K of the samples first.. of this batch and col_first.. of the other into `out` (device memory);
    /// exactly symmetric when they are the same samples of one batch. Throws ShapeError where a block
    /// leaves its batch or `out` has another shape, ValueError for another type or place or two batches of
    /// different kernels.
    void tile(std::int64_t first, std::int64_t count, const KernelBatch& cols, std::int64_t col_first,
              std::int64_t col_count, MatrixView out) const;
    /// The diagonal of K(X, X), one number a row of the kernel.
    [[nodiscard]] std::vector<double> diagonal() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// What a batch of so many samples takes at most while it is made, beside its inputs. Throws ValueError for
/// a negative number.
FNTK_API std::int64_t batch_bytes(const KernelFunction& function, std::int64_t samples);

/// K(X, X')·V tile by tile, each tile made once for all columns of V; of a symmetric kernel (rows and cols
/// one batch) one triangle only, each tile used twice. Refers to the batches, which must outlive it
/// and stay where they are.
class FNTK_API TiledOperator final : public LinearOperator {
  public:
    /// tile: samples a side of a tile, ≥ 1. Throws as KernelBatch::tile does.
    TiledOperator(const KernelBatch& rows, const KernelBatch& cols, std::int64_t tile = 2048);
    TiledOperator(const KernelBatch&&, const KernelBatch&, std::int64_t = 2048) = delete;
    TiledOperator(const KernelBatch&, const KernelBatch&&, std::int64_t = 2048) = delete;

    [[nodiscard]] std::int64_t rows() const override { return rows_->rows(); }
    [[nodiscard]] std::int64_t cols() const override { return cols_->rows(); }
    [[nodiscard]] DType dtype() const override { return rows_->function().precision(); }
    [[nodiscard]] const Device& device() const override { return rows_->device(); }
    void apply(ConstMatrixView v, MatrixView out) const override;

  private:
    const KernelBatch* rows_;
    const KernelBatch* cols_;
    std::int64_t tile_;
};

/// The way to K(X, X')·V without K: the closed form (KernelOperator) where there is one, else tiles.
/// Refers to the batches, which must outlive it and stay where they are.
FNTK_API std::unique_ptr<LinearOperator> make_operator(const KernelBatch& rows, const KernelBatch& cols,
                                                       std::int64_t tile = 2048);
std::unique_ptr<LinearOperator> make_operator(const KernelBatch&&, const KernelBatch&,
                                              std::int64_t = 2048) = delete;
std::unique_ptr<LinearOperator> make_operator(const KernelBatch&, const KernelBatch&&,
                                              std::int64_t = 2048) = delete;

}  // namespace fntk

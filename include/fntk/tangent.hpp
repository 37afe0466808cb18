// The tangent of a network at a batch: the one pass over the width m, after which everything is a small
// matrix.
//     H = U x/√p (n × p)          D = σ'(V h) (n × m)
//     G^c = (1/√(p m))·(D ∘ A_cᵀ) V (n × p, one block per output c)
//     ∂f_c/∂U at x_i = G^c_i x_iᵀ
//     ∂f_c/∂V at x_i = (1/√m)(D_i ∘ A_c) h_iᵀ
//     ∂f_c/∂A at x_i = σ(V h_i)/√m, in column c
// The pass streams over m: apart from the packed gates its memory does not depend on m.
#pragma once

#include <fntk/device.hpp>
#include <fntk/network.hpp>

#include <functional>

namespace fntk {

/// Called with the share done, 0 to 1; returning false cancels where the operation allows it.
using Progress = std::function<bool(double)>;

/// What to keep. The default keeps what the kernel of the network's trained factors needs.
struct TangentOptions {
    bool gradients = false;  ///< G (always kept when down is trained)
    bool gates = false;  ///< packed gates (always kept when up is trained and σ is relu, leaky_relu or abs)
    bool only_these = false;    ///< keep neither G nor gates beyond what the two flags ask for
    bool values = true;         ///< f; a kernel of V alone is faster without
    bool known_finite = false;  ///< the caller has checked the inputs: they are not read for it once more

    [[nodiscard]] bool any() const { return gradients || gates || values; }
};

/// Owns H, G, f and gates, in the device's memory; refers to the inputs, which must outlive it unless they
/// had to be copied there. One that was moved from holds no samples.
class FNTK_API Tangent {
  public:
    /// The network, its tensors in the device's memory.
    [[nodiscard]] const Network& network() const { return network_; }
    [[nodiscard]] const Device& device() const { return device_; }
    /// X, n × d, in the device's memory.
    [[nodiscard]] ConstMatrixView inputs() const { return inputs_; }
    [[nodiscard]] std::int64_t size() const { return inputs_.view().rows; }
    [[nodiscard]] std::int64_t outputs() const { return network_.spec().outputs; }

    /// H, n × p, in the network's precision. For exact networks H = Ĥ·2^e row by row.
    [[nodiscard]] ConstMatrixView hidden() const { return hidden_; }
    /// f, n × k. Throws ValueError when it was not kept.
    [[nodiscard]] ConstMatrixView values() const;
    [[nodiscard]] bool has_gradients() const { return !gradients_.empty(); }
    /// G, n × (k·p), output by output. Throws ValueError when it was not kept.
    [[nodiscard]] ConstMatrixView gradients() const;
    [[nodiscard]] bool has_gates() const { return !gates_.empty(); }
    /// Gates z > 0, n × m bits. Throws ValueError when they were not kept.
    [[nodiscard]] ConstBitView gates() const;

    /// Exact networks only, else empty. ĥ (int32, int64 in float64) n × p and its exponents (int32, n × 1);
    /// Ĝ = Σ_r gate_r a_r V_r (int32, n × k·p); f̂ = <ĥ, Ĝ> (int64, n × k; in float64 rounded to double).
    /// Ĝ stands only beside G, f̂ beside f.
    /// G = (1/√(p m))·(closed·S + (open − closed)·Ĝ) with the two slopes of σ.
    [[nodiscard]] ConstMatrixView hidden_int() const { return hidden_int_; }
    [[nodiscard]] ConstMatrixView hidden_exp() const { return hidden_exp_; }
    [[nodiscard]] ConstMatrixView gradients_int() const { return gradients_int_; }
    [[nodiscard]] ConstMatrixView values_int() const { return values_int_; }
    /// S = Σ_r a_r V_r (int32, k × p), in the device's memory; exact networks only, else empty. Each call
    /// is a pass over m: keep the matrix, with which views of it end.
    [[nodiscard]] Matrix open_sum() const;

  private:
    friend FNTK_API Tangent tangent(const Device& device, const Network& network, ConstMatrixView inputs,
                                    TangentOptions options);
    Tangent(const Device& device, const Network& network, ConstMatrixView inputs, TangentOptions options);
    void exact_pass(TangentOptions keep);
    void floating_pass(TangentOptions keep);

    Device device_;
    Network network_;
    Staged inputs_;
    Matrix hidden_, values_, gradients_;
    Matrix hidden_int_, hidden_exp_, gradients_int_, values_int_;
    BitMatrix gates_;
};

/// Runs the wide pass. X is n × d in the network's precision (ValueError otherwise), n ≥ 0, finite, in host
/// memory or the device's.
FNTK_API Tangent tangent(const Device& device, const Network& network, ConstMatrixView inputs,
                         TangentOptions options = {});

/// The tangent refers to its inputs, so a temporary would dangle.
Tangent tangent(const Device& device, const Network& network, const Matrix&& inputs,
                TangentOptions options = {}) = delete;
Tangent tangent(const Device& device, const Network& network, const Staged&& inputs,
                TangentOptions options = {}) = delete;

/// Per-sample gradients of the trained factors, dense: row i·k + c holds ∂f_c/∂θ at x_i, θ = (U, V, A) in
/// this order, untrained factors left out, each row-major. (count·k) × parameters elements, so ask for a
/// block of samples. In the device's memory. Throws ShapeError when the block leaves the batch.
FNTK_API Matrix per_sample_gradients(const Tangent& tangent, Train train, std::int64_t first,
                                     std::int64_t count);

}  // namespace fntk

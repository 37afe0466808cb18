// The parts a network is made of: families of the two factors of W = V·U, the activation, and how a backend
// is told about a factor that exists only as a seed.
#pragma once

#include <fntk/matrix.hpp>

namespace fntk {

/// U, the "down" factor, p × d. Every family is scaled so that ‖U x/√p‖ ≈ ‖x‖.
enum class Down : std::uint8_t {
    identity,     ///< p = d, U = √p·I, h = x: the dense baseline
    gaussian,     ///< independent N(0, 1) entries
    orthonormal,  ///< √d·Q, Q random with orthonormal rows; an isometry when p = d
    pca,   ///< √p·B, rows of B the top p right singular vectors of the data, which is not centred;
           ///< an isometry on it when p ≥ rank(X)
    srht,  ///< p random rows of H·diag(±1), H the Hadamard matrix of the next power of two ≥ d
};

/// V, the "up" factor, m × p, unit-variance entries.
enum class Up : std::uint8_t {
    gaussian,    ///< independent N(0, 1)
    rademacher,  ///< independent ±1
    srht,        ///< stacked blocks H_P·diag(±1), P = next power of two ≥ p, first p columns
};

/// σ. At z = 0 the piecewise linear ones take their left derivative: relu 0, leaky_relu its slope, abs −1.
enum class Activation : std::uint8_t {
    relu,        ///< max(z, 0)
    leaky_relu,  ///< z for z > 0, else slope·z
    abs,         ///< |z|
    erf,         ///< erf(z)
    gelu,        ///< z·Φ(z), Φ the standard normal distribution function, by erf
    tanh,        ///< tanh(z)
    softplus,    ///< log(1 + e^z)
};

/// How finely float32 networks of the exact class round H to the integers ĥ (docs/contract.md).
enum class Rounding : std::uint8_t {
    fine,  ///< 22 bits: some 1e-7 of the gates are not those of real numbers
    fast,  ///< 14 bits: some 2e-5 of the gates, G off by 1 %. A pass over a rademacher V on a GPU takes
           ///< three int8 products in place of four. Nothing else is faster, nor takes it
};

FNTK_API const char* name(Down family);
FNTK_API const char* name(Up family);
FNTK_API const char* name(Activation activation);
FNTK_API const char* name(Rounding rounding);

/// σ with its parameter.
struct ActivationSpec {
    Activation kind = Activation::relu;
    double slope = 0.01;  ///< of leaky_relu for z < 0

    /// relu, leaky_relu, abs: σ(z) = σ'(z)·z, and σ' takes two values only.
    [[nodiscard]] bool homogeneous() const {
        return kind == Activation::relu || kind == Activation::leaky_relu || kind == Activation::abs;
    }
    /// σ' where the gate is closed (z ≤ 0) and where it is open (z > 0), for the homogeneous ones.
    [[nodiscard]] double closed_slope() const {
        return kind == Activation::relu ? 0.0 : kind == Activation::abs ? -1.0 : slope;
    }
    [[nodiscard]] double open_slope() const { return 1.0; }
};

/// V as a backend sees it. `values` (m × p, f32 or f64) when it is stored; else entries come from the seed.
struct UpFactor {
    Up family = Up::srht;
    std::int64_t width = 0;
    std::int64_t rank = 0;
    std::uint64_t seed = 0;
    ConstMatrixView values;

    /// ±1 entries that the seed reproduces: the exact-integer class.
    [[nodiscard]] bool signs() const { return values.data == nullptr && family != Up::gaussian; }
};

/// A as a backend sees it. `values` (m × k, f32 or f64) when it is stored; else random ±1 from the seed.
struct Readout {
    std::int64_t width = 0;
    std::int64_t outputs = 1;
    std::uint64_t seed = 0;
    ConstMatrixView values;

    [[nodiscard]] bool signs() const { return values.data == nullptr; }
};

/// U in fixed point as a backend sees it: U = Σ_j digit_j · 2^(exponent − 21(j+1)), |digit| ≤ 2^21; one
/// digit for float32, three for float64. A random or pca U *is* this rounded matrix. Empty for the
/// identity.
struct FixedPoint {
    ConstMatrixView digits;    // i32, (count·p) × d: digit j of U in rows j·p to (j + 1)·p
    ConstMatrixView exponent;  // i32, 1 × 1
    std::int64_t rows = 0;     // p

    [[nodiscard]] bool empty() const { return digits.data == nullptr; }
    [[nodiscard]] int count() const { return rows == 0 ? 0 : static_cast<int>(digits.rows / rows); }
    [[nodiscard]] ConstMatrixView digit(int j) const { return digits.row_block(j * rows, rows); }
};

}  // namespace fntk

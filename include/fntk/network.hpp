// The network  f(x) = (1/√m)·Aᵀ σ(V h),  h = U x/√p,  after arXiv 2210.04807: the hidden layer W = V·U (m ×
// d) is never formed. A NetworkSpec says what is wanted; a Network is that, drawn, immutable, and cheap to
// copy.
#pragma once

#include <fntk/device.hpp>
#include <fntk/factors.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace fntk {

/// Version of the map from (seed, position) to random numbers; written into every file.
inline constexpr int random_scheme = 1;

/// Which factors carry gradients. The dense NTK of the hidden layer is down = identity, train = up.
struct Train {
    bool down = false;
    bool up = false;
    bool readout = false;

    [[nodiscard]] bool any() const { return down || up || readout; }
    bool operator==(const Train&) const = default;
};
/// "down", "up+readout", ... and back; parse throws ValueError.
FNTK_API std::string to_string(Train train);
FNTK_API Train parse_train(std::string_view text);
FNTK_API Down parse_down(std::string_view text);
FNTK_API Up parse_up(std::string_view text);
FNTK_API Activation parse_activation(std::string_view text);
FNTK_API Rounding parse_rounding(std::string_view text);

struct NetworkSpec {
    std::int64_t dim = 0;       ///< d, columns of the data
    std::int64_t width = 4096;  ///< m, 1 to 2^31 − 1
    std::int64_t rank = 0;      ///< p; 0 stands for d when down = identity
    std::int64_t outputs = 1;   ///< k
    Down down = Down::srht;
    Up up = Up::srht;
    Train train{.down = true};
    ActivationSpec activation{};
    DType precision = DType::f32;  ///< of H, G, K, V, A: f32 or f64
    std::uint64_t seed = 0;
    Rounding rounding = Rounding::fine;  ///< of ĥ; fast is for f32, rademacher and a homogeneous σ

    FNTK_API bool operator==(const NetworkSpec& other) const;
};

/// `integer`: gates, Ĝ and f̂ are exact integers, bit-identical on every backend, for any thread count and
/// tile size. `floating`: a stored V or A, a gaussian V or a smooth σ; results carry rounding errors.
enum class Exactness : std::uint8_t { integer, floating };

/// V, U and A given as values; an empty view leaves the factor to the seed.
struct NetworkTensors {
    ConstMatrixView down{};     // p × d, f32 or f64
    ConstMatrixView up{};       // m × p
    ConstMatrixView readout{};  // m × k
};

class FNTK_API Network {
  public:
    /// Draws the network. `data` (n × d) is read only by down = pca, which throws ValueError without it.
    /// Throws ShapeError and ValueError for extents out of range: each rank must be at most d for
    /// orthonormal and pca, at most the next power of two ≥ d for srht, and a power of two for up = srht
    /// unless down = identity. The network lies in host memory, and so does `data`.
    static Network create(NetworkSpec spec, ConstMatrixView data = {});
    /// The network with some factors given as values. A V or A equal to what the seed draws stays seeded
    /// (and the network in the exact class). Values are copied, from host memory. NaN and infinity are
    /// refused by row and column.
    static Network from_tensors(NetworkSpec spec, const NetworkTensors& tensors);

    /// The same network with its stored tensors (U, and V and A where the seed does not give them) in the
    /// memory of `device`, or of the host; itself where they lie there already. A tangent takes a network
    /// from anywhere; one that is used often is worth moving once. It keeps the handle `device`.
    [[nodiscard]] Network on(const Device& device) const;
    [[nodiscard]] Network on_host() const;
    [[nodiscard]] Place place() const;

    [[nodiscard]] const NetworkSpec& spec() const;
    [[nodiscard]] Exactness exactness() const;
    /// The stored tensors, views at place() that live as long as a copy of this network.
    /// U as double, p × d (√p·I for the identity is not stored: the view is empty).
    [[nodiscard]] ConstMatrixView down() const;
    /// The same U digit by digit; empty for the identity.
    [[nodiscard]] FixedPoint fixed_down() const;
    [[nodiscard]] UpFactor up() const;
    [[nodiscard]] Readout readout() const;
    /// Bits of Ĥ: |ĥ| ≤ 2^b with b = min(22, 30 − ⌈log2 p⌉), 14 in place of 22 when rounding is fast; in
    /// float64 min(52, 62 − ⌈log2 p⌉).
    [[nodiscard]] int hidden_bits() const;

    /// Moving copies, so that a network always is one.
    Network(const Network&) = default;
    Network& operator=(const Network&) = default;
    ~Network() = default;

    /// Whether both have the same factors, whatever is trained of them. Networks made of one another, by
    /// on() or with_train() for example, are known to; else the stored tensors are compared in host memory.
    [[nodiscard]] bool same_weights(const Network& other) const;

    /// Dense copies in host memory, in the network's precision: U (p × d), V (m × p), A (m × k).
    [[nodiscard]] Matrix materialize_down() const;
    [[nodiscard]] Matrix materialize_up() const;
    [[nodiscard]] Matrix materialize_readout() const;

    /// The same weights with another set of trained factors; throws ValueError when it is empty.
    [[nodiscard]] Network with_train(Train train) const;
    /// The same network with U replaced (p × d, rounded to the precision's fixed point), or with V or A
    /// shared by pointer instead of drawn from the seed: nobody may change that matrix any more. All of them
    /// lie at place(), or in host memory and are copied there.
    [[nodiscard]] Network with_down(ConstMatrixView down) const;
    /// The same on `device`, which does the rounding. Throws ValueError where U is not finite.
    /// known_finite: the caller sees to that, and U is not read for it; entries that are not finite all the
    /// same become 0.
    [[nodiscard]] Network with_down(const Device& device, ConstMatrixView down,
                                    bool known_finite = false) const;
    [[nodiscard]] Network with_up(std::shared_ptr<const Matrix> up) const;
    [[nodiscard]] Network with_readout(std::shared_ptr<const Matrix> readout) const;

  private:
    struct State;
    explicit Network(std::shared_ptr<const State> state);
    std::shared_ptr<const State> state_;
};

}  // namespace fntk

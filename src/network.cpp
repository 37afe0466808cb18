// What may be drawn (check), the drawing, and the replacing of factors.
#include "down_factor.hpp"

#include <fntk/device.hpp>
#include <fntk/error.hpp>
#include <fntk/network.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <fixed_point.hpp>
#include <signs.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace fntk {

struct Network::State {
    NetworkSpec spec;
    Matrix down;  // f64, p × d; empty for the identity
    FixedPoint fixed;
    std::shared_ptr<const Matrix> up;       // null: from the seed
    std::shared_ptr<const Matrix> readout;  // null: ±1 from the seed

    [[nodiscard]] std::shared_ptr<State> clone() const {
        auto copy = std::make_shared<State>();
        copy->spec = spec;
        copy->down = down.copy();
        copy->fixed = fixed;
        copy->up = up;
        copy->readout = readout;
        return copy;
    }
};

bool NetworkSpec::operator==(const NetworkSpec& other) const {
    return dim == other.dim && width == other.width && rank == other.rank && outputs == other.outputs &&
           down == other.down && up == other.up && train == other.train &&
           activation.kind == other.activation.kind &&
           (activation.kind != Activation::leaky_relu || activation.slope == other.activation.slope) &&
           precision == other.precision && seed == other.seed;
}

namespace {

constexpr std::int64_t max_width = (std::int64_t{1} << 31) - 1;  // |Ĝ| ≤ m fits int32
constexpr std::int64_t max_outputs = std::int64_t{1} << 20;

void check_range(const char* argument, std::int64_t value, std::int64_t most, const char* remedy) {
    if (value < 1 || value > most)
        throw ValueError(
            fmt::format("{} is {}; it must lie in [1, {}]: {}", argument, value, most, remedy));
}

NetworkSpec checked(NetworkSpec spec) {
    check_range("dim", spec.dim, kernels::max_columns,
                "use data with at least one column, or project it first");
    check_range("width", spec.width, max_width, "choose a width in that range, such as 4096");
    check_range("outputs", spec.outputs, max_outputs, "one per class or target");
    if (spec.precision != DType::f32 && spec.precision != DType::f64)
        throw ValueError(fmt::format("precision is {}; choose float32 or float64", name(spec.precision)));
    if (!std::isfinite(spec.activation.slope))
        throw ValueError(
            fmt::format("the slope of leaky_relu is {}; it must be finite", spec.activation.slope));
    if (!spec.train.any()) throw ValueError("train is empty; name at least one of down, up, readout");

    if (spec.down == Down::identity) {
        if (spec.rank == 0) spec.rank = spec.dim;
        if (spec.rank != spec.dim)
            throw ValueError(fmt::format(
                "rank is {}; with down = identity it is the input dimension {}: leave it out or "
                "choose another down factor",
                spec.rank, spec.dim));
        return spec;
    }
    const bool inside = spec.down == Down::orthonormal || spec.down == Down::pca;
    const std::int64_t most = inside                    ? spec.dim
                              : spec.down == Down::srht ? kernels::next_power_of_two(spec.dim)
                                                        : kernels::max_columns;
    if (spec.rank < 1 || spec.rank > most)
        throw ValueError(fmt::format(
            "rank is {}; with down = {} and dim {} it must lie in [1, {}]: choose a smaller rank or "
            "down = gaussian",
            spec.rank, name(spec.down), spec.dim, most));
    if (spec.up == Up::srht && spec.rank != kernels::next_power_of_two(spec.rank))
        throw ValueError(fmt::format(
            "rank is {}; up = srht needs a power of two: use {} or {}, or up = rademacher or gaussian",
            spec.rank, kernels::next_power_of_two(spec.rank) / 2, kernels::next_power_of_two(spec.rank)));
    return spec;
}

void check_shape(const char* argument, ConstMatrixView tensor, std::int64_t rows, std::int64_t cols) {
    if (tensor.rows != rows || tensor.cols != cols)
        throw ShapeError(fmt::format(
            "{} is {} × {}; the network's spec asks for {} × {}: give the spec that it was made for",
            argument, tensor.rows, tensor.cols, rows, cols));
    require_finite(tensor, argument);
}

/// Whether `tensor` holds exactly what `rows(r0, block)` writes.
template <class Rows>
bool equals_drawn(ConstMatrixView tensor, Rows&& rows) {
    constexpr std::int64_t block = 1024;
    Matrix drawn(std::min(block, tensor.rows), tensor.cols, tensor.dtype);
    const auto row_bytes = static_cast<std::size_t>(tensor.cols) * size_of(tensor.dtype);
    for (std::int64_t r0 = 0; r0 < tensor.rows; r0 += block) {
        const MatrixView part = drawn.view().row_block(0, std::min(block, tensor.rows - r0));
        rows(r0, part);
        for (std::int64_t r = 0; r < part.rows; ++r)
            if (std::memcmp(part.row_block(r, 1).data, tensor.row_block(r0 + r, 1).data, row_bytes) != 0)
                return false;
    }
    return true;
}

}  // namespace

Network::Network(std::shared_ptr<const State> state) : state_(std::move(state)) {}

Network Network::create(NetworkSpec spec, ConstMatrixView data) {
    auto state = std::make_shared<State>();
    state->spec = checked(spec);
    state->down = draw_down(state->spec, data);
    state->fixed = round_to_fixed_point(state->down, state->spec.precision);
    return Network(std::move(state));
}

Network Network::from_tensors(NetworkSpec spec, const NetworkTensors& tensors) {
    spec = checked(spec);
    if (tensors.down.data == nullptr && spec.down == Down::pca)
        throw ValueError(
            "down is pca and U was not given; its basis came from data that the seed cannot reproduce");
    auto state = std::make_shared<State>();
    state->spec = spec;
    if (tensors.down.data != nullptr) {
        check_shape("U", tensors.down, spec.rank, spec.dim);
        state->down = Matrix::converted(tensors.down, DType::f64);
        if (spec.down == Down::identity) {  // √p·I given as a tensor is still the identity
            const Matrix identity = create(spec).materialize_down(),
                         given = Matrix::converted(tensors.down, spec.precision);
            if (std::memcmp(identity.view().data, given.view().data,
                            static_cast<std::size_t>(given.bytes())) == 0)
                state->down = Matrix{};
        }
    } else {
        state->down = draw_down(spec, {});
    }
    state->fixed = round_to_fixed_point(state->down, spec.precision);
    const Network seeded(state->clone());
    const Device device = Device::open("cpu", 1);
    if (tensors.up.data != nullptr) {
        check_shape("V", tensors.up, spec.width, spec.rank);
        Matrix given = Matrix::converted(tensors.up, spec.precision);
        if (!equals_drawn(given, [&](std::int64_t r0, MatrixView rows) {
                device.ops().up_rows(seeded.up(), r0, rows);
            }))
            state->up = std::make_shared<const Matrix>(std::move(given));
    }
    if (tensors.readout.data != nullptr) {
        check_shape("A", tensors.readout, spec.width, spec.outputs);
        Matrix given = Matrix::converted(tensors.readout, spec.precision);
        if (!equals_drawn(given, [&](std::int64_t r0, MatrixView rows) {
                device.ops().readout_rows(seeded.readout(), r0, rows);
            }))
            state->readout = std::make_shared<const Matrix>(std::move(given));
    }
    return Network(std::move(state));
}

const NetworkSpec& Network::spec() const { return state_->spec; }

Exactness Network::exactness() const {
    return up().signs() && readout().signs() && spec().activation.homogeneous() ? Exactness::integer
                                                                                : Exactness::floating;
}

ConstMatrixView Network::down() const { return state_->down.view(); }
const FixedPoint& Network::fixed_down() const { return state_->fixed; }

UpFactor Network::up() const {
    return {spec().up, spec().width, spec().rank, spec().seed,
            state_->up ? state_->up->view() : ConstMatrixView{}};
}

Readout Network::readout() const {
    return {spec().width, spec().outputs, spec().seed,
            state_->readout ? state_->readout->view() : ConstMatrixView{}};
}

int Network::hidden_bits() const {
    return kernels::hidden_bits(kernels::ceil_log2(spec().rank), spec().precision == DType::f64);
}

Matrix Network::materialize_down() const {
    if (!state_->down.empty()) return Matrix::converted(state_->down, spec().precision);
    Matrix u(spec().rank, spec().dim, DType::f64);
    for (std::int64_t q = 0; q < spec().rank; ++q)
        u.at<double>(q, q) = std::sqrt(static_cast<double>(spec().rank));
    return Matrix::converted(u, spec().precision);
}

Matrix Network::materialize_up() const {
    Matrix v(spec().width, spec().rank, spec().precision);
    Device::open("cpu").ops().up_rows(up(), 0, v);
    return v;
}

Matrix Network::materialize_readout() const {
    Matrix a(spec().width, spec().outputs, spec().precision);
    Device::open("cpu").ops().readout_rows(readout(), 0, a);
    return a;
}

Network Network::with_train(Train train) const {
    if (!train.any()) throw ValueError("train is empty; name at least one of down, up, readout");
    auto state = state_->clone();
    state->spec.train = train;
    return Network(std::move(state));
}

Network Network::with_down(ConstMatrixView down) const {
    check_shape("U", down, spec().rank, spec().dim);
    auto state = std::make_shared<State>();
    state->spec = spec();
    state->down = Matrix::converted(down, DType::f64);
    state->fixed = round_to_fixed_point(state->down, spec().precision);
    state->up = state_->up;
    state->readout = state_->readout;
    return Network(std::move(state));
}

Network Network::with_up(std::shared_ptr<const Matrix> up) const {
    if (up != nullptr &&
        (up->rows() != spec().width || up->cols() != spec().rank || up->dtype() != spec().precision))
        throw ShapeError(fmt::format("V is {} × {} {}; the network asks for {} × {} {}", up->rows(),
                                     up->cols(), name(up->dtype()), spec().width, spec().rank,
                                     name(spec().precision)));
    auto state = state_->clone();
    state->up = std::move(up);
    return Network(std::move(state));
}

Network Network::with_readout(std::shared_ptr<const Matrix> readout) const {
    if (readout != nullptr && (readout->rows() != spec().width || readout->cols() != spec().outputs ||
                               readout->dtype() != spec().precision))
        throw ShapeError(fmt::format("A is {} × {} {}; the network asks for {} × {} {}", readout->rows(),
                                     readout->cols(), name(readout->dtype()), spec().width, spec().outputs,
                                     name(spec().precision)));
    auto state = state_->clone();
    state->readout = std::move(readout);
    return Network(std::move(state));
}

}  // namespace fntk

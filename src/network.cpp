// The drawing of factors and the replacing of them.
#include "device_memory.hpp"
#include "down_factor.hpp"
#include "network_spec.hpp"

#include <fntk/device.hpp>
#include <fntk/error.hpp>
#include <fntk/network.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <fixed_point.hpp>
#include <signs.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

namespace fntk {

namespace {

/// Of tensors that were stored together; copies of them keep it.
std::uint64_t new_identity() {
    static std::atomic<std::uint64_t> last = 0;
    return ++last;
}

}  // namespace

struct Network::State {
    NetworkSpec spec;
    std::optional<Device> device;          // where the tensors lie; none: in host memory
    std::shared_ptr<const Matrix> down;    // f64, p × d; null for the identity
    std::shared_ptr<const Matrix> digits;  // of U in fixed point, and its exponent
    std::shared_ptr<const Matrix> exponent;
    std::shared_ptr<const Matrix> up;                                        // null: from the seed
    std::shared_ptr<const Matrix> readout;                                   // null: ±1 from the seed
    std::uint64_t down_identity = 0, up_identity = 0, readout_identity = 0;  // equal: equal tensors

    /// Replaces U by its rounding to one (float32) or three (float64) digits of 21 bits. U lies in the
    /// memory of `rounding`.
    void round_down(const Device& rounding, Matrix u) {
        if (u.empty()) return;
        const std::int64_t count = spec.precision == DType::f32 ? 1 : 3;
        Matrix planes = unwritten(rounding, count * u.rows(), u.cols(), DType::i32),
               scale = unwritten(rounding, 1, 1, DType::i32);
        rounding.ops().fix_down(u, planes, scale);
        down = std::make_shared<const Matrix>(std::move(u));
        digits = std::make_shared<const Matrix>(std::move(planes));
        exponent = std::make_shared<const Matrix>(std::move(scale));
        down_identity = new_identity();
    }
    void store_up(std::shared_ptr<const Matrix> v) {
        up = std::move(v);
        up_identity = up == nullptr ? 0 : new_identity();
    }
    void store_readout(std::shared_ptr<const Matrix> a) {
        readout = std::move(a);
        readout_identity = readout == nullptr ? 0 : new_identity();
    }

    /// The tensor itself where it lies with the others, else a copy there.
    [[nodiscard]] std::shared_ptr<const Matrix> placed(std::shared_ptr<const Matrix> tensor,
                                                       const char* argument) const {
        if (tensor == nullptr || (device && tensor->place() == device->place())) return tensor;
        detail::check_host(tensor->place(), argument);
        return device ? std::make_shared<const Matrix>(device->to_device(tensor->view())) : tensor;
    }

    /// Each tensor that is stored.
    template <class Body>
    void for_tensors(Body&& body) {
        for (auto* tensor : {&down, &digits, &exponent, &up, &readout})
            if (*tensor != nullptr) body(*tensor);
    }
};

namespace {

/// The device that rounds what lies in host memory.
Device host_device() { return Device::open("cpu", 1); }

ConstMatrixView view_of(const std::shared_ptr<const Matrix>& tensor) {
    return tensor == nullptr ? ConstMatrixView{} : tensor->view();
}

void check_shape(const char* argument, ConstMatrixView tensor, std::int64_t rows, std::int64_t cols) {
    if (tensor.rows != rows || tensor.cols != cols)
        throw ShapeError(fmt::format(
            "{} is {} × {}; the network's spec asks for {} × {}: give the spec that it was made for",
            argument, tensor.rows, tensor.cols, rows, cols));
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

/// In the network's precision. Throws ValueError for what is not finite, or no longer is then.
Matrix rounded(ConstMatrixView tensor, DType precision, const char* argument) {
    require_finite(tensor, argument);
    Matrix result = Matrix::converted(tensor, precision);
    if (tensor.dtype != precision)
        require_finite(result, fmt::format("{} in {}", argument, name(precision)).c_str());
    return result;
}

}  // namespace

Network::Network(std::shared_ptr<const State> state) : state_(std::move(state)) {}

Network Network::create(NetworkSpec spec, ConstMatrixView data) {
    auto state = std::make_shared<State>();
    state->spec = checked(spec);
    state->round_down(host_device(), draw_down(state->spec, data));
    return Network(std::move(state));
}

Network Network::from_tensors(NetworkSpec spec, const NetworkTensors& tensors) {
    spec = checked(spec);
    if (tensors.down.data == nullptr && spec.down == Down::pca)
        throw ValueError(
            "down is pca and U was not given; its basis came from data that the seed cannot reproduce");
    auto state = std::make_shared<State>();
    state->spec = spec;
    const Device device = host_device();
    if (tensors.down.data != nullptr) {
        check_shape("U", tensors.down, spec.rank, spec.dim);
        (void)rounded(tensors.down, spec.precision, "U");
        bool identity = false;
        if (spec.down == Down::identity) {  // √p·I given as a tensor is still the identity
            const Matrix drawn = create(spec).materialize_down(),
                         given = Matrix::converted(tensors.down, spec.precision);
            identity = std::memcmp(drawn.view().data, given.view().data,
                                   static_cast<std::size_t>(given.bytes())) == 0;
        }
        if (!identity) state->round_down(device, Matrix::converted(tensors.down, DType::f64));
    } else {
        state->round_down(device, draw_down(spec, {}));
    }
    const Network seeded(std::make_shared<State>(*state));
    if (tensors.up.data != nullptr) {
        check_shape("V", tensors.up, spec.width, spec.rank);
        Matrix given = rounded(tensors.up, spec.precision, "V");
        if (!equals_drawn(given, [&](std::int64_t r0, MatrixView rows) {
                device.ops().up_rows(seeded.up(), r0, rows);
            }))
            state->store_up(std::make_shared<const Matrix>(std::move(given)));
    }
    if (tensors.readout.data != nullptr) {
        check_shape("A", tensors.readout, spec.width, spec.outputs);
        Matrix given = rounded(tensors.readout, spec.precision, "A");
        if (!equals_drawn(given, [&](std::int64_t r0, MatrixView rows) {
                device.ops().readout_rows(seeded.readout(), r0, rows);
            }))
            state->store_readout(std::make_shared<const Matrix>(std::move(given)));
    }
    return Network(std::move(state));
}

Network Network::on(const Device& device) const {
    if (device.place() == place()) return *this;
    if (device.place() == Place::host) return on_host();
    const Network host = on_host();  // between two devices by way of the host
    auto state = std::make_shared<State>(*host.state_);
    state->device = device;
    state->for_tensors([&](std::shared_ptr<const Matrix>& tensor) {
        tensor = std::make_shared<const Matrix>(device.to_device(tensor->view()));
    });
    return Network(std::move(state));
}

Network Network::on_host() const {
    if (!state_->device) return *this;
    auto state = std::make_shared<State>(*state_);
    state->for_tensors([&](std::shared_ptr<const Matrix>& tensor) {
        tensor = std::make_shared<const Matrix>(state_->device->to_host(tensor->view()));
    });
    state->device.reset();
    return Network(std::move(state));
}

Place Network::place() const { return state_->device ? state_->device->place() : Place::host; }

const NetworkSpec& Network::spec() const { return state_->spec; }

Exactness Network::exactness() const {
    return up().signs() && readout().signs() && spec().activation.homogeneous() ? Exactness::integer
                                                                                : Exactness::floating;
}

ConstMatrixView Network::down() const { return view_of(state_->down); }

FixedPoint Network::fixed_down() const {
    if (state_->down == nullptr) return {};
    return {view_of(state_->digits), view_of(state_->exponent), spec().rank};
}

UpFactor Network::up() const {
    return {spec().up, spec().width, spec().rank, spec().seed, view_of(state_->up)};
}

Readout Network::readout() const {
    return {spec().width, spec().outputs, spec().seed, view_of(state_->readout)};
}

int Network::hidden_bits() const {
    const int most = kernels::hidden_bits(kernels::ceil_log2(spec().rank), spec().precision == DType::f64);
    return spec().rounding == Rounding::fast ? std::min(most, kernels::fast_hidden_bits) : most;
}

bool Network::same_weights(const Network& other) const {
    NetworkSpec same = other.spec();
    same.train = spec().train;
    if (!(same == spec())) return false;
    const State &a = *state_, &b = *other.state_;
    if (a.down_identity == b.down_identity && a.up_identity == b.up_identity &&
        a.readout_identity == b.readout_identity)
        return true;
    const Network here = on_host(), there = other.on_host();
    const auto equal = [](const std::shared_ptr<const Matrix>& x, const std::shared_ptr<const Matrix>& y) {
        if (x == nullptr || y == nullptr) return x == y;
        return std::memcmp(x->view().data, y->view().data, static_cast<std::size_t>(x->bytes())) == 0;
    };
    const State &x = *here.state_, &y = *there.state_;
    return equal(x.down, y.down) && equal(x.up, y.up) && equal(x.readout, y.readout);
}

Matrix Network::materialize_down() const {
    if (state_->down != nullptr) return Matrix::converted(on_host().down(), spec().precision);
    Matrix u(spec().rank, spec().dim, DType::f64);
    for (std::int64_t q = 0; q < spec().rank; ++q)
        u.at<double>(q, q) = std::sqrt(static_cast<double>(spec().rank));
    return Matrix::converted(u, spec().precision);
}

Matrix Network::materialize_up() const {
    Matrix v(spec().width, spec().rank, spec().precision);
    const Network host = on_host();
    Device::open("cpu").ops().up_rows(host.up(), 0, v);
    return v;
}

Matrix Network::materialize_readout() const {
    Matrix a(spec().width, spec().outputs, spec().precision);
    const Network host = on_host();
    Device::open("cpu").ops().readout_rows(host.readout(), 0, a);
    return a;
}

Network Network::with_train(Train train) const {
    if (!train.any()) throw ValueError("train is empty; name at least one of down, up, readout");
    auto state = std::make_shared<State>(*state_);
    state->spec.train = train;
    return Network(std::move(state));
}

Network Network::with_down(ConstMatrixView down) const {
    return with_down(state_->device ? *state_->device : host_device(), down);
}

Network Network::with_down(const Device& device, ConstMatrixView down, bool known_finite) const {
    check_shape("U", down, spec().rank, spec().dim);
    if (!known_finite) (void)rounded(device.on_host(down), spec().precision, "U");
    Matrix u = as_double(device, down);
    auto state = std::make_shared<State>(*on(device).state_);
    state->round_down(device, std::move(u));
    return Network(std::move(state));
}

Network Network::with_up(std::shared_ptr<const Matrix> up) const {
    if (up != nullptr &&
        (up->rows() != spec().width || up->cols() != spec().rank || up->dtype() != spec().precision))
        throw ShapeError(fmt::format("V is {} × {} {}; the network asks for {} × {} {}", up->rows(),
                                     up->cols(), name(up->dtype()), spec().width, spec().rank,
                                     name(spec().precision)));
    auto state = std::make_shared<State>(*state_);
    state->store_up(state->placed(std::move(up), "V"));
    if (state->up != nullptr)
        require_finite(state->device ? *state->device : host_device(), *state->up, "V");
    return Network(std::move(state));
}

Network Network::with_readout(std::shared_ptr<const Matrix> readout) const {
    if (readout != nullptr && (readout->rows() != spec().width || readout->cols() != spec().outputs ||
                               readout->dtype() != spec().precision))
        throw ShapeError(fmt::format("A is {} × {} {}; the network asks for {} × {} {}", readout->rows(),
                                     readout->cols(), name(readout->dtype()), spec().width, spec().outputs,
                                     name(spec().precision)));
    auto state = std::make_shared<State>(*state_);
    state->store_readout(state->placed(std::move(readout), "A"));
    if (state->readout != nullptr)
        require_finite(state->device ? *state->device : host_device(), *state->readout, "A");
    return Network(std::move(state));
}

}  // namespace fntk

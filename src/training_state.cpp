#include "training_state.hpp"
#include "device_memory.hpp"

#include <backend/ops.hpp>

#include <philox.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace fntk {

TrainingState::TrainingState(const Device& device, const Network& network, bool momentum)
    : initial(network), current(network.on(device)) {
    const NetworkSpec& spec = initial.spec();
    const auto zeros_like = [&](const Matrix& matrix) {
        return momentum ? device.zeros(matrix.rows(), matrix.cols(), matrix.dtype()) : Matrix{};
    };
    if (spec.train.down) {
        down = current.down().data != nullptr ? as_double(device, current.down())
                                              : as_double(device, initial.materialize_down());
        down_velocity = zeros_like(down);
    }
    if (spec.train.up) {
        up = std::make_shared<Matrix>(device.to_device(initial.materialize_up()));
        current = current.with_up(up);
        up_velocity = zeros_like(*up);
    }
    if (spec.train.readout) {
        readout = std::make_shared<Matrix>(device.to_device(initial.materialize_readout()));
        current = current.with_readout(readout);
        readout_velocity = zeros_like(*readout);
    }
}

void TrainingState::round_down(const Device& device) {
    if (initial.spec().train.down) current = current.with_down(device, down, true);
}

namespace {

/// The rows of `from` that `indices` (1 × b) names.
Matrix gather(const Device& device, ConstMatrixView from, ConstMatrixView indices) {
    Matrix result = device.zeros(indices.cols, from.cols, from.dtype);
    device.ops().gather_rows(from, indices, result);
    return result;
}

/// θ ← θ − η·v with v = g, or with momentum v ← μ v + g.
void update(backend::Ops& ops, double scale, ConstMatrixView gradient, double momentum, double step_size,
            MatrixView velocity, MatrixView parameters) {
    if (velocity.empty()) return ops.axpby(-step_size * scale, gradient, 1, parameters);
    ops.axpby(scale, gradient, momentum, velocity);
    ops.axpby(-step_size, velocity, 1, parameters);
}

MatrixView rows_or_none(Matrix& matrix, std::int64_t first, std::int64_t count) {
    return matrix.empty() ? MatrixView{} : matrix.view().row_block(first, count);
}

struct Forward {
    Tangent tangent;
    Matrix residual;
};

Forward forward(const Device& device, const TrainingState& state, const Batch& batch, Loss loss,
                StepNumbers& numbers, TangentOptions keep) {
    keep.known_finite = true;
    Forward result{
        tangent(device, state.current, batch.data.inputs, keep),
        device.zeros(batch.data.inputs.rows, batch.data.targets.cols, state.current.spec().precision)};
    const auto kind = loss == Loss::squared ? backend::Residual::squared : backend::Residual::cross_entropy;
    device.ops().residual(kind, result.tangent.values(), batch.data.targets, result.residual,
                          numbers.loss());
    return result;
}

}  // namespace

StepNumbers::StepNumbers(const Device& device)
    : device_(device), numbers_(device.zeros(2, device.ops().look_every(), DType::f64)) {}

std::vector<StepNumbers::Step> StepNumbers::look() {
    if (empty()) return {};
    const Staged found = device_.on_host(numbers_);
    for (std::int64_t i = 0; i < count(); ++i) {
        Step& step = issued_[static_cast<std::size_t>(i)];
        step.row.loss = step.scale * value(found, 0, i);
        step.norm_of_down = value(found, 1, i);
    }
    return std::exchange(issued_, {});
}

ConstMatrixView EpochOrder::of(std::int64_t epoch) {
    if (epoch == epoch_) return on_device_;
    epoch_ = epoch;
    order_.resize(samples_);
    std::iota(order_.begin(), order_.end(), 0);
    for (std::int64_t i = 0; i + 1 < samples_; ++i) {  // Fisher–Yates from the stream of the mini-batches
        const std::uint64_t index =
            (static_cast<std::uint64_t>(epoch) << 32) + static_cast<std::uint64_t>(i);
        const std::uint64_t pick = kernels::random_below(seed_, kernels::Stream::batches, index,
                                                         static_cast<std::uint64_t>(samples_ - i));
        std::swap(order_[i], order_[i + static_cast<std::int64_t>(pick)]);
    }
    on_device_ = device_.staged(ConstMatrixView(order_.data(), 1, samples_));
    return on_device_;
}

Batch take_batch(const Device& device, const TrainingData& data, std::int64_t batch, EpochOrder& order,
                 std::int64_t step) {
    Batch result;
    const std::int64_t n = data.inputs.rows;
    if (batch <= 0 || batch >= n) {
        result.data = data;
        return result;
    }
    const std::int64_t per_epoch = (n + batch - 1) / batch;
    const std::int64_t first = step % per_epoch * batch, count = std::min(batch, n - first);
    const ConstMatrixView indices = order.of(step / per_epoch).col_block(first, count);
    result.inputs_owner = gather(device, data.inputs, indices);
    result.targets_owner = gather(device, data.targets, indices);
    result.data = {result.inputs_owner.view(), result.targets_owner.view()};
    result.scale = static_cast<double>(n) / static_cast<double>(count);
    return result;
}

void batch_loss(const Device& device, const TrainingState& state, const Batch& batch, Loss loss,
                StepNumbers& numbers) {
    (void)forward(device, state, batch, loss, numbers, {.only_these = true});
}

void descend(const Device& device, TrainingState& state, const Batch& batch, Loss loss, double momentum,
             StepNumbers& numbers) {
    const NetworkSpec& spec = state.current.spec();
    const Forward pass =
        forward(device, state, batch, loss, numbers,
                {.gradients = spec.train.down, .gates = spec.train.up, .only_these = true});
    backend::Ops& ops = device.ops();
    const double eta = state.step_size;

    Matrix down_gradient;  // dU = Wᵀ X, W_i = Σ_c e_ic G^c_i; taken before V and A move
    if (spec.train.down) {
        down_gradient = device.zeros(spec.rank, spec.dim, spec.precision);
        const bool known = batch.data.scales.data != nullptr;
        const Matrix of_batch = known ? Matrix() : ops.moment_scales(batch.data.inputs, spec.rank);
        ops.moment(pass.tangent.gradients(), pass.residual, batch.data.inputs,
                   known ? batch.data.scales : of_batch.view(), 1, down_gradient);
    }
    if (spec.train.up || spec.train.readout) {
        const auto element = static_cast<std::int64_t>(size_of(spec.precision));
        const std::int64_t wanted =
            (std::int64_t{8} << 20) / (std::max<std::int64_t>(batch.data.inputs.rows, 1) * element);
        const std::int64_t block = std::clamp<std::int64_t>(wanted, 64, 4096) / 64 * 64;
        const ConstBitView gates = pass.tangent.has_gates() ? pass.tangent.gates() : ConstBitView{};
        const double scale = batch.scale / std::sqrt(static_cast<double>(spec.width));
        const std::int64_t most = std::min(block, spec.width);
        Matrix dv = device.zeros(spec.train.up ? most : 0, spec.rank, spec.precision);
        Matrix da = device.zeros(spec.train.readout ? most : 0, spec.outputs, spec.precision);
        for (std::int64_t r0 = 0; r0 < spec.width; r0 += block) {
            const std::int64_t count = std::min(block, spec.width - r0);
            const MatrixView dv_block = rows_or_none(dv, 0, count), da_block = rows_or_none(da, 0, count);
            ops.wide_gradient(state.current.up(), state.current.readout(), spec.activation,
                              pass.tangent.hidden(), pass.residual, gates, r0, dv_block, da_block);
            if (spec.train.up)
                update(ops, scale, dv_block, momentum, eta, rows_or_none(state.up_velocity, r0, count),
                       state.up->view().row_block(r0, count));
            if (spec.train.readout)
                update(ops, scale, da_block, momentum, eta, rows_or_none(state.readout_velocity, r0, count),
                       state.readout->view().row_block(r0, count));
        }
    }
    if (spec.train.down) {
        update(ops, batch.scale, down_gradient, momentum, eta, state.down_velocity, state.down);
        ops.norm(state.down, numbers.norm_of_down());
    }
}

}  // namespace fntk

#include "training_state.hpp"

#include <fntk/error.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <philox.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace fntk {

TrainingState::TrainingState(Network network, bool momentum)
    : initial(network), current(std::move(network)) {
    const NetworkSpec& spec = initial.spec();
    if (spec.train.down) {
        down = Matrix::converted(
            initial.down().data != nullptr ? Matrix::copy_of(initial.down()) : initial.materialize_down(),
            DType::f64);
        if (momentum) down_velocity = Matrix(spec.rank, spec.dim, DType::f64);
    }
    if (spec.train.up) {
        up = std::make_shared<Matrix>(initial.materialize_up());
        current = current.with_up(up);
        if (momentum) up_velocity = Matrix(spec.width, spec.rank, spec.precision);
    }
    if (spec.train.readout) {
        readout = std::make_shared<Matrix>(initial.materialize_readout());
        current = current.with_readout(readout);
        if (momentum) readout_velocity = Matrix(spec.width, spec.outputs, spec.precision);
    }
}

namespace {

/// Order of epoch `epoch`: Fisher–Yates from the stream of the mini-batches.
std::vector<std::int64_t> epoch_order(std::int64_t samples, std::uint64_t seed, std::int64_t epoch) {
    std::vector<std::int64_t> order(samples);
    std::iota(order.begin(), order.end(), 0);
    for (std::int64_t i = 0; i + 1 < samples; ++i) {
        const std::uint64_t index =
            (static_cast<std::uint64_t>(epoch) << 32) + static_cast<std::uint64_t>(i);
        const std::uint64_t pick = kernels::random_below(seed, kernels::Stream::batches, index,
                                                         static_cast<std::uint64_t>(samples - i));
        std::swap(order[i], order[i + static_cast<std::int64_t>(pick)]);
    }
    return order;
}

Matrix gather(ConstMatrixView from, const std::int64_t* rows, std::int64_t count) {
    Matrix result(count, from.cols, from.dtype);
    for (std::int64_t i = 0; i < count; ++i)
        std::memcpy(result.view().row_block(i, 1).data, from.row_block(rows[i], 1).data,
                    static_cast<std::size_t>(from.cols) * size_of(from.dtype));
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
    double loss;
};

Forward forward(const Device& device, const TrainingState& state, const Batch& batch, Loss loss,
                TangentOptions keep) {
    Forward result{tangent(device, state.current, batch.data.inputs, keep), {}, 0};
    result.residual =
        Matrix(batch.data.inputs.rows, batch.data.targets.cols, state.current.spec().precision);
    const auto kind = loss == Loss::squared ? backend::Residual::squared : backend::Residual::cross_entropy;
    result.loss = batch.scale *
                  device.ops().residual(kind, result.tangent.values(), batch.data.targets, result.residual);
    return result;
}

}  // namespace

Batch take_batch(const TrainingData& data, std::int64_t batch, std::uint64_t seed, std::int64_t step) {
    Batch result;
    const std::int64_t n = data.inputs.rows;
    if (batch <= 0 || batch >= n) {
        result.data = data;
        return result;
    }
    const std::int64_t per_epoch = (n + batch - 1) / batch;
    const std::vector<std::int64_t> order = epoch_order(n, seed, step / per_epoch);
    const std::int64_t first = step % per_epoch * batch, count = std::min(batch, n - first);
    result.inputs_owner = gather(data.inputs, order.data() + first, count);
    result.targets_owner = gather(data.targets, order.data() + first, count);
    result.data = {result.inputs_owner.view(), result.targets_owner.view()};
    result.scale = static_cast<double>(n) / static_cast<double>(count);
    return result;
}

double batch_loss(const Device& device, const TrainingState& state, const Batch& batch, Loss loss) {
    return forward(device, state, batch, loss, {.only_these = true}).loss;
}

double descend(const Device& device, TrainingState& state, const Batch& batch, Loss loss, double momentum) {
    const NetworkSpec& spec = state.current.spec();
    const Forward pass =
        forward(device, state, batch, loss,
                {.gradients = spec.train.down, .gates = spec.train.up, .only_these = true});
    if (!std::isfinite(pass.loss)) return pass.loss;
    backend::Ops& ops = device.ops();
    const double eta = state.step_size;

    Matrix down_gradient;  // dU = Wᵀ X, W_i = Σ_c e_ic G^c_i; taken before V and A move
    if (spec.train.down) {
        Matrix weighted(batch.data.inputs.rows, spec.rank, spec.precision);
        ops.row_combine(pass.tangent.gradients(), pass.residual, weighted);
        down_gradient = Matrix(spec.rank, spec.dim, spec.precision);
        ops.gemm(true, false, 1, weighted, batch.data.inputs, 0, down_gradient);
    }
    if (spec.train.up || spec.train.readout) {
        const auto element = static_cast<std::int64_t>(size_of(spec.precision));
        const std::int64_t wanted =
            (std::int64_t{8} << 20) / (std::max<std::int64_t>(batch.data.inputs.rows, 1) * element);
        const std::int64_t block = std::clamp<std::int64_t>(wanted, 64, 4096) / 64 * 64;
        const ConstBitView gates = pass.tangent.has_gates() ? pass.tangent.gates() : ConstBitView{};
        const double scale = batch.scale / std::sqrt(static_cast<double>(spec.width));
        Matrix dv(spec.train.up ? std::min(block, spec.width) : 0, spec.rank, spec.precision);
        Matrix da(spec.train.readout ? std::min(block, spec.width) : 0, spec.outputs, spec.precision);
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
        if (!std::all_of(state.down.row<double>(0), state.down.row<double>(0) + spec.rank * spec.dim,
                         [](double u) { return std::isfinite(u); }))
            throw Error(fmt::format(
                "U is no longer finite after step {}: step size {} is too large; use a smaller one or rule "
                "lambda_max",
                state.step, eta));
        state.current = state.current.with_down(state.down);
    }
    return pass.loss;
}

}  // namespace fntk

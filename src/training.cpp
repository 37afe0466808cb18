// The training loop: step size, history, certificate, checkpoints. One step of it is in training_state.cpp.
#include "device_memory.hpp"
#include "training_state.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>
#include <fntk/spectrum.hpp>
#include <fntk/training.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <optional>
#include <utility>

namespace fntk {

namespace {

void check(const Device& device, const Network& network, const TrainingData& data,
           const TrainingOptions& options) {
    const NetworkSpec& spec = network.spec();
    check_extents(spec, data.inputs, data.targets);
    require_finite(device, data.inputs, "inputs");
    require_finite(device, data.targets, "targets");
    check_options(spec, data.inputs.rows, options);
    if (options.loss == Loss::cross_entropy) {
        const Staged targets = device.on_host(data.targets);
        for (std::int64_t i = 0; i < data.targets.rows; ++i) {
            double sum = 0, least = 0;
            for (std::int64_t c = 0; c < spec.outputs; ++c) {
                sum += value(targets, i, c);
                least = std::min(least, value(targets, i, c));
            }
            if (least < 0 || std::abs(sum - 1) > 1e-4)
                throw ValueError(fmt::format(
                    "targets of row {} sum to {} (smallest {}); cross-entropy needs probabilities", i, sum,
                    least));
        }
    }
}

/// K₀ and its gates, for drift, flips and λ_min.
class KernelMonitor {
  public:
    KernelMonitor(const Device& device, const Network& initial, ConstMatrixView inputs, Train train)
        : device_(device),
          inputs_(inputs),
          train_(train),
          start_(initial_tangent(initial)),
          kernel_(device.to_host(gram(start_, KernelOutput::trace, train))) {
        if (start_.has_gates()) gates_ = device.on_host(start_.gates());
    }

    [[nodiscard]] Spectrum initial_spectrum() const { return spectrum(device_, kernel_); }

    void measure(const Network& network, bool with_spectrum, TrainingRecord& record) const {
        const Tangent now = tangent(device_, network, inputs_, {.gates = true, .known_finite = true});
        const Matrix kernel = device_.to_host(gram(now, KernelOutput::trace, train_));
        double difference = 0, norm = 0;
        for (std::int64_t i = 0; i < kernel.rows(); ++i)
            for (std::int64_t j = 0; j < kernel.cols(); ++j) {
                const double k0 = value(kernel_, i, j), d = value(kernel, i, j) - k0;
                difference += d * d;
                norm += k0 * k0;
            }
        record.drift = norm > 0 ? std::sqrt(difference / norm) : 0;
        if (now.has_gates()) {
            const StagedBits gates = device_.on_host(now.gates());
            std::int64_t flips = 0;
            for (std::int64_t i = 0; i < now.size(); ++i)
                for (std::int64_t w = 0; w < (network.spec().width + 63) / 64; ++w)
                    flips += std::popcount(gates.view().row(i)[w] ^ gates_.view().row(i)[w]);
            record.flips = static_cast<double>(flips) /
                           (static_cast<double>(now.size()) * static_cast<double>(network.spec().width));
        }
        if (with_spectrum) record.lambda_min = spectrum(device_, kernel).min();
    }

  private:
    [[nodiscard]] Tangent initial_tangent(const Network& network) const {
        return tangent(device_, network, inputs_, {.gates = true, .known_finite = true});
    }

    const Device& device_;
    ConstMatrixView inputs_;
    Train train_;
    Tangent start_;
    Matrix kernel_;     // in host memory, as the gates
    StagedBits gates_;  // empty where σ has none
};

double operator_lambda_max(const Device& device, const Network& network, ConstMatrixView inputs) {
    const Tangent at =
        tangent(device, network, inputs,
                {.gradients = network.spec().train.down, .only_these = true, .known_finite = true});
    const ExtremalEigenvalue top =
        lambda_max(KernelOperator(at, KernelOutput::full, network.spec().train), {.tolerance = 1e-2});
    return top.value + top.residual;  // Ritz values come from below
}

void choose_step(const Device& device, TrainingState& state, const TrainingData& data,
                 const TrainingOptions& options, EpochOrder& order) {
    if (options.rule == StepRule::given) {
        state.step_size = options.step;
        return;
    }
    state.lambda_max = operator_lambda_max(device, state.current, data.inputs);
    if (options.batch > 0 && options.batch < data.inputs.rows)
        for (std::int64_t step = 0; step < 4; ++step) {
            const Batch batch = take_batch(device, data, options.batch, order, step);
            state.lambda_max =
                std::max(state.lambda_max,
                         batch.scale * operator_lambda_max(device, state.current, batch.data.inputs));
        }
    if (!(state.lambda_max > 0))
        throw ValueError(
            "λ_max of the kernel at the start is 0, so no step size follows from it; the inputs or G are "
            "all zero");
    state.step_size = options.rule == StepRule::lambda_max ? 1 / state.lambda_max
                                                           : 2 / (state.lambda_max + state.lambda_min);
}

/// Seconds of each step. Steps that are waited for together share theirs evenly.
class StepClock {
  public:
    void start() { begin_ = Clock::now(); }
    void pause() { passed_ += Clock::now() - begin_; }
    /// What has passed since the last such call was that of so many steps.
    void share(std::size_t steps) {
        if (steps == 0) return;
        seconds_.insert(seconds_.end(), steps, passed_.count() / static_cast<double>(steps));
        passed_ = {};
    }
    /// 0 where there was none.
    [[nodiscard]] double median() {
        if (seconds_.empty()) return 0;
        const auto middle = seconds_.begin() + static_cast<std::ptrdiff_t>(seconds_.size() / 2);
        std::nth_element(seconds_.begin(), middle, seconds_.end());
        return *middle;
    }

  private:
    using Clock = std::chrono::steady_clock;

    Clock::time_point begin_;
    std::chrono::duration<double> passed_{};
    std::vector<double> seconds_;
};

TrainingResult run(const Device& device, TrainingState state, TrainingData data,
                   const TrainingOptions& options, bool resumed) {
    const NetworkSpec& spec = state.initial.spec();
    const Matrix scales = spec.train.down ? device.ops().moment_scales(data.inputs, spec.rank) : Matrix();
    data.scales = scales.view();
    EpochOrder order(device, data.inputs.rows, options.seed);
    std::optional<KernelMonitor> monitor;
    const bool monitored = options.kernel_drift || options.spectrum_every > 0;
    const bool needs_lambda_min = options.certificate || options.rule == StepRule::lambda_max_min;
    const bool known = options.known_lambda_min >= 0;
    if (monitored || (needs_lambda_min && !known && !resumed))
        monitor.emplace(device, state.initial, data.inputs, state.initial.spec().train);
    bool certified = options.certificate;  // there is something to check
    if (resumed) {
        certified &= state.lambda_min > 0 && !state.history.empty() && state.history.front().bound >= 0;
    } else {
        bool positive = known && options.known_lambda_min > 0;
        if (needs_lambda_min && known) state.lambda_min = options.known_lambda_min;
        if (needs_lambda_min && !known) {
            const Spectrum eigen = monitor->initial_spectrum();
            state.lambda_min = eigen.min();
            positive = eigen.positive();
        }
        certified &= positive;
        choose_step(device, state, data, options, order);
    }
    if (!options.checkpoint.empty()) (void)FileReservation(options.checkpoint, 0);  // can be written
    const std::uint64_t data_hash = options.checkpoint.empty() ? 0 : fingerprint(device, data);

    const auto every = [&](std::int64_t steps) { return steps > 0 && state.step % steps == 0; };
    // A row describes the state before its step: its kernel is measured first, since V and A move in place.
    const auto measured = [&](bool last) {
        TrainingRecord row{.step = state.step};
        if (monitor && (every(options.spectrum_every) || (last && monitored)))
            monitor->measure(state.current, options.spectrum_every > 0, row);
        return row;
    };
    const auto record = [&](const StepNumbers::Step& step) {
        TrainingRecord row = step.row;
        if (!std::isfinite(row.loss))
            throw Error(
                fmt::format("the loss is {} at step {}: step size {} is too large; use a smaller one or "
                            "rule lambda_max",
                            row.loss, row.step, state.step_size));
        if (!std::isfinite(step.norm_of_down))
            throw Error(fmt::format(
                "U is no longer finite after step {}: step size {} is too large; use a smaller one or rule "
                "lambda_max",
                row.step, state.step_size));
        if (certified) {
            const double first = 2 * (state.history.empty() ? row.loss : state.history.front().loss);
            const double rate = 1 - state.step_size * state.lambda_min / 2;
            row.bound = std::pow(rate, static_cast<double>(row.step)) * first;
            state.certificate_held &= 2 * row.loss <= row.bound * (1 + 1e-9);
        }
        state.history.push_back(row);
    };
    StepNumbers numbers(device);
    StepClock clock;
    /// How many steps there were to look at.
    const auto look = [&] {
        const std::vector<StepNumbers::Step> steps = numbers.look();
        std::for_each(steps.begin(), steps.end(), record);
        return steps.size();
    };

    if (resumed && !state.history.empty())
        state.history.pop_back();    // the last row stands for the state after the last step
    std::optional<IoError> unsaved;  // of the last checkpoint that was tried
    const auto save = [&] {
        try {
            save_checkpoint(device, options.checkpoint, state, options, data_hash);
            unsaved.reset();
        } catch (const IoError& reason) {
            unsaved = reason;
        }
    };
    bool cancelled = false;
    while (state.step < options.steps && !cancelled) {
        const TrainingRecord row = measured(false);
        clock.start();
        const Batch batch = take_batch(device, data, options.batch, order, state.step);
        descend(device, state, batch, options.loss, options.momentum, numbers);
        numbers.add(row, batch.scale);
        ++state.step;
        const bool checkpoint =
            !options.checkpoint.empty() && every(options.checkpoint_every) && state.step < options.steps;
        const bool due = numbers.full() || checkpoint || every(options.spectrum_every);
        const std::size_t looked_at = due ? look() : 0;
        state.round_down(device);
        clock.pause();
        clock.share(looked_at);
        if (options.progress)
            cancelled =
                !options.progress(static_cast<double>(state.step) / static_cast<double>(options.steps));
        if (checkpoint && !cancelled) {
            state.history.push_back({.step = state.step});  // resuming replaces the last row
            save();
            state.history.pop_back();
        }
    }
    clock.start();
    const std::size_t looked_at = look();
    clock.pause();
    clock.share(looked_at);
    const Batch last = take_batch(device, data, options.batch, order, state.step);
    batch_loss(device, state, last, options.loss, numbers);
    numbers.add(measured(true), last.scale);
    (void)look();
    if (!options.checkpoint.empty()) save();

    TrainingResult result{.network = state.current, .history = std::move(state.history)};
    result.step = state.step_size;
    result.lambda_max = state.lambda_max;
    result.lambda_min = state.lambda_min;
    result.certificate_checked = certified;
    result.certificate_held = certified && state.certificate_held;
    result.cancelled = cancelled;
    result.seconds_per_step = clock.median();
    if (unsaved) throw UnsavedCheckpoint(*unsaved, std::move(result));
    return result;
}

}  // namespace

UnsavedCheckpoint::UnsavedCheckpoint(const IoError& reason, TrainingResult trained)
    : IoError(reason), result(std::move(trained)) {}
UnsavedCheckpoint::~UnsavedCheckpoint() = default;

TrainingResult train(const Device& device, const Network& network, ConstMatrixView inputs,
                     ConstMatrixView targets, const TrainingOptions& options) {
    check(device, network, {inputs, targets}, options);
    if (options.memory != 0) (void)plan_training(network, inputs.rows, options);
    const Staged x = device.staged(inputs), y = device.staged(targets);
    return run(device, TrainingState(device, network, options.momentum != 0), {x, y}, options, false);
}

TrainingResult resume(const Device& device, const std::string& checkpoint, ConstMatrixView inputs,
                      ConstMatrixView targets, const TrainingOptions& options) {
    TrainingOptions effective = options;
    TrainingState state =
        load_checkpoint(device, checkpoint, effective, fingerprint(device, {inputs, targets}));
    check(device, state.initial, {inputs, targets}, effective);
    if (effective.steps < state.step)
        throw ValueError(
            fmt::format("steps is {}; the checkpoint stands at step {} already: ask for at least as many",
                        effective.steps, state.step));
    if (effective.memory != 0) {
        TrainingOptions from_here = effective;
        from_here.known_lambda_min = 0;  // the checkpoint has it
        (void)plan_training(state.initial, inputs.rows, from_here);
    }
    const Staged x = device.staged(inputs), y = device.staged(targets);
    return run(device, std::move(state), {x, y}, effective, true);
}

}  // namespace fntk

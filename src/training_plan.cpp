// Bytes of a training run on n samples, B a step, with e bytes a number:
//     the factors    U 8·p·d, once more rounded and its digits, twice while one follows the other; V and A,
//                    e·m·p and e·m·k; with momentum the velocities, as much as U, V and A
//     a step         the tangent of B samples, copies of their inputs, e and the gradients, those of V
//                    and A in blocks of the width
//     the rule       a tangent and up to 200 Lanczos vectors of n·k numbers in double
//     the kernel     the tangent at the start and K₀, kept; K_t beside them; 40n² more for λ_min
// each with workspaces that no extent changes.
#include "byte_counts.hpp"
#include "kernel_bytes.hpp"
#include "training_state.hpp"

#include <fntk/error.hpp>
#include <fntk/plan.hpp>
#include <fntk/spectrum.hpp>
#include <fntk/training.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace fntk {
namespace {

struct Run {
    KernelExtents start, now;  // the network as it is given, and with V and A that are stored
    double n = 0, batch = 0, momentum = 0;
    bool monitored = false, lambda_min = false, spectra = false, searched = false, smooth = false;

    /// U in double, V and A, and their velocities.
    [[nodiscard]] double factors() const {
        const double u = now.train.down ? 8 * now.p * now.d : 0,
                     v = now.train.up ? now.m * now.p * now.bytes : 0,
                     a = now.train.readout ? now.m * now.k * now.bytes : 0;
        return (u + v + a) * (momentum > 0 ? 2 : 1);
    }
    /// The network's own U: its rounding in double, and the digits.
    [[nodiscard]] double rounded() const {
        return now.train.down ? (8 + 4 * now.digits) * now.p * now.d : 0;
    }
    [[nodiscard]] double step() const {
        const double units = std::min(now.m, 4096.0), rows = std::min<double>(batch, moment_rows),
                     residual = batch * now.k * now.bytes,
                     down = now.train.down ? (now.d + rows) * now.p * now.bytes : 0,
                     wide = (now.train.up + product()) * backward_block() +
                            (now.train.up + product()) * units * now.p * now.bytes +
                            (now.train.up || now.train.readout ? 3 * units * now.k * now.bytes : 0);
        // when all that is gone, the next U stands beside this one
        return gathered() + std::max(pass(now, batch, residual + down + wide), rounded());
    }
    /// η from λ_max of the full kernel: of all samples, and of some batches.
    [[nodiscard]] double rule() const {
        if (!searched) return 0;
        KernelExtents full = now;
        full.output = KernelOutput::full;
        full.effective = now.k;
        const auto search = [&](double samples) {
            const double rows = samples * now.k, vectors = std::min(200.0, rows) + 4;
            return pass(now, samples,
                        8 * (rows + 3 * vectors) * vectors + product_bytes(full, samples, 0, moment_rows));
        };
        return std::max(search(n), batch < n ? gathered() + search(batch) : 0);
    }
    /// The start's tangent and K₀, which stay.
    [[nodiscard]] double kept_kernel() const {
        return kernel_wanted() ? fntk::batch_bytes(start, n) + gates(start) + square() : 0;
    }
    [[nodiscard]] double first_kernel() const {
        if (!kernel_wanted()) return 0;
        const double work = std::max(kernel(start), square() + (lambda_min ? eigenvalues() : 0));
        return gates(start) + pass(start, n, work);
    }
    /// K_t, beside what stays.
    [[nodiscard]] double later_kernel() const {
        if (!monitored) return 0;
        const double work = std::max(kernel(now), square() + (spectra ? eigenvalues() : 0));
        return gathered() + gates(now) + pass(now, n, work);
    }
    [[nodiscard]] bool kernel_wanted() const { return monitored || lambda_min; }
    [[nodiscard]] double peak() const {
        return factors() + rounded() +
               std::max(first_kernel(), kept_kernel() + std::max({step(), rule(), later_kernel()})) +
               workspaces;
    }

  private:
    static constexpr double moment_rows = backend::Ops::moment_rows;

    [[nodiscard]] double square() const { return n * n * now.bytes; }
    [[nodiscard]] double eigenvalues() const { return 40 * n * n; }
    [[nodiscard]] double kernel(const KernelExtents& x) const {
        return tile_bytes(x, n, n) + (x.by_units ? 2 * unit_block(x, n) : 0);
    }
    /// Those that a tangent keeps for flips alone.
    [[nodiscard]] double gates(const KernelExtents& x) const { return x.train.up ? 0 : n * x.gate_row; }
    /// A tangent of so many samples, and work beside it.
    [[nodiscard]] static double pass(const KernelExtents& x, double samples, double work) {
        return fntk::batch_bytes(x, samples) + std::max(making_bytes(x, samples), work);
    }
    /// Copies of a batch's inputs and targets, and the order of an epoch.
    [[nodiscard]] double gathered() const {
        return batch < n ? batch * (now.d * now.bytes + 8 * now.k) + 8 * n : 0;
    }
    /// Whether the backward pass takes Z, and V of its units, beside the weights of the gates.
    [[nodiscard]] bool product() const { return now.train.readout || (now.train.up && smooth); }
    /// Samples × units of the backward pass of V and A.
    [[nodiscard]] double backward_block() const {
        const double units =
            std::floor(std::clamp(8 * mib / std::max(batch * now.bytes, 1.0), 64.0, 4096.0) / 64) * 64;
        return batch * std::min(units, now.m) * now.bytes;
    }
};

/// What takes less, for an error.
const char* remedy(const Run& run) {
    if (run.kernel_wanted())
        return "leave out the kernel (certificate, kernel_drift, spectrum_every; --no-kernel), or use "
               "fewer samples";
    return run.searched    ? "give the step size, or use fewer samples"
           : run.batch > 1 ? "take a smaller batch"
                           : "take a smaller network";
}

}  // namespace

void check_extents(const NetworkSpec& spec, ConstMatrixView inputs, ConstMatrixView targets) {
    const std::int64_t n = inputs.rows;
    if (n < 1) throw ShapeError("inputs have 0 rows; training needs at least one sample");
    if (targets.rows != n || targets.cols != spec.outputs)
        throw ShapeError(fmt::format("targets are {} × {}; {} samples and {} outputs ask for {} × {}",
                                     targets.rows, targets.cols, n, spec.outputs, n, spec.outputs));
}

void check_options(const NetworkSpec& spec, std::int64_t samples, const TrainingOptions& options) {
    if (options.steps < 0)
        throw ValueError(fmt::format("steps is {}; it must be at least 0", options.steps));
    if (!(options.momentum >= 0 && options.momentum < 1))
        throw ValueError(fmt::format("momentum is {}; it must lie in [0, 1)", options.momentum));
    if (options.batch < 0)
        throw ValueError(
            fmt::format("batch is {}; it must be at least 1, or 0 for all samples", options.batch));
    if (options.rule == StepRule::given && !(options.step > 0 && std::isfinite(options.step)))
        throw ValueError(fmt::format(
            "step size is {}; it must be positive and finite, or chosen by rule lambda_max", options.step));
    if (options.rule != StepRule::given && options.step != 0)
        throw ValueError(fmt::format(
            "step is {}, which no rule but StepRule::given takes; set that rule, or leave step 0",
            options.step));
    if (options.loss == Loss::cross_entropy && spec.outputs < 2)
        throw ValueError(fmt::format(
            "outputs is {}; cross-entropy needs at least 2, one per class: use the squared loss",
            spec.outputs));
    if (!(options.known_lambda_min >= 0 || options.known_lambda_min == -1) ||
        !std::isfinite(options.known_lambda_min))
        throw ValueError(fmt::format(
            "known_lambda_min is {}; it must be finite and at least 0, or -1 where it is not known",
            options.known_lambda_min));
    for (const auto& [argument, steps] : {std::pair{"spectrum_every", options.spectrum_every},
                                          std::pair{"checkpoint_every", options.checkpoint_every}})
        if (steps < 0)
            throw ValueError(
                fmt::format("{} is {}; it must be at least 1, or 0 for never", argument, steps));
    const bool full = options.batch == 0 || options.batch >= samples;
    if (options.certificate && (!full || options.momentum != 0 || options.loss != Loss::squared))
        throw ValueError(
            "the certificate holds for full-batch gradient descent on the squared loss without momentum; "
            "drop it, or drop batch, momentum and cross-entropy");
}

TrainingPlan plan_training(const Network& network, std::int64_t samples, const TrainingOptions& options) {
    if (samples < 1) throw ValueError(fmt::format("{} samples: there must be at least 1", samples));
    const NetworkSpec& spec = network.spec();
    check_options(spec, samples, options);
    const double limit = budget_of(options.memory);
    const std::int64_t batch = options.batch == 0 ? samples : std::min(options.batch, samples);
    const KernelExtents start = kernel_extents(KernelFunction::of_network(network));
    const bool wants_lambda_min = options.certificate || options.rule == StepRule::lambda_max_min;
    Run run{.start = start,
            .now = start,
            .n = static_cast<double>(samples),
            .batch = static_cast<double>(batch),
            .momentum = options.momentum,
            .monitored = options.kernel_drift || options.spectrum_every > 0,
            .lambda_min = wants_lambda_min && !(options.known_lambda_min >= 0),
            .spectra = (options.spectrum_every > 0),
            .searched = options.rule != StepRule::given,
            .smooth = !spec.activation.homogeneous()};
    if (spec.train.up || spec.train.readout) run.now.exact = false;
    if (spec.train.up && spec.train.readout) run.now.weighted = run.now.by_units = true;
    if (spec.train.down) run.now.digits = spec.precision == DType::f32 ? 1 : 3;  // the identity had none
    const double bytes = run.peak();
    if (bytes > limit)
        throw MemoryError(
            fmt::format("memory = {}: training on {} samples, {} a step, takes {} at least; "
                        "allow that, or {}",
                        in_words(limit), samples, batch, in_words(bytes), remedy(run)));
    // cost() saturates at 2^63 flops and is linear in the samples
    const double flops = static_cast<double>(options.steps) * static_cast<double>(batch) *
                         static_cast<double>(cost(spec, 1).flops_step);
    std::string of_kernel;
    if (run.kernel_wanted()) {
        Run without = run;
        without.monitored = without.lambda_min = false;
        of_kernel =
            fmt::format(", {} for the {} × {} kernel", in_words(bytes - without.peak()), samples, samples);
    }
    return {.batch = batch,
            .kernel = run.kernel_wanted(),
            .peak_bytes = whole_bytes(bytes),
            .flops = flops,
            .reason = fmt::format("{} steps of {} samples{}; at most {}, {} of them workspaces{}",
                                  options.steps, batch, run.searched ? ", the step size from λ_max" : "",
                                  in_words(bytes), in_words(workspaces), of_kernel)};
}

}  // namespace fntk

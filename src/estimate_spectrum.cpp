// Seconds of eigenvalues and of training. With n samples, N rows of the kernel:
//     K            formed for some samples, times the square
//     all          the eigenvalues of a small matrix, cubed; 4N³ flops of their checks
//     Lanczos      a product: of K in double from some of its rows; else from some samples, linear in n,
//                  or n²/2 pairs at the rate of a tile; a certificate N³/3 flops in double
//     probes       products of up to 16 columns
//     a step       a + b·B for B samples, from two sizes; the step size linear in n
#include "eigenvalues_plan.hpp"
#include "estimate_rates.hpp"
#include "training_state.hpp"

#include <fntk/error.hpp>
#include <fntk/estimate.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace fntk {
namespace {

constexpr std::int64_t side = largest_side;

/// A product of K with s vectors without K, for all n samples.
double product_without_kernel(const Rates& rates, const KernelBatch& part, double n, std::int64_t s) {
    const KernelFunction& function = part.function();
    if (function.is_limit())
        return tiled_product(rates.pair(part, part), rates.flop(s, function.precision()), n, n, s);
    const KernelOperator op(part.tangent(), function.output());
    return product_of(part.device(), op, s) * n / static_cast<double>(part.size());
}

double all_eigenvalues(const Rates& rates, double order) {
    return rates.eigenvectors(order) + 4 * order * order * order * rates.flop64();
}

void check(const NetworkSpec& spec, ConstMatrixView inputs, ConstMatrixView targets,
           const TrainingOptions& options, const TrainingPlan& plan) {
    const std::int64_t n = inputs.rows;
    check_extents(spec, inputs, targets);
    check_options(spec, n, options);
    require_planned(plan.batch > 0, "batch", plan.batch, "plan_training");
    const std::int64_t batch = options.batch == 0 ? n : std::min(options.batch, n);
    if (plan.batch != batch)
        throw ShapeError(fmt::format(
            "plan.batch = {}: a step of these options on the {} rows of inputs takes {} samples; give "
            "plan_training's plan for them",
            plan.batch, n, batch));
}

}  // namespace

SpectrumEstimate estimate_spectrum(const Device& device, const KernelFunction& function,
                                   ConstMatrixView inputs, const KernelSpectrumOptions& options) {
    KernelSpectrumOptions unbounded = options;
    unbounded.memory = 0;
    (void)plan_spectrum(function, inputs.rows, unbounded);  // refuses options out of range
    const Rates rates(device, function, std::min(side, inputs.rows));
    const ConstMatrixView leading = rates.leading(inputs);
    const double n = static_cast<double>(inputs.rows);
    const std::int64_t order = inputs.rows * function.outputs();
    const auto rows = static_cast<double>(order);
    SpectrumEstimate estimate;
    Matrix probe = device.zeros(1, 1, function.precision());
    std::optional<KernelBatch> batch;
    estimate.setup_seconds = seconds(device, probe, [&] { batch.emplace(device, function, leading); }) * n /
                             static_cast<double>(leading.rows);
    if (options.few() && options.matrix_free)
        estimate.product_seconds = product_without_kernel(rates, *batch, n, 1);
    if (options.probes > 0) {
        const std::int64_t block = std::min<std::int64_t>(options.probes, ProbeOptions{}.block);
        estimate.setup_seconds +=
            product_without_kernel(rates, *batch, n, block) *
            std::ceil(static_cast<double>(options.probes) / static_cast<double>(block));
    }
    if (options.dense())
        estimate.setup_seconds += formed(device, *batch, rates.side(), function.precision(), n);
    batch.reset();
    if (options.all()) estimate.setup_seconds += all_eigenvalues(rates, rows);
    for (const std::int64_t count : {options.largest, options.smallest}) {
        if (count == 0 || options.matrix_free) continue;
        if (subspace_of(order, {.count = count}) == order)  // extremal computes all eigenvectors then
            estimate.setup_seconds += rates.eigenvectors(rows);
        else
            estimate.product_seconds = dense_product(device, order, 1, DType::f64);
        estimate.setup_seconds += rows * rows * rows / 3 * rates.flop64();
    }
    return estimate;
}

TrainingEstimate estimate_training(const Device& device, const Network& network, ConstMatrixView inputs,
                                   ConstMatrixView targets, const TrainingOptions& options,
                                   const TrainingPlan& plan) {
    check(network.spec(), inputs, targets, options, plan);
    const auto some = [&](std::int64_t rows) { return std::min(rows, 2 * side); };
    const auto run = [&](std::int64_t rows, const TrainingOptions& how) {
        return train(device, network, inputs.row_block(0, rows), targets.row_block(0, rows), how);
    };
    // steps too small to matter, whatever the network
    const TrainingOptions still{.steps = 0,
                                .loss = options.loss,
                                .rule = StepRule::given,
                                .step = 1e-30,
                                .momentum = options.momentum};
    const auto step_of = [&](std::int64_t rows) {
        TrainingOptions how = still;
        how.steps = std::max(5, 3 * device.ops().look_every());  // the first ones wait for libraries, too
        return run(rows, how).seconds_per_step;
    };
    TrainingEstimate estimate;
    const std::int64_t of_step = some(plan.batch), half = of_step / 2;
    estimate.step_seconds = step_of(of_step);
    if (of_step < plan.batch) {
        const double per_sample =
            std::clamp((estimate.step_seconds - step_of(half)) / static_cast<double>(of_step - half), 0.0,
                       estimate.step_seconds / static_cast<double>(of_step));
        estimate.step_seconds += per_sample * static_cast<double>(plan.batch - of_step);
    }
    const auto measured = [&](std::int64_t rows, const TrainingOptions& how) {
        Matrix probe = device.zeros(1, 1, network.spec().precision);
        return seconds(device, probe, [&] { (void)run(rows, how); });
    };
    const double n = static_cast<double>(inputs.rows), rows = static_cast<double>(some(inputs.rows)),
                 share = n / rows;
    if (options.rule != StepRule::given) {
        TrainingOptions search = still;
        search.rule = StepRule::lambda_max, search.step = 0;
        estimate.setup_seconds += measured(some(inputs.rows), search) * share;
        if (plan.batch < inputs.rows)
            estimate.setup_seconds += 4 * measured(of_step, search) * static_cast<double>(plan.batch) /
                                      static_cast<double>(of_step);
    }
    if (!plan.kernel) return estimate;
    const bool monitored = options.kernel_drift || options.spectrum_every > 0;
    const double later =
        monitored ? 1 + (options.spectrum_every > 0 ? std::ceil(static_cast<double>(options.steps) /
                                                                static_cast<double>(options.spectrum_every))
                                                    : 0)
                  : 0;
    TrainingOptions drift = still;
    drift.kernel_drift = true;  // the kernel at the start, and at the end
    const double pass = measured(some(inputs.rows), still),
                 kernel = std::max(0.0, measured(some(inputs.rows), drift) - 3 * pass) / 2;
    estimate.setup_seconds += (1 + later) * (pass * share + kernel * share * share);
    const bool wanted = options.certificate || options.rule == StepRule::lambda_max_min;
    const double spectra =
        (wanted && !(options.known_lambda_min >= 0) ? 1 : 0) + (options.spectrum_every > 0 ? later : 0);
    if (spectra > 0) {
        const KernelFunction function = KernelFunction::of_network(network);
        estimate.setup_seconds +=
            spectra * all_eigenvalues(Rates(device, function, std::min(side, inputs.rows)), n);
    }
    return estimate;
}

}  // namespace fntk

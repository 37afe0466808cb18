// Seconds of a plan. With N rows of the kernel, s right-hand sides, q the preconditioner's rank:
//     K              formed for some samples, times the square; by tiles n²/2 pairs at the rate of a tile
//     cholesky       N³/3 flops, 2N³ more with the inverse; with eigenvalues a small order's time, cubed
//     preconditioner n·q pairs, N q² flops in the kernel's precision and 4 N q² in double, eigenvalues of q
//     an iteration   a product with K: stored, from some of its rows; by tiles, each made anew; the closed
//                    form from some samples, linear in n; and 4Nqs flops of the preconditioner
//     predictions    a block made ready, linear in n'; by the moment from the same block, else n'·n pairs
//     at
//                    the rate of a tile; variances K formed, 7N³/3 flops in double, and 2n'k'N² more
//     primal         2nQ² + Q³/3 flops in double for Q features
#include "estimate_rates.hpp"
#include "kernel_bytes.hpp"

#include <fntk/error.hpp>
#include <fntk/estimate.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

namespace fntk {
FitEstimate estimate_fit(const Device& device, const KernelFunction& function, ConstMatrixView inputs,
                         std::int64_t targets, const FitPlan& plan) {
    if (inputs.rows < 1 || targets < 1)
        throw ValueError(
            fmt::format("{} samples, {} targets: both must be at least 1", inputs.rows, targets));
    require_planned(plan.tile > 0, "tile", plan.tile, "plan_fit");
    require_planned(plan.preconditioner_rank >= 0, "preconditioner_rank", plan.preconditioner_rank,
                    "plan_fit");
    const Rates rates(device, function, plan.tile);
    const ConstMatrixView leading = rates.leading(inputs);
    const DType precision = function.precision();
    const KernelExtents x = kernel_extents(function);
    const double n = static_cast<double>(inputs.rows), rows = n * x.effective,
                 q = static_cast<double>(plan.preconditioner_rank);
    const std::int64_t rhs = x.full() ? 1 : targets;
    const auto s = static_cast<double>(rhs);

    Matrix probe = device.zeros(1, 1, precision);
    std::optional<KernelBatch> batch;
    const double ready = seconds(device, probe, [&] { batch.emplace(device, function, leading); });
    FitEstimate estimate{.setup_seconds = ready * n / static_cast<double>(leading.rows)};
    if (plan.solver == Solver::primal) {
        const double features = x.features();
        estimate.setup_seconds +=
            rates.flop64() * (2 * n * features * features + features * features * features / 3);
        return estimate;
    }
    if (plan.solver == Solver::cholesky) {
        estimate.setup_seconds += formed(device, *batch, plan.tile, DType::f64, n);
        batch.reset();
        estimate.setup_seconds +=
            plan.eigenvalues ? rates.eigenvectors(rows)
                             : rates.flop64() * rows * rows * rows * (plan.inverse ? 7.0 / 3 : 1.0 / 3);
        return estimate;
    }
    const double pair = rates.pair(*batch, *batch), thin = rates.flop(rhs, precision);
    estimate.iteration_seconds = 4 * rows * q * s * thin;
    if (plan.stored) {
        estimate.setup_seconds += formed(device, *batch, plan.tile, precision, n);
        estimate.iteration_seconds +=
            dense_product(device, inputs.rows * function.outputs(), rhs, precision);
    } else {
        estimate.iteration_seconds += function.has_moments()
                                          ? product_of(device, *make_operator(*batch, *batch), rhs) * n /
                                                static_cast<double>(leading.rows)
                                          : tiled_product(pair, thin, n, rows, rhs);
    }
    batch.reset();
    if (q > 0)
        estimate.setup_seconds +=
            pair * n * q / x.effective +
            rows * q * q * (rates.flop(rates.side(), precision) + 4 * rates.flop64()) +
            rates.eigenvectors(q) + rates.eigenvectors(128) * std::ceil(q / 128);
    return estimate;
}

double estimate_gram_file(const Device& device, const KernelFunction& function, ConstMatrixView rows,
                          ConstMatrixView cols, const GramFilePlan& plan) {
    require_planned(plan.tile > 0, "tile", plan.tile, "plan_gram_file");
    const Rates rates(device, function, plan.tile);
    const auto leading = [&](ConstMatrixView x) { return KernelBatch(device, function, rates.leading(x)); };
    const KernelBatch left = leading(rows);
    const auto n = static_cast<double>(rows.rows), m = static_cast<double>(cols.rows);
    if (cols.cols == 0) return rates.pair(left, left) * n * (n + 1) / 2;
    return rates.pair(left, leading(cols)) * n * m;
}

double estimate_predict(const Device& device, const KernelModel& model, ConstMatrixView inputs,
                        const PredictPlan& plan) {
    const bool trains = model.moment.empty() || plan.variance;
    require_planned(plan.block > 0, "block", plan.block, "plan_predict");
    require_planned(trains ? plan.tile > 0 : plan.tile >= 0, "tile", plan.tile, "plan_predict");
    if (inputs.rows == 0) return 0;
    const KernelFunction& function = model.function;
    const KernelExtents x = kernel_extents(function);
    const Rates rates(device, function, plan.tile > 0 ? std::min(plan.block, plan.tile) : plan.block);
    const ConstMatrixView leading = inputs.row_block(0, std::min(inputs.rows, plan.block));
    const auto n = static_cast<double>(inputs.rows), share = n / static_cast<double>(leading.rows),
               samples = static_cast<double>(model.inputs.rows()), rows = samples * x.effective;
    Matrix probe = device.zeros(1, 1, function.precision());
    std::optional<KernelBatch> batch;
    double result = share * seconds(device, probe, [&] { batch.emplace(device, function, leading); });
    if (!model.moment.empty()) {
        const Staged moment = device.staged(model.moment);
        Matrix mean = device.zeros(leading.rows, model.targets, DType::f64);
        result += share * seconds(device, mean, [&] { BatchMoments(*batch).along(moment, mean); });
    }
    if (plan.tile == 0 || samples == 0) return result;
    const KernelBatch train(device, function, rates.leading(model.inputs));
    const double pairs = n * samples * rates.pair(*batch, train);
    if (model.moment.empty())
        result += pairs + 2 * n * x.effective * rows * static_cast<double>(model.dual.cols()) *
                              rates.flop(model.dual.cols(), DType::f64);
    if (plan.variance)
        result += formed(device, train, rates.side(), DType::f64, samples) + pairs +
                  rates.flop64() * rows * rows * (7.0 / 3 * rows + 2 * n * x.effective);
    return result;
}

}  // namespace fntk

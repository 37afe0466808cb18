// Blocks of predictions. With n samples and N = n·k' rows of K behind the model, and b rows at a time
// against tiles of t samples, the most of what these take:
//     the training data   its batch, where α or variances need it
//     the inverse         16N² bytes while it is made of K, then 8N²
//     the result          8 bytes a number of n' × targets, and of n' × k' variances
//     a block             its batch; G, M x and a column of f by the moment, or a tile of K(X', X) in its
//                         own precision and in double; for variances K(X', X) and its product, 16·b·k'·N
// and workspaces that no extent changes.
#include "kernel_bytes.hpp"
#include "kernel_model_predict.hpp"

#include <fntk/error.hpp>
#include <fntk/kernel_model.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace fntk {
namespace {

struct Extents : KernelExtents {
    double n = 0, rows = 0;  // of the training data and its kernel
    double rhs = 0, targets = 0, predicted = 0;
    bool variance = false;

    [[nodiscard]] bool trains() const { return !moments || variance; }
    [[nodiscard]] double square() const { return 8 * rows * rows; }
    [[nodiscard]] double result() const { return 8 * predicted * (targets + (variance ? effective : 0)); }
    /// Before the first block, beside the batch of the training data.
    [[nodiscard]] double setup() const {
        const double side = std::min<double>(inverse_tile, n);
        return std::max(making_bytes(*this, n),
                        variance ? square() + std::max(square(), tile_bytes(*this, side, side)) : 0);
    }
    [[nodiscard]] double mean(double b, double t) const {
        const double gradients = std::min<double>(b, backend::Ops::moment_rows) * this->gradients(),
                     sums = summed() ? b * (p + k) : 0;
        if (moments) return 8 * b * targets + (gradients + sums + b * effective) * bytes;
        return 8 * b * (targets + effective * rhs) + tiles(b, t);
    }
    [[nodiscard]] double variances(double b, double t) const {
        const double diagonal = tile_bytes(*this, std::min(b, 64.0), std::min(b, 64.0));
        return 16 * b * effective * (rows + 1) + std::max(tiles(b, t), diagonal);
    }
    [[nodiscard]] double peak(double b, double t) const {
        const double work = std::max(mean(b, t), variance ? variances(b, t) : 0),
                     block = batch_bytes(*this, b) + std::max(making_bytes(*this, b), work),
                     kept = trains() ? batch_bytes(*this, n) : 0,
                     streaming = (variance ? square() : 0) + result() + block;
        return kept + std::max(trains() ? setup() : 0, streaming) + workspaces;
    }

  private:
    /// A tile in its own precision and in double.
    [[nodiscard]] double tiles(double b, double t) const {
        return std::max(tile_bytes(*this, b, t), b * t * effective * effective * (bytes + 8));
    }
};

double flops_of(const Extents& x) {
    const double features = x.moments ? 2 * x.rhs * x.gradients() * (x.d + 1) : 0,
                 pass = x.limit ? 0 : 2 * x.p * (x.d + x.m * (1 + x.k)),
                 tiles = x.trains() ? x.n * pair_flops(x) : 0,
                 sums = x.moments ? 0 : 2 * x.rows * x.effective * x.rhs,
                 variances = x.variance ? 2 * x.rows * x.rows * x.effective : 0,
                 inverse = x.variance ? x.n * x.n / 2 * pair_flops(x) + 7.0 / 3 * std::pow(x.rows, 3) : 0;
    return x.predicted * (pass + features + tiles + sums + variances) + inverse;
}

}  // namespace

PredictPlan plan_predict(const KernelFunction& function, std::int64_t samples, std::int64_t targets,
                         std::int64_t rows, const PredictOptions& options) {
    if (samples < 0 || targets < 1 || rows < 0)
        throw ValueError(
            fmt::format("{} samples, {} targets, {} rows: samples and rows may not be "
                        "negative, targets must be at least 1",
                        samples, targets, rows));
    Extents x{kernel_extents(function)};
    x.n = static_cast<double>(samples);
    x.rows = x.n * x.effective;
    x.targets = static_cast<double>(targets);
    x.rhs = x.full() ? 1 : x.targets;
    x.predicted = static_cast<double>(rows);
    x.variance = options.variance;
    const double limit = budget_of(options.memory);
    double least = HUGE_VAL;
    for (const std::int64_t block : {1024, 256, 64, 16})
        for (const std::int64_t side : {2048, 512, 128}) {
            const std::int64_t tile = x.trains() ? std::max<std::int64_t>(side / function.outputs(), 1) : 0;
            const double bytes = x.peak(std::min(static_cast<double>(block), x.predicted),
                                        std::min(static_cast<double>(tile), x.n));
            least = std::min(least, bytes);
            if (bytes > limit) continue;
            return {.block = block,
                    .tile = tile,
                    .variance = x.variance,
                    .peak_bytes = whole_bytes(bytes),
                    .flops = flops_of(x),
                    .reason = fmt::format(
                        "{} rows, {} at a time, {}{}; at most {}, {} of them workspaces and {} the result",
                        rows, std::min(block, rows),
                        x.moments ? "by the moment"
                                  : fmt::format("against tiles of {} of the {} training samples",
                                                std::min(tile, samples), samples),
                        x.variance ? ", variances by the inverse of K" : "", in_words(bytes),
                        in_words(workspaces), in_words(x.result()))};
        }
    throw MemoryError(fmt::format(
        "memory = {}: predicting {} rows{} takes {} at least; allow that, or {}", in_words(limit), rows,
        x.variance ? fmt::format(" and variances by {} training samples", samples) : "", in_words(least),
        x.variance ? "leave out the variances" : "predict fewer rows at a time"));
}

PredictPlan plan_predict(const KernelModel& model, std::int64_t rows, const PredictOptions& options) {
    if (options.variance && model.inputs.empty())
        throw ValueError(
            "this model keeps no training data, which variances need; fit it with keep_inputs "
            "(--variance)");
    return plan_predict(model.function, model.inputs.rows(), model.targets, rows, options);
}

}  // namespace fntk

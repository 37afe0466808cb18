// Predictions, block of rows by block: f = <G, M x> from moments, or K(X', X) α tile by tile; variances
// from the inverse of K + μI, made once.
#include "kernel_model_predict.hpp"
#include "device_memory.hpp"
#include "model_parts.hpp"

#include <fntk/error.hpp>
#include <fntk/kernel_model.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace fntk {
namespace {

/// K(X', X) of one block after the other against α or the inverse.
class Predictor {
  public:
    Predictor(const Device& device, const KernelModel& model, std::int64_t tile, bool variance)
        : device_(device), ops_(device.ops()), model_(model), k_(model.function.outputs()), tile_(tile) {
        if (!model.moment.empty()) moment_ = device.staged(model.moment);
        if (!model.moment.empty() && !variance) return;
        train_.emplace(device, model.function, model.inputs);
        dual_ = device.staged(model.dual);
        if (variance) invert();
    }

    void mean(const KernelBatch& batch, MatrixView out) {
        Matrix result = device_.zeros(batch.size(), out.cols, DType::f64);
        if (!moment_.view().empty()) {
            BatchMoments(batch).along(moment_, result);
        } else {
            Matrix sum = device_.zeros(batch.rows(), dual_.view().cols, DType::f64);
            over_train(batch, [&](std::int64_t first, ConstMatrixView tile) {
                ops_.gemm(false, false, 1, tile, dual_.view().row_block(first, tile.cols), 1, sum);
            });
            ops_.axpby(1, std::as_const(sum).view().reshaped(batch.size(), out.cols), 0, result);
        }
        ops_.copy(result, out);
    }

    /// k(x, x) − Σ_j [K' A⁻¹]_j K'_j of every row of the kernel, not below 0: rounding can take it there.
    void variance(const KernelBatch& batch, MatrixView out) {
        Matrix kernel = device_.zeros(batch.rows(), train_->rows(), DType::f64),
               solved = device_.zeros(batch.rows(), train_->rows(), DType::f64),
               explained = device_.zeros(batch.rows(), 1, DType::f64);
        over_train(batch, [&](std::int64_t first, ConstMatrixView tile) {
            ops_.axpby(1, tile, 0, kernel.view().col_block(first, tile.cols));
        });
        ops_.gemm(false, false, 1, kernel, inverse_, 0, solved);
        ops_.row_dot(solved, kernel, explained);
        const Staged host = device_.on_host(explained);
        const std::vector<double> prior = batch.diagonal();
        for (std::int64_t r = 0; r < batch.rows(); ++r)
            out.row<double>(r / k_)[r % k_] =
                std::max(prior[static_cast<std::size_t>(r)] - host.view().at<double>(r, 0), 0.0);
    }

  private:
    /// body(first row of α, tile in double).
    template <class Body>
    void over_train(const KernelBatch& batch, Body&& body) {
        const std::int64_t n = train_->size(), step = std::min(tile_, n);
        Matrix owner = device_.zeros(batch.rows(), step * k_, model_.function.precision());
        for (std::int64_t j = 0; j < n; j += step) {
            const std::int64_t count = std::min(step, n - j);
            const MatrixView tile = owner.view().col_block(0, count * k_);
            batch.tile(0, batch.size(), *train_, j, count, tile);
            body(j * k_, as_double(device_, device_.staged(ConstMatrixView(tile))));
        }
    }

    void invert() {
        Matrix kernel = dense_kernel(*train_, inverse_tile, model_.jitter, [](double) {});
        inverse_ = device_.zeros(kernel.rows(), kernel.cols(), DType::f64);
        add_to_diagonal(device_, inverse_, 1);
        if (ops_.solve_spd(kernel, inverse_) != 0)
            throw Error(fmt::format(
                "K + {:.3g}·I is not positive definite as rounded: variances need a larger ridge",
                model_.jitter));
    }

    const Device& device_;
    backend::Ops& ops_;
    const KernelModel& model_;
    std::int64_t k_, tile_;
    Staged moment_, dual_;
    std::optional<KernelBatch> train_;
    Matrix inverse_;
};

}  // namespace

const char* misfit(const KernelModel& model) {
    const KernelFunction& function = model.function;
    const bool full = function.output() == KernelOutput::full;
    if (model.targets < 1) return "targets";
    if (model.moment.empty() && model.dual.empty()) return "a model without M and alpha";
    if (!model.moment.empty()) {
        if (!function.has_moments()) return "M";
        const NetworkSpec& spec = function.network().spec();
        const std::int64_t vectors = full ? 1 : model.targets,
                           outputs = function.output() == KernelOutput::trace ? spec.outputs : 1;
        if (model.moment.rows() != vectors * outputs * spec.rank || model.moment.cols() != function.dim() ||
            model.moment.dtype() != function.precision())
            return "M";
    }
    if (model.dual.empty()) return nullptr;
    if (model.inputs.cols() != function.dim() || model.inputs.dtype() != function.precision()) return "X";
    const bool fits = model.dual.rows() == model.inputs.rows() * function.outputs() &&
                      model.dual.cols() == (full ? 1 : model.targets) && model.dual.dtype() == DType::f64;
    return fits ? nullptr : "alpha";
}

Prediction predict_kernel(const Device& device, const KernelModel& model, ConstMatrixView inputs,
                          const PredictOptions& options) {
    const KernelFunction& function = model.function;
    if (inputs.cols != function.dim())
        throw ShapeError(fmt::format("inputs has {} columns, the model was fitted to {}; give as many",
                                     inputs.cols, function.dim()));
    if (const char* what = misfit(model); what != nullptr)
        throw ShapeError(
            fmt::format("model: {} does not fit its kernel and targets = {}; take a model as "
                        "fit_kernel or load_model gives it",
                        what, model.targets));
    Prediction result{.mean = {}, .variance = {}, .plan = plan_predict(model, inputs.rows, options)};
    const std::int64_t block = result.plan.block;
    Predictor predictor(device, model, result.plan.tile, options.variance);
    result.mean = Matrix(inputs.rows, model.targets, DType::f64);
    if (options.variance) result.variance = Matrix(inputs.rows, function.outputs(), DType::f64);
    for (std::int64_t i = 0; i < inputs.rows; i += block) {
        const std::int64_t count = std::min(block, inputs.rows - i);
        const KernelBatch batch(device, function, inputs.row_block(i, count));
        predictor.mean(batch, result.mean.view().row_block(i, count));
        if (options.variance) predictor.variance(batch, result.variance.view().row_block(i, count));
        if (options.progress &&
            !options.progress(static_cast<double>(i + count) / static_cast<double>(inputs.rows)))
            throw Cancelled("the predictions were cancelled by their progress; nothing is kept of them");
    }
    return result;
}

}  // namespace fntk

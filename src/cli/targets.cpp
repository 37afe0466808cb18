#include "targets.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace fntk::cli {

namespace {

std::vector<std::int64_t> as_classes(const Matrix& labels) {
    return {labels.row<double>(0), labels.row<double>(0) + labels.rows()};
}

}  // namespace

std::int64_t default_outputs(const Dataset& dataset) {
    if (dataset.classes > 0) return dataset.classes > 2 ? dataset.classes : 1;
    return std::max<std::int64_t>(dataset.train.labels.cols(), 1);
}

void refuse_guessed_classes(const Dataset& dataset, TargetKind kind) {
    const auto labels = dataset.train.labels.rows() + dataset.test.labels.rows();
    const std::int64_t least = dataset.classes > 32 ? 2 * dataset.classes : dataset.classes;
    if (kind != TargetKind::automatic || dataset.classes <= 2 || labels >= least) return;
    throw ValueError(fmt::format(
        "targets is auto; {} labels, whole numbers up to {}, would be {} classes: give --targets "
        "values for numbers, --targets classes for classes",
        labels, dataset.classes - 1, dataset.classes));
}

Targets::Targets(const Dataset& dataset, std::int64_t outputs, Loss loss)
    : classification_(dataset.classes > 0), labelled_(!dataset.train.labels.empty()) {
    const std::int64_t n = dataset.train.inputs.rows();
    if (labelled_ && classification_) {
        if (outputs < default_outputs(dataset))
            throw ValueError(fmt::format(
                "outputs is {}; {} classes need {}: set --outputs {}, or take a network of as many",
                outputs, dataset.classes, default_outputs(dataset), default_outputs(dataset)));
        matrix_ = one_hot(as_classes(dataset.train.labels), outputs);
        if (loss == Loss::cross_entropy)
            for (std::int64_t i = 0; i < n; ++i)
                for (std::int64_t c = 0; c < outputs; ++c)
                    matrix_.at<double>(i, c) = matrix_.at<double>(i, c) > 0 ? 1 : 0;
        return;
    }
    const std::int64_t columns = default_outputs(dataset);
    if (outputs != columns)
        throw ValueError(fmt::format(
            "outputs is {}; {} have {}: set --outputs {}, or take a network of as many", outputs,
            labelled_ ? "real targets" : "unlabelled data's random signs", columns, columns));
    if (labelled_) {
        matrix_ = dataset.train.labels.copy();
        return;
    }
    matrix_ = Matrix(n, 1, DType::f64);
    std::mt19937_64 random(0);
    for (std::int64_t i = 0; i < n; ++i) matrix_.at<double>(i, 0) = (random() >> 63) != 0 ? 0.5 : -0.5;
}

double Targets::score(ConstMatrixView scores, const Samples& samples) const {
    if (classification_) return accuracy(scores, as_classes(samples.labels));
    double sum = 0;
    for (std::int64_t i = 0; i < scores.rows; ++i)
        for (std::int64_t j = 0; j < scores.cols; ++j)
            sum += std::pow(value(scores, i, j) - samples.labels.at<double>(i, j), 2);
    return std::sqrt(sum / static_cast<double>(scores.size()));
}

void report_score(Report& report, const std::string& prefix, const Targets& targets, ConstMatrixView mean,
                  const Samples& samples) {
    const double value = targets.score(mean, samples);
    report[(prefix + (targets.classification() ? "_accuracy" : "_rmse")).c_str()] = value;
    fmt::print("{} {} {:.4f}\n", prefix, targets.classification() ? "accuracy" : "rmse", value);
}

}  // namespace fntk::cli

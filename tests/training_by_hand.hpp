// Losses and gradients of training as a reader would write them: softmax, J from the dense per-sample
// gradients, Jᵀ e.
#pragma once

#include "support.hpp"

#include <fntk/training.hpp>

namespace fntk::test {

inline Network small_network(Train train, std::int64_t k = 2, Activation activation = Activation::relu,
                             Down down = Down::gaussian) {
    return Network::create({.dim = 5,
                            .width = 40,
                            .rank = down == Down::identity ? 0 : 4,
                            .outputs = k,
                            .down = down,
                            .train = train,
                            .activation = {activation, 0.2},
                            .precision = DType::f64,
                            .seed = 3});
}

/// θ = (U, V, A), trained factors only, as one column.
inline Matrix parameters(const Network& network) {
    const Train train = network.spec().train;
    std::vector<double> theta;
    const auto append = [&](bool wanted, const Matrix& factor) {
        if (wanted)
            theta.insert(theta.end(), factor.row<double>(0),
                         factor.row<double>(0) + factor.rows() * factor.cols());
    };
    append(train.down, network.materialize_down());
    append(train.up, network.materialize_up());
    append(train.readout, network.materialize_readout());
    return Matrix::copy_of(ConstMatrixView(theta.data(), static_cast<std::int64_t>(theta.size()), 1));
}

/// Rows of softmax(f), or f itself for the squared loss.
inline Matrix prediction(const Network& network, ConstMatrixView x, Loss loss) {
    Matrix f = Matrix::converted(tangent(cpu(), network, x, {.only_these = true}).values(), DType::f64);
    for (std::int64_t i = 0; i < f.rows() && loss == Loss::cross_entropy; ++i) {
        double sum = 0;
        for (std::int64_t c = 0; c < f.cols(); ++c)
            sum += f.at<double>(i, c) = std::exp(f.at<double>(i, c));
        for (std::int64_t c = 0; c < f.cols(); ++c) f.at<double>(i, c) /= sum;
    }
    return f;
}

inline double loss_by_hand(const Network& network, ConstMatrixView x, ConstMatrixView y, Loss loss) {
    const Matrix f = prediction(network, x, loss);
    double sum = 0;
    for (std::int64_t i = 0; i < f.rows(); ++i)
        for (std::int64_t c = 0; c < f.cols(); ++c) {
            const double fc = f.at<double>(i, c), yc = value(y, i, c);
            sum += loss == Loss::squared ? 0.5 * (fc - yc) * (fc - yc) : -yc * std::log(fc);
        }
    return sum;
}

/// ∇ of the loss: Jᵀ e, e = prediction − y.
inline Matrix gradient(const Network& network, ConstMatrixView x, ConstMatrixView y,
                       Loss loss = Loss::squared) {
    const Matrix j =
        per_sample_gradients(tangent(cpu(), network, x, keep_all), network.spec().train, 0, x.rows);
    const Matrix f = prediction(network, x, loss);
    return filled(j.cols(), 1, DType::f64, [&](std::int64_t t, auto) {
        double sum = 0;
        for (std::int64_t i = 0; i < f.rows(); ++i)
            for (std::int64_t c = 0; c < f.cols(); ++c)
                sum += j.at<double>(i * f.cols() + c, t) * (f.at<double>(i, c) - value(y, i, c));
        return sum;
    });
}

/// a + scale·b.
inline Matrix plus(const Matrix& a, double scale, const Matrix& b) {
    return filled(a.rows(), 1, DType::f64,
                  [&](auto i, auto) { return value(a, i, 0) + scale * value(b, i, 0); });
}

/// Rows of probabilities.
inline Matrix probabilities(std::int64_t n, std::int64_t k) {
    return filled(n, k, DType::f64, [&](auto i, auto c) {
        return i % 3 == 0 ? 1.0 / static_cast<double>(k) : i % k == c ? 1.0 : 0.0;
    });
}

}  // namespace fntk::test

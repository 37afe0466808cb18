// One step of training against θ − η Jᵀ e with dense gradients, and the mini-batches.
#include "training_by_hand.hpp"

#include <training_state.hpp>

#include <algorithm>

namespace fntk {
namespace {

using test::cpu;
using test::gradient;
using test::loss_by_hand;
using test::normals;
using test::parameters;
using test::plus;
using test::prediction;
using test::probabilities;
using test::relative_error;
using test::small_network;

// ---- one step
// --------------------------------------------------------------------------------------------------------

TEST(TrainingStep, IsGradientDescentOnTheDenseGradients) {
    const Matrix x = normals(7, 5, 1), y = normals(7, 2, 2);
    for (const Train train : test::all_trains)
        for (const Activation activation : {Activation::relu, Activation::leaky_relu, Activation::tanh})
            for (const Down down : {Down::gaussian, Down::identity}) {
                const Network start = small_network(train, 2, activation, down);
                const TrainingResult result =
                    fntk::train(cpu(), start, x, y, {.steps = 1, .rule = StepRule::given, .step = 0.05});
                const Matrix expected = plus(parameters(start), -0.05, gradient(start, x, y));
                EXPECT_LT(relative_error(parameters(result.network), expected), 1e-13)
                    << to_string(train) << ' ' << name(activation);
                EXPECT_GT(relative_error(parameters(start), expected), 1e-4);
                EXPECT_NEAR(result.history[0].loss, loss_by_hand(start, x, y, Loss::squared), 1e-12);
                EXPECT_NEAR(result.history[1].loss, loss_by_hand(result.network, x, y, Loss::squared),
                            1e-12);
                EXPECT_TRUE(test::same_factors(start, small_network(train, 2, activation, down)))
                    << "the start is left alone";
            }
}

TEST(TrainingStep, RemembersItsVelocityUnderMomentum) {
    const Matrix x = normals(7, 5, 1), y = normals(7, 2, 2);
    for (const Train train : test::all_trains) {
        const Network start = small_network(train);
        TrainingOptions options{.steps = 1, .rule = StepRule::given, .step = 0.05, .momentum = 0.8};
        const Network first = fntk::train(cpu(), start, x, y, options).network;
        options.steps = 2;
        const Network second = fntk::train(cpu(), start, x, y, options).network;
        const Matrix v1 = gradient(start, x, y), v2 = plus(gradient(first, x, y), 0.8, v1);
        EXPECT_LT(relative_error(parameters(first), plus(parameters(start), -0.05, v1)), 1e-13)
            << to_string(train);
        EXPECT_LT(relative_error(parameters(second), plus(parameters(first), -0.05, v2)), 1e-12)
            << to_string(train);
    }
}

TEST(TrainingStep, DescendsCrossEntropyBySoftmaxMinusTargets) {
    const Matrix x = normals(7, 5, 1), y = probabilities(7, 3);
    for (const Train train : test::all_trains) {
        const Network start = small_network(train, 3);
        const double eta = 1e-6;
        const TrainingResult result =
            fntk::train(cpu(), start, x, y,
                        {.steps = 1, .loss = Loss::cross_entropy, .rule = StepRule::given, .step = eta});
        const Matrix g = gradient(start, x, y, Loss::cross_entropy);
        EXPECT_LT(relative_error(parameters(result.network), plus(parameters(start), -eta, g)), 1e-14);
        EXPECT_LT(
            relative_error(plus(parameters(result.network), -1, parameters(start)), plus(g, -1 - eta, g)),
            1e-8);
        EXPECT_NEAR(result.history[0].loss, loss_by_hand(start, x, y, Loss::cross_entropy), 1e-12);
        double square = 0;  // the loss falls by η‖g‖²: the gradient is that of the loss reported
        for (std::int64_t t = 0; t < g.rows(); ++t) square += g.at<double>(t, 0) * g.at<double>(t, 0);
        EXPECT_NEAR((result.history[0].loss - result.history[1].loss) / eta, square, 1e-4 * square)
            << to_string(train);
    }
}

TEST(TrainingStep, OfAMiniBatchIsScaledToTheWholeData) {
    const Matrix x = normals(7, 5, 1), y = normals(7, 2, 2);
    const Network start = small_network({true, true, true});
    for (const std::int64_t size : {1, 3, 6}) {
        const TrainingResult result =
            fntk::train(cpu(), start, x, y,
                        {.steps = 1, .rule = StepRule::given, .step = 0.01, .batch = size, .seed = 4});
        EpochOrder order(test::cpu(), 7, 4);
        const Batch batch = take_batch(test::cpu(), {x, y}, size, order, 0);
        const double scale = 7.0 / static_cast<double>(size);
        const Matrix g = gradient(start, batch.data.inputs, batch.data.targets);
        EXPECT_LT(relative_error(parameters(result.network), plus(parameters(start), -0.01 * scale, g)),
                  1e-13)
            << size;
        EXPECT_NEAR(result.history[0].loss,
                    scale * loss_by_hand(start, batch.data.inputs, batch.data.targets, Loss::squared),
                    1e-11);
    }
}

TEST(TrainingBatches, CoverEachSampleOnceAnEpochInANewOrder) {
    const std::int64_t n = 10;
    const Matrix x = test::filled(n, 1, DType::f64, [](auto i, auto) { return i; });
    for (const std::int64_t size : {1, 3, 5, 9}) {
        const std::int64_t per_epoch = (n + size - 1) / size;
        std::vector<std::vector<double>> orders;
        EpochOrder samples(test::cpu(), n, 5);
        for (std::int64_t epoch = 0; epoch < 4; ++epoch) {
            std::vector<double> order;
            for (std::int64_t b = 0; b < per_epoch; ++b) {
                const Batch batch = take_batch(test::cpu(), {x, x}, size, samples, epoch * per_epoch + b);
                EXPECT_EQ(batch.data.inputs.rows, std::min(size, n - b * size));
                EXPECT_EQ(batch.scale, 10.0 / static_cast<double>(batch.data.inputs.rows));
                EXPECT_TRUE(test::same_bits(batch.data.inputs, batch.data.targets))
                    << "targets move with their inputs";
                for (std::int64_t i = 0; i < batch.data.inputs.rows; ++i)
                    order.push_back(value(batch.data.inputs, i, 0));
            }
            orders.push_back(order);
            std::ranges::sort(order);
            for (std::int64_t i = 0; i < n; ++i) EXPECT_EQ(order[i], static_cast<double>(i));
        }
        for (std::size_t epoch = 1; epoch < orders.size(); ++epoch)
            EXPECT_NE(orders[epoch], orders[epoch - 1]);
        EpochOrder others(test::cpu(), n, 6);
        const Batch other = take_batch(test::cpu(), {x, x}, size, others, 0),
                    same = take_batch(test::cpu(), {x, x}, size, samples, 0);  // back in the first epoch
        EXPECT_EQ(value(same.data.inputs, 0, 0), orders[0][0]);
        EXPECT_TRUE(size < 9 || !test::same_bits(other.data.inputs, same.data.inputs))
            << "the seed sets the order";
    }
    EpochOrder whole(test::cpu(), n, 5);
    EXPECT_EQ(take_batch(test::cpu(), {x, x}, 0, whole, 3).data.inputs.rows, n);
    EXPECT_EQ(take_batch(test::cpu(), {x, x}, 11, whole, 3).scale, 1);
}

}  // namespace
}  // namespace fntk

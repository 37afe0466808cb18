// Training on a device whose memory the host cannot read: the run, its checkpoints and its resumption equal
// those of the backend below it to the last bit, and a step leaves the data where it is.
#include "remote.hpp"
#include "temp_folder.hpp"
#include "training_by_hand.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

#include <map>

namespace fntk {
namespace {

using test::cpu;
using test::normals;
using test::RemoteDevice;

void expect_same(const TrainingResult& have, const TrainingResult& want) {
    EXPECT_TRUE(test::same_factors(have.network.on_host(), want.network));
    EXPECT_EQ(have.step, want.step);
    EXPECT_EQ(have.lambda_max, want.lambda_max);
    EXPECT_EQ(have.lambda_min, want.lambda_min);
    EXPECT_EQ(have.certificate_held, want.certificate_held);
    ASSERT_EQ(have.history.size(), want.history.size());
    for (std::size_t i = 0; i < want.history.size(); ++i) {
        EXPECT_EQ(have.history[i].step, want.history[i].step);
        EXPECT_EQ(have.history[i].loss, want.history[i].loss) << i;
        EXPECT_EQ(have.history[i].bound, want.history[i].bound) << i;
        EXPECT_EQ(have.history[i].lambda_min, want.history[i].lambda_min) << i;
        EXPECT_EQ(have.history[i].drift, want.history[i].drift) << i;
        EXPECT_EQ(have.history[i].flips, want.history[i].flips) << i;
    }
}

/// One-hot rows, which are targets of both losses.
Matrix targets(std::int64_t rows) {
    return test::filled(rows, 2, DType::f64, [](auto i, auto c) { return i % 2 == c ? 1 : 0; });
}

TEST(RemoteTraining, IsEqualForEveryFactorLossAndBatch) {
    RemoteDevice remote;
    const Matrix x = normals(13, 5, 1), y = targets(13);
    const Matrix x_there = remote.device.to_device(x), y_there = remote.device.to_device(y);
    for (const Train train_these : test::all_trains)
        for (const Loss loss : {Loss::squared, Loss::cross_entropy})
            for (const std::int64_t batch : {0, 4})
                for (const double momentum : {0.0, 0.5}) {
                    SCOPED_TRACE(to_string(train_these) + " batch " + std::to_string(batch) + " momentum " +
                                 std::to_string(momentum));
                    const bool plain = loss == Loss::squared && batch == 0 && momentum == 0;
                    const TrainingOptions options{.steps = 5,
                                                  .loss = loss,
                                                  .momentum = momentum,
                                                  .batch = batch,
                                                  .seed = 3,
                                                  .kernel_drift = true,
                                                  .certificate = plain,
                                                  .spectrum_every = 2};
                    const Network network = test::small_network(train_these);
                    const TrainingResult want = train(cpu(), network, x, y, options);
                    expect_same(train(remote.device, network, x, y, options), want);
                    expect_same(train(remote.device, network.on(remote.device), x_there, y_there, options),
                                want);
                }
}

TEST(RemoteTraining, IsEqualOverManyLooksCheckpointsAndACancel) {
    RemoteDevice remote;
    const test::TempFolder folder;
    const Matrix x = normals(13, 5, 1), y = targets(13);
    ASSERT_EQ(remote.device.ops().look_every(), 8);
    for (const Train train_these : test::all_trains)
        for (const std::int64_t batch : {0, 4})
            for (const std::int64_t last : {19, 11}) {
                SCOPED_TRACE(to_string(train_these) + " batch " + std::to_string(batch) + " to " +
                             std::to_string(last));
                TrainingOptions options{.steps = 19, .momentum = 0.5, .batch = batch, .seed = 3};
                options.checkpoint_every = 5;
                std::int64_t calls = 0;
                const auto on = [&](const Device& device) {
                    calls = 0;
                    options.checkpoint = folder.path(device.name());
                    options.progress = [&](double) { return ++calls < last; };
                    return train(device, test::small_network(train_these), x, y, options);
                };
                const TrainingResult want = on(cpu()), have = on(remote.device);
                EXPECT_EQ(calls, last);
                EXPECT_EQ(have.history.size(), static_cast<std::size_t>(last + 1));
                expect_same(have, want);
                EXPECT_GT(have.seconds_per_step, 0);
                EXPECT_EQ(folder.read("cpu"), folder.read("remote"));
            }
}

TEST(RemoteTraining, WritesCheckpointsBetweenTwoLooks) {
    RemoteDevice remote;
    const test::TempFolder folder;
    const Matrix x = normals(13, 5, 1), y = targets(13);
    std::map<std::string, std::string> written;
    for (const Device& device : {cpu(), remote.device}) {
        TrainingOptions options{
            .steps = 19, .checkpoint = folder.path(device.name()), .checkpoint_every = 11};
        std::int64_t calls = 0;
        options.progress = [&](double) {
            if (++calls == 12) written[device.name()] = folder.read(device.name());
            return true;
        };
        (void)train(device, test::small_network({true, true, true}), x, y, options);
    }
    EXPECT_FALSE(written["cpu"].empty());
    EXPECT_EQ(written["cpu"], written["remote"]);
}

TEST(RemoteTraining, IsEqualFromStoredFactorsAndTheIdentity) {
    RemoteDevice remote;
    const Matrix x = normals(9, 5, 1), y = targets(9);
    const Train all{.down = true, .up = true, .readout = true};
    const TrainingOptions options{.steps = 4, .rule = StepRule::lambda_max_min};
    for (const Activation activation : {Activation::relu, Activation::tanh})
        for (const Down down : {Down::gaussian, Down::identity}) {
            const Network seeded = test::small_network(all, 2, activation, down);
            const Network stored =
                seeded.with_up(std::make_shared<const Matrix>(normals(40, seeded.spec().rank, 2)));
            for (const Network& network : {seeded, stored})
                expect_same(train(remote.device, network, x, y, options),
                            train(cpu(), network, x, y, options));
        }
}

TEST(RemoteTraining, ChecksItsDataOnceAndNamesIt) {
    RemoteDevice remote;
    Matrix x = normals(9, 5, 1);
    const Matrix y = targets(9);
    const Network network = test::small_network({.down = true});
    x.at<double>(4, 2) = HUGE_VAL;
    for (const Device& device : {cpu(), remote.device})
        test::expect_parts(test::error_of<ValueError>(
                               [&] { (void)train(device, network, device.to_device(x.view()), y); }),
                           {"inputs holds inf at row 4, column 2"});
    x.at<double>(4, 2) = 0;
    const TrainingOptions too_large{.steps = 50, .rule = StepRule::given, .step = 1e200};
    for (const Device& device : {cpu(), remote.device})
        EXPECT_THROW((void)train(device, network, x, y, too_large), Error);
}

TEST(RemoteTraining, ResumesFromAnyPlaceBitForBit) {
    RemoteDevice remote;
    const test::TempFolder folder;
    const Matrix x = normals(13, 5, 1), y = targets(13);
    const Train all{.down = true, .up = true, .readout = true};
    const Network network = test::small_network(all);
    TrainingOptions options{.steps = 6, .momentum = 0.5, .batch = 4, .seed = 3};
    const TrainingResult want = train(cpu(), network, x, y, options);

    options.steps = 3;
    for (const Device& first : {cpu(), remote.device}) {
        options.checkpoint = folder.path(first.name() + ".safetensors");
        (void)train(first, network, x, y, options);
    }
    EXPECT_EQ(folder.read("cpu.safetensors"), folder.read("remote.safetensors"));
    for (const std::string from : {"cpu", "remote"})
        for (const Device& second : {cpu(), remote.device}) {
            TrainingOptions rest{.steps = 6};
            expect_same(
                resume(second, folder.path(from + ".safetensors"), second.to_device(x.view()), y, rest),
                want);
        }
}

TEST(RemoteTraining, StepsBringNothingToTheHostButTheirNumbersAtEveryEighth) {
    const Matrix x = normals(64, 5, 1), y = targets(64);
    for (const Train train_these : test::all_trains)
        for (const std::int64_t batch : {0, 16}) {
            std::int64_t copies[2] = {}, elements[2] = {};
            for (const std::int64_t steps : {2, 34}) {
                RemoteDevice remote;
                const TrainingOptions options{
                    .steps = steps, .rule = StepRule::given, .step = 1e-4, .momentum = 0.5, .batch = batch};
                (void)train(remote.device, test::small_network(train_these), x, y, options);
                copies[steps == 34] = remote.ops->copies_to_host();
                elements[steps == 34] = remote.ops->elements_to_host();
            }
            EXPECT_EQ(copies[1] - copies[0], 4) << to_string(train_these) << " batch " << batch;
            EXPECT_EQ(elements[1] - elements[0], 4 * 16) << "8 losses and 8 norms";
        }
}

TEST(RemoteTraining, NamesTheStepThatWentWrongWhateverWasIssuedBehindIt) {
    const RemoteDevice remote;
    const Matrix x = normals(9, 5, 1), y = targets(9);
    for (const Train train_these : test::all_trains)
        for (const double step : {1e3, 1e60, 1e200, 1e300}) {
            TrainingOptions options{.steps = 40, .rule = StepRule::given, .step = step};
            const auto on = [&](const Device& device) {
                return test::error_of<Error>(
                    [&] { (void)train(device, test::small_network(train_these), x, y, options); });
            };
            EXPECT_EQ(on(remote.device), on(cpu())) << to_string(train_these) << ' ' << step;
            test::expect_parts(on(cpu()), {"step", "too large"});
        }
}

}  // namespace
}  // namespace fntk

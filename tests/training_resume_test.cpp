// Checkpoints: a run that was stopped and resumed has the bits of a run that was not, and a checkpoint that
// is not this run's, or is damaged, is refused.
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>
#include <fntk/training.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <ostream>

namespace fntk {
namespace {

using test::error_of;
using test::expect_parts;
using test::normals;
using test::TempFolder;

constexpr std::int64_t all_steps = 11, stop = 5;

struct Run {
    std::string name;
    NetworkSpec spec;
    TrainingOptions options;
};
void PrintTo(const Run& run, std::ostream* out) { *out << run.name; }

std::vector<Run> runs() {
    const NetworkSpec base{.dim = 6, .width = 130, .rank = 4, .outputs = 2, .seed = 4};
    std::vector<Run> result;
    const auto add = [&](const std::string& name, auto&& change) {
        Run run{name, base, {.steps = all_steps, .seed = 9}};
        change(run.spec, run.options);
        result.push_back(run);
    };
    for (const Train train : test::all_trains) {
        std::string name = to_string(train);
        std::ranges::replace(name, '+', '_');
        add(name, [&](NetworkSpec& s, TrainingOptions&) { s.train = train; });
        add(name + "_momentum_batches",
            [&](NetworkSpec& s, TrainingOptions& o) { s.train = train, o.momentum = 0.9, o.batch = 4; });
    }
    add("float64", [](NetworkSpec& s, TrainingOptions& o) {
        s.precision = DType::f64, s.train = {true, true, true}, o.momentum = 0.5;
    });
    add("identity", [](NetworkSpec& s, TrainingOptions&) { s.down = Down::identity, s.rank = 0; });
    add("pca", [](NetworkSpec& s, TrainingOptions&) { s.down = Down::pca; });
    add("gaussian_tanh", [](NetworkSpec& s, TrainingOptions&) {
        s.up = Up::gaussian, s.activation.kind = Activation::tanh;
    });
    add("certificate",
        [](NetworkSpec& s, TrainingOptions& o) { s.train = {.up = true}, o.certificate = true; });
    add("spectrum", [](NetworkSpec&, TrainingOptions& o) { o.spectrum_every = 2; });
    add("drift", [](NetworkSpec&, TrainingOptions& o) { o.kernel_drift = true; });
    add("cross_entropy", [](NetworkSpec&, TrainingOptions& o) { o.loss = Loss::cross_entropy; });
    add("given_step", [](NetworkSpec&, TrainingOptions& o) { o.rule = StepRule::given, o.step = 0.01; });
    add("both_eigenvalues", [](NetworkSpec&, TrainingOptions& o) { o.rule = StepRule::lambda_max_min; });
    return result;
}

class ResumeTest : public ::testing::TestWithParam<Run> {
  protected:
    ResumeTest()
        : inputs(normals(9, 6, 1, GetParam().spec.precision)),
          targets(test::filled(9, 2, DType::f64, [](auto i, auto c) { return i % 2 == c ? 1.0 : 0.0; })) {}

    [[nodiscard]] TrainingResult whole() const {
        return fntk::train(device, network(), inputs, targets, GetParam().options);
    }
    [[nodiscard]] Network network() const { return Network::create(GetParam().spec, inputs); }

    static void expect_same(const TrainingResult& resumed, const TrainingResult& whole) {
        EXPECT_TRUE(test::same_factors(resumed.network, whole.network));
        EXPECT_EQ(resumed.network.spec(), whole.network.spec());
        EXPECT_EQ(resumed.step, whole.step);
        EXPECT_EQ(resumed.lambda_max, whole.lambda_max);
        EXPECT_EQ(resumed.lambda_min, whole.lambda_min);
        EXPECT_EQ(resumed.certificate_checked, whole.certificate_checked);
        EXPECT_EQ(resumed.certificate_held, whole.certificate_held);
        ASSERT_EQ(resumed.history.size(), whole.history.size());
        for (std::size_t t = 0; t < whole.history.size(); ++t) {
            const TrainingRecord &a = resumed.history[t], &b = whole.history[t];
            EXPECT_EQ(a.step, b.step) << t;
            EXPECT_EQ(a.loss, b.loss) << t;
            EXPECT_EQ(a.bound, b.bound) << t;
            EXPECT_EQ(a.lambda_min, b.lambda_min) << t;
            EXPECT_EQ(a.drift, b.drift) << t;
            EXPECT_EQ(a.flips, b.flips) << t;
        }
    }

    const TempFolder folder;
    const std::string path = folder.path("run.safetensors");
    const Device device = Device::open("cpu", 2);
    const Matrix inputs, targets;
};
INSTANTIATE_TEST_SUITE_P(Runs, ResumeTest, ::testing::ValuesIn(runs()),
                         [](const auto& instance) { return instance.param.name; });

TEST_P(ResumeTest, ACancelledRunGoesOnBitForBit) {
    TrainingOptions options = GetParam().options;
    options.checkpoint = path;
    std::int64_t calls = 0;
    options.progress = [&](double share) {
        ++calls;
        EXPECT_EQ(share, static_cast<double>(calls) / static_cast<double>(all_steps));
        return calls < stop;
    };
    const TrainingResult part = fntk::train(device, network(), inputs, targets, options);
    EXPECT_TRUE(part.cancelled);
    EXPECT_EQ(part.history.size(), static_cast<std::size_t>(stop + 1));
    EXPECT_EQ(folder.names(), std::vector<std::string>{"run.safetensors"});
    const TrainingResult resumed =
        resume(device, path, inputs, targets, {.steps = all_steps, .rule = GetParam().options.rule});
    EXPECT_FALSE(resumed.cancelled);
    expect_same(resumed, whole());
}

TEST_P(ResumeTest, AKilledRunGoesOnBitForBitFromItsLastCheckpoint) {
    TrainingOptions options = GetParam().options;
    options.checkpoint = path;
    options.checkpoint_every = stop;
    std::int64_t calls = 0;
    const std::string kept = folder.path("kept.safetensors");
    options.progress = [&](double) {  // what stands on the disk just after the step behind the checkpoint
        if (++calls == stop + 1) std::filesystem::copy_file(path, kept);
        return true;
    };
    const TrainingResult uninterrupted = fntk::train(device, network(), inputs, targets, options);
    expect_same(resume(device, kept, inputs, targets, {.steps = all_steps}), uninterrupted);
    expect_same(uninterrupted, whole());
}

TEST_P(ResumeTest, AFinishedRunCanBeMadeLonger) {
    TrainingOptions options = GetParam().options;
    options.checkpoint = path;
    for (const std::int64_t steps : {std::int64_t{0}, stop}) {
        options.steps = steps;
        const TrainingResult part = fntk::train(device, network(), inputs, targets, options);
        expect_same(resume(device, path, inputs, targets, {.steps = steps}), part);
        expect_same(resume(device, path, inputs, targets, {.steps = all_steps}), whole());
    }
}

// ---- what is refused
// -------------------------------------------------------------------------------------------------

class CheckpointTest : public ::testing::Test {
  protected:
    CheckpointTest() {
        (void)fntk::train(
            device,
            Network::create({.dim = 6, .width = 40, .rank = 4, .train = {true, true, false}, .seed = 4}),
            inputs, targets, {.steps = 3, .momentum = 0.5, .checkpoint = path});
    }
    template <class Expected>
    [[nodiscard]] std::string refused(const std::string& file, const TrainingOptions& options = {}) const {
        return error_of<Expected>([&] { (void)resume(device, file, inputs, targets, options); });
    }
    /// The checkpoint with one piece of its metadata's run replaced.
    [[nodiscard]] std::string with_run(const std::string& key, const nlohmann::json& wanted) const {
        return rewritten([&](auto& metadata, auto&) {
            nlohmann::json run = nlohmann::json::parse(metadata.at("run"));
            run[key] = wanted;
            metadata["run"] = run.dump();
        });
    }
    template <class Change>
    [[nodiscard]] std::string rewritten(Change&& change) const {
        const SafeTensors file(path);
        std::map<std::string, std::string> metadata = file.metadata();
        std::vector<std::pair<std::string, TensorView>> tensors;
        for (const char* name : {"U", "V", "initial.U", "velocity.U", "velocity.V"})
            if (file.has(name)) tensors.emplace_back(name, file.tensor(name));
        change(metadata, tensors);
        save_safetensors(folder.path("other.safetensors"), metadata, tensors);
        return folder.path("other.safetensors");
    }

    const TempFolder folder;
    const std::string path = folder.path("run.safetensors");
    const Device device = Device::open("cpu", 1);
    const Matrix inputs = normals(9, 6, 1, DType::f32), targets = normals(9, 1, 2);
};

TEST_F(CheckpointTest, IsRefusedWithOtherData) {
    EXPECT_NO_THROW((void)resume(device, path, inputs, targets, {.steps = 4}));
    Matrix x = inputs.copy(), y = targets.copy();
    x.at<float>(8, 5) = std::nextafter(x.at<float>(8, 5), 9.0F);
    y.at<double>(0, 0) += 1e-9;
    const auto with = [&](const Matrix& a, const Matrix& b) {
        return error_of<ValueError>([&] { (void)resume(device, path, a, b, {.steps = 4}); });
    };
    expect_parts(with(x, targets), {path, "other inputs or targets"});
    expect_parts(with(inputs, y), {path, "other inputs or targets"});
    expect_parts(with(normals(8, 6, 1, DType::f32), targets), {path, "other inputs or targets"});
    expect_parts(with(inputs, Matrix::converted(targets, DType::f32)), {path, "other inputs or targets"});
}

TEST_F(CheckpointTest, IsRefusedForFewerStepsThanItHas) {
    expect_parts(refused<ValueError>(path, {.steps = 2}), {"steps", "2", "3"});
}

TEST_F(CheckpointTest, IsRefusedWhenItIsDamagedOrSomethingElse) {
    const std::string bytes = folder.read("run.safetensors");
    for (const std::size_t keep :
         {std::size_t{0}, std::size_t{7}, std::size_t{100}, bytes.size() / 2, bytes.size() - 1})
        (void)refused<IoError>(folder.write("cut.safetensors", bytes.substr(0, keep)), {.steps = 4});
    (void)refused<IoError>(folder.path("absent.safetensors"), {.steps = 4});
    save_network(folder.path("network.safetensors"), Network::create({.dim = 6, .width = 40, .rank = 4}));
    expect_parts(refused<IoError>(folder.path("network.safetensors"), {.steps = 4}),
                 {"network.safetensors"});
    const auto metadata = [&](const char* key, const char* wanted) {
        return refused<IoError>(rewritten([&](auto& m, auto&) { m[key] = wanted; }), {.steps = 4});
    };
    expect_parts(metadata("format", "fntk-network"), {"format", "fntk-network"});
    expect_parts(metadata("scheme", "2"), {"scheme 2"});
    expect_parts(metadata("run", "{"), {"damaged"});
    expect_parts(metadata("run", "{}"), {"damaged"});
    expect_parts(metadata("history", "[[1]]"), {"damaged"});
    expect_parts(refused<IoError>(rewritten([](auto& m, auto&) { m.erase("run"); }), {.steps = 4}),
                 {"run"});
    (void)refused<IoError>(with_run("step_size", "large"), {.steps = 4});
    (void)refused<Error>(with_run("step_size", -1.0), {.steps = 4});
    (void)refused<Error>(with_run("momentum", 2.0), {.steps = 4});
    (void)refused<Error>(with_run("batch", -3), {.steps = 4});
    expect_parts(refused<IoError>(with_run("loss", 9), {.steps = 4}), {"loss is 9", "damaged"});
    EXPECT_THROW((void)read_checkpoint(with_run("loss", -1)), IoError);
    const std::string no_spec = rewritten([](auto& m, auto&) { m["spec"] = "{}"; });
    expect_parts(error_of<Error>([&] { (void)read_checkpoint(no_spec); }), {no_spec, "spec"});
}

TEST_F(CheckpointTest, IsRefusedWithTensorsOfAnotherShape) {
    const Matrix wrong(3, 3, DType::f64);
    for (const std::string name : {"U", "V", "velocity.U", "velocity.V"}) {
        const std::string file = rewritten([&](auto&, auto& tensors) {
            for (auto& [key, view] : tensors)
                if (key == name) view = tensor_view(wrong);
        });
        (void)refused<Error>(file, {.steps = 4});
    }
}

TEST_F(CheckpointTest, WithoutAFactorIsRefused) {
    for (const std::string name : {"U", "V", "velocity.U", "velocity.V"}) {
        const std::string file = rewritten([&](auto&, auto& tensors) {
            std::erase_if(tensors, [&](const auto& t) { return t.first == name; });
        });
        (void)refused<Error>(file, {.steps = 4});
    }
}

/// The folder is gone after two steps: checkpoints fail from then on, and the run goes on to its end.
TEST_F(CheckpointTest, ThatCannotBeWrittenLosesNothing) {
    const std::string gone = folder.path("gone");
    std::filesystem::create_directory(gone);
    const Network network = Network::create({.dim = 6, .width = 40, .rank = 4});
    TrainingOptions options{.steps = 5};
    const TrainingResult expected = fntk::train(device, network, inputs, targets, options);
    options.checkpoint = gone + "/run.safetensors";
    options.checkpoint_every = 1;
    options.progress = [&](double share) {
        if (share == 0.4) std::filesystem::remove_all(gone);
        return true;
    };
    try {
        (void)fntk::train(device, network, inputs, targets, options);
        ADD_FAILURE() << "nothing was thrown";
    } catch (const UnsavedCheckpoint& unsaved) {
        EXPECT_NE(std::string(unsaved.what()).find("run.safetensors"), std::string::npos) << unsaved.what();
        EXPECT_TRUE(unsaved.result.network.same_weights(expected.network));
        ASSERT_EQ(unsaved.result.history.size(), expected.history.size());
        EXPECT_EQ(unsaved.result.history.back().loss, expected.history.back().loss);
    }
    options.progress = [&](double share) {  // there again before the last
        if (share == 0.4) std::filesystem::remove_all(gone);
        if (share == 1) std::filesystem::create_directory(gone);
        return true;
    };
    std::filesystem::create_directory(gone);
    EXPECT_NO_THROW((void)fntk::train(device, network, inputs, targets, options));
    EXPECT_EQ(read_checkpoint(options.checkpoint).step, 5);
}

TEST_F(CheckpointTest, AnUnwritablePathIsAnIoError) {
    TrainingOptions options{.steps = 1, .checkpoint = folder.path("no/such/folder.safetensors")};
    EXPECT_THROW((void)fntk::train(device, Network::create({.dim = 6, .width = 40, .rank = 4}), inputs,
                                   targets, options),
                 IoError);
}

}  // namespace
}  // namespace fntk

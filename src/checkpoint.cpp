// Checkpoints of training: a safetensors file whose metadata holds the options that define the run and its
// history, and whose tensors are the start (what the seed cannot reproduce), the trained factors and their
// velocities.
#include "network_file.hpp"
#include "training_state.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace fntk {

namespace {

using nlohmann::json;

constexpr const char* checkpoint_format = "fntk-checkpoint";

std::uint64_t hash_rows(std::uint64_t hash, ConstMatrixView view) {  // FNV-1a
    for (std::int64_t i = 0; i < view.rows; ++i) {
        const std::byte* row = view.row_block(i, 1).data;
        for (std::size_t b = 0; b < static_cast<std::size_t>(view.cols) * size_of(view.dtype); ++b)
            hash = (hash ^ static_cast<std::uint64_t>(row[b])) * 0x100000001B3ULL;
    }
    return hash;
}

json to_json(const TrainingRecord& record) {
    return {record.step, record.loss, record.bound, record.lambda_min, record.drift, record.flips};
}

TrainingRecord record_from(const json& row) {
    return {row.at(0).get<std::int64_t>(), row.at(1).get<double>(), row.at(2).get<double>(),
            row.at(3).get<double>(),       row.at(4).get<double>(), row.at(5).get<double>()};
}

/// A tensor that must have the extents and the type of `like`.
ConstMatrixView stored_like(const SafeTensors& file, const char* name, const Matrix& like) {
    const ConstMatrixView stored = file.matrix(name);
    if (stored.rows != like.rows() || stored.cols != like.cols() || stored.dtype != like.dtype())
        throw IoError(
            fmt::format("{}: tensor {} is {} × {} {}, its run has {} × {} {}; the file is damaged",
                        file.path(), name, stored.rows, stored.cols, fntk::name(stored.dtype), like.rows(),
                        like.cols(), fntk::name(like.dtype())));
    return stored;
}
/// Fills `owner`, unless it is empty.
void restore(const Device& device, const SafeTensors& file, const char* name, Matrix& owner) {
    if (!owner.empty()) owner = device.to_device(stored_like(file, name, owner));
}

/// The three factors under a prefix as arguments of Network::from_tensors.
struct Factors {
    Matrix down, up, readout;

    Factors(const SafeTensors& file, const std::string& prefix)
        : down(detail::matrix_or_none(file, prefix + "U")),
          up(detail::matrix_or_none(file, prefix + "V")),
          readout(detail::matrix_or_none(file, prefix + "A")) {}
};

}  // namespace

std::uint64_t fingerprint(const Device& device, const TrainingData& data) {
    return hash_rows(hash_rows(0xCBF29CE484222325ULL, device.on_host(data.inputs)),
                     device.on_host(data.targets));
}

void save_checkpoint(const Device& device, const std::string& path, const TrainingState& state,
                     const TrainingOptions& options, std::uint64_t fingerprint) {
    json history = json::array();
    for (const TrainingRecord& record : state.history) history.push_back(to_json(record));
    const json run = {
        {"step", state.step},
        {"step_size", state.step_size},
        {"lambda_max", state.lambda_max},
        {"lambda_min", state.lambda_min},
        {"certificate_held", state.certificate_held},
        {"loss", static_cast<int>(options.loss)},
        {"momentum", options.momentum},
        {"batch", options.batch},
        {"seed", options.seed},
        {"certificate", options.certificate},
        {"kernel_drift", options.kernel_drift},
        {"spectrum_every", options.spectrum_every},
        {"data", fmt::format("{:016x}", fingerprint)},
    };
    const std::map<std::string, std::string> metadata = {
        {"format", checkpoint_format},
        {"scheme", std::to_string(random_scheme)},
        {"spec", to_json(state.initial.spec())},
        {"run", run.dump()},
        {"history", history.dump()},
    };
    std::vector<std::pair<std::string, TensorView>> tensors;
    std::vector<Staged> owners;
    const auto add = [&](const char* name, ConstMatrixView matrix) {
        if (matrix.data == nullptr) return;
        owners.push_back(device.on_host(matrix));
        tensors.emplace_back(name, tensor_view(owners.back()));
    };
    const Network initial = state.initial.on_host();
    add("initial.U", initial.down());
    add("initial.V", initial.up().values);
    add("initial.A", initial.readout().values);
    add("U", state.down);
    if (state.up) add("V", *state.up);
    if (state.readout) add("A", *state.readout);
    add("velocity.U", state.down_velocity);
    add("velocity.V", state.up_velocity);
    add("velocity.A", state.readout_velocity);
    save_safetensors(path, metadata, tensors);
}

namespace {

/// The metadata of a checkpoint and what they stand for.
class Contents {
  public:
    explicit Contents(const std::string& path) : file(path) {
        if (field("format") != checkpoint_format)
            throw IoError(fmt::format(
                "{}: its format is '{}', not '{}'; give a file that fntk train --checkpoint wrote", path,
                field("format"), checkpoint_format));
        if (field("scheme") != std::to_string(random_scheme))
            throw IoError(fmt::format(
                "{}: it was made with random-number scheme {}, this version has scheme {}; resume it with "
                "the version that wrote it",
                path, field("scheme"), random_scheme));
        run = json::parse(field("run"));
    }

    [[nodiscard]] const std::string& field(const char* key) const {
        const auto found = file.metadata().find(key);
        if (found == file.metadata().end())
            throw IoError(fmt::format(
                "{}: its metadata has no '{}', so it is no checkpoint of fntk; give a file that "
                "fntk train --checkpoint wrote",
                file.path(), key));
        return found->second;
    }
    void set(TrainingOptions& options) const {
        options.rule = StepRule::given;
        options.step = run.at("step_size");
        options.loss = loss();
        options.momentum = run.at("momentum");
        options.batch = run.at("batch");
        options.seed = run.at("seed");
        options.certificate = run.at("certificate");
        options.kernel_drift = run.at("kernel_drift");
        options.spectrum_every = run.at("spectrum_every");
    }
    [[nodiscard]] Network initial() const {
        const Factors start(file, "initial.");
        return Network::from_tensors(spec_from_json(field("spec")), {start.down, start.up, start.readout});
    }

    SafeTensors file;
    json run;

  private:
    [[nodiscard]] Loss loss() const {
        for (const Loss known : {Loss::squared, Loss::cross_entropy})
            if (run.at("loss") == static_cast<int>(known)) return known;
        throw IoError(
            fmt::format("{}: its loss is {}, which this version does not know; the file is damaged",
                        file.path(), run.at("loss").dump()));
    }
};

/// body(contents of the file); what is wrong with its metadata is an IoError.
template <class Body>
auto read(const std::string& path, Body&& body) {
    try {
        return body(Contents(path));
    } catch (const json::exception& error) {
        throw IoError(
            fmt::format("{}: its metadata cannot be read ({}); the file is damaged", path, error.what()));
    } catch (const ValueError& error) {
        throw ValueError(detail::in_file(path, error.what()));
    } catch (const ShapeError& error) {
        throw ShapeError(detail::in_file(path, error.what()));
    }
}

}  // namespace

CheckpointRun read_checkpoint(const std::string& path) {
    return read(path, [](const Contents& contents) {
        CheckpointRun result{.initial = contents.initial(), .options = {}, .step = contents.run.at("step")};
        contents.set(result.options);
        return result;
    });
}

TrainingState load_checkpoint(const Device& device, const std::string& path, TrainingOptions& options,
                              std::uint64_t fingerprint) {
    return read(path, [&](const Contents& contents) {
        const SafeTensors& file = contents.file;
        const json& run = contents.run;
        if (run.at("data").get<std::string>() != fmt::format("{:016x}", fingerprint))
            throw ValueError(fmt::format(
                "{}: it was made with other inputs or targets; resume it with the data, samples and "
                "precision of the first run",
                path));
        contents.set(options);
        TrainingState state(device, contents.initial(), options.momentum != 0);
        const Train train = state.initial.spec().train;
        if (train.down) {
            restore(device, file, "U", state.down);
            if (run.at("step") != 0)  // before, U is the start's own
                state.current = state.current.with_down(device, state.down);
        }
        if (train.up) {
            state.up = std::make_shared<Matrix>(device.to_device(stored_like(file, "V", *state.up)));
            state.current = state.current.with_up(state.up);
        }
        if (train.readout) {
            state.readout =
                std::make_shared<Matrix>(device.to_device(stored_like(file, "A", *state.readout)));
            state.current = state.current.with_readout(state.readout);
        }
        restore(device, file, "velocity.U", state.down_velocity);
        restore(device, file, "velocity.V", state.up_velocity);
        restore(device, file, "velocity.A", state.readout_velocity);
        state.step = run.at("step");
        state.step_size = options.step;
        state.lambda_max = run.at("lambda_max");
        state.lambda_min = run.at("lambda_min");
        state.certificate_held = run.at("certificate_held");
        for (const json& row : json::parse(contents.field("history")))
            state.history.push_back(record_from(row));
        return state;
    });
}

}  // namespace fntk

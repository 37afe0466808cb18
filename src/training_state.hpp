// What a training run carries from step to step, and one step of it.
#pragma once

#include <fntk/training.hpp>

namespace fntk {

/// Everything that a resumed run needs beyond the data. The trained factors: U as double (the network holds
/// its rounding), V and A shared with the network and updated in place. `current`, the factors and their
/// velocities lie in the device's memory.
struct TrainingState {
    Network initial;
    Network current;
    Matrix down;
    std::shared_ptr<Matrix> up, readout;
    Matrix down_velocity, up_velocity, readout_velocity;  // empty without momentum
    std::int64_t step = 0;
    double step_size = 0;
    double lambda_max = 0;
    double lambda_min = 0;
    bool certificate_held = true;
    std::vector<TrainingRecord> history;

    TrainingState(const Device& device, const Network& network, bool momentum);
};

/// The data of a run, finite and in the device's memory: inputs n × d in the network's precision, targets
/// n × k.
struct TrainingData {
    ConstMatrixView inputs;
    ConstMatrixView targets;
};

/// The order in which an epoch of mini-batches takes the samples: a pure function of (seed, epoch).
class EpochOrder {
  public:
    EpochOrder(std::int64_t samples, std::uint64_t seed) : samples_(samples), seed_(seed) {}
    /// Kept until another epoch is asked for.
    const std::vector<std::int64_t>& of(std::int64_t epoch);

  private:
    std::int64_t samples_;
    std::uint64_t seed_;
    std::int64_t epoch_ = -1;
    std::vector<std::int64_t> order_;
};

/// Rows of the step's batch: all of the data, or B rows of the epoch's order.
struct Batch {
    Matrix inputs_owner, targets_owner;
    TrainingData data;
    double scale = 1;  ///< n/B
};
Batch take_batch(const Device& device, const TrainingData& data, std::int64_t batch, EpochOrder& order,
                 std::int64_t step);

/// The loss at the state's network on `batch`, times its scale.
double batch_loss(const Device& device, const TrainingState& state, const Batch& batch, Loss loss);
/// The same, and one descent step θ ← θ − η v, v ← μ v + scale·∇.
double descend(const Device& device, TrainingState& state, const Batch& batch, Loss loss, double momentum);

/// Checkpoints: safetensors with the options that define the run in its metadata. `fingerprint` ties it to
/// the data.
std::uint64_t fingerprint(const Device& device, const TrainingData& data);
void save_checkpoint(const Device& device, const std::string& path, const TrainingState& state,
                     const TrainingOptions& options, std::uint64_t fingerprint);
/// Fills the run-defining fields of `options`. Throws ValueError when the fingerprint is another one.
TrainingState load_checkpoint(const Device& device, const std::string& path, TrainingOptions& options,
                              std::uint64_t fingerprint);

}  // namespace fntk

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
    /// Puts U as it is now into `current`.
    void round_down(const Device& device);
};

/// Throws ShapeError unless inputs have rows and targets as many, with a column for each output.
void check_extents(const NetworkSpec& spec, ConstMatrixView inputs, ConstMatrixView targets);
/// Throws ValueError for options out of range in a run of this network on so many samples: all that can be
/// told without the data.
void check_options(const NetworkSpec& spec, std::int64_t samples, const TrainingOptions& options);

/// The data of a run, finite and in the device's memory: inputs n × d in the network's precision, targets
/// n × k.
struct TrainingData {
    ConstMatrixView inputs;
    ConstMatrixView targets;
    ConstMatrixView scales = {};  ///< moment_scales() of the inputs, or empty
};

/// The order in which an epoch of mini-batches takes the samples: a pure function of (seed, epoch).
class EpochOrder {
  public:
    EpochOrder(const Device& device, std::int64_t samples, std::uint64_t seed)
        : device_(device), samples_(samples), seed_(seed) {}
    /// i64, 1 × samples, in the device's memory. Kept until another epoch is asked for.
    ConstMatrixView of(std::int64_t epoch);

  private:
    Device device_;
    std::int64_t samples_;
    std::uint64_t seed_;
    std::int64_t epoch_ = -1;
    std::vector<std::int64_t> order_;
    Staged on_device_;
};

/// Rows of the step's batch: all of the data, or B rows of the epoch's order.
struct Batch {
    Matrix inputs_owner, targets_owner;
    TrainingData data;
    double scale = 1;  ///< n/B
};
Batch take_batch(const Device& device, const TrainingData& data, std::int64_t batch, EpochOrder& order,
                 std::int64_t step);

/// The numbers of steps that were issued and not looked at: while they stay on the device, no step waits
/// for the one before it, but the first of an epoch for the order of its samples.
class StepNumbers {
  public:
    explicit StepNumbers(const Device& device);
    /// Of the next step, f64, 1 × 1, in the device's memory.
    [[nodiscard]] MatrixView loss() { return slot(0); }
    [[nodiscard]] MatrixView norm_of_down() { return slot(1); }
    /// That step has been issued; `row` is the state before it, its loss is the number times `scale`.
    void add(const TrainingRecord& row, double scale) { issued_.push_back({row, scale}); }
    [[nodiscard]] bool empty() const { return issued_.empty(); }
    [[nodiscard]] bool full() const { return count() == numbers_.cols(); }
    [[nodiscard]] std::int64_t count() const { return static_cast<std::int64_t>(issued_.size()); }

    struct Step {
        TrainingRecord row;
        double scale = 1;
        double norm_of_down = 0;
    };
    /// Waits for the steps; their rows then have their losses. None is left.
    std::vector<Step> look();

  private:
    [[nodiscard]] MatrixView slot(std::int64_t row) {
        return numbers_.view().row_block(row, 1).col_block(count(), 1);
    }
    Device device_;
    Matrix numbers_;  // 2 × steps: losses, ‖U‖
    std::vector<Step> issued_;
};

/// The loss at the state's network on `batch`, to numbers.loss().
void batch_loss(const Device& device, const TrainingState& state, const Batch& batch, Loss loss,
                StepNumbers& numbers);
/// The same, and one descent step θ ← θ − η v, v ← μ v + scale·∇; ‖U‖ then, where U is trained, to
/// numbers.norm_of_down(). `current` has the U of before until round_down().
void descend(const Device& device, TrainingState& state, const Batch& batch, Loss loss, double momentum,
             StepNumbers& numbers);

/// Checkpoints: safetensors with the options that define the run in its metadata. `fingerprint` ties it to
/// the data.
std::uint64_t fingerprint(const Device& device, const TrainingData& data);
void save_checkpoint(const Device& device, const std::string& path, const TrainingState& state,
                     const TrainingOptions& options, std::uint64_t fingerprint);
/// Fills the run-defining fields of `options`. Throws ValueError when the fingerprint is another one.
TrainingState load_checkpoint(const Device& device, const std::string& path, TrainingOptions& options,
                              std::uint64_t fingerprint);

}  // namespace fntk

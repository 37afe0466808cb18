// Gradient descent on ½‖f − y‖² or on cross-entropy, full batch or mini-batch, with momentum. U is kept in
// floating point and quantised each step; for relu the backward pass of U *is* G: dU = (Σ_c e^c ∘ G^c)ᵀ X,
// e = f − y.
#pragma once

#include <fntk/error.hpp>
#include <fntk/kernel.hpp>

#include <string>
#include <vector>

namespace fntk {

enum class Loss : std::uint8_t {
    squared,        ///< ½ Σ_i ‖f_i − y_i‖²
    cross_entropy,  ///< −Σ_i Σ_c y_ic log softmax(f_i)_c, k > 1
};
enum class StepRule : std::uint8_t {
    lambda_max,  ///< η = 1/λ_max ("auto"), λ_max of the full operator at the start, by Lanczos to 1e-2: its
                 ///< Ritz value and residual, up to 1 % above it; in mini-batches the largest of that and
                 ///< of (n/B)·K_B's over the first batches
    lambda_max_min,  ///< η = 2/(λ_max + λ_min) ("auto2"), that λ_max and λ_min of the trace kernel K₀
    given,           ///< η = TrainingOptions::step
};

struct TrainingOptions {
    std::int64_t steps = 100;
    Loss loss = Loss::squared;
    StepRule rule = StepRule::lambda_max;
    double step = 0;               ///< η when rule = given, > 0; else 0
    double momentum = 0;           ///< in [0, 1)
    std::int64_t batch = 0;        ///< samples a step; 0 = all. A new order every epoch, from the seed
    std::uint64_t seed = 0;        ///< of the mini-batch order
    bool kernel_drift = false;     ///< drift and flips at the end (and at every `spectrum_every`)
    bool certificate = false;      ///< λ_min(K₀) and the bound; full batch, squared loss, no momentum
    double known_lambda_min = -1;  ///< λ_min of the trace kernel K₀ where the caller has it, 0 where it is
                                   ///< not positive beyond rounding; −1: computed when needed
    std::int64_t spectrum_every = 0;  ///< λ_min(K_t), drift and flips every so many steps; 0 = never
    std::string checkpoint{};         ///< a .safetensors path, or empty
    std::int64_t checkpoint_every =
        0;                    ///< steps between checkpoints; one more is written at the end or on cancel
    Progress progress{};      ///< returning false stops after the current step
    std::int64_t memory = 0;  ///< bytes that the call may take beside its arguments; 0: no limit
};

/// How a run will be done, from extents alone.
struct TrainingPlan {
    std::int64_t batch = 0;  ///< samples a step
    bool kernel = false;     ///< the dense n × n trace kernel is formed: certificate, drift, flips, λ_min
    std::int64_t peak_bytes = 0;  ///< at most so much is taken at any moment beside the arguments
    double flops = 0;             ///< of all steps
    std::string reason{};
};
/// Of a run from this network's state on; the weights of a checkpoint that is resumed, its network, are no
/// part of it. Throws MemoryError that names the smallest budget which works and what takes less when
/// options.memory is smaller, ValueError for samples below 1 and options out of range.
FNTK_API TrainingPlan plan_training(const Network& network, std::int64_t samples,
                                    const TrainingOptions& options = {});

/// One row of the history: the state before step `step` (and one last row after the last step).
struct TrainingRecord {
    std::int64_t step = 0;
    double loss = 0;         ///< of the whole data in full batch, of the batch scaled by n/B else
    double bound = -1;       ///< the certificate's bound on ‖f − y‖²; −1 when there is none
    double lambda_min = -1;  ///< of the trace kernel K_t; −1 when not asked
    double drift = -1;       ///< ‖K_t − K₀‖_F/‖K₀‖_F of the trace kernel; −1 when not asked
    double flips = -1;  ///< share of the gates that differ from the start; −1 when not asked or σ is smooth
};

struct TrainingResult {
    Network network;  ///< after the last step, in the device's memory
    std::vector<TrainingRecord> history;
    double step = 0;        ///< η
    double lambda_max = 0;  ///< what η came from; 0 when it was given
    double lambda_min =
        0;  ///< of the trace kernel K₀ (certificate, or rule lambda_max_min); 0 when not computed.
            ///< It is at least λ_min of the full kernel, so a bound held with it holds all the more
    /// Asked for, and λ_min(K₀) is positive beyond rounding (Spectrum::positive): else there is none.
    bool certificate_checked = false;
    bool certificate_held = false;  ///< ‖y − f(t)‖² ≤ (1 − ηλ/2)^t ‖y − f(0)‖² at every step, λ = λ_min(K₀)
    bool cancelled = false;
    double seconds_per_step = 0;  ///< median
};

/// A run that ended well, but whose last checkpoint could not be written: what it came to is here. Earlier
/// checkpoints that cannot be written are tried again with the next; the file before stays until then.
class FNTK_API UnsavedCheckpoint : public IoError {
  public:
    UnsavedCheckpoint(const IoError& reason, TrainingResult trained);
    ~UnsavedCheckpoint() override;

    TrainingResult result;
};

/// inputs n × d in the network's precision, targets n × k (f32 or f64), in host memory or the device's,
/// where steps work on them without the host, which sees losses and ‖U‖ after every eighth: `progress` is
/// called for steps that have been issued. Throws ShapeError, ValueError, MemoryError as plan_training
/// does, Error when the loss is no longer finite (a step size too large), naming the step, IoError for a
/// checkpoint that cannot be begun and UnsavedCheckpoint.
FNTK_API TrainingResult train(const Device& device, const Network& network, ConstMatrixView inputs,
                              ConstMatrixView targets, const TrainingOptions& options = {});
/// What a checkpoint says of its run.
struct CheckpointRun {
    Network initial;          ///< what the run began with, in host memory
    TrainingOptions options;  ///< those that resume takes from it: step, loss, momentum, batch, seed,
                              ///< certificate, kernel_drift, spectrum_every; others are the defaults
    std::int64_t step = 0;    ///< steps that have been taken
};
/// Throws IoError for a file that is no checkpoint of this version's random numbers, ValueError and ShapeError
/// for content that does not fit together.
FNTK_API CheckpointRun read_checkpoint(const std::string& path);
/// Continues from a checkpoint to options.steps steps in all; with the same data, device and threads the
/// result has the bits of a run that was never stopped. What read_checkpoint tells wins over `options`.
FNTK_API TrainingResult resume(const Device& device, const std::string& checkpoint, ConstMatrixView inputs,
                               ConstMatrixView targets, const TrainingOptions& options = {});

}  // namespace fntk

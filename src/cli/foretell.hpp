// What the kernel of a network at its start says of its training, beside what came of it: how far the run was
// from that of a network linear in its weights.
#pragma once

#include <fntk/fntk.hpp>

namespace fntk::cli {

/// Of foretell(): the full kernel, n·k rows, and all its eigenvalues. Throws MemoryError that names the least
/// budget which works.
SpectrumPlan plan_foretold(const Network& start, std::int64_t samples, std::int64_t memory);

struct Foretold {
    double step_limit = 0;   ///< 2/λ_max of the full kernel; from there on it foretells no end
    bool converges = false;  ///< whether the step is below it: else nothing more is known
    Matrix outputs;          ///< f_T, n × k, f64, host
    double loss = 0;         ///< ½‖f_T − y‖²
    /// ‖f − f_T‖/‖f_T − f₀‖, f the trained network's; of rounding alone where f_T has hardly left f₀.
    double distance = 0;
};
/// After so many steps of full-batch descent on the squared loss. inputs n × d; targets, and f of the
/// network at the start and at the end, n × k; all in host memory.
Foretold foretell(const Device& device, const Network& start, ConstMatrixView inputs,
                  ConstMatrixView targets, std::int64_t steps, double step, ConstMatrixView begun,
                  ConstMatrixView trained);

}  // namespace fntk::cli

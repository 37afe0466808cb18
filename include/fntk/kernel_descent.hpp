// Training as the kernel foretells it: gradient descent on ½‖f − Y‖² while K stays what it was at the start,
// which is exact where f is linear in what is trained (train = readout) and the limit of infinite width
// elsewhere (Jacot et al. 2018; Lee et al. 2019). With K = Q Λ Qᵀ, found once:
//     T steps of size η     f_T = Y + (I − ηK)^T (f₀ − Y)
//     gradient flow         f_t = Y + e^(−tK) (f₀ − Y), the limit of small steps, t = ηT
//     at other inputs       f_t(x) = f₀(x) + K(x, X) α_t,    α_T = K⁻¹ (I − (I − ηK)^T) (Y − f₀)
// Where an eigenvalue is 0 nothing is learned, and α has no part there, which K(x, X) would not see: kernels
// short of full rank are legal at any time. Stopping early is a ridge of about 1/t. In double.
#pragma once

#include <fntk/spectrum.hpp>

namespace fntk {

/// Training up to one time.
struct DescentState {
    Matrix outputs;   ///< f_t at the training data, N × c, f64, host
    Matrix dual;      ///< α_t, N × c, f64, host; predict(device, dual, K(X', X)) + f₀(X') is f_t(X')
    double loss = 0;  ///< ½‖f_t − Y‖²
};

class KernelDescent {
  public:
    /// kernel N × N, targets N × c, initial f₀ N × c, or empty: 0; each f32 or f64, in host memory or the
    /// device's. N = n for the trace kernel and one output, whose columns train on their own; n·k for the
    /// full kernel, whose targets and initial are single columns in the order of its rows, i·k + c. One
    /// eigendecomposition, as spectrum() does and checks it; N² doubles of the device's memory are kept.
    /// memory: bytes that the call may take beside its arguments and numbers N × c, 0 for no limit; as
    /// plan_spectrum says. Throws what spectrum() throws, ShapeError for other extents, and ValueError for
    /// NaN, infinity, an eigenvalue beyond the range of double and one that is negative beyond the rounding
    /// of the kernel's type, max(N, 64)·ε·λ_max: entries that were summed less carefully may be refused.
    FNTK_API KernelDescent(const Device& device, ConstMatrixView kernel, ConstMatrixView targets,
                           ConstMatrixView initial = {}, std::int64_t memory = 0);

    /// Ascending, none negative: 0 up to rounding, max(N, 64)·ε·λ_max with the ε of double, or twice what
    /// the least is below 0.
    [[nodiscard]] const std::vector<double>& eigenvalues() const { return eigenvalues_; }
    /// 2/λ_max, the step size from which on descent no longer converges; infinity for K = 0.
    [[nodiscard]] FNTK_API double step_limit() const;

    /// After so many steps of size η, 4N²c flop. Throws ValueError for steps < 0 and η outside of
    /// (0, step_limit()).
    [[nodiscard]] FNTK_API DescentState after(std::int64_t steps, double step) const;
    /// Of gradient flow at this time, 4N²c flop. Throws ValueError for a time that is negative or not
    /// finite.
    [[nodiscard]] FNTK_API DescentState at(double time) const;

  private:
    template <class Factors>
    DescentState state(const Factors& factors) const;

    Device device_;
    std::vector<double> eigenvalues_;
    Matrix vectors_;          // Q, the device's memory
    Matrix targets_, along_;  // Y and Qᵀ(Y − f₀), f64, host
};

}  // namespace fntk

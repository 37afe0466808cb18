// Eigenvalues of the kernel of a batch, planned from its making to the last of them: what `fntk spectrum`
// takes.
//     all of them, or a few certified      K formed (gram, limit_kernel), then spectrum or extremal of it
//     a few by products, or by probes      no K: a product is that of KernelOperator, or of a limit's tiles
#pragma once

#include <fntk/eigenvalues.hpp>
#include <fntk/kernel_function.hpp>

namespace fntk {

struct KernelSpectrumOptions {
    std::int64_t largest = 0, smallest = 0;  ///< so many at each end
    std::int64_t probes = 0;   ///< of estimates; where all three are 0 all eigenvalues are meant
    bool matrix_free = false;  ///< the few by products
    std::int64_t memory = 0;   ///< bytes beside the inputs and the network; 0: no limit

    [[nodiscard]] bool few() const { return largest > 0 || smallest > 0; }
    [[nodiscard]] bool all() const { return largest == 0 && smallest == 0 && probes == 0; }
    [[nodiscard]] bool products() const { return matrix_free || probes > 0; }
    [[nodiscard]] bool dense() const { return all() || (!matrix_free && few()); }
};
/// Of `samples` inputs; one step after the other, the kernel kept until the last. Throws MemoryError that
/// names the least budget which works and the ways that take less, ValueError for options out of range.
FNTK_API SpectrumPlan plan_spectrum(const KernelFunction& function, std::int64_t samples,
                                    const KernelSpectrumOptions& options = {});

}  // namespace fntk

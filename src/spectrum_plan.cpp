// Bytes of the steps from the inputs to the eigenvalues, N = n·k' rows of K in numbers of e bytes:
//     the batch      of a network, or of a limit whose products are taken; kept
//     making K       e·N² and what a tile of that size takes
//     eigenvalues    e·N² where K is kept, a product where it is not, and what spectrum, extremal and
//                    estimate_trace say
#include "byte_counts.hpp"
#include "eigenvalues_plan.hpp"
#include "kernel_bytes.hpp"

#include <fntk/error.hpp>
#include <fntk/spectrum_plan.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace fntk {
namespace {

constexpr double product_tile = 2048;  // of make_operator

/// K in one piece; that of a limit in blocks of 1024 rows, unit vectors and norms in double.
double kernel_bytes(const KernelExtents& x, double n) {
    if (!x.limit) return tile_bytes(x, n, n) + (x.by_units ? 2 * unit_block(x, n) : 0);
    if (x.on_host) return tile_bytes(x, n, n) - n * n * x.bytes + (64 - x.series) * n;
    const double block = std::min(n, 1024.0);
    return n * n * x.bytes + 8 * block * (block + 2 * (x.d + 4)) + 64 * n;
}

/// What a KernelOperator keeps beside its tangent.
double operator_bytes(const KernelExtents& x, double n) {
    if (x.limit) return 0;
    return (x.summed() && x.train.down ? n * x.p * x.bytes : 0) +
           (!x.full() && (x.train.up || x.train.readout) ? x.m * (8 + x.bytes) : 0);
}

/// One way of many: bytes and flops beside the kernel.
struct Step {
    double bytes = 0, flops = 0;
};

Step step_of(const SpectrumPlan& plan, double product = 0, double flops = 0) {
    return {static_cast<double>(plan.peak_bytes) - workspaces + product, plan.flops + flops};
}

}  // namespace

SpectrumPlan plan_spectrum(const KernelFunction& function, std::int64_t samples,
                           const KernelSpectrumOptions& options) {
    if (samples < 1) throw ValueError(fmt::format("{} samples: there must be at least 1", samples));
    if (options.largest < 0 || options.smallest < 0 || options.probes < 0)
        throw ValueError(fmt::format("largest = {}, smallest = {}, probes = {}: none may be negative",
                                     options.largest, options.smallest, options.probes));
    const KernelExtents x = kernel_extents(function);
    const double limit = budget_of(options.memory), n = static_cast<double>(samples);
    std::int64_t order = 0;
    if (__builtin_mul_overflow(samples, function.outputs(), &order))
        throw ValueError(fmt::format("{} samples of {} outputs exceed 2^63 rows; use fewer samples",
                                     samples, function.outputs()));
    const double rows = static_cast<double>(order),
                 product = product_bytes(x, n, product_tile, backend::Ops::moment_rows),
                 of_product = product_flops(x, n);
    std::vector<Step> steps;
    if (options.all()) steps.push_back(step_of(plan_spectrum(order)));
    for (const auto& [count, end] :
         {std::pair{options.largest, SpectrumEnd::largest}, {options.smallest, SpectrumEnd::smallest}}) {
        const ExtremalOptions few{.end = end, .count = count};
        if (count > 0 && options.matrix_free) {
            const double products =
                static_cast<double>(subspace_of(order, few)) + static_cast<double>(count) + 4;
            steps.push_back(
                step_of(plan_extremal(order, function.precision(), few), product, products * of_product));
        } else if (count > 0) {
            steps.push_back(step_of(plan_extremal(order, few)));
        }
    }
    if (options.probes > 0) {
        const ProbeOptions how{.probes = options.probes};
        steps.push_back(step_of(plan_trace(order, function.precision(), how), product,
                                static_cast<double>(options.probes) * of_product));
    }
    const bool batch = !x.limit || options.products();
    const double made = batch ? batch_bytes(x, n) : 0, kept = made + operator_bytes(x, n),
                 stored = options.dense() ? rows * rows * x.bytes : 0;
    double bytes = made + (batch ? making_bytes(x, n) : 0), flops = 0;
    if (options.dense()) {
        bytes = std::max(bytes, kept + kernel_bytes(x, n));
        flops += n * (n + 1) / 2 * pair_flops(x);
    }
    for (const Step& step : steps) {
        bytes = std::max(bytes, kept + stored + step.bytes);
        flops += step.flops;
    }
    bytes += workspaces;
    const std::uint64_t asked =
        static_cast<std::uint64_t>(options.largest) + static_cast<std::uint64_t>(options.smallest);
    const std::string what =
        options.all()     ? fmt::format("all {} eigenvalues", order)
        : options.dense() ? fmt::format("{} of {} eigenvalues, certified", asked, order)
        : options.few()   ? fmt::format("{} of {} eigenvalues by products", asked, order)
                          : fmt::format("estimates of {} rows by {} probes", order, options.probes);
    if (bytes > limit)
        throw MemoryError(fmt::format(
            "memory = {}: {} take {} at least{}; allow that, or {}", in_words(limit), what, in_words(bytes),
            options.dense() ? fmt::format(", {} of them the kernel", in_words(stored)) : "",
            options.dense() ? "take a few matrix-free, or estimates by probes" : "use fewer samples"));
    return {whole_bytes(bytes), flops,
            fmt::format("{}{}: at most {}, {} of them workspaces{}", what,
                        options.dense() && options.probes > 0 ? ", and estimates" : "", in_words(bytes),
                        in_words(workspaces),
                        options.dense() ? fmt::format(", {} the kernel", in_words(stored))
                                        : ", the kernel never formed")};
}

}  // namespace fntk

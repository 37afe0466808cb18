// Bytes of a few eigenvalues of order n, k of them by s Lanczos vectors:
//     Lanczos      8n(2s + k): V, V turned into fewer vectors, Q; 56s²: H, copies of it, its eigenvectors
//     and what
//                  LAPACK takes. Where s = n all eigenvectors of the matrix that n products give, 40n²
//     intervals    Q and K Q, 16nk; of float32 products their arguments and results too, 8nk
//     dense        8n² for (K + Kᵀ)/2; 8n² more for the certificate; all eigenvectors, 40n² more, where
//     that
//                  fails and n ≤ 2048
//     probes       Z and K Z, 16n a probe of a block; of float32 products 8n more
// and workspaces that no extent changes.
#include "eigenvalues_plan.hpp"
#include "byte_counts.hpp"

#include <fntk/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace fntk {

std::int64_t subspace_of(std::int64_t n, const ExtremalOptions& options) {
    const std::int64_t k = options.count;
    if (k < 1 || k > n)
        throw ValueError(fmt::format(
            "count = {}: it must be in [1, {}], the order of the kernel; ask for fewer eigenvalues", k, n));
    if (options.subspace != 0 && options.subspace <= k)
        throw ValueError(fmt::format(
            "subspace = {}: it must exceed count = {}; 0 takes max(2·count + 1, 20)", options.subspace, k));
    if (options.max_restarts < 0)
        throw ValueError(
            fmt::format("max_restarts = {}: it must be at least 0; 300 is usual", options.max_restarts));
    if (!(options.tolerance >= 0) || !std::isfinite(options.tolerance))
        throw ValueError(fmt::format("tolerance = {}: it must be finite and not negative; 1e-10 is usual",
                                     options.tolerance));
    if (options.subspace == 0 && k > (n - 1) / 2) return n;  // 2k + 1 > n
    const std::int64_t chosen =
        options.subspace != 0 ? options.subspace : std::max<std::int64_t>(2 * k + 1, 20);
    return std::min(chosen, n);
}

namespace {

struct Extents {
    double n = 0, k = 0, s = 0;
    double narrow = 0;  // bytes of float32 copies for each number of a product's argument

    [[nodiscard]] double all_vectors() const { return (40 + narrow) * n * n + 8 * n * k; }
    [[nodiscard]] double lanczos() const {
        return s < n ? 8 * n * (2 * s + k + 8) + 56 * s * s : all_vectors();
    }
    [[nodiscard]] double intervals() const { return (16 + narrow) * n * k + 16 * k * k; }
    [[nodiscard]] double certificate() const { return 8 * n * n + 24 * n * k; }
};

Extents extents(std::int64_t order, const ExtremalOptions& options) {
    if (order < 1) throw ValueError(fmt::format("order = {}: it must be at least 1", order));
    const std::int64_t s = subspace_of(order, options);
    return {static_cast<double>(order), static_cast<double>(options.count), static_cast<double>(s)};
}

SpectrumPlan checked(double bytes, double flops, std::int64_t memory, const std::string& what,
                     const std::string& remedy) {
    const double limit = budget_of(memory);
    if (bytes > limit)
        throw MemoryError(
            fmt::format("memory = {}: {} take {} at least beside the kernel; allow that, or {}",
                        in_words(limit), what, in_words(bytes), remedy));
    return {
        whole_bytes(bytes), flops,
        fmt::format("{}: at most {}, {} of them workspaces", what, in_words(bytes), in_words(workspaces))};
}

std::string few(const ExtremalOptions& options, std::int64_t order) {
    return fmt::format("{} {} eigenvalues of {}", options.count,
                       options.end == SpectrumEnd::largest ? "largest" : "smallest", order);
}

}  // namespace

SpectrumPlan plan_extremal(std::int64_t order, const ExtremalOptions& options) {
    const Extents x = extents(order, options);
    const bool again = options.certify && x.s < x.n && order <= all_eigenvectors_again;
    const double square = 8 * x.n * x.n,
                 bytes = square +
                         std::max({x.lanczos() + x.intervals(), again ? x.all_vectors() + x.intervals() : 0,
                                   options.certify ? x.intervals() + x.certificate() : 0}) +
                         workspaces,
                 flops = 2 * x.n * x.n * (x.s + x.k + 4) + (x.s < x.n ? 0 : 9 * std::pow(x.n, 3)) +
                         (options.certify ? std::pow(x.n, 3) / 3 : 0);
    return checked(bytes, flops, options.memory,
                   few(options, order) + (options.certify ? ", certified," : ", not certified,"),
                   options.certify ? "set certify = false, or pass the operator" : "pass the operator");
}

SpectrumPlan plan_extremal(std::int64_t order, DType dtype, const ExtremalOptions& options) {
    Extents x = extents(order, options);
    x.narrow = dtype == DType::f32 ? 8 : 0;
    const double flops = 4 * x.n * x.s * x.s + (x.s < x.n ? 0 : 9 * std::pow(x.n, 3));
    return checked(x.lanczos() + x.intervals() + workspaces, flops, options.memory,
                   few(options, order) + " by products, not certified,",
                   "set a smaller subspace, above count");
}

SpectrumPlan plan_trace(std::int64_t order, DType dtype, const ProbeOptions& options) {
    if (order < 1) throw ValueError(fmt::format("order = {}: it must be at least 1", order));
    if (options.probes < 2 || options.block < 1)
        throw ValueError(fmt::format(
            "probes = {}, block = {}: probes must be at least 2, block at least 1; 32 and 16 are usual",
            options.probes, options.block));
    const double n = static_cast<double>(order),
                 count = static_cast<double>(std::min(options.block, options.probes)),
                 bytes = n * count * (dtype == DType::f32 ? 24 : 16) + workspaces;
    return checked(bytes, 4 * n * static_cast<double>(options.probes), options.memory,
                   fmt::format("{} probes of {} numbers, {} at a time,", options.probes, order, count),
                   "set a smaller block");
}

}  // namespace fntk

// Tiles of a Gram matrix on its way to a file. With t samples and t·k rows a side and f bytes a number of
// the file, a run takes
//     one tile and what makes it, (tk)²·f where the file is of another type than the kernel, and workspaces
//     that no extent changes.
// A device with its own memory takes that there; the host's copy of a tile, (tk)²·f, is no more.
#include "binary.hpp"
#include "kernel_bytes.hpp"
#include "npy.hpp"

#include <fntk/error.hpp>
#include <fntk/gram_file.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

namespace fntk {
namespace {

// Rows of a tile: 16 to 32 MiB, products at full speed; at least what costs little beside the workspaces.
constexpr std::int64_t largest_side = 2048, smallest_side = 128;
constexpr double choice = 15.0 / 16;  // of the budget, so that the run that resumes may have a little less

void check(const KernelFunction& function, std::int64_t rows, std::int64_t cols,
           const GramFileOptions& options) {
    if (rows < 0 || cols < 0)
        throw ValueError(fmt::format("{} × {} samples: neither may be negative", rows, cols));
    if (options.tile < 0)
        throw ValueError(
            fmt::format("tile = {}: it must be positive, or 0 for the plan's choice", options.tile));
    const DType dtype = options.dtype.value_or(function.precision());
    if (dtype != DType::f32 && dtype != DType::f64)
        throw ValueError(fmt::format("dtype is {}; it must be float32 or float64", name(dtype)));
}

std::int64_t bytes_of_file(std::int64_t rows, std::int64_t cols, DType dtype) {
    const bool none = rows == 0 || cols == 0;  // no bytes, whatever the other extent
    const std::array<std::int64_t, 2> shape{none ? 0 : rows, cols};
    const auto data = detail::byte_count(shape, size_of(dtype));
    const auto header = static_cast<std::int64_t>(detail::npy_header(rows, cols, dtype).size());
    std::int64_t all = 0;
    if (!data || __builtin_add_overflow(*data, header, &all))
        throw ValueError(fmt::format("a {} × {} matrix of {} exceeds 2^63 bytes; use fewer samples", rows,
                                     cols, name(dtype)));
    return all;
}

/// The power of two, at least 1, whose rows of the kernel do not exceed a side.
std::int64_t samples_of(std::int64_t side, std::int64_t outputs) {
    const std::int64_t most = std::max<std::int64_t>(side / outputs, 1);
    return static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(most)));
}

}  // namespace

GramFilePlan plan_gram_file(const KernelFunction& function, std::int64_t rows,
                            std::optional<std::int64_t> given_cols, const GramFileOptions& options) {
    const bool symmetric = !given_cols.has_value();
    const std::int64_t cols = given_cols.value_or(rows), k = function.outputs();
    check(function, rows, cols, options);
    const KernelExtents x = kernel_extents(function);
    const DType dtype = options.dtype.value_or(function.precision());
    const auto element = static_cast<double>(size_of(dtype));
    const auto bytes = [&](std::int64_t tile) {
        const auto r = static_cast<double>(std::min(tile, rows)),
                   c = static_cast<double>(std::min(tile, cols));
        const double numbers = r * c * x.effective * x.effective;
        return tile_bytes(x, r, c) + (dtype == function.precision() ? 0 : numbers * element) + workspaces;
    };
    GramFilePlan plan;
    std::int64_t kernel_rows = 0, kernel_cols = 0;
    if (__builtin_mul_overflow(rows, k, &kernel_rows) || __builtin_mul_overflow(cols, k, &kernel_cols))
        throw ValueError(fmt::format("{} × {} samples of {} outputs exceed 2^63 rows", rows, cols, k));
    plan.file_bytes = bytes_of_file(kernel_rows, kernel_cols, dtype);
    const double limit = budget_of(options.memory);
    plan.tile = options.tile > 0 ? options.tile : samples_of(largest_side, k);
    if (options.tile == 0)
        while (plan.tile > samples_of(smallest_side, k) && bytes(plan.tile) > choice * limit)
            plan.tile /= 2;
    if (bytes(plan.tile) > limit)
        throw MemoryError(fmt::format(
            "memory = {}: a Gram matrix of {} × {} in tiles of {} samples takes {} at least; allow that{}",
            in_words(limit), kernel_rows, kernel_cols, plan.tile, in_words(bytes(plan.tile)),
            options.tile > 1 ? ", or smaller tiles from the start" : ""));
    const auto across = [&](std::int64_t samples) {
        return samples / plan.tile + (samples % plan.tile != 0 ? 1 : 0);
    };
    plan.tiles = symmetric ? across(rows) * (across(rows) + 1) / 2 : across(rows) * across(cols);
    plan.peak_bytes = whole_bytes(bytes(plan.tile));
    const auto n = static_cast<double>(rows), m = static_cast<double>(cols);
    plan.flops = (symmetric ? n * (n + 1) / 2 : n * m) * pair_flops(x);
    plan.reason = fmt::format(
        "{} × {} {} in {} on disk, {} tiles of {} samples; at most {} of memory, {} of them workspaces",
        kernel_rows, kernel_cols, name(dtype), in_words(static_cast<double>(plan.file_bytes)), plan.tiles,
        plan.tile, in_words(bytes(plan.tile)), in_words(workspaces));
    return plan;
}

}  // namespace fntk

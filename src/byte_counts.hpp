// Bytes in plans, and what plans say of them.
#pragma once

#include <fntk/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

namespace fntk {

inline constexpr double mib = 1 << 20;
/// Buffers of the wide pass and of products, whatever the extents.
inline constexpr double workspaces = 24 * mib;

inline std::string in_words(double bytes) {
    return bytes < 1024 * mib ? fmt::format("{:.0f} MiB", std::ceil(bytes / mib))
                              : fmt::format("{:.2f} GiB", std::ceil(bytes / mib / 1024 * 100) / 100);
}

inline std::int64_t whole_bytes(double bytes) {
    return static_cast<std::int64_t>(std::ceil(std::min(bytes, 9e18)));
}

/// A budget in bytes as a plan compares with it; 0 stands for none. Throws ValueError for a negative one.
inline double budget_of(std::int64_t memory) {
    if (memory < 0)
        throw ValueError(fmt::format("memory = {}: it must be positive, or 0 for no limit", memory));
    return memory == 0 ? HUGE_VAL : static_cast<double>(memory);
}

}  // namespace fntk

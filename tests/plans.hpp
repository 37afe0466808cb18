// What the tests of plans share: random extents, and the memory that is really taken.
#pragma once

#include "support.hpp"

#include <cstdint>
#include <random>
#include <string>

namespace fntk::test {

inline constexpr std::int64_t mib = std::int64_t{1} << 20;
inline constexpr std::int64_t workspaces = 24 * mib;  // in every plan
inline constexpr std::int64_t spare = 16 * mib;       // of these, 8 serve one thread

/// Whole numbers in [low, high].
class Between {
  public:
    explicit Between(std::uint64_t seed) : random_(seed) {}
    std::int64_t operator()(std::int64_t low, std::int64_t high) {
        return low + static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(high - low + 1));
    }

  private:
    std::mt19937_64 random_;
};

/// The most bytes of Matrix objects beside those before.
template <class Body>
std::int64_t taken_by(Body&& body) {
    reset_memory_peak();
    const std::int64_t before = memory_use().current;
    body();
    return memory_use().peak - before;
}

/// The budget in bytes that a refusal names behind `word`, in whole MiB.
inline std::int64_t least_named(const std::string& text, const std::string& word = "takes ") {
    return std::stoll(text.substr(text.find(word) + word.size())) * mib;
}

}  // namespace fntk::test

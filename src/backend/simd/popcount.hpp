// Bits that two rows have in common, compiled for every instruction set and chosen at run time.
#pragma once

#include <cstdint>

namespace fntk::backend {

/// counts[j] = popcount(a & rows[j·stride ...]) over `words` words, for `count` rows.
void and_popcounts(const std::uint64_t* a, const std::uint64_t* rows, std::int64_t stride,
                   std::int64_t words, std::int64_t count, std::int32_t* counts);

}  // namespace fntk::backend

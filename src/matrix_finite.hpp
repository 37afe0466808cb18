// Where an entry is not finite.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace fntk {

/// The first column of a row of reals that holds NaN or infinity; −1: there is none.
template <class T>
std::int64_t first_not_finite(const T* row, std::int64_t cols) {
    bool finite = true;  // no early exit: the loop runs in vector registers
    for (std::int64_t j = 0; j < cols; ++j) finite &= std::abs(row[j]) <= std::numeric_limits<T>::max();
    if (finite) return -1;
    return std::find_if_not(row, row + cols, [](T x) { return std::isfinite(x); }) - row;
}

}  // namespace fntk

// f of a network at all rows of a batch, in blocks: what is scored after training, and predicted.
#pragma once

#include <fntk/fntk.hpp>

namespace fntk::cli {

/// n × k in host memory, in the network's precision, `block` rows at a time. `progress` is told after each.
/// Throws Cancelled.
Matrix values_of(const Device& device, const Network& network, ConstMatrixView inputs, std::int64_t block,
                 const Progress& progress = {});

/// The most rows at a time, 1024 to 16, with which values_of takes at most `budget` bytes, the result
/// included; 0: no limit. Throws MemoryError.
std::int64_t values_block(const Network& network, std::int64_t rows, std::int64_t budget);

}  // namespace fntk::cli

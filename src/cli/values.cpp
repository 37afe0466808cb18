#include "values.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace fntk::cli {

Matrix values_of(const Device& device, const Network& network, ConstMatrixView inputs, std::int64_t block,
                 const Progress& progress) {
    Matrix result(inputs.rows, network.spec().outputs, network.spec().precision);
    for (std::int64_t i = 0; i < inputs.rows; i += block) {
        const std::int64_t count = std::min(block, inputs.rows - i);
        const Tangent at = tangent(device, network, inputs.row_block(i, count), {.only_these = true});
        const Staged values = device.on_host(at.values());
        for (std::int64_t r = 0; r < count; ++r)
            std::copy_n(values.view().row_block(r, 1).data, result.bytes() / inputs.rows,
                        result.view().row_block(i + r, 1).data);
        if (progress && !progress(static_cast<double>(i + count) / static_cast<double>(inputs.rows)))
            throw Cancelled("interrupted");
    }
    return result;
}

std::int64_t values_block(const Network& network, std::int64_t rows, std::int64_t budget) {
    const KernelFunction function = KernelFunction::of_network(network);
    const std::int64_t outputs = network.spec().outputs,
                       result =
                           rows * outputs * static_cast<std::int64_t>(size_of(network.spec().precision));
    for (std::int64_t block = 1024;; block /= 2) {
        const std::int64_t bytes = result + batch_bytes(function, block) + 24 * outputs * block;
        if (budget == 0 || bytes <= budget) return std::min(block, std::max<std::int64_t>(rows, 1));
        if (block == 16)
            throw MemoryError(fmt::format("memory = {} MiB: 16 rows at a time take {} MiB; allow more",
                                          budget >> 20, (bytes >> 20) + 1));
    }
}

}  // namespace fntk::cli

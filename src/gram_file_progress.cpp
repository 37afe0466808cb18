#include "gram_file_progress.hpp"

#include "atomic_file.hpp"
#include "binary.hpp"
#include "io_json.hpp"
#include "kernel_json.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

#include <fmt/format.h>
#include <zlib.h>

#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <fstream>

namespace fntk {
namespace {

constexpr const char* progress_format = "fntk-gram-progress 1";

std::string record(std::int64_t tile, std::uint32_t crc) {
    const std::string text = fmt::format("{} {:08x}", tile, crc);
    return fmt::format("{} {:08x}", text, checksum(text.data(), text.size()));
}

/// Of the elements, whatever the stride and wherever they lie; a part of about 1 MiB at a time.
std::uint32_t matrix_checksum(const Device& device, ConstMatrixView matrix, std::uint32_t before = 0) {
    const std::size_t row_bytes = static_cast<std::size_t>(matrix.cols) * size_of(matrix.dtype);
    const std::int64_t block = std::max<std::int64_t>(
        1, (1 << 20) / std::max<std::int64_t>(1, static_cast<std::int64_t>(row_bytes)));
    for (std::int64_t i = 0; i < matrix.rows && matrix.cols > 0; i += block) {
        const Staged part = device.on_host(matrix.row_block(i, std::min(block, matrix.rows - i)));
        for (std::int64_t r = 0; r < part.view().rows; ++r)
            before = checksum(part.view().row_block(r, 1).data, row_bytes, before);
    }
    return before;
}

/// U, and V and A where values stand for the seed.
std::uint32_t factors_checksum(const Device& device, const Network& network) {
    const FixedPoint u = network.fixed_down();
    std::uint32_t crc = 0;
    for (const ConstMatrixView part : {ConstMatrixView(u.digits), ConstMatrixView(u.exponent),
                                       network.up().values, network.readout().values})
        crc = matrix_checksum(device, part, crc);
    return crc;
}

}  // namespace

std::uint32_t checksum(const void* data, std::size_t bytes, std::uint32_t before) {
    return static_cast<std::uint32_t>(::crc32_z(before, static_cast<const Bytef*>(data), bytes));
}

Fingerprint gram_fingerprint(const KernelBatch& rows, const KernelBatch& cols, DType dtype,
                             std::int64_t tile) {
    const KernelFunction& function = rows.function();
    const bool symmetric = &rows == &cols;
    Fingerprint kernel = kernel_to_json(function);
    if (!function.is_limit()) {
        kernel["spec"] = Fingerprint::parse(kernel["spec"].get<std::string>());
        kernel["factors"] = factors_checksum(rows.device(), rows.tangent().network());
    }
    return {{"format", progress_format},
            {"rows", rows.rows()},
            {"cols", cols.rows()},
            {"symmetric", symmetric},
            {"dtype", name(dtype)},
            {"tile", tile},
            {"inputs", matrix_checksum(rows.device(), rows.inputs())},
            {"others", symmetric ? 0 : matrix_checksum(cols.device(), cols.inputs())},
            {"kernel", kernel},
            {"scheme", random_scheme}};
}

std::int64_t GramProgress::Content::tile() const {
    const auto found = fingerprint.find("tile");
    return found != fingerprint.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

std::optional<GramProgress::Content> GramProgress::read() const {
    std::ifstream file(path_, std::ios::binary);
    if (!file) {
        if (::access(path_.c_str(), F_OK) != 0) return std::nullopt;
        throw IoError(fmt::format("{}: cannot be read; check its permissions", path_));
    }
    std::string line;
    std::getline(file, line);
    Content content{detail::parse_json<Fingerprint>(line)};
    const auto format = content.fingerprint.find("format");  // the end where it is no object
    if (format == content.fingerprint.end() || *format != progress_format || content.tile() < 1)
        throw IoError(fmt::format(
            "{}: it is no progress file of this version of fntk; start anew without resuming", path_));
    while (std::getline(file, line)) {
        std::int64_t tile = 0;
        std::uint32_t crc = 0;
        if (std::sscanf(line.c_str(), "%" SCNd64 " %8" SCNx32, &tile, &crc) == 2 &&
            line == record(tile, crc))
            content.tiles[tile] = crc;
    }
    return content;
}

void GramProgress::expect_same(const Fingerprint& found, const Fingerprint& wanted) const {
    const Fingerprint before = found.flatten(), now = wanted.flatten();
    for (const auto& [key, value] : now.items()) {
        const auto other = before.find(key);
        if (other == before.end() || *other != value)
            throw ValueError(fmt::format(
                "{}: it was begun with {} = {}, this run has {}; resume with what it was begun with, or "
                "start anew "
                "without resuming",
                path_, key.substr(1), other == before.end() ? "nothing" : detail::printable(other->dump()),
                detail::printable(value.dump())));
    }
}

void GramProgress::begin(const Fingerprint& fingerprint) const {
    save_text(path_, fingerprint.dump() + "\n");
}

void GramProgress::append(const std::map<std::int64_t, std::uint32_t>& tiles) const {
    std::string text;
    for (const auto& [tile, crc] : tiles) text += record(tile, crc) + "\n";
    append(text);
}

void GramProgress::append(const std::string& text) const {
    std::ofstream file(path_, std::ios::binary | std::ios::app);
    file << text << std::flush;
    if (!file) detail::refuse_write(path_, "be written", errno);
}

void GramProgress::remove() const { ::unlink(path_.c_str()); }

}  // namespace fntk

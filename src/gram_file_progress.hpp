// PATH.progress: what is done of a Gram file. The first line is a JSON object that says which matrix it is;
// each other line one finished tile: its number, the CRC-32 of its bytes, and that of these two words.
#pragma once

#include <fntk/gram_file.hpp>

#include <nlohmann/json.hpp>

#include <map>

namespace fntk {

using Fingerprint = nlohmann::ordered_json;

/// CRC-32 of the bytes behind those whose checksum is `before`.
std::uint32_t checksum(const void* data, std::size_t bytes, std::uint32_t before = 0);

/// All that the bytes of the matrix follow from, but for the device: extents, type, tile, checksums of
/// inputs and stored factors, the kernel.
Fingerprint gram_fingerprint(const KernelBatch& rows, const KernelBatch& cols, DType dtype,
                             std::int64_t tile);

class GramProgress {
  public:
    /// Nothing is read or written yet.
    explicit GramProgress(std::string path) : path_(std::move(path)) {}

    struct Content {
        Fingerprint fingerprint{};
        std::map<std::int64_t, std::uint32_t> tiles{};  // number → checksum
        /// The tile that the matrix was begun with.
        [[nodiscard]] std::int64_t tile() const;
    };
    /// Nothing where there is no file. A line that is not whole is no record. Throws IoError when the first
    /// line is not that of a progress file.
    [[nodiscard]] std::optional<Content> read() const;
    /// Throws ValueError that names the first difference.
    void expect_same(const Fingerprint& found, const Fingerprint& wanted) const;
    /// A new file without records.
    void begin(const Fingerprint& fingerprint) const;
    /// Ends the line that a killed run may have left torn.
    void go_on() const { append("\n"); }
    void append(const std::map<std::int64_t, std::uint32_t>& tiles) const;
    void remove() const;

  private:
    void append(const std::string& text) const;

    std::string path_;
};

}  // namespace fntk

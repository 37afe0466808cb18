// A file mapped read-only. Pages are read when they are touched, so opening costs nothing whatever the
// size; the file must not shrink while it is mapped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace fntk::detail {

/// Bytes of a regular file. Throws IoError when it is missing, unreachable, a directory or a stream.
std::int64_t regular_file_size(const std::string& path);

class MappedFile {
  public:
    /// Throws IoError.
    explicit MappedFile(const std::string& path);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] const std::byte* data() const { return data_; }
    [[nodiscard]] std::int64_t size() const { return size_; }
    [[nodiscard]] std::string_view text() const {
        return {reinterpret_cast<const char*>(data_), static_cast<std::size_t>(size_)};
    }

  private:
    std::string path_;
    const std::byte* data_ = nullptr;
    std::int64_t size_ = 0;
};

}  // namespace fntk::detail

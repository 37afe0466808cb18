// A file that stands under its name whole or not at all. Bytes go to `.<name>.<pid>.tmp` in the same
// folder; commit() syncs it, renames it over the target and syncs the folder. Without commit() the
// destructor removes it again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace fntk::detail {

/// The IoError of a file that cannot `action`, with the reason and the remedy.
[[noreturn]] void refuse_write(const std::string& path, const char* action, int error);
/// The file that `path` names behind links. Only a regular file may be replaced: renaming over /dev/null
/// would be a disaster, over a directory it fails. Throws IoError.
std::string writable_target(const std::string& path);
/// Takes blocks for so many bytes of an open file from the disk, beyond its end too. Throws IoError with
/// the bytes needed and free.
void allocate(int file, const std::string& path, std::int64_t bytes);
/// Renames `from` over `target`, which `path` names in messages, so that it lasts through a power cut.
/// Throws IoError.
void take_name(const std::string& path, const std::string& from, const std::string& target);

class AtomicFile {
  public:
    /// Opens the temporary file, so that a target that cannot be written is known before the work for it
    /// begins: a directory, a device, a missing or read-only folder. A link is followed. Throws IoError, as
    /// all members do.
    explicit AtomicFile(const std::string& path);
    ~AtomicFile();
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    void write(const void* data, std::size_t bytes);
    void write(std::string_view text) { write(text.data(), text.size()); }
    void allocate(std::int64_t bytes);
    void commit();
    /// Gives up the name and hands over the open file, which is gone when it is closed.
    [[nodiscard]] int without_name();

  private:
    void write_through(const char* data, std::size_t bytes);

    std::string path_;       // as the caller wrote it, for messages
    std::string target_;     // path_ behind links
    std::string temporary_;  // empty once committed
    std::string buffer_;     // small writes are gathered here
    int file_ = -1;
};

}  // namespace fntk::detail

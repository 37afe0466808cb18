// A file of known size, written in any order and over several runs. Until commit() it stands under
// PATH.partial, with all of its blocks taken from the disk before the work begins, and is locked against a
// second process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace fntk::detail {

class PartialFile {
  public:
    /// Opens PATH.partial, which is made where it is missing; what it holds stays. Throws IoError, as all
    /// members do: for a target that cannot be written, and when another process holds the file.
    explicit PartialFile(const std::string& path);
    /// Removes a file that was empty or cleared, unless it was kept, committed or replaced by another.
    ~PartialFile();
    PartialFile(const PartialFile&) = delete;
    PartialFile& operator=(const PartialFile&) = delete;

    /// PATH behind links.
    [[nodiscard]] const std::string& target() const { return target_; }
    void clear();
    /// Gives the file its size, zeros where nothing was written. A full disk is known here: the error names
    /// the bytes needed and free.
    void allocate(std::int64_t bytes);
    void write(std::int64_t offset, const void* data, std::size_t bytes);
    void read(std::int64_t offset, void* data, std::size_t bytes) const;
    /// Returns when what was written is on the disk.
    void sync();
    /// Syncs it and gives it its final name, unless another file stands under its name now: IoError.
    void commit();
    /// What it holds is worth going on with.
    void keep() { worthless_ = false; }

  private:
    /// Whether the file, opened and locked, still is the one under its name.
    [[nodiscard]] bool in_place() const;
    void close();

    std::string path_;  // as the caller wrote it, for messages
    std::string target_, partial_;
    int file_ = -1;
    bool worthless_ = false;
};

}  // namespace fntk::detail

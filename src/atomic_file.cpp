#include "atomic_file.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

namespace fntk::detail {
namespace {

constexpr std::size_t buffer_bytes = std::size_t{1} << 20;

const char* remedy(int error) {
    switch (error) {
        case ENOENT:
            return "create its folder first";
        case ENOTDIR:
            return "a part of the path is a file: choose another folder";
        case EACCES:
        case EPERM:
        case EROFS:
            return "choose a folder you may write to";
        case ENOSPC:
        case EDQUOT:
            return "free some space or choose another disk";
        default:
            return "choose another path";
    }
}

[[noreturn]] void fail(const std::string& path, const char* action, int error) {
    throw IoError(fmt::format("{}: cannot {}: {}; {}", path, action, std::generic_category().message(error),
                              remedy(error)));
}

/// The file that `path` names behind links. Only a regular file may be replaced: renaming over /dev/null
/// would be a disaster, over a directory it fails.
std::string resolve(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) {
        if (errno != ENOENT) fail(path, "be written", errno);
        return path;
    }
    if (!S_ISREG(status.st_mode))
        throw IoError(fmt::format("{}: cannot be written: it is {}; name a file", path,
                                  S_ISDIR(status.st_mode) ? "a directory" : "a device or a stream"));
    std::error_code error;
    const auto target = std::filesystem::canonical(path, error);
    if (error) fail(path, "be written", error.value());
    return target.string();
}

/// Makes the rename last through a power cut. Some file systems cannot sync a folder; there it is left to
/// them.
void sync_folder(const std::string& path, const std::string& folder) {
    const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0) return;
    const int error = ::fsync(file) == 0 ? 0 : errno;
    ::close(file);
    if (error != 0 && error != EINVAL && error != ENOTSUP) fail(path, "sync its folder", error);
}

std::string folder_of(const std::string& target) {
    const auto folder = std::filesystem::path(target).parent_path();
    return folder.empty() ? "." : folder.string();
}

}  // namespace

AtomicFile::AtomicFile(const std::string& path) : path_(path), target_(resolve(path)) {
    const std::string name = std::filesystem::path(target_).filename().string();
    if (name.empty())
        throw IoError(fmt::format("'{}': cannot be written: it ends in no file name; add one", path));
    // The plain name is taken when another thread writes the same target, or a killed process had the same
    // id.
    constexpr int attempts = 100;
    for (int i = 0; file_ < 0; ++i) {
        const std::string suffix = i == 0 ? "" : fmt::format("-{}", i);
        temporary_ = fmt::format("{}/.{}.{}{}.tmp", folder_of(target_), name, ::getpid(), suffix);
        file_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file_ < 0 && (errno != EEXIST || i == attempts)) fail(path_, "be written", errno);
    }
}

AtomicFile::~AtomicFile() {
    if (file_ >= 0) ::close(file_);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, std::size_t bytes) {
    const auto* text = static_cast<const char*>(data);
    if (buffer_.size() + bytes > buffer_bytes) {
        write_through(buffer_.data(), buffer_.size());
        buffer_.clear();
    }
    if (bytes >= buffer_bytes)
        write_through(text, bytes);
    else if (bytes > 0)
        buffer_.append(text, bytes);
}

void AtomicFile::write_through(const char* data, std::size_t bytes) {
    while (bytes > 0) {
        const ssize_t written = ::write(file_, data, bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail(path_, "be written", errno);
        data += written;
        bytes -= static_cast<std::size_t>(written);
    }
}

void AtomicFile::commit() {
    write_through(buffer_.data(), buffer_.size());
    buffer_.clear();
    if (::fsync(file_) != 0) fail(path_, "be synced", errno);
    const int closed = ::close(file_);
    file_ = -1;
    if (closed != 0) fail(path_, "be written", errno);
    if (std::rename(temporary_.c_str(), target_.c_str()) != 0) fail(path_, "take its final name", errno);
    temporary_.clear();
    sync_folder(path_, folder_of(target_));
}

}  // namespace fntk::detail

namespace fntk {

void save_text(const std::string& path, const std::string& text) {
    detail::AtomicFile file(path);
    file.write(text);
    file.commit();
}

}  // namespace fntk

#include "atomic_file.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

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

std::string folder_of(const std::string& target) {
    const auto folder = std::filesystem::path(target).parent_path();
    return folder.empty() ? "." : folder.string();
}

}  // namespace

void refuse_write(const std::string& path, const char* action, int error) {
    throw IoError(fmt::format("{}: cannot {}: {}; {}", path, action, std::generic_category().message(error),
                              remedy(error)));
}

std::string writable_target(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) {
        if (errno != ENOENT) refuse_write(path, "be written", errno);
        if (!std::filesystem::path(path).has_filename())
            throw IoError(fmt::format("'{}': cannot be written: it ends in no file name; add one", path));
        return path;
    }
    if (!S_ISREG(status.st_mode))
        throw IoError(fmt::format("{}: cannot be written: it is {}; name a file", path,
                                  S_ISDIR(status.st_mode) ? "a directory" : "a device or a stream"));
    std::error_code error;
    const auto target = std::filesystem::canonical(path, error);
    if (error) refuse_write(path, "be written", error.value());
    return target.string();
}

void allocate(int file, const std::string& path, std::int64_t bytes) {
    int error = 0;
    do {
        error = bytes > 0 ? ::posix_fallocate(file, 0, bytes) : 0;
    } while (error == EINTR);
    if (error == 0) return;
    struct statvfs disk {};
    const std::uint64_t free =
        ::fstatvfs(file, &disk) == 0 ? std::uint64_t{disk.f_bavail} * disk.f_frsize : 0;
    throw IoError(fmt::format(
        "{}: cannot be written: {}; it needs {} bytes, {} are free: free some space, choose another "
        "disk, or use fewer samples",
        path, std::generic_category().message(error), bytes, free));
}

void take_name(const std::string& path, const std::string& from, const std::string& target) {
    if (std::rename(from.c_str(), target.c_str()) != 0) refuse_write(path, "take its final name", errno);
    const int folder = ::open(folder_of(target).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return;  // some file systems cannot sync a folder; there it is left to them
    const int error = ::fsync(folder) == 0 ? 0 : errno;
    ::close(folder);
    if (error != 0 && error != EINVAL && error != ENOTSUP) refuse_write(path, "sync its folder", error);
}

AtomicFile::AtomicFile(const std::string& path) : path_(path), target_(writable_target(path)) {
    const std::string name = std::filesystem::path(target_).filename().string();
    // The plain name is taken when another thread writes the same target, or a killed process had the same
    // id.
    constexpr int attempts = 100;
    for (int i = 0; file_ < 0; ++i) {
        const std::string suffix = i == 0 ? "" : fmt::format("-{}", i);
        temporary_ = fmt::format("{}/.{}.{}{}.tmp", folder_of(target_), name, ::getpid(), suffix);
        file_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file_ < 0 && (errno != EEXIST || i == attempts)) refuse_write(path_, "be written", errno);
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
        if (written < 0) refuse_write(path_, "be written", errno);
        data += written;
        bytes -= static_cast<std::size_t>(written);
    }
}

void AtomicFile::allocate(std::int64_t bytes) { detail::allocate(file_, path_, bytes); }

void AtomicFile::commit() {
    write_through(buffer_.data(), buffer_.size());
    buffer_.clear();
    if (::fsync(file_) != 0) refuse_write(path_, "be synced", errno);
    const int closed = ::close(file_);
    file_ = -1;
    if (closed != 0) refuse_write(path_, "be written", errno);
    take_name(path_, temporary_, target_);
    temporary_.clear();
}

int AtomicFile::without_name() {
    ::unlink(temporary_.c_str());
    temporary_.clear();
    return std::exchange(file_, -1);
}

}  // namespace fntk::detail

namespace fntk {

FileReservation::FileReservation(const std::string& path, std::int64_t bytes) {
    detail::AtomicFile file(path);
    file.allocate(bytes);
    file_ = file.without_name();
}

FileReservation::~FileReservation() {
    if (file_ >= 0) ::close(file_);
}

void save_text(const std::string& path, const std::string& text) {
    detail::AtomicFile file(path);
    file.write(text);
    file.commit();
}

}  // namespace fntk

#include "partial_file.hpp"

#include "atomic_file.hpp"

#include <fntk/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <system_error>

namespace fntk::detail {

PartialFile::PartialFile(const std::string& path)
    : path_(path), target_(writable_target(path)), partial_(target_ + ".partial") {
    // A run that ended between our open and our lock gave the file its final name: open another one.
    do {
        close();
        file_ = ::open(partial_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (file_ < 0) refuse_write(path_, "be written", errno);
        if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
            const int error = errno;
            close();
            if (error != EWOULDBLOCK) refuse_write(path_, "be locked", error);
            throw IoError(fmt::format(
                "{}: cannot be written: another process is writing it; wait for it, or choose another path",
                path_));
        }
    } while (!in_place());
    struct stat status {};
    worthless_ = ::fstat(file_, &status) == 0 && status.st_size == 0;
}

PartialFile::~PartialFile() {
    if (worthless_ && in_place()) ::unlink(partial_.c_str());
    close();
}

void PartialFile::close() {
    if (file_ >= 0) ::close(file_);
    file_ = -1;
}

bool PartialFile::in_place() const {
    struct stat opened {
    }, named{};
    return ::fstat(file_, &opened) == 0 && ::stat(partial_.c_str(), &named) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

void PartialFile::clear() {
    worthless_ = true;
    if (::ftruncate(file_, 0) != 0) refuse_write(path_, "be written", errno);
}

void PartialFile::allocate(std::int64_t bytes) {
    detail::allocate(file_, path_, bytes);
    if (::ftruncate(file_, bytes) != 0) refuse_write(path_, "be written", errno);  // it was longer
}

void PartialFile::write(std::int64_t offset, const void* data, std::size_t bytes) {
    const auto* from = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t written = ::pwrite(file_, from, bytes, offset);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) refuse_write(path_, "be written", errno);
        from += written;
        offset += written;
        bytes -= static_cast<std::size_t>(written);
    }
}

void PartialFile::read(std::int64_t offset, void* data, std::size_t bytes) const {
    auto* to = static_cast<char*>(data);
    while (bytes > 0) {
        const ssize_t count = ::pread(file_, to, bytes, offset);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0)
            throw IoError(fmt::format(
                "{}: cannot be read: {}; start anew without resuming", partial_,
                count < 0 ? std::generic_category().message(errno) : "it ends before its size"));
        to += count;
        offset += count;
        bytes -= static_cast<std::size_t>(count);
    }
}

void PartialFile::sync() {
    if (::fdatasync(file_) != 0) refuse_write(path_, "be synced", errno);
}

void PartialFile::commit() {
    if (::fsync(file_) != 0) refuse_write(path_, "be synced", errno);
    if (!in_place())
        throw IoError(
            fmt::format("{}: cannot take its final name: {} was replaced or removed meanwhile; "
                        "what stands there is left as it is: move it away and start anew",
                        path_, partial_));
    worthless_ = false;
    take_name(path_, partial_, target_);  // under the lock
    close();
}

}  // namespace fntk::detail

#include "mapped_file.hpp"

#include <fntk/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <system_error>

namespace fntk::detail {
namespace {

[[noreturn]] void fail(const std::string& path, int error) {
    const bool absent = error == ENOENT || error == ENOTDIR;
    throw IoError(fmt::format("{}: cannot be read: {}; {}", path, std::generic_category().message(error),
                              absent ? "check the path" : "check the file and its permissions"));
}

}  // namespace

std::int64_t regular_file_size(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) fail(path, errno);
    if (!S_ISREG(status.st_mode))
        throw IoError(fmt::format("{}: cannot be read: it is {}; name a regular file", path,
                                  S_ISDIR(status.st_mode) ? "a directory" : "a device or a stream"));
    return status.st_size;
}

MappedFile::MappedFile(const std::string& path) : path_(path), size_(regular_file_size(path)) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) fail(path, errno);
    void* memory = nullptr;
    int error = 0;
    if (size_ > 0) {  // an empty file has nothing to map
        memory = ::mmap(nullptr, static_cast<std::size_t>(size_), PROT_READ, MAP_PRIVATE, file, 0);
        if (memory == MAP_FAILED) error = errno;
    }
    ::close(file);
    if (error != 0) fail(path, error);
    data_ = static_cast<const std::byte*>(memory);
}

MappedFile::~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), static_cast<std::size_t>(size_));
}

}  // namespace fntk::detail

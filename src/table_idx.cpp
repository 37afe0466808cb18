#include "binary.hpp"
#include "mapped_file.hpp"
#include "table.hpp"

#include <fntk/error.hpp>

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

namespace fntk::detail {
namespace {

using Bytes = std::vector<std::byte>;

/// The bytes of a file, through gzip when it is compressed.
class Reader {
  public:
    explicit Reader(const std::string& path) : path_(path), file_size_(regular_file_size(path)) {
        file_ = ::gzopen(path.c_str(), "rb");
        if (file_ == nullptr)
            throw IoError(fmt::format("{}: cannot be opened; check its permissions", path));
    }
    ~Reader() { ::gzclose(file_); }
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    /// Exactly `count` bytes. Memory grows with what is really there, not with what a header claims.
    Bytes take(std::int64_t count) {
        if (::gzdirect(file_) != 0 && count > file_size_ - taken_) truncated(count, file_size_ - taken_);
        Bytes bytes;
        while (std::ssize(bytes) < count) {
            const std::size_t have = bytes.size();
            const auto chunk =
                static_cast<std::size_t>(std::min(count - std::ssize(bytes), std::int64_t{1} << 24));
            bytes.resize(have + chunk);
            const std::size_t got = read(bytes.data() + have, chunk);
            if (got < chunk) truncated(count, static_cast<std::int64_t>(have + got));
        }
        taken_ += count;
        return bytes;
    }

    /// Throws unless the file ends here; gzip's checksum is compared on the way.
    void expect_end() {
        std::byte extra{};
        if (read(&extra, 1) != 0)
            throw IoError(fmt::format(
                "{}: bytes follow its data; its header or its end is wrong: download it again", path_));
    }

  private:
    std::size_t read(std::byte* out, std::size_t bytes) {
        const int got = ::gzread(file_, out, static_cast<unsigned>(bytes));
        int code = Z_OK;
        ::gzerror(file_, &code);
        if (got < 0 || (code != Z_OK && code != Z_STREAM_END))
            throw IoError(fmt::format("{}: {}; download it again", path_,
                                      code == Z_BUF_ERROR ? "truncated: its compressed data ends too early"
                                      : code == Z_ERRNO   ? "it cannot be read to its end"
                                                          : "damaged: its compressed data is wrong"));
        return static_cast<std::size_t>(got);
    }
    [[noreturn]] void truncated(std::int64_t wanted, std::int64_t have) const {
        throw IoError(
            fmt::format("{}: truncated: {} bytes expected after byte {}, {} found; download it again",
                        path_, wanted, taken_, have));
    }

    std::string path_;
    std::int64_t file_size_;
    gzFile file_ = nullptr;
    std::int64_t taken_ = 0;
};

template <class T>
void read_big_endian(const Bytes& bytes, std::int64_t first, std::int64_t count, double* out) {
    const std::byte* in = bytes.data() + first * static_cast<std::int64_t>(sizeof(T));
    for (std::int64_t j = 0; j < count; ++j, in += sizeof(T))
        out[j] = static_cast<double>(load<T>(in, std::endian::big));
}

/// One element type of the format: its code in the third byte, its size, and how to read it.
struct Element {
    int code;
    std::size_t size;
    void (*read)(const Bytes&, std::int64_t first, std::int64_t count, double* out);
};
constexpr Element elements[] = {
    {0x08, 1, read_big_endian<std::uint8_t>}, {0x09, 1, read_big_endian<std::int8_t>},
    {0x0B, 2, read_big_endian<std::int16_t>}, {0x0C, 4, read_big_endian<std::int32_t>},
    {0x0D, 4, read_big_endian<float>},        {0x0E, 8, read_big_endian<double>},
};

}  // namespace

Table idx_table(const std::string& path, Content content, std::int64_t max_rows) {
    Reader file(path);
    const Bytes start = file.take(4);
    const auto code = std::to_integer<int>(start[2]);
    const auto dimensions = std::to_integer<std::size_t>(start[3]);
    const auto* const element = std::ranges::find(elements, code, &Element::code);
    if (start[0] != std::byte{0} || start[1] != std::byte{0} || element == std::end(elements) ||
        dimensions == 0)
        throw IoError(fmt::format(
            "{}: no idx file: it begins with {:02x} {:02x} {:02x} {:02x}, expected 00 00, a type "
            "08 to 0e and a number of dimensions; check the file",
            path, std::to_integer<int>(start[0]), std::to_integer<int>(start[1]), code, dimensions));

    const Bytes extents = file.take(static_cast<std::int64_t>(4 * dimensions));
    std::vector<std::int64_t> shape;
    for (std::size_t i = 0; i < dimensions; ++i)
        shape.push_back(load<std::uint32_t>(extents.data() + 4 * i, std::endian::big));
    const auto row_bytes = byte_count(std::span(shape).subspan(1), element->size);
    if (!row_bytes || !byte_count(shape, element->size))
        throw IoError(fmt::format("{}: its extents multiply beyond 2^63 bytes; download it again", path));

    Table table;
    table.path = path;
    table.rows = shape[0];
    table.cols = *row_bytes / static_cast<std::int64_t>(element->size);
    const std::int64_t wanted = max_rows > 0 ? std::min(max_rows, table.rows) : table.rows;
    auto bytes = std::make_shared<const Bytes>(file.take(wanted * *row_bytes));
    if (wanted == table.rows) file.expect_end();
    const double unit = content == Content::inputs && code == 0x08 ? 255 : 1;
    table.read = [bytes, unit, read = element->read, cols = table.cols](std::int64_t row, double* out) {
        read(*bytes, row * cols, cols, out);
        for (std::int64_t j = 0; j < cols; ++j) out[j] /= unit;
    };
    return table;
}

}  // namespace fntk::detail

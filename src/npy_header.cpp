#include "binary.hpp"
#include "npy.hpp"

#include <fntk/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <string_view>
#include <system_error>
#include <vector>

namespace fntk::detail {
namespace {

constexpr std::string_view magic = "\x93NUMPY";
constexpr std::string_view blanks = " \t\n";

[[noreturn]] void malformed(const std::string& path, std::string_view what) {
    throw IoError(fmt::format("{}: malformed .npy file: {}; write it again with numpy.save", path, what));
}

std::string_view trim(std::string_view text) {
    const auto first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

/// Length of the value at the front of `text`: up to the comma of its own level.
std::size_t value_length(std::string_view text) {
    int depth = 0;
    char quote = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quote != 0) {
            if (c == quote) quote = 0;
        } else if (c == '\'' || c == '"') {
            quote = c;
        } else if (c == '(' || c == '[' || c == '{') {
            ++depth;
        } else if (c == ')' || c == ']' || c == '}') {
            --depth;
        } else if (c == ',' && depth == 0) {
            return i;
        }
    }
    return text.size();
}

/// {'key': value, ...} with the values left as text.
std::map<std::string_view, std::string_view> parse_dict(std::string_view text, const std::string& path) {
    text = trim(text);
    if (text.size() < 2 || text.front() != '{' || text.back() != '}')
        malformed(path, "its header is no dict");
    text = trim(text.substr(1, text.size() - 2));
    std::map<std::string_view, std::string_view> fields;
    while (!text.empty()) {
        const auto end = text.find(text.front(), 1);
        const bool quoted = (text.front() == '\'' || text.front() == '"') && end != std::string_view::npos;
        const std::string_view rest = quoted ? trim(text.substr(end + 1)) : std::string_view{};
        if (rest.empty() || rest.front() != ':') malformed(path, "its header is no dict of named fields");
        const std::string_view value = rest.substr(1);
        const std::size_t length = value_length(value);
        if (!fields.emplace(text.substr(1, end - 1), trim(value.substr(0, length))).second)
            malformed(path, "its header names a field twice");
        text = length < value.size() ? trim(value.substr(length + 1)) : std::string_view{};
    }
    return fields;
}

std::string_view field(const std::map<std::string_view, std::string_view>& fields, std::string_view key,
                       const std::string& path) {
    const auto found = fields.find(key);
    if (found == fields.end()) malformed(path, fmt::format("its header lacks '{}'", key));
    return found->second;
}

/// "(3, 4)", "(3,)"; Python 2 wrote 3L.
std::vector<std::int64_t> parse_shape(std::string_view text, const std::string& path) {
    if (text.size() < 2 || text.front() != '(' || text.back() != ')')
        malformed(path, "its shape is no tuple");
    std::vector<std::int64_t> shape;
    text = trim(text.substr(1, text.size() - 2));
    while (!text.empty()) {
        const std::size_t length = value_length(text);
        std::string_view number = trim(text.substr(0, length));
        if (number.ends_with('L')) number.remove_suffix(1);
        std::int64_t extent = -1;
        const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), extent);
        if (error != std::errc{} || end != number.data() + number.size() || extent < 0)
            malformed(path, "its shape holds something other than a number from 0 to 2^63 - 1");
        shape.push_back(extent);
        text = length < text.size() ? trim(text.substr(length + 1)) : std::string_view{};
    }
    return shape;
}

/// '<f4' → kind and item of the array.
void parse_descr(std::string_view text, NpyArray& array, const std::string& path) {
    constexpr std::array<std::string_view, 12> known{"|b1", "|i1", "|u1", "<i2", "<u2", "<f2",
                                                     "<i4", "<u4", "<f4", "<i8", "<u8", "<f8"};
    if (text.size() >= 2 && text.front() == text.back()) text = text.substr(1, text.size() - 2);
    if (text.starts_with('>'))
        throw ValueError(fmt::format("{}: its element type {} is big-endian; save x.astype('<{}') instead",
                                     path, printable(text), printable(text.substr(1))));
    if (std::ranges::find(known, text) == known.end())
        throw ValueError(
            fmt::format("{}: its element type {} is not supported; save x.astype('<f4') or "
                        "x.astype('<f8') instead",
                        path, printable(text)));
    array.kind = text[1] == 'b' ? 'u' : text[1];
    array.item = text[2] - '0';
}

}  // namespace

NpyArray read_npy(const MappedFile& file) {
    const std::string& path = file.path();
    if (!file.text().starts_with(magic)) malformed(path, "it does not begin with the magic \\x93NUMPY");
    const auto need = [&](std::int64_t bytes) {
        if (file.size() < bytes)
            malformed(path, fmt::format("truncated, its header reaches to byte {}, the file has {}", bytes,
                                        file.size()));
    };
    need(10);
    const auto version = std::to_integer<int>(file.data()[6]);
    if (version < 1 || version > 3)
        malformed(path, fmt::format("its version is {}, known are 1 to 3", version));
    const std::int64_t begin = version == 1 ? 10 : 12;
    need(begin);
    const std::int64_t length = version == 1 ? std::int64_t{load<std::uint16_t>(file.data() + 8)}
                                             : load<std::uint32_t>(file.data() + 8);
    need(begin + length);

    const auto fields = parse_dict(
        file.text().substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(length)), path);
    const std::vector<std::int64_t> shape = parse_shape(field(fields, "shape", path), path);
    const std::string_view fortran = field(fields, "fortran_order", path);
    NpyArray array;
    parse_descr(field(fields, "descr", path), array, path);
    if (fortran != "True" && fortran != "False")
        malformed(path, "its fortran_order is neither True nor False");
    if (shape.empty() || shape.size() > 2)
        throw ValueError(
            fmt::format("{}: it has {} dimensions, a matrix has 1 or 2; reshape it to rows and columns",
                        path, shape.size()));
    const auto bytes = byte_count(shape, static_cast<std::size_t>(array.item));
    const std::int64_t have = file.size() - begin - length;
    if (!bytes) malformed(path, "its shape does not fit 64 bits");
    if (have < *bytes)
        malformed(path, fmt::format("truncated, its shape needs {} bytes of data, the file has {}", *bytes,
                                    have));
    if (have > *bytes) malformed(path, fmt::format("{} bytes follow its data", have - *bytes));
    array.rows = shape[0];
    array.cols = shape.size() == 2 ? shape[1] : 1;
    array.by_columns = fortran == "True";
    array.data = file.data() + begin + length;
    return array;
}

std::string npy_header(std::int64_t rows, std::int64_t cols, DType dtype) {
    const bool real = dtype == DType::f32 || dtype == DType::f64;
    std::string dict = fmt::format("{{'descr': '<{}{}', 'fortran_order': False, 'shape': ({}, {}), }}",
                                   real ? 'f' : 'i', size_of(dtype), rows, cols);
    dict.resize((magic.size() + 4 + dict.size() + 1 + 63) / 64 * 64 - magic.size() - 4 - 1, ' ');
    dict += '\n';
    std::string header(magic);
    header += {1, 0, static_cast<char>(dict.size() % 256), static_cast<char>(dict.size() / 256)};
    return header + dict;
}

}  // namespace fntk::detail

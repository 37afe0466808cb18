// Numbers inside the bytes of a file. The data of .npy and safetensors files is little-endian and used
// where it lies, so the library is for little-endian machines; what may be misaligned or big-endian is read
// through load().
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace fntk::detail {

static_assert(std::endian::native == std::endian::little,
              "fntk reads and writes little-endian files in place");

/// The T at `bytes`, which need not be aligned; `order` is the order in the file.
template <class T>
T load(const std::byte* bytes, std::endian order = std::endian::little) {
    std::byte raw[sizeof(T)];
    std::memcpy(raw, bytes, sizeof(T));
    if (order == std::endian::big) std::reverse(raw, raw + sizeof(T));
    T value;
    std::memcpy(&value, raw, sizeof(T));
    return value;
}

/// The product of the extents and the bytes of one element; nothing when one is negative or the product
/// leaves int64.
inline std::optional<std::int64_t> byte_count(std::span<const std::int64_t> shape, std::size_t element) {
    auto bytes = static_cast<std::int64_t>(element);
    for (const std::int64_t extent : shape)
        if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
    return bytes;
}

/// Text out of a file, fit for one line of an error message: short, without control characters.
inline std::string printable(std::string_view text) {
    constexpr std::size_t longest = 40;
    std::string result(text.substr(0, longest));
    for (char& c : result)
        if (c < ' ' || c > '~') c = '?';
    return text.size() > longest ? result + "..." : result;
}

}  // namespace fntk::detail

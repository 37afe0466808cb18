// safetensors: 8 bytes of header length N (little-endian), N bytes of JSON, then the data. The JSON maps
// each tensor to {"dtype", "shape", "data_offsets": [begin, end)}, counted from the start of the data, and
// "__metadata__" to strings. The tensors tile the data: no gap, no overlap, nothing behind the last one.
#include "atomic_file.hpp"
#include "binary.hpp"
#include "mapped_file.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <new>
#include <optional>
#include <string_view>

namespace fntk {
namespace {

using nlohmann::json;

constexpr std::int64_t longest_header = 100'000'000;  // the format's own limit
constexpr std::string_view metadata_key = "__metadata__";

struct Type {
    std::string_view name;
    std::size_t size;
    std::optional<DType> dtype;  // nothing when no matrix has it
};
constexpr std::array<Type, 15> types{{{"F32", 4, DType::f32},
                                      {"F64", 8, DType::f64},
                                      {"I32", 4, DType::i32},
                                      {"I64", 8, DType::i64},
                                      {"BOOL", 1, std::nullopt},
                                      {"U8", 1, std::nullopt},
                                      {"I8", 1, std::nullopt},
                                      {"F8_E4M3", 1, std::nullopt},
                                      {"F8_E5M2", 1, std::nullopt},
                                      {"I16", 2, std::nullopt},
                                      {"U16", 2, std::nullopt},
                                      {"F16", 2, std::nullopt},
                                      {"BF16", 2, std::nullopt},
                                      {"U32", 4, std::nullopt},
                                      {"U64", 8, std::nullopt}}};

const Type* find_type(std::string_view name) {
    const auto* const found = std::ranges::find(types, name, &Type::name);
    return found == types.end() ? nullptr : found;
}

[[noreturn]] void malformed(const std::string& path, const std::string& what) {
    throw IoError(fmt::format("{}: malformed safetensors file: {}; write it again", path, what));
}

/// A tensor as its header describes it.
struct Entry {
    std::string name;
    const Type* type = nullptr;
    std::vector<std::int64_t> shape;
    std::int64_t begin = 0, end = 0;
};

/// A JSON array of integers from 0 to 2^63 − 1.
std::vector<std::int64_t> parse_integers(const json& value, const std::string& path,
                                         const std::string& what) {
    std::vector<std::int64_t> result;
    if (!value.is_array()) malformed(path, what + " is no array");
    for (const json& element : value) {
        if (!element.is_number_unsigned() ||
            element.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()})
            malformed(path, what + " holds something other than an integer from 0 to 2^63 - 1");
        result.push_back(element.get<std::int64_t>());
    }
    return result;
}

Entry parse_entry(const std::string& name, const json& value, const std::string& path) {
    const std::string label = fmt::format("tensor '{}'", detail::printable(name));
    if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") ||
        !value.contains("data_offsets"))
        malformed(path, label + " lacks dtype, shape or data_offsets");
    if (!value["dtype"].is_string()) malformed(path, label + " has a dtype that is no string");
    Entry entry;
    entry.name = name;
    const auto dtype = value["dtype"].get<std::string>();
    entry.type = find_type(dtype);
    if (entry.type == nullptr)
        throw ValueError(
            fmt::format("{}: {} has dtype '{}', which is none of the format's known ones; convert it", path,
                        label, detail::printable(dtype)));
    entry.shape = parse_integers(value["shape"], path, "the shape of " + label);
    const auto offsets = parse_integers(value["data_offsets"], path, "data_offsets of " + label);
    if (offsets.size() != 2 || offsets[0] > offsets[1])
        malformed(path, "data_offsets of " + label + " are no begin and end");
    entry.begin = offsets[0];
    entry.end = offsets[1];
    const auto bytes = detail::byte_count(entry.shape, entry.type->size);
    if (!bytes || *bytes != entry.end - entry.begin)
        malformed(path, fmt::format("{} of shape [{}] and dtype {} does not fill its {} bytes", label,
                                    fmt::join(entry.shape, ", "), dtype, entry.end - entry.begin));
    return entry;
}

std::map<std::string, std::string> parse_metadata(const json& value, const std::string& path) {
    std::map<std::string, std::string> metadata;
    if (!value.is_object()) malformed(path, "__metadata__ is no object");
    for (const auto& [key, text] : value.items()) {
        if (!text.is_string())
            malformed(path, fmt::format("metadata '{}' is no string", detail::printable(key)));
        metadata[key] = text.get<std::string>();
    }
    return metadata;
}

/// Sorted by offset and checked to tile `data_bytes`.
void check_tiling(std::vector<Entry>& entries, std::int64_t data_bytes, const std::string& path) {
    std::ranges::sort(entries, {}, [](const Entry& entry) { return std::pair(entry.begin, entry.end); });
    std::int64_t covered = 0;
    for (const Entry& entry : entries) {
        if (entry.end > data_bytes)
            malformed(path,
                      fmt::format("truncated, tensor '{}' ends at byte {} of the data, the file has {}",
                                  detail::printable(entry.name), entry.end, data_bytes));
        if (entry.begin != covered)
            malformed(path,
                      fmt::format("tensor '{}' begins at byte {} of the data, the one before ends at {}",
                                  detail::printable(entry.name), entry.begin, covered));
        covered = entry.end;
    }
    if (covered != data_bytes)
        malformed(path, fmt::format("{} bytes follow its last tensor", data_bytes - covered));
}

}  // namespace

SafeTensors::SafeTensors(const std::string& path) : path_(path) {
    const detail::MappedFile file(path);
    if (file.size() < 8) malformed(path, fmt::format("truncated, it has {} bytes", file.size()));
    if (file.text().starts_with("\x93NUMPY"))
        throw IoError(fmt::format(
            "{}: this is a .npy file, not safetensors; give what fntk or a safetensors library wrote",
            path));
    const auto claimed = detail::load<std::uint64_t>(file.data());
    const std::int64_t room = std::min(file.size() - 8, longest_header);
    if (claimed > static_cast<std::uint64_t>(room))
        malformed(path,
                  fmt::format("truncated, its header claims {} bytes, at most {} are there or allowed",
                              claimed, room));
    const auto length = static_cast<std::int64_t>(claimed);
    const json header = json::parse(file.text().substr(8, claimed), nullptr, false);
    if (!header.is_object()) malformed(path, "its header is no JSON object");

    std::vector<Entry> entries;
    for (const auto& [name, value] : header.items()) {
        if (name == metadata_key)
            metadata_ = parse_metadata(value, path);
        else
            entries.push_back(parse_entry(name, value, path));
    }
    check_tiling(entries, file.size() - 8 - length, path);

    // In memory every tensor begins at a multiple of 16, which the file does not promise.
    const auto padded = [](const Entry& entry) {
        return static_cast<std::size_t>((entry.end - entry.begin + 15) / 16 * 16);
    };
    std::size_t total = 0;
    for (const Entry& entry : entries) total += padded(entry);
    try {
        bytes_.resize(total);
    } catch (const std::bad_alloc&) {
        throw MemoryError(fmt::format(
            "{}: its {} bytes of tensors do not fit in memory; use a smaller file", path, total));
    }
    std::size_t offset = 0;
    for (Entry& entry : entries) {
        std::copy(file.data() + 8 + length + entry.begin, file.data() + 8 + length + entry.end,
                  bytes_.data() + offset);
        tensors_[entry.name] = {std::string(entry.type->name), std::move(entry.shape),
                                bytes_.data() + offset};
        offset += padded(entry);
    }
}

const TensorView& SafeTensors::tensor(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found != tensors_.end()) return found->second;
    std::vector<std::string> names;
    for (const auto& [key, value] : tensors_) names.push_back(detail::printable(key));
    throw IoError(fmt::format("{}: it holds no tensor '{}'; choose one of: {}", path_, name,
                              names.empty() ? "(none)" : fmt::format("{}", fmt::join(names, ", "))));
}

ConstMatrixView SafeTensors::matrix(const std::string& name) const {
    const TensorView& tensor = this->tensor(name);
    const std::optional<DType> dtype = find_type(tensor.dtype)->dtype;
    if (!dtype || tensor.shape.empty() || tensor.shape.size() > 2)
        throw ValueError(
            fmt::format("{}: tensor '{}' is {} of shape [{}], a matrix is F32, F64, I32 or I64 with one or "
                        "two dimensions; convert it",
                        path_, name, tensor.dtype, fmt::join(tensor.shape, ", ")));
    const std::int64_t cols = tensor.shape.size() == 2 ? tensor.shape[1] : 1;
    return {tensor.data, tensor.shape[0], cols, cols, *dtype};
}

TensorView tensor_view(ConstMatrixView contiguous) {
    const ConstMatrixView& view = contiguous;
    if (view.place != Place::host || (view.stride != view.cols && view.rows > 1))
        throw ValueError(
            fmt::format("contiguous: a view of {} rows of {} with stride {} is not contiguous host memory; "
                        "take Matrix::copy_of it",
                        view.rows, view.cols, view.stride));
    const auto* const type =
        std::ranges::find_if(types, [&](const Type& candidate) { return candidate.dtype == view.dtype; });
    return {std::string(type->name), {view.rows, view.cols}, view.data};
}

void save_safetensors(const std::string& path, const std::map<std::string, std::string>& metadata,
                      const std::vector<std::pair<std::string, TensorView>>& tensors) {
    nlohmann::ordered_json header = nlohmann::ordered_json::object();
    if (!metadata.empty()) header[std::string(metadata_key)] = metadata;
    std::vector<std::size_t> sizes;
    std::int64_t offset = 0;
    for (const auto& [name, tensor] : tensors) {
        const Type* type = find_type(tensor.dtype);
        const auto bytes = type == nullptr ? std::nullopt : detail::byte_count(tensor.shape, type->size);
        std::int64_t end = 0;
        if (!bytes || __builtin_add_overflow(offset, *bytes, &end) ||
            (*bytes > 0 && tensor.data == nullptr) || name == metadata_key || header.contains(name))
            throw ValueError(fmt::format(
                "{}: tensor '{}' with dtype '{}' and shape [{}] cannot be saved; give F32, F64, "
                "I32, I64 or U8, extents from 0, data, and each name once",
                path, name, tensor.dtype, fmt::join(tensor.shape, ", ")));
        header[name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
        sizes.push_back(static_cast<std::size_t>(*bytes));
        offset = end;
    }
    std::string text;
    try {
        text = header.dump();
    } catch (const json::exception&) {
        throw ValueError(fmt::format("{}: a tensor's name or the metadata is no UTF-8; encode it", path));
    }
    text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins at a multiple of 8

    detail::AtomicFile file(path);
    const std::uint64_t length = text.size();
    file.write(&length, sizeof length);
    file.write(text);
    for (std::size_t i = 0; i < tensors.size(); ++i) file.write(tensors[i].second.data, sizes[i]);
    file.commit();
}

}  // namespace fntk

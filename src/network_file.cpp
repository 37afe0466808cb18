// A network as a safetensors file: the spec as JSON in the metadata, and the tensors U, V, A that the seed
// does not give again. A seeded network is thus a file of a few hundred bytes, whatever its width.
#include "network_file.hpp"
#include "binary.hpp"
#include "io_json.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>
#include <fntk/version.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstring>
#include <limits>

namespace fntk {
namespace {

using nlohmann::json;

constexpr const char* network_format = "fntk-network";

/// The fields of a JSON object, each checked for its type and taken once.
class Fields {
  public:
    explicit Fields(const std::string& text) : object_(detail::parse_json<json>(text)) {
        if (!object_.is_object())
            throw ValueError(
                fmt::format("spec: '{}' is no JSON object of at most {} levels; write one with to_json",
                            detail::printable(text), detail::deepest_json));
    }
    std::int64_t integer(const char* key) {
        const json value = take(key);
        const bool fits =
            value.is_number_integer() &&
            (!value.is_number_unsigned() ||
             value.get<std::uint64_t>() <= std::uint64_t{std::numeric_limits<std::int64_t>::max()});
        if (!fits) refuse(key, value, "an integer below 2^63");
        return value.get<std::int64_t>();
    }
    std::uint64_t unsigned_integer(const char* key) {
        const json value = take(key);
        if (!value.is_number_unsigned()) refuse(key, value, "an integer from 0 to 2^64 - 1");
        return value.get<std::uint64_t>();
    }
    double number(const char* key) {
        const json value = take(key);
        if (!value.is_number()) refuse(key, value, "a number");
        return value.get<double>();
    }
    std::string text(const char* key) {
        const json value = take(key);
        if (!value.is_string()) refuse(key, value, "a string");
        return value.get<std::string>();
    }
    bool has(const char* key) const { return object_.contains(key); }
    DType precision(const char* key) {
        const json value = take(key);
        for (const DType dtype : {DType::f32, DType::f64})
            if (value == name(dtype)) return dtype;
        refuse(key, value, "\"float32\" or \"float64\"");
    }
    void expect_none_left() const {
        if (!object_.empty())
            throw ValueError(
                fmt::format("spec: unknown field '{}'; remove it, or use the version of fntk that wrote it",
                            detail::printable(object_.begin().key())));
    }

  private:
    json take(const char* key) {
        const auto found = object_.find(key);
        if (found == object_.end())
            throw ValueError(fmt::format("spec: field '{}' is missing; add it", key));
        json value = *found;
        object_.erase(found);
        return value;
    }
    [[noreturn]] static void refuse(const char* key, const json& value, const char* wanted) {
        throw ValueError(fmt::format("spec: field '{}' is {}, it must be {}", key,
                                     detail::printable(value.dump()), wanted));
    }

    json object_;
};

/// True when the spec alone gives the same U as a network in host memory: drawn again, it has the same
/// digits (none for an untouched identity).
bool down_is_seeded(const Network& network) {
    if (network.spec().down == Down::pca) return false;
    const Network drawn = Network::create(network.spec());
    const FixedPoint a = network.fixed_down(), b = drawn.fixed_down();
    if (a.digits.rows != b.digits.rows || a.digits.cols != b.digits.cols) return false;
    if (a.empty()) return true;
    const auto bytes = static_cast<std::size_t>(a.digits.size()) * size_of(DType::i32);
    return a.exponent.at<std::int32_t>(0, 0) == b.exponent.at<std::int32_t>(0, 0) &&
           std::memcmp(a.digits.row<std::int32_t>(0), b.digits.row<std::int32_t>(0), bytes) == 0;
}

/// Tensor `name` with the extents that the spec demands; an empty view when the file leaves it to the seed.
ConstMatrixView factor(const SafeTensors& file, const std::string& name, std::int64_t rows,
                       std::int64_t cols) {
    if (!file.has(name)) return {};
    const ConstMatrixView view = file.matrix(name);
    if (view.rows != rows || view.cols != cols)
        throw IoError(fmt::format("{}: tensor {} is {} x {}, its spec says {} x {}; write the file again",
                                  file.path(), name, view.rows, view.cols, rows, cols));
    if (view.dtype != DType::f32 && view.dtype != DType::f64)
        throw ValueError(fmt::format("{}: tensor {} holds {}, a factor is float32 or float64; convert it",
                                     file.path(), name, fntk::name(view.dtype)));
    return view;
}

}  // namespace

namespace detail {

Matrix matrix_or_none(const SafeTensors& file, const std::string& name) {
    return file.has(name) ? Matrix::copy_of(file.matrix(name)) : Matrix{};
}

void expect_metadata(const SafeTensors& file, const std::string& key, const std::string& wanted,
                     const char* remedy) {
    const auto found = file.metadata().find(key);
    const std::string value =
        found == file.metadata().end() ? "missing" : "'" + printable(found->second) + "'";
    if (value != "'" + wanted + "'")
        throw IoError(fmt::format("{}: its metadata '{}' is {}, this library reads '{}'; {}", file.path(),
                                  key, value, wanted, remedy));
}

std::string in_file(const std::string& path, const std::string& text) {
    return text.starts_with(path) ? text : fmt::format("{}: {}", path, text);
}

void add_tensors(const Network& anywhere, bool materialize, NetworkTensorsOwner& owner,
                 std::vector<std::pair<std::string, TensorView>>& tensors) {
    const Network network = anywhere.on_host();
    const auto add = [&](const char* name, Matrix& held, Matrix values) {
        held = std::move(values);
        tensors.emplace_back(name, tensor_view(held));
    };
    if (materialize || !down_is_seeded(network)) add("U", owner.down, network.materialize_down());
    if (materialize || network.up().values.data != nullptr) add("V", owner.up, network.materialize_up());
    if (materialize || network.readout().values.data != nullptr)
        add("A", owner.readout, network.materialize_readout());
}

Network read_network(const SafeTensors& file, const std::string& text) {
    const NetworkSpec spec = spec_from_json(text);
    const std::int64_t rank = spec.rank == 0 && spec.down == Down::identity ? spec.dim : spec.rank;
    const NetworkTensors tensors{.down = factor(file, "U", rank, spec.dim),
                                 .up = factor(file, "V", spec.width, rank),
                                 .readout = factor(file, "A", spec.width, spec.outputs)};
    if (spec.down == Down::pca && tensors.down.data == nullptr)
        throw IoError(fmt::format(
            "{}: a pca network needs the tensor U, which the seed cannot give; save it again with "
            "save_network",
            file.path()));
    return Network::from_tensors(spec, tensors);
}

}  // namespace detail

std::string to_json(const NetworkSpec& spec) {
    nlohmann::ordered_json object{{"dim", spec.dim},
                                  {"width", spec.width},
                                  {"rank", spec.rank},
                                  {"outputs", spec.outputs},
                                  {"down", name(spec.down)},
                                  {"up", name(spec.up)},
                                  {"train", to_string(spec.train)},
                                  {"activation", name(spec.activation.kind)},
                                  {"slope", spec.activation.slope},
                                  {"precision", name(spec.precision)},
                                  {"seed", spec.seed}};
    if (spec.rounding != Rounding::fine) object["rounding"] = name(spec.rounding);
    return object.dump();
}

NetworkSpec spec_from_json(const std::string& text) {
    Fields fields(text);
    NetworkSpec spec;
    spec.dim = fields.integer("dim");
    spec.width = fields.integer("width");
    spec.rank = fields.integer("rank");
    spec.outputs = fields.integer("outputs");
    spec.down = parse_down(fields.text("down"));
    spec.up = parse_up(fields.text("up"));
    spec.train = parse_train(fields.text("train"));
    spec.activation.kind = parse_activation(fields.text("activation"));
    spec.activation.slope = fields.number("slope");
    spec.precision = fields.precision("precision");
    spec.seed = fields.unsigned_integer("seed");
    if (fields.has("rounding")) spec.rounding = parse_rounding(fields.text("rounding"));
    fields.expect_none_left();
    return spec;
}

void save_network(const std::string& path, const Network& network, bool materialize) {
    detail::NetworkTensorsOwner owner;
    std::vector<std::pair<std::string, TensorView>> tensors;
    detail::add_tensors(network, materialize, owner, tensors);
    save_safetensors(path,
                     {{"format", network_format},
                      {"scheme", std::to_string(random_scheme)},
                      {"spec", to_json(network.spec())},
                      {"fntk_version", version()}},
                     tensors);
}

Network load_network(const std::string& path) {
    const SafeTensors file(path);
    detail::expect_metadata(file, "format", network_format, "name a file written by save_network");
    detail::expect_metadata(file, "scheme", std::to_string(random_scheme),
                            "load it with the version of fntk that wrote it");
    const auto spec = file.metadata().find("spec");
    if (spec == file.metadata().end())
        throw IoError(fmt::format("{}: its metadata lacks 'spec'; write it with save_network", path));
    try {
        return detail::read_network(file, spec->second);
    } catch (const ValueError& error) {
        throw ValueError(detail::in_file(path, error.what()));
    } catch (const ShapeError& error) {
        throw ShapeError(detail::in_file(path, error.what()));
    }
}

}  // namespace fntk

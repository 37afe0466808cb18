// Networks in files: the spec as JSON, which tensors are stored, and that what is loaded is the network
// that was saved.
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

#include <nlohmann/json.hpp>

#include <cstring>
#include <limits>

namespace fntk {
namespace {

using nlohmann::json;
using test::error_of;
using test::expect_parts;
using test::TempFolder;

NetworkSpec small_spec() {
    NetworkSpec spec;
    spec.dim = 6;
    spec.width = 37;
    spec.rank = 4;
    spec.outputs = 2;
    spec.seed = 5;
    return spec;
}

bool same_values(const Matrix& a, const Matrix& b) {
    return a.rows() == b.rows() && a.cols() == b.cols() && a.dtype() == b.dtype() &&
           (a.empty() ||
            std::memcmp(a.view().data, b.view().data, static_cast<std::size_t>(a.bytes())) == 0);
}

void expect_same(const Network& a, const Network& b) {
    EXPECT_EQ(a.spec(), b.spec());
    EXPECT_EQ(a.exactness(), b.exactness());
    EXPECT_TRUE(same_values(a.materialize_down(), b.materialize_down()));
    EXPECT_TRUE(same_values(a.materialize_up(), b.materialize_up()));
    EXPECT_TRUE(same_values(a.materialize_readout(), b.materialize_readout()));
    EXPECT_TRUE(test::same_bits(a.fixed_down().exponent, b.fixed_down().exponent));
    EXPECT_TRUE(test::same_bits(a.fixed_down().digits, b.fixed_down().digits));
}

/// U, V, A that stand in the file.
std::string stored(const std::string& path) {
    const SafeTensors file(path);
    std::string names;
    for (const std::string name : {"U", "V", "A"})
        if (file.has(name)) names += name;
    return names;
}

/// Saves, loads and compares; returns the names of the tensors stored.
std::string round_trip(const Network& network, bool materialize = false) {
    const TempFolder folder;
    const std::string path = folder.path("network.safetensors");
    save_network(path, network, materialize);
    expect_same(load_network(path), network);
    return stored(path);
}

Matrix ramp(std::int64_t rows, std::int64_t cols, DType dtype) {
    Matrix matrix(rows, cols, DType::f64);
    for (std::int64_t i = 0; i < rows * cols; ++i)
        matrix.row<double>(0)[i] = static_cast<double>(i % 17) / 7 - 1;
    return Matrix::converted(matrix, dtype);
}

// ---- the spec ------------------------------------------------------------------------------------

TEST(SpecJson, HasNamedFields) {
    const json object = json::parse(to_json(small_spec()));
    EXPECT_EQ(
        object,
        json::parse(R"({"dim":6,"width":37,"rank":4,"outputs":2,"down":"srht","up":"srht","train":"down",
        "activation":"relu","slope":0.01,"precision":"float32","seed":5})"));
    EXPECT_EQ(to_json(small_spec()).find("{\"dim\":6,\"width\":37"), 0U);
}

TEST(SpecJson, RoundTripsEveryChoice) {
    NetworkSpec spec = small_spec();
    spec.seed = std::numeric_limits<std::uint64_t>::max();
    spec.width = (std::int64_t{1} << 31) - 1;
    spec.precision = DType::f64;
    spec.train = {.down = true, .up = true, .readout = true};
    spec.activation = {.kind = Activation::leaky_relu, .slope = 0.1};
    EXPECT_EQ(spec_from_json(to_json(spec)), spec);
    spec.precision = DType::f32;
    spec.rounding = Rounding::fast;
    EXPECT_EQ(json::parse(to_json(spec)).at("rounding"), "fast");
    EXPECT_EQ(spec_from_json(to_json(spec)), spec);
    for (const Down down : {Down::identity, Down::gaussian, Down::orthonormal, Down::pca, Down::srht}) {
        spec.down = down;
        EXPECT_EQ(spec_from_json(to_json(spec)), spec);
    }
    for (const Up up : {Up::gaussian, Up::rademacher, Up::srht}) {
        spec.up = up;
        EXPECT_EQ(spec_from_json(to_json(spec)), spec);
    }
    for (const Activation kind :
         {Activation::relu, Activation::leaky_relu, Activation::abs, Activation::erf, Activation::gelu,
          Activation::tanh, Activation::softplus}) {
        spec.activation.kind = kind;
        EXPECT_EQ(spec_from_json(to_json(spec)), spec);
    }
}

TEST(SpecJson, RefusesMissingUnknownAndMistypedFields) {
    const json good = json::parse(to_json(small_spec()));
    for (const auto& [key, value] : good.items()) {
        json less = good;
        less.erase(key);
        expect_parts(error_of<ValueError>([&] { spec_from_json(less.dump()); }),
                     {"'" + key + "'", "missing"});
        for (const json& wrong :
             {json(), json::array(), json("x"), json(1.5), json(-1.5e300), json(true)}) {
            if (key == "slope" && wrong.is_number()) continue;
            json other = good;
            other[key] = wrong;
            EXPECT_THROW(spec_from_json(other.dump()), ValueError) << key << " = " << wrong;
        }
    }
    json more = good;
    more["depth"] = 3;
    expect_parts(error_of<ValueError>([&] { spec_from_json(more.dump()); }), {"'depth'", "unknown"});
    json negative = good;
    negative["seed"] = -1;
    expect_parts(error_of<ValueError>([&] { spec_from_json(negative.dump()); }), {"'seed'", "-1"});
    json integer = good;
    integer["precision"] = "int32";
    expect_parts(error_of<ValueError>([&] { spec_from_json(integer.dump()); }),
                 {"'precision'", "int32", "float64"});
    json rounding = good;
    rounding["rounding"] = "faster";
    expect_parts(error_of<ValueError>([&] { spec_from_json(rounding.dump()); }),
                 {"'faster'", "fine, fast"});
    json huge = good;
    huge["dim"] = std::uint64_t{1} << 63;
    expect_parts(error_of<ValueError>([&] { spec_from_json(huge.dump()); }),
                 {"'dim'", "9223372036854775808"});
    for (const std::string text : {"", "[]", "{", "7", "\xff"})
        expect_parts(error_of<ValueError>([&] { spec_from_json(text); }), {"JSON"});
    const std::string levels(100'000, '[');
    for (const std::string& text : {levels + std::string(levels.size(), ']'), levels,
                                    R"({"dim":)" + levels + std::string(levels.size(), ']') + "}"})
        expect_parts(error_of<ValueError>([&] { spec_from_json(text); }), {"JSON", "64 levels"});
    json nested = good;
    nested["dim"] = json::parse(std::string(63, '[') + std::string(63, ']'));
    expect_parts(error_of<ValueError>([&] { spec_from_json(nested.dump()); }), {"'dim'", "integer"});
    nested["dim"] = json::parse(std::string(64, '[') + std::string(64, ']'));
    expect_parts(error_of<ValueError>([&] { spec_from_json(nested.dump()); }), {"64 levels"});
}

// ---- the file ------------------------------------------------------------------------------------

TEST(NetworkFile, StoresNoTensorThatTheSeedGives) {
    for (const DType precision : {DType::f32, DType::f64})
        for (const Down down : {Down::identity, Down::gaussian, Down::orthonormal, Down::srht})
            for (const Up up : {Up::gaussian, Up::rademacher, Up::srht}) {
                NetworkSpec spec = small_spec();
                spec.down = down;
                spec.up = up;
                spec.precision = precision;
                if (down == Down::identity) spec.rank = 0;
                const Network network = Network::create(spec);
                EXPECT_EQ(round_trip(network), "") << name(down) << ' ' << name(up);
                EXPECT_EQ(round_trip(network, true), "UVA") << name(down) << ' ' << name(up);
            }
}

TEST(NetworkFile, StoresThePcaFactor) {
    for (const DType precision : {DType::f32, DType::f64}) {
        NetworkSpec spec = small_spec();
        spec.down = Down::pca;
        spec.precision = precision;
        EXPECT_EQ(round_trip(Network::create(spec, ramp(50, spec.dim, DType::f64))), "U");
    }
}

TEST(NetworkFile, StoresEveryFactorThatWasReplaced) {
    for (const DType precision : {DType::f32, DType::f64}) {
        NetworkSpec spec = small_spec();
        spec.precision = precision;
        const Network network = Network::create(spec);
        const auto up = std::make_shared<const Matrix>(ramp(spec.width, spec.rank, precision));
        const auto readout = std::make_shared<const Matrix>(ramp(spec.width, spec.outputs, precision));
        const Matrix down = ramp(spec.rank, spec.dim, precision);
        EXPECT_EQ(round_trip(network.with_down(down)), "U");
        EXPECT_EQ(round_trip(network.with_up(up)), "V");
        EXPECT_EQ(round_trip(network.with_readout(readout)), "A");
        EXPECT_EQ(round_trip(network.with_down(down).with_up(up).with_readout(readout)), "UVA");
    }
}

TEST(NetworkFile, StoresATrainedFactorInPlaceOfTheIdentity) {
    NetworkSpec spec = small_spec();
    spec.down = Down::identity;
    spec.rank = 0;
    EXPECT_EQ(round_trip(Network::create(spec).with_down(ramp(spec.dim, spec.dim, DType::f32))), "U");
}

TEST(NetworkFile, WritesItsMetadata) {
    const TempFolder folder;
    const std::string path = folder.path("network");
    const Network network = Network::create(small_spec());
    save_network(path, network);
    const SafeTensors file(path);
    EXPECT_EQ(file.metadata().at("format"), "fntk-network");
    EXPECT_EQ(file.metadata().at("scheme"), "1");
    EXPECT_EQ(file.metadata().at("spec"), to_json(network.spec()));
    EXPECT_FALSE(file.metadata().at("fntk_version").empty());
}

using Metadata = std::map<std::string, std::string>;

/// The error of loading a file with this metadata and these tensors.
template <class Expected>
std::string load_error(const Metadata& metadata,
                       const std::vector<std::pair<std::string, TensorView>>& tensors = {}) {
    const TempFolder folder;
    const std::string path = folder.path("network");
    save_safetensors(path, metadata, tensors);
    const std::string text = error_of<Expected>([&] { std::ignore = load_network(path); });
    expect_parts(text, {path});
    EXPECT_EQ(text.find(path), text.rfind(path)) << "names its file twice: " << text;
    return text;
}

TEST(NetworkFile, RefusesOtherFilesAndOtherSchemes) {
    const Metadata good{{"format", "fntk-network"}, {"scheme", "1"}, {"spec", to_json(small_spec())}};
    expect_parts(load_error<IoError>({}), {"'format' is missing", "fntk-network"});
    Metadata changed = good;
    changed["format"] = "pt";
    expect_parts(load_error<IoError>(changed), {"'format' is 'pt'"});
    changed = good;
    changed["scheme"] = "2";
    expect_parts(load_error<IoError>(changed), {"'scheme' is '2'", "reads '1'", "version of fntk"});
    changed = good;
    changed.erase("spec");
    expect_parts(load_error<IoError>(changed), {"lacks 'spec'"});
    changed["spec"] = "{}";
    expect_parts(load_error<ValueError>(changed), {"'dim' is missing"});
    NetworkSpec spec = small_spec();
    spec.width = 0;
    changed["spec"] = to_json(spec);
    expect_parts(load_error<ValueError>(changed), {"width"});
    spec = small_spec();
    spec.down = Down::pca;
    changed["spec"] = to_json(spec);
    expect_parts(load_error<IoError>(changed), {"pca", "tensor U"});
}

TEST(NetworkFile, RefusesTensorsThatDoNotFitTheSpec) {
    const Metadata good{{"format", "fntk-network"}, {"scheme", "1"}, {"spec", to_json(small_spec())}};
    const Matrix wrong = ramp(4, 5, DType::f32);
    for (const std::string name : {"U", "V", "A"})
        expect_parts(load_error<IoError>(good, {{name, tensor_view(wrong)}}), {"tensor " + name, "4 x 5"});
    Matrix nan = ramp(4, 6, DType::f64);
    nan.at<double>(2, 3) = std::numeric_limits<double>::quiet_NaN();
    expect_parts(load_error<ValueError>(good, {{"U", tensor_view(nan)}}), {"row 2, column 3"});
    const std::vector<std::byte> bytes(24);
    expect_parts(load_error<ValueError>(good, {{"U", {"U8", {4, 6}, bytes.data()}}}), {"'U'", "U8"});
    const std::vector<std::int32_t> integers(24);
    expect_parts(load_error<ValueError>(good, {{"U", tensor_view(ConstMatrixView(integers.data(), 4, 6))}}),
                 {"U", "int32"});
}

TEST(NetworkFile, LeavesNothingBehindWhenItCannotBeWritten) {
    const TempFolder folder;
    const Network network = Network::create(small_spec());
    expect_parts(error_of<IoError>([&] { save_network(folder.path("no/network"), network); }),
                 {"create its folder"});
    EXPECT_EQ(folder.names(), std::vector<std::string>{});
}

}  // namespace
}  // namespace fntk

// safetensors files: round trips, what other writers produce, and every way for a header to lie.
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

#include <nlohmann/json.hpp>

#include <cstring>
#include <tuple>

namespace fntk {
namespace {

using test::error_of;
using test::expect_parts;
using test::TempFolder;

std::string with_length(const std::string& header, const std::string& data, std::uint64_t length) {
    return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}
std::string with_length(const std::string& header, const std::string& data) {
    return with_length(header, data, header.size());
}

TensorView bytes_tensor(const std::vector<std::uint8_t>& values) {
    return {"U8",
            {static_cast<std::int64_t>(values.size())},
            reinterpret_cast<const std::byte*>(values.data())};
}

TEST(SafeTensors, RoundTripsEveryTypeAndTheMetadata) {
    const TempFolder folder;
    const std::vector<float> a{1, 2.5F, -3, 4, 5, 6};
    const std::vector<double> b{0.1, -1e300};
    const std::vector<std::int32_t> c{-7};
    const std::vector<std::int64_t> d{std::int64_t{1} << 60, -1};
    const std::vector<std::uint8_t> e{1, 2, 255};
    const std::map<std::string, std::string> metadata{{"format", "test"}, {"text", "Größe \"x\"\n√p"}};
    const std::string path = folder.path("t.safetensors");
    save_safetensors(
        path, metadata,
        {{"e", bytes_tensor(e)},  // three bytes: everything behind it is misaligned in the file
         {"a", tensor_view(ConstMatrixView(a.data(), 2, 3))},
         {"b", tensor_view(ConstMatrixView(b.data(), 2, 1))},
         {"c", tensor_view(ConstMatrixView(c.data(), 1, 1))},
         {"d", tensor_view(ConstMatrixView(d.data(), 1, 2))},
         {"nothing", {"F32", {0, 4}, nullptr}},
         {"scalar", {"F64", {}, reinterpret_cast<const std::byte*>(b.data())}}});
    SafeTensors first(path);
    const SafeTensors file(std::move(first));
    EXPECT_EQ(file.path(), path);
    EXPECT_EQ(file.metadata(), metadata);
    EXPECT_TRUE(file.has("a"));
    EXPECT_FALSE(file.has("A"));
    ASSERT_EQ(file.matrix("a").rows, 2);
    ASSERT_EQ(file.matrix("a").cols, 3);
    EXPECT_EQ(file.matrix("a").at<float>(0, 1), 2.5F);
    EXPECT_EQ(file.matrix("a").at<float>(1, 2), 6);
    EXPECT_EQ(file.matrix("b").at<double>(1, 0), -1e300);
    EXPECT_EQ(file.matrix("c").at<std::int32_t>(0, 0), -7);
    EXPECT_EQ(file.matrix("d").at<std::int64_t>(0, 0), std::int64_t{1} << 60);
    EXPECT_EQ(file.tensor("e").shape, std::vector<std::int64_t>{3});
    EXPECT_EQ(file.tensor("e").data[2], std::byte{255});
    EXPECT_TRUE(file.matrix("nothing").empty());
    EXPECT_TRUE(file.tensor("scalar").shape.empty());
}

TEST(SafeTensors, WritesThePublishedLayout) {
    const TempFolder folder;
    const std::vector<float> a{1, 2};
    const std::string path = folder.path("t");
    save_safetensors(path, {{"k", "v"}},
                     {{"z", tensor_view(ConstMatrixView(a.data(), 1, 2))}, {"a", bytes_tensor({9})}});
    const std::string bytes = folder.read("t");
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    EXPECT_EQ(length % 8, 0U);
    std::string header = bytes.substr(8, length);
    header.erase(header.find_last_not_of(' ') + 1);
    EXPECT_EQ(header, R"({"__metadata__":{"k":"v"},"z":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
                      R"("a":{"dtype":"U8","shape":[1],"data_offsets":[8,9]}})");
    EXPECT_EQ(bytes.size(), 8 + length + 9);
    EXPECT_EQ(folder.names(), std::vector<std::string>{"t"});
}

TEST(SafeTensors, ReadsFilesOfOtherWriters) {
    const TempFolder folder;
    const SafeTensors empty(folder.write("t", with_length("{}", "")));
    EXPECT_TRUE(empty.metadata().empty());
    const SafeTensors file(
        folder.write("t", with_length(R"({"b":{"dtype":"U8","shape":[1,3],"data_offsets":[4,7]}, )"
                                      R"("a":{"shape":[1],"data_offsets":[0,4],"dtype":"I32"}}   )",
                                      std::string("\x05\0\0\0xyz", 7))));
    EXPECT_EQ(file.matrix("a").at<std::int32_t>(0, 0), 5);
    EXPECT_EQ(file.tensor("b").data[2], std::byte{'z'});
}

TEST(SafeTensors, NamesTheTensorsPresent) {
    const TempFolder folder;
    const std::string path = folder.path("t");
    save_safetensors(path, {}, {{"U", bytes_tensor({1})}, {"V", {"F32", {0, 0, 0}, nullptr}}});
    const SafeTensors file(path);
    expect_parts(error_of<IoError>([&] { std::ignore = file.tensor("W"); }), {path, "'W'", "U, V"});
    expect_parts(error_of<IoError>([&] { std::ignore = file.matrix("W"); }), {path, "'W'"});
    expect_parts(error_of<ValueError>([&] { std::ignore = file.matrix("U"); }), {path, "'U'", "U8"});
    expect_parts(error_of<ValueError>([&] { std::ignore = file.matrix("V"); }), {path, "'V'", "[0, 0, 0]"});
}

TEST(SafeTensors, RefusesLyingHeaders) {
    const TempFolder folder;
    const auto refusal = [&](const std::string& bytes) {
        const std::string path = folder.write("bad", bytes);
        const std::string text = error_of<IoError>([&] { SafeTensors file(path); });
        expect_parts(text, {path});
        return text;
    };
    const auto tensor = [](const std::string& shape, const std::string& offsets,
                           const std::string& dtype = "\"U8\"") {
        return R"({"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
    };
    const auto one = [&](const std::string& shape, const std::string& offsets,
                         const std::string& dtype = "\"U8\"") {
        return refusal(with_length(R"({"a":)" + tensor(shape, offsets, dtype) + "}", "12345678"));
    };
    const auto two = [&](const std::string& first, const std::string& second) {
        return refusal(with_length(
            R"({"a":)" + tensor("[4]", first) + R"(,"b":)" + tensor("[4]", second) + "}", "12345678"));
    };
    expect_parts(refusal(""), {"truncated"});
    expect_parts(refusal("1234567"), {"truncated"});
    expect_parts(refusal(with_length("{}", "", 3)), {"truncated", "claims 3"});
    expect_parts(refusal(with_length("{}", "", ~std::uint64_t{0})), {"claims 18446744073709551615"});
    expect_parts(refusal(with_length("{}", "", std::uint64_t{1} << 63)), {"claims 9223372036854775808"});
    for (const std::string header : {"", "[]", "{", "null", "{\"a\"}", "\xff", "{} x"})
        expect_parts(refusal(with_length(header, "")), {"JSON"});

    expect_parts(one("[8]", "[0,9]"), {"'a'", "does not fill"});
    expect_parts(one("[9]", "[0,9]"), {"truncated", "ends at byte 9", "has 8"});
    expect_parts(one("[8]", "[1,9]"), {"truncated"});
    expect_parts(one("[7]", "[0,7]"), {"1 bytes follow"});
    expect_parts(one("[7]", "[1,8]"), {"begins at byte 1", "ends at 0"});
    expect_parts(two("[0,4]", "[3,7]"), {"begins at byte 3"});
    expect_parts(two("[0,4]", "[0,4]"), {"begins at byte 0"});
    expect_parts(two("[4,8]", "[4,8]"), {"begins at byte 4"});
    expect_parts(one("[3]", "[0,8]", "\"F32\""), {"shape [3]", "F32", "8 bytes"});
    expect_parts(one("[4294967296, 4294967296]", "[0,8]"), {"does not fill"});
    expect_parts(one("[4294967296, 4294967296, 0]", "[0,8]"), {"does not fill"});
    expect_parts(one("[-8]", "[0,8]"), {"integer"});
    expect_parts(one("[8.0]", "[0,8]"), {"integer"});
    expect_parts(one("[18446744073709551615]", "[0,8]"), {"integer"});
    expect_parts(one("8", "[0,8]"), {"no array"});
    expect_parts(one("[8]", "[8,0]"), {"begin and end"});
    expect_parts(one("[8]", "[0]"), {"begin and end"});
    expect_parts(one("[8]", "{}"), {"no array"});
    expect_parts(one("[8]", "[0,8]", "7"), {"no string"});
    expect_parts(refusal(with_length(R"({"a":{"dtype":"U8","shape":[8]}})", "12345678")), {"lacks"});
    expect_parts(refusal(with_length(R"({"a":7})", "")), {"lacks"});
    expect_parts(refusal(with_length(R"({"__metadata__":7})", "")), {"__metadata__"});
    expect_parts(refusal(with_length(R"({"__metadata__":{"k":7}})", "")), {"'k'", "no string"});
    expect_parts(refusal(with_length("{}", "x")), {"1 bytes follow"});
}

TEST(SafeTensors, RefusesUnknownTypes) {
    const TempFolder folder;
    const std::string path =
        folder.write("t", with_length(R"({"a":{"dtype":"F99","shape":[1],"data_offsets":[0,2]}})", "12"));
    expect_parts(error_of<ValueError>([&] { SafeTensors file(path); }), {path, "'a'", "'F99'"});
}

TEST(SafeTensors, RefusesToSaveWhatItCouldNotRead) {
    const TempFolder folder;
    const std::vector<float> a{1, 2, 3, 4};
    const TensorView good = tensor_view(ConstMatrixView(a.data(), 2, 2));
    const auto refusal = [&](const std::string& name, const TensorView& tensor) {
        expect_parts(error_of<ValueError>([&] {
                         save_safetensors(folder.path("t"), {}, {{"x", good}, {name, tensor}});
                     }),
                     {folder.path("t"), "'" + name + "'"});
    };
    refusal("x", good);
    refusal("__metadata__", good);
    refusal("y", {"F99", {2, 2}, good.data});
    refusal("y", {"F32", {2, -2}, good.data});
    refusal("y", {"F32", {std::int64_t{1} << 40, std::int64_t{1} << 40}, good.data});
    refusal("y", {"F32", {2, 2}, nullptr});
    expect_parts(error_of<ValueError>([&] {
                     save_safetensors(folder.path("t"), {{"k", "\xff"}}, {});
                 }),
                 {"UTF-8"});
    EXPECT_EQ(folder.names(), std::vector<std::string>{});
    expect_parts(error_of<IoError>([&] {
                     save_safetensors(folder.path("no/t"), {}, {{"x", good}});
                 }),
                 {"create its folder"});
}

TEST(SafeTensors, ATensorViewIsContiguousHostMemory) {
    const std::vector<double> values(6);
    ConstMatrixView view(values.data(), 2, 3);
    EXPECT_EQ(tensor_view(view).shape, (std::vector<std::int64_t>{2, 3}));
    EXPECT_EQ(tensor_view(view).dtype, "F64");
    EXPECT_EQ(tensor_view(view.row_block(0, 1).col_block(0, 2)).shape, (std::vector<std::int64_t>{1, 2}));
    expect_parts(error_of<ValueError>([&] { tensor_view(view.col_block(0, 2)); }), {"stride 3", "copy_of"});
    view.place = Place::unique();
    EXPECT_THROW(tensor_view(view), ValueError);
}

}  // namespace
}  // namespace fntk

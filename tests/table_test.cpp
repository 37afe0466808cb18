// The formats csv and idx: what they read, and by which line, column or byte they refuse.
#include "data_files.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

#include <algorithm>
#include <tuple>

namespace fntk {
namespace {

using namespace test;

// ---- csv -----------------------------------------------------------------------------------------

TEST(Csv, ReadsHeadersBlankLinesAndEveryLineEnd) {
    const TempFolder folder;
    for (const std::string text :
         {"1,2\n3,4\n", "1,2\n3,4", "a,b\n1,2\n3,4\n", "\"x y\",\n1,2\n\n3,4\n\n", "1,2\r\n3,4\r\n",
          "x1,x2\r\n\r\n1,2\r\n \t\r\n3,4", " 1 ,\t2\n+3, 4e0 \n", "\xEF\xBB\xBF\x31,2\n3,4\n",
          "\xEF\xBB\xBFx,y\n1,2\n3,4\n"}) {
        const Dataset data = load_dataset(folder.write("x.csv", text), raw);
        EXPECT_EQ(data.train.inputs.cols(), 2) << text;
        EXPECT_EQ(flat(data.train.inputs), (Values{1, 2, 3, 4})) << text;
    }
}

TEST(Csv, ReadsNumbersExactly) {
    const TempFolder folder;
    const Dataset data =
        load_dataset(folder.write("x.csv", "0.1,-1e-300,1.7976931348623157e308,.5,5.,-0\n"), raw);
    EXPECT_EQ(flat(data.train.inputs), (Values{0.1, -1e-300, 1.7976931348623157e308, 0.5, 5, 0}));
}

TEST(Csv, NamesTheLineOfARaggedRow) {
    const TempFolder folder;
    for (const std::string row : {"4,5", "4,5,6,7", "4"}) {
        const std::string path = folder.write("x.csv", "a,b,c\n1,2,3\n\n" + row + "\n");
        const std::string columns = std::to_string(std::ranges::count(row, ',') + 1);
        expect_parts(error_of<IoError>([&] { load_dataset(path); }),
                     {path, "line 4 has " + columns + " columns", "has 3"});
    }
}

TEST(Csv, NamesLineAndColumnOfWhatIsNoNumber) {
    const TempFolder folder;
    for (const std::string field :
         {"abc", "", "1.2.3", "0x1F", "1e999", "1 2", "--1", "+-1", "1;2", "'1'"}) {
        const std::string path = folder.write("x.csv", "1,2\n3," + field + "\n");
        expect_parts(error_of<IoError>([&] { load_dataset(path); }),
                     {path, "line 2, column 2", "'" + field + "'"});
    }
    for (const char* first : {"NA,null", "1e-400,x", ",?"})  // data that is no number, and no names
        expect_parts(
            error_of<IoError>([&] { load_dataset(folder.write("x.csv", std::string(first) + "\n3,4\n")); }),
            {"line 1, column"});
    const std::string half_header =
        folder.write("x.csv", "id,2\n3,4\n");  // a header names every column, data none
    expect_parts(error_of<IoError>([&] { load_dataset(half_header); }), {"line 1, column 1", "'id'"});
    const std::string binary = folder.write("x.csv", "1\n" + std::string(100, '\x01') + "\n");
    expect_parts(error_of<IoError>([&] { load_dataset(binary); }), {"line 2, column 1", "???..."});
}

TEST(Csv, CountsTheRowsBehindMaxSamplesWithoutReadingThem) {
    const TempFolder folder;
    LoadOptions options = with_labels(folder.write("y.csv", "0\n1\n0\n"));
    options.max_samples = 1;
    const Dataset data = load_dataset(folder.write("x.csv", "1,2\n3,4\nfive,6\n"), options);
    EXPECT_EQ(flat(data.train.inputs), (Values{1, 2}));
    EXPECT_EQ(flat(data.train.labels), Values{0});
}

// ---- idx ----------------------------------------------------------------------------------------

template <class T>
std::string big_endian(const std::vector<T>& values) {
    std::string bytes;
    for (const T& x : values) {
        const std::string native(reinterpret_cast<const char*>(&x), sizeof x);
        bytes.append(native.rbegin(), native.rend());
    }
    return bytes;
}

TEST(Idx, ReadsEveryTypePlainAndCompressed) {
    const TempFolder folder;
    const auto expect = [&](int type, const std::string& data, const Values& values) {
        const std::string bytes = idx(type, {2, 2}, data);
        for (const auto& path :
             {folder.write("x.idx", bytes), folder.write("x-idx2-ubyte", bytes),
              write_gz(folder, "x.idx.gz", bytes), write_gz(folder, "x-idx2-ubyte.gz", bytes)}) {
            const Matrix inputs = load_dataset(path, raw).train.inputs;
            EXPECT_EQ(inputs.rows(), 2);
            EXPECT_EQ(flat(inputs), values) << path;
        }
    };
    using namespace std::string_literals;
    expect(0x08, "\x00\x33\xff\x01"s, {0, 0.2, 1, 1.0 / 255});
    expect(0x09, "\x00\x33\xff\x01"s, {0, 51, -1, 1});
    expect(0x0B, big_endian<std::int16_t>({1, -2, 300, 4}), {1, -2, 300, 4});
    expect(0x0C, big_endian<std::int32_t>({1, -2, 1 << 30, 4}), {1, -2, 1 << 30, 4});
    expect(0x0D, big_endian<float>({0.5F, -2, 3e30F, 4}), {0.5, -2, 3e30F, 4});
    expect(0x0E, big_endian<double>({0.1, -2, 3e300, 4}), {0.1, -2, 3e300, 4});
}

TEST(Idx, MultipliesTheDimensionsBehindTheRows) {
    const TempFolder folder;
    const std::string path = folder.write("x.idx", idx(0x09, {2, 3, 2}, std::string("abcdefghijkl")));
    const Matrix inputs = load_dataset(path, raw).train.inputs;
    EXPECT_EQ(inputs.cols(), 6);
    EXPECT_EQ(inputs.at<double>(1, 0), 'g');
}

TEST(Idx, LabelsAreNotDivided) {
    const TempFolder folder;
    EXPECT_EQ(flat(load_labels(write_gz(folder, "y.idx.gz", idx(0x08, {3}, "\x09\x07\x01")))),
              (Values{9, 7, 1}));
}

TEST(Idx, ReadsOnlyTheRowsAskedFor) {
    const TempFolder folder;
    LoadOptions options = raw;
    options.max_samples = 1;
    const std::string torn = folder.write("x.idx", idx(0x09, {1000, 2}, "ab"));
    EXPECT_EQ(flat(load_dataset(torn, options).train.inputs), (Values{'a', 'b'}));
}

TEST(Idx, RefusesBrokenFiles) {
    const TempFolder folder;
    const auto refusal = [&](const std::string& path) {
        const std::string text = error_of<IoError>([&] { load_dataset(path); });
        expect_parts(text, {path});
        return text;
    };
    const std::string good = idx(0x09, {2, 3}, "abcdef");
    for (const std::size_t cut : {0, 3, 4, 11, 12, 17}) {
        expect_parts(refusal(folder.write("x.idx", good.substr(0, cut))), {"truncated"});
        expect_parts(refusal(write_gz(folder, "x.idx.gz", good.substr(0, cut))), {"truncated"});
    }
    const std::string whole_gz = folder.path("x.idx.gz");
    std::ignore = write_gz(folder, "x.idx.gz", good);
    const std::string compressed = folder.read("x.idx.gz");
    for (const std::size_t cut : {12, 20, 30})
        expect_parts(refusal(folder.write("t.idx.gz", compressed.substr(0, cut))), {"truncated"});
    std::string damaged = compressed;
    damaged[damaged.size() - 6] = static_cast<char>(damaged[damaged.size() - 6] ^ 1);  // in the checksum
    expect_parts(refusal(folder.write("d.idx.gz", damaged)), {"damaged"});
    EXPECT_EQ(load_dataset(whole_gz).train.inputs.cols(), 3);

    expect_parts(refusal(folder.write("x.idx", good + "g")), {"bytes follow"});
    expect_parts(refusal(write_gz(folder, "x.idx.gz", good + "g")), {"bytes follow"});
    expect_parts(refusal(folder.write("x.idx", idx(0x0A, {1}, "a"))), {"no idx file", "00 00 0a 01"});
    expect_parts(refusal(folder.write("x.idx", idx(0x08, {}, "a"))), {"no idx file"});
    expect_parts(refusal(folder.write("x.idx", "PNG file")), {"no idx file"});
    const std::vector<std::uint32_t> immense{4000000000U, 4000000000U, 4000000000U};
    expect_parts(refusal(folder.write("x.idx", idx(0x08, immense, "a"))), {"2^63"});
    expect_parts(refusal(write_gz(folder, "x.idx.gz", idx(0x0E, {4000000000U, 100000000U}, "a"))),
                 {"truncated"});
    expect_parts(refusal(folder.path("absent.idx.gz")), {"No such file"});
    expect_parts(error_of<ValueError>([&] {
                     load_dataset(folder.write("x.idx", idx(0x08, {0, 3}, "")));
                 }),
                 {"0 rows"});
}

}  // namespace
}  // namespace fntk

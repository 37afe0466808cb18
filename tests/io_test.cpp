// Writing whole files or none, and .npy files, among them some made byte by byte.
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

#include <sys/resource.h>
#include <unistd.h>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <tuple>

namespace fntk {
namespace {

using test::error_of;
using test::expect_parts;
using test::TempFolder;
using Names = std::vector<std::string>;

// ---- writing -------------------------------------------------------------------------------------

TEST(SaveText, WritesAndReplacesWholeFiles) {
    const TempFolder folder;
    save_text(folder.path("report.txt"), "first, longer");
    save_text(folder.path("report.txt"), "second");
    EXPECT_EQ(folder.read("report.txt"), "second");
    EXPECT_EQ(folder.names(), Names{"report.txt"});
}

TEST(SaveText, WritesMoreThanItsBufferHolds) {
    const TempFolder folder;
    const std::string text(3'000'001, 'x');
    save_text(folder.path("long.txt"), text);
    EXPECT_EQ(folder.read("long.txt"), text);
}

TEST(SaveText, FollowsALink) {
    const TempFolder folder;
    std::ignore = folder.write("target.txt", "old");
    std::filesystem::create_symlink("target.txt", folder.path("link.txt"));
    save_text(folder.path("link.txt"), "new");
    EXPECT_TRUE(std::filesystem::is_symlink(folder.path("link.txt")));
    EXPECT_EQ(folder.read("target.txt"), "new");
}

TEST(SaveText, MovesAsideForAStaleTemporaryFile) {
    const TempFolder folder;
    const std::string stale = ".a.txt." + std::to_string(::getpid()) + ".tmp";
    std::ignore = folder.write(stale, "stale");
    save_text(folder.path("a.txt"), "new");
    EXPECT_EQ(folder.read("a.txt"), "new");
    EXPECT_EQ(folder.names(), (Names{stale, "a.txt"}));
}

TEST(SaveText, RefusesWhatCannotBeWrittenAndLeavesNothing) {
    const TempFolder folder;
    const std::string file = folder.write("file", "kept");
    std::filesystem::create_directory(folder.path("directory"));
    const Names before = folder.names();
    const auto refusal = [](const std::string& path) {
        const std::string text = error_of<IoError>([&] { save_text(path, "x"); });
        expect_parts(text, {path, "; "});
        return text;
    };
    expect_parts(refusal(folder.path("missing/a.txt")), {"No such file or directory", "create its folder"});
    expect_parts(refusal(file + "/a.txt"), {"Not a directory", "choose another folder"});
    expect_parts(refusal(folder.path("directory")), {"it is a directory", "name a file"});
    expect_parts(refusal(folder.path("new/")), {"ends in no file name"});
    expect_parts(refusal("/dev/null"), {"a device or a stream"});
    expect_parts(refusal(folder.path(std::string(300, 'n'))), {"File name too long"});
    refusal("");
    EXPECT_EQ(folder.names(), before);
    EXPECT_EQ(folder.read("file"), "kept");
}

TEST(SaveText, AFailureHalfWayKeepsTheOldFileAndRemovesTheTemporaryOne) {
    const TempFolder folder;
    const std::string path = folder.write("a.txt", "old");
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{.rlim_cur = 2'000'000,
                       .rlim_max = before.rlim_max};  // a file may grow no further: a full disk
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const std::string text = error_of<IoError>([&] { save_text(path, std::string(3'000'000, 'x')); });
    const std::string npy_text = error_of<IoError>([&] { save_npy(path, Matrix(1000, 1000, DType::f32)); });
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    expect_parts(text, {path, "File too large"});
    expect_parts(npy_text, {path, "File too large"});
    EXPECT_EQ(folder.read("a.txt"), "old");
    EXPECT_EQ(folder.names(), Names{"a.txt"});
}

TEST(FileReservation, LeavesNothingAndTakesNoName) {
    const TempFolder folder;
    const std::string path = folder.write("model", "old");
    {
        const FileReservation room(path, 1 << 20);
        EXPECT_EQ(folder.names(), Names{"model"});
        save_text(path, "new");
    }
    EXPECT_EQ(folder.read("model"), "new");
    EXPECT_EQ(folder.names(), Names{"model"});
}

TEST(FileReservation, RefusesBeforeTheWork) {
    const TempFolder folder;
    const std::string file = folder.write("file", "text");
    for (const std::string& path : {folder.path("missing/model"), file + "/model", folder.path("")})
        expect_parts(error_of<IoError>([&] { const FileReservation room(path, 0); }),
                     {path, "cannot be written"});
    expect_parts(
        error_of<IoError>([&] { const FileReservation room(folder.path("m"), std::int64_t{1} << 60); }),
        {folder.path("m"), "it needs 1152921504606846976 bytes", " are free"});
    EXPECT_EQ(folder.names(), Names{"file"});
}

// ---- .npy ----------------------------------------------------------------------------------------

Matrix counting(std::int64_t rows, std::int64_t cols, DType dtype) {
    Matrix matrix(rows, cols, dtype);
    for (std::int64_t i = 0; i < rows * cols; ++i) {
        if (dtype == DType::f32) matrix.row<float>(0)[i] = static_cast<float>(i) / 3;
        if (dtype == DType::f64) matrix.row<double>(0)[i] = static_cast<double>(i) / 3;
        if (dtype == DType::i32) matrix.row<std::int32_t>(0)[i] = static_cast<std::int32_t>(i) - 2;
        if (dtype == DType::i64) matrix.row<std::int64_t>(0)[i] = i - (std::int64_t{1} << 40);
    }
    return matrix;
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// A .npy file with this dict, neither padded nor aligned.
std::string npy(const std::string& dict, const std::string& data, int version = 1) {
    std::string bytes = "\x93NUMPY";
    bytes += {static_cast<char>(version), 0, static_cast<char>(dict.size() % 256),
              static_cast<char>(dict.size() / 256)};
    if (version > 1) bytes += std::string(2, '\0');
    return bytes + dict + data;
}
std::string dict_of(const std::string& descr, const std::string& shape,
                    const std::string& fortran = "False") {
    return "{'descr': " + descr + ", 'fortran_order': " + fortran + ", 'shape': " + shape + ", }\n";
}

TEST(Npy, RoundTripsBothRealTypes) {
    const TempFolder folder;
    for (const DType dtype : {DType::f32, DType::f64})
        for (const auto& [rows, cols] : {std::pair{1, 1}, {31, 33}, {257, 1}, {0, 5}, {3, 0}}) {
            const Matrix matrix = counting(rows, cols, dtype);
            save_npy(folder.path("a.npy"), matrix);
            const MappedNpy file(folder.path("a.npy"));
            ASSERT_EQ(file.view().rows, rows);
            ASSERT_EQ(file.view().cols, cols);
            ASSERT_EQ(file.view().dtype, dtype);
            for (int i = 0; i < rows; ++i)
                for (int j = 0; j < cols; ++j) EXPECT_EQ(value(file.view(), i, j), value(matrix, i, j));
        }
}

TEST(Npy, WritesWhatNumpyWrites) {
    const TempFolder folder;
    save_npy(folder.path("a.npy"), counting(3, 1, DType::i32));
    const std::string bytes = folder.read("a.npy");
    EXPECT_EQ(bytes.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
    EXPECT_EQ(bytes.substr(10, 59), "{'descr': '<i4', 'fortran_order': False, 'shape': (3, 1), }");
    EXPECT_EQ(bytes.substr(69, 58), std::string(58, ' '));
    EXPECT_EQ(bytes.substr(127), "\n" + bytes_of<std::int32_t>({-2, -1, 0}));
}

TEST(Npy, WritesStridedViewsAndIntegers) {
    const TempFolder folder;
    const Matrix matrix = counting(4, 5, DType::f64);
    save_npy(folder.path("a.npy"), matrix.view().col_block(1, 2).row_block(1, 2));
    const MappedNpy file(folder.path("a.npy"));
    ASSERT_EQ(file.view().rows, 2);
    ASSERT_EQ(file.view().cols, 2);
    EXPECT_EQ(file.view().at<double>(1, 0), matrix.at<double>(2, 1));
    save_npy(folder.path("b.npy"), counting(2, 1, DType::i64));
    const Matrix labels = load_labels(folder.path("b.npy"));
    EXPECT_EQ(labels.at<double>(0, 0), -std::ldexp(1.0, 40));
    EXPECT_EQ(labels.at<double>(1, 0), 1 - std::ldexp(1.0, 40));
}

TEST(Npy, RefusesAMatrixWithoutMemoryOrOfNegativeExtents) {
    const TempFolder folder;
    for (const ConstMatrixView bad :
         {ConstMatrixView(nullptr, 3, 4, 4, DType::f32), ConstMatrixView(nullptr, -3, 4, 4, DType::f32),
          ConstMatrixView(nullptr, 3, -4, 4, DType::f32)})
        EXPECT_THROW(save_npy(folder.path("n.npy"), bad), ValueError);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path(".")));
}

TEST(Npy, RefusesAMatrixOnADevice) {
    const TempFolder folder;
    ConstMatrixView view;
    view.place = Place::unique();
    expect_parts(error_of<ValueError>([&] { save_npy(folder.path("a.npy"), view); }),
                 {"copy it to the host"});
    EXPECT_EQ(folder.names(), Names{});
}

TEST(Npy, ReadsHandMadeFilesOfEveryVersion) {
    const TempFolder folder;
    const std::string data = bytes_of<float>({1, 2, 3, 4, 5, 6});
    for (const int version : {1, 2, 3})
        for (const std::string pad : {"", " ", "   "}) {  // misaligned data is copied
            const std::string path =
                folder.write("a.npy", npy(dict_of("'<f4'", "(2, 3)" + pad), data, version));
            const MappedNpy file(path);
            ASSERT_EQ(file.view().rows, 2);
            ASSERT_EQ(file.view().cols, 3);
            EXPECT_EQ(file.view().at<float>(1, 2), 6);
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.view().data) % 4, 0U);
        }
}

TEST(Npy, ReadsOneDimensionAsOneColumn) {
    const TempFolder folder;
    for (const std::string shape : {"(3,)", "(3L,)", "( 3 , )"}) {
        const MappedNpy file(
            folder.write("a.npy", npy(dict_of("\"<f8\"", shape), bytes_of<double>({1, -2, 0.5}))));
        ASSERT_EQ(file.view().rows, 3);
        ASSERT_EQ(file.view().cols, 1);
        EXPECT_EQ(file.view().at<double>(2, 0), 0.5);
    }
}

TEST(Npy, AcceptsFieldsInAnyOrder) {
    const TempFolder folder;
    const std::string dict = "{'shape': (1, 1), 'descr': '<f8', 'fortran_order': False}";
    EXPECT_EQ(MappedNpy(folder.write("a.npy", npy(dict, bytes_of<double>({7})))).view().rows, 1);
}

TEST(Npy, MovesKeepTheMapping) {
    const TempFolder folder;
    save_npy(folder.path("a.npy"), counting(2, 2, DType::f32));
    MappedNpy first(folder.path("a.npy"));
    const std::byte* data = first.view().data;
    MappedNpy second(std::move(first));
    EXPECT_EQ(second.view().data, data);
    EXPECT_TRUE(
        first.view().empty());  // NOLINT(bugprone-use-after-move): a moved-from file is an empty one
}

TEST(Npy, ReadsFortranOrder) {
    const TempFolder folder;
    const double columns[] = {1, 2, 3, 4, 5, 6};  // of 2 × 3
    const std::string data(reinterpret_cast<const char*>(columns), sizeof(columns));
    const MappedNpy file(folder.write("f.npy", npy(dict_of("'<f8'", "(2, 3)", "True"), data)));
    const ConstMatrixView x = file.view();
    ASSERT_EQ(x.rows, 2);
    ASSERT_EQ(x.cols, 3);
    for (std::int64_t i = 0; i < 2; ++i)
        for (std::int64_t j = 0; j < 3; ++j) EXPECT_EQ(x.at<double>(i, j), columns[2 * j + i]);
}

TEST(Npy, RefusesContentThatIsNoRealMatrix) {
    const TempFolder folder;
    const std::string data(48, '\0');
    const auto refusal = [&](const std::string& dict) {
        const std::string path = folder.write("bad.npy", npy(dict, data));
        const std::string text = error_of<ValueError>([&] { MappedNpy file(path); });
        expect_parts(text, {path});
        return text;
    };
    expect_parts(refusal(dict_of("'>f8'", "(2, 3)")), {"big-endian", ">f8", "astype('<f8')"});
    expect_parts(refusal(dict_of("'<i8'", "(2, 3)")), {"i8", "float32 or float64", "astype"});
    expect_parts(refusal(dict_of("'<f2'", "(4, 6)")), {"f2", "float32 or float64"});
    expect_parts(refusal(dict_of("'|O'", "(2, 3)")), {"|O", "not supported"});
    expect_parts(refusal(dict_of("'<c8'", "(2, 3)")), {"<c8", "not supported"});
    expect_parts(refusal(dict_of("[('x', '<f4'), ('y', '<f4')]", "(6,)")),
                 {"[('x', '<f4')", "not supported"});
    expect_parts(refusal(dict_of("'<f8'", "(1, 2, 3)")), {"3 dimensions", "reshape"});
    expect_parts(refusal(dict_of("'<f8'", "()")), {"0 dimensions"});
}

TEST(Npy, RefusesBrokenFiles) {
    const TempFolder folder;
    const auto refusal = [&](const std::string& bytes) {
        const std::string path = folder.write("bad.npy", bytes);
        const std::string text = error_of<IoError>([&] { MappedNpy file(path); });
        expect_parts(text, {path, "numpy.save"});
        return text;
    };
    const std::string data(48, '\0');
    const std::string good = npy(dict_of("'<f8'", "(2, 3)"), data);
    for (const std::size_t cut : {0, 1, 5, 6, 7, 9, 10, 40, 71}) refusal(good.substr(0, cut));
    expect_parts(refusal(good.substr(0, good.size() - 1)), {"truncated", "48 bytes", "has 47"});
    expect_parts(refusal(good + "xyz"), {"3 bytes follow"});
    expect_parts(refusal("PK\x03\x04 an archive"), {"magic"});
    expect_parts(refusal(npy(dict_of("'<f8'", "(2, 3)"), data, 4)), {"version is 4"});
    expect_parts(refusal(std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12) + data), {"truncated"});
    expect_parts(refusal(npy(dict_of("'<f8'", "(4000000000, 4000000000)"), data)), {"64 bits"});
    expect_parts(refusal(npy(dict_of("'<f8'", "(1000000000000,)"), data)), {"truncated"});
    expect_parts(refusal(npy(dict_of("'<f8'", "(2, -3)"), data)), {"shape"});
    expect_parts(refusal(npy(dict_of("'<f8'", "(2, x)"), data)), {"shape"});
    expect_parts(refusal(npy(dict_of("'<f8'", "6"), data)), {"tuple"});
    expect_parts(refusal(npy(dict_of("'<f8'", "(2, 3)", "maybe"), data)), {"fortran_order"});
    expect_parts(refusal(npy("{'descr': '<f8', 'shape': (2, 3)}", data)), {"lacks 'fortran_order'"});
    for (const std::string dict :
         {"", "{", "}", "[]", "{descr: 1}", "{'descr'}", "{'descr' '<f8'}", "{'a': 1, 'a': 2}", "{'a"})
        refusal(npy(dict, data));
}

TEST(Npy, NamesAFileThatCannotBeRead) {
    const TempFolder folder;
    const auto refusal = [](const std::string& path) {
        const std::string text = error_of<IoError>([&] { MappedNpy file(path); });
        expect_parts(text, {path});
        return text;
    };
    expect_parts(refusal(folder.path("absent.npy")), {"No such file", "check the path"});
    expect_parts(refusal(folder.path(".")), {"a directory"});
    expect_parts(refusal("/dev/null"), {"a device or a stream"});
}

}  // namespace
}  // namespace fntk

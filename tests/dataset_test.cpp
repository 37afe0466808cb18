// load_dataset and load_labels on whatever format: normalisation, refusals, labels, classes, fashion-mnist.
#include "data_files.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>

namespace fntk {
namespace {

using namespace test;

template <class T>
std::string save(const TempFolder& folder, const std::string& name, std::int64_t rows, std::int64_t cols,
                 std::vector<T> values) {
    save_npy(folder.path(name), ConstMatrixView(static_cast<const T*>(values.data()), rows, cols));
    return folder.path(name);
}

// ---- rows ----------------------------------------------------------------------------------------

TEST(Dataset, KeepsNpyValuesAndRoundsToTheWantedType) {
    const TempFolder folder;
    const std::string path = save<double>(folder, "x.npy", 2, 2, {0.1, 2, -3, 4});
    const Dataset exact = load_dataset(path, raw);
    EXPECT_EQ(exact.name, "x.npy");
    EXPECT_EQ(exact.classes, 0);
    EXPECT_TRUE(exact.train.labels.empty());
    EXPECT_TRUE(exact.test.inputs.empty());
    EXPECT_EQ(flat(exact.train.inputs), (Values{0.1, 2, -3, 4}));
    LoadOptions options = raw;
    options.dtype = DType::f32;
    const Dataset rounded = load_dataset(path, options);
    EXPECT_EQ(rounded.train.inputs.dtype(), DType::f32);
    EXPECT_EQ(rounded.train.inputs.at<float>(0, 0), 0.1F);
}

TEST(Dataset, NormalisesRowsOfAnyScale) {
    const TempFolder folder;
    constexpr double tiny = std::numeric_limits<double>::denorm_min();
    constexpr double huge = std::numeric_limits<double>::max();
    const std::string path =
        save<double>(folder, "x.npy", 6, 2,
                     {3, 4, 3e300, -4e300, 3e-300, 4e-300, 3 * tiny, 4 * tiny, huge, huge, 0, -1e-5});
    const Dataset data = load_dataset(path, {.dtype = DType::f64});
    const Values expected{0.6, 0.8, 0.6, -0.8, 0.6, 0.8, 0.6, 0.8, std::sqrt(0.5), std::sqrt(0.5), 0, -1};
    const Values values = flat(data.train.inputs);
    ASSERT_EQ(values.size(), expected.size());
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], 2e-16) << i;
    EXPECT_EQ(load_dataset(path).train.inputs.at<float>(1, 1), -0.8F);
}

TEST(Dataset, RefusesARowOfZerosByItsNumber) {
    const TempFolder folder;
    const std::string path = save<float>(folder, "x.npy", 3, 2, {1, 2, 3, 4, 0, -0.0F});
    expect_parts(error_of<ValueError>([&] { load_dataset(path); }), {path, "row 2", "all zeros"});
    EXPECT_EQ(load_dataset(path, raw).train.inputs.rows(), 3);
    LoadOptions first;
    first.max_samples = 2;
    EXPECT_EQ(load_dataset(path, first).train.inputs.rows(), 2);
}

TEST(Dataset, NamesRowAndColumnOfNanAndInfinity) {
    const TempFolder folder;
    const double nan = std::numeric_limits<double>::quiet_NaN(),
                 inf = std::numeric_limits<double>::infinity();
    for (const double bad : {nan, inf, -inf}) {
        const std::string path = save<double>(folder, "x.npy", 2, 3, {1, 2, 3, 4, 5, bad});
        for (const bool normalize : {true, false})
            expect_parts(error_of<ValueError>([&] { load_dataset(path, {.normalize = normalize}); }),
                         {path, "row 1, column 2", bad != bad ? "nan" : "inf", "finite"});
    }
    expect_parts(error_of<ValueError>([&] { load_dataset(folder.write("x.csv", "1,2\n3,inf\n")); }),
                 {"row 1, column 1"});
    const std::string labels = save<double>(folder, "y.npy", 2, 1, {1, nan});
    expect_parts(error_of<ValueError>([&] { load_labels(labels); }), {labels, "row 1, column 0"});
}

TEST(Dataset, RefusesValuesBeyondFloat32UnlessNormalised) {
    const TempFolder folder;
    const std::string path = save<double>(folder, "x.npy", 1, 2, {1, 1e39});
    expect_parts(error_of<ValueError>([&] { load_dataset(path, {.normalize = false}); }),
                 {path, "row 0", "1e+39", "float32", "float64"});
    EXPECT_EQ(load_dataset(path).train.inputs.at<float>(0, 1), 1.0F);
}

TEST(Dataset, RefusesNoRowsAndNoColumns) {
    const TempFolder folder;
    for (const auto& path : {save<float>(folder, "a.npy", 0, 3, {}), save<float>(folder, "b.npy", 3, 0, {}),
                             folder.write("c.csv", ""), folder.write("d.csv", "x,y\n\n")})
        expect_parts(error_of<ValueError>([&] { load_dataset(path); }), {path, "rows of"});
}

TEST(Dataset, RefusesWrongOptionsAndUnknownEndings) {
    const TempFolder folder;
    const std::string path = save<float>(folder, "x.npy", 1, 1, {1});
    expect_parts(error_of<ValueError>([&] { load_dataset(path, {.dtype = DType::i32}); }),
                 {"int32", "float32"});
    LoadOptions negative;
    negative.max_samples = -1;
    expect_parts(error_of<ValueError>([&] { load_dataset(path, negative); }), {"max_samples", "-1"});
    expect_parts(error_of<ValueError>([&] { load_dataset(folder.path("x.parquet")); }),
                 {"x.parquet", ".npy", "fashion-mnist"});
}

TEST(Dataset, TakesWholeNumbersAsTheyAre) {
    const TempFolder folder;
    const Dataset data =
        load_dataset(save<std::int32_t>(folder, "i.npy", 2, 2, {3, 4, 0, -5}), {.normalize = false});
    EXPECT_EQ(data.train.inputs.dtype(), DType::f32);
    EXPECT_EQ(value(data.train.inputs, 0, 1), 4);
    EXPECT_EQ(value(data.train.inputs, 1, 1), -5);
}

// ---- labels and classes --------------------------------------------------------------------------

TEST(Labels, CountAsManyAsTheFileHasRowsAndAreCutWithThem) {
    const TempFolder folder;
    const std::string path = save<float>(folder, "x.npy", 3, 1, {1, 2, 3});
    LoadOptions options = with_labels(save<std::int64_t>(folder, "y.npy", 3, 1, {7, 8, 9}));
    options.max_samples = 2;
    EXPECT_EQ(flat(load_dataset(path, options).train.labels), (Values{7, 8}));
    options.max_samples = 10;
    EXPECT_EQ(flat(load_dataset(path, options).train.labels), (Values{7, 8, 9}));
    for (const std::int64_t count : {0, 2, 4}) {
        options.labels =
            save<double>(folder, "z.npy", count, 1, Values(static_cast<std::size_t>(count), 1.0));
        for (options.max_samples = 0; options.max_samples < 3; ++options.max_samples)
            expect_parts(error_of<ValueError>([&] { load_dataset(path, options); }),
                         {options.labels, std::to_string(count) + " labels", path, "3 rows"});
    }
}

TEST(Labels, AreClassesWhenSmallIntegersFromZero) {
    const TempFolder folder;
    const std::string path = save<float>(folder, "x.npy", 2, 1, {1, 2});
    const auto classes = [&](double a, double b) {
        return load_dataset(path, with_labels(save<double>(folder, "y.npy", 2, 1, {a, b}))).classes;
    };
    EXPECT_EQ(classes(0, 9), 10);
    EXPECT_EQ(classes(0, 0), 2);
    EXPECT_EQ(classes(4095, 0), 4096);
    EXPECT_EQ(classes(4096, 0), 0);
    EXPECT_EQ(classes(-1, 1), 0);
    EXPECT_EQ(classes(0.5, 1), 0);
    EXPECT_EQ(classes(1e300, 1), 0);
}

TEST(Labels, AreWhatTheCallerSaysTheyAre) {
    const TempFolder folder;
    const std::string path = save<float>(folder, "x.npy", 2, 1, {1, 2});
    LoadOptions options = with_labels(save<double>(folder, "y.npy", 2, 1, {346, 25}));
    options.targets = TargetKind::values;
    const Dataset values = load_dataset(path, options);
    EXPECT_EQ(values.classes, 0);
    EXPECT_EQ(flat(values.train.labels), (Values{346, 25}));
    options.targets = TargetKind::classes;
    EXPECT_EQ(load_dataset(path, options).classes, 347);
    for (const auto& [label, text] : {std::pair{0.5, "0.5"}, {-1.0, "-1"}, {4096.0, "4096"}}) {
        options.labels = save<double>(folder, "z.npy", 2, 1, {1, label});
        expect_parts(error_of<ValueError>([&] { load_dataset(path, options); }),
                     {"row 1", std::string("is ") + text, "[0, 4096)", "targets = values"});
    }
    EXPECT_EQ(parse_target_kind("auto"), TargetKind::automatic);
    EXPECT_EQ(parse_target_kind("classes"), TargetKind::classes);
    EXPECT_EQ(parse_target_kind("values"), TargetKind::values);
    expect_parts(error_of<ValueError>([&] { parse_target_kind("numbers"); }),
                 {"'numbers'", "auto, classes or values"});
}

TEST(Labels, OfEveryNpyType) {
    const TempFolder folder;
    const auto load = [&](const std::string& descr, const std::string& data) {
        const std::string dict = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (2,), }";
        return flat(
            load_labels(folder.write("y.npy", std::string("\x93NUMPY\x01\x00", 8) +
                                                  static_cast<char>(dict.size()) + '\0' + dict + data)));
    };
    using namespace std::string_literals;
    EXPECT_EQ(load("|u1", "\x01\xff"s), (Values{1, 255}));
    EXPECT_EQ(load("|i1", "\x01\xff"s), (Values{1, -1}));
    EXPECT_EQ(load("<u2", "\x01\x00\xff\xff"s), (Values{1, 65535}));
    EXPECT_EQ(load("<i2", "\x01\x00\xff\xff"s), (Values{1, -1}));
    EXPECT_EQ(load("<f2", "\x00\x3c\x01\x80"s), (Values{1, -std::ldexp(1.0, -24)}));
    EXPECT_EQ(load("<u4", "\x01\x00\x00\x00\xff\xff\xff\xff"s), (Values{1, 4294967295.0}));
    EXPECT_EQ(load("<i4", "\x01\x00\x00\x00\xff\xff\xff\xff"s), (Values{1, -1}));
    EXPECT_EQ(load("<f4", "\x00\x00\x80\x3f\x00\x00\x00\xc0"s), (Values{1, -2}));
    EXPECT_EQ(load("<u8", "\x01"s + std::string(7, '\0') + std::string(8, '\xff')),
              (Values{1, std::ldexp(1.0, 64)}));
    EXPECT_EQ(load("<i8", "\x01"s + std::string(7, '\0') + std::string(8, '\xff')), (Values{1, -1}));
    expect_parts(error_of<ValueError>([&] { load("<f2", "\x00\x7c\x00\x00"s); }), {"row 0", "inf"});
    expect_parts(error_of<ValueError>([&] { load(">i2", "\x00\x01\x00\x02"s); }), {"big-endian"});
}

// ---- a test split of one's own -------------------------------------------------------------------

TEST(TestSplit, IsLoadedAsTheTrainingRowsAre) {
    const TempFolder folder;
    const std::string path = save<float>(folder, "x.npy", 3, 2, {3, 4, 1, 0, 0, 2});
    LoadOptions options = with_labels(folder.write("y.csv", "0\n1\n2\n"));
    options.normalize = true;
    options.test = folder.write("t.csv", "a,b\n0,5\n-6,8\n");
    options.test_labels = save<std::int32_t>(folder, "v.npy", 2, 1, {2, 0});
    const Dataset data = load_dataset(path, options);
    EXPECT_EQ(data.name, "x.npy");
    EXPECT_EQ(data.train.inputs.rows(), 3);
    EXPECT_EQ(flat(data.train.labels), (Values{0, 1, 2}));
    EXPECT_EQ(flat(data.test.inputs), (Values{0, 1, -0.6, 0.8}));
    EXPECT_EQ(flat(data.test.labels), (Values{2, 0}));
    EXPECT_EQ(data.classes, 3);
    options.max_samples = options.max_test_samples = 1;
    const Dataset cut = load_dataset(path, options);
    EXPECT_EQ(cut.classes, 3);  // of the whole file of labels
    EXPECT_EQ(flat(cut.train.labels), (Values{0}));
    EXPECT_EQ(flat(cut.test.labels), (Values{2}));
    for (const auto& [label, text] : {std::pair{3.0, "is 3"}, {0.5, "is 0.5"}}) {
        options.test_labels = save<double>(folder, "v.npy", 2, 1, {2, label});
        expect_parts(error_of<ValueError>([&] { load_dataset(path, options); }),
                     {"test row 1", text, "3 classes", "[0, 3)", "targets = values"});
    }
    options.targets = TargetKind::values;
    EXPECT_EQ(flat(load_dataset(path, options).test.labels), (Values{2}));
}

TEST(TestSplit, TakesAllItsFilesAndTheSameColumns) {
    const TempFolder folder;
    const std::string x = save<float>(folder, "x.npy", 1, 2, {3, 4}), y = folder.write("y.csv", "0\n"),
                      narrow = save<float>(folder, "t.npy", 1, 1, {3}),
                      half = folder.write("z.csv", "0.5\n");
    const auto load = [&](const std::string& labels, const std::string& test,
                          const std::string& test_labels, TargetKind targets = TargetKind::automatic) {
        load_dataset(x, {.labels = labels, .test = test, .test_labels = test_labels, .targets = targets});
    };
    for (const auto& given :
         {std::array{y, x, std::string()}, {y, std::string(), y}, {std::string(), x, y}})
        expect_parts(error_of<ValueError>([&] { load(given[0], given[1], given[2]); }),
                     {"'" + given[0] + "', '" + given[1] + "' and '" + given[2] + "'", "all three"});
    expect_parts(error_of<ShapeError>([&] { load(y, narrow, y); }), {narrow, "1 columns", x, "has 2"});
    expect_parts(error_of<ValueError>([&] { load(y, x, half, TargetKind::classes); }),
                 {"test row 0", "is 0.5"});
    for (const auto& given : {std::pair{x, std::string()}, {std::string(), y}})
        expect_parts(error_of<ValueError>([&] {
                         load_dataset("fashion-mnist", {.test = given.first, .test_labels = given.second});
                     }),
                     {given.first + given.second, "its own"});
}

TEST(Labels, AreOneColumnOrSeveral) {
    const TempFolder folder;
    EXPECT_EQ(flat(load_labels(folder.write("y.csv", "label\n3\n-1.5\n"))), (Values{3, -1.5}));
    const Matrix wide = load_labels(folder.write("wide.csv", "1,2\n0,0.25\n"));
    EXPECT_EQ(wide.cols(), 2);
    EXPECT_EQ(flat(wide), (Values{1, 2, 0, 0.25}));
    expect_parts(error_of<ValueError>([&] { load_labels("y.txt"); }), {"y.txt", "ending"});
    const std::string none = save<double>(folder, "none.npy", 2, 0, {});
    expect_parts(error_of<ValueError>([&] { load_labels(none); }), {none, "2 rows", "no columns"});
}

TEST(Labels, OfSeveralColumnsAreValues) {
    const TempFolder folder;
    const std::string path = save<float>(folder, "x.npy", 3, 1, {1, 2, 3});
    LoadOptions options = with_labels(save<std::int64_t>(folder, "y.npy", 3, 2, {0, 1, 1, 0, 2, 2}));
    options.max_samples = 2;
    const Dataset data = load_dataset(path, options);
    EXPECT_EQ(data.classes, 0);
    EXPECT_EQ(data.train.labels.cols(), 2);
    EXPECT_EQ(flat(data.train.labels), (Values{0, 1, 1, 0}));
    options.targets = TargetKind::classes;
    expect_parts(error_of<ValueError>([&] { load_dataset(path, options); }),
                 {"2 columns", "targets = values"});
    options.targets = TargetKind::automatic;
    options.test = path;
    options.test_labels = save<double>(folder, "t.npy", 3, 1, {0, 1, 2});
    expect_parts(error_of<ShapeError>([&] { load_dataset(path, options); }),
                 {options.test_labels, "1 columns", options.labels, "has 2"});
}

// ---- fashion-mnist
// -------------------------------------------------------------------------------------------------

/// Sets a variable of the environment and sets it back.
class Environment {
  public:
    Environment(const char* key, const std::string& value) : key_(key) {
        if (const char* old = std::getenv(key)) old_ = old;
        ::setenv(key, value.c_str(), 1);
    }
    ~Environment() { old_.empty() ? ::unsetenv(key_) : ::setenv(key_, old_.c_str(), 1); }
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;

  private:
    const char* key_;
    std::string old_;
};

TEST(FashionMnist, ReadsBothSplitsFromTheDataFolder) {
    const TempFolder folder;
    std::filesystem::create_directory(folder.path("fashion-mnist"));
    write_gz(folder, "fashion-mnist/train-images-idx3-ubyte.gz",
             idx(0x08, {3, 2, 1}, "\x01\x02\x03\x04\x05\x06"));
    write_gz(folder, "fashion-mnist/train-labels-idx1-ubyte.gz", idx(0x08, {3}, "\x01\x02\x09"));
    write_gz(folder, "fashion-mnist/t10k-images-idx3-ubyte.gz", idx(0x08, {2, 2, 1}, "\x07\x08\x09\x0a"));
    write_gz(folder, "fashion-mnist/t10k-labels-idx1-ubyte.gz", idx(0x08, {2}, "\x09\x04"));
    const Environment variable("FNTK_DATA_DIR", folder.path("."));
    LoadOptions options = raw;
    options.max_samples = 2;
    options.max_test_samples = 1;
    const Dataset data = load_dataset("fashion-mnist", options);
    const std::vector<std::string> files = dataset_files("fashion-mnist");
    EXPECT_EQ(files.size(), 4U);
    for (const std::string& file : files) EXPECT_TRUE(std::filesystem::exists(file)) << file;
    EXPECT_EQ(dataset_files("x.npy"), std::vector<std::string>{"x.npy"});
    EXPECT_EQ(data.name, "fashion-mnist");
    EXPECT_EQ(flat(data.train.inputs), (Values{1 / 255.0, 2 / 255.0, 3 / 255.0, 4 / 255.0}));
    EXPECT_EQ(flat(data.train.labels), (Values{1, 2}));
    EXPECT_EQ(flat(data.test.inputs), (Values{7 / 255.0, 8 / 255.0}));
    EXPECT_EQ(data.classes, 10);
    expect_parts(error_of<ValueError>([&] { load_dataset("fashion-mnist", with_labels("y.npy")); }),
                 {"y.npy", "its own"});
}

TEST(FashionMnist, AFolderThatIsNamedMustHoldTheFiles) {
    const TempFolder folder;
    for (const char* name : {"nowhere", "."}) {
        const Environment variable("FNTK_DATA_DIR", folder.path(name));
        const auto parts = {std::string(folder.path(name)), std::string("FNTK_DATA_DIR"),
                            std::string("unset")};
        const std::string error = error_of<IoError>([] { load_dataset("fashion-mnist"); });
        for (const std::string& part : parts) EXPECT_NE(error.find(part), std::string::npos) << error;
        EXPECT_EQ(error_of<IoError>([] { dataset_files("fashion-mnist"); }), error);
    }
}

TEST(FashionMnist, TheInstalledFilesOrAnErrorThatSaysHowToGetThem) {
    const Environment variable("FNTK_DATA_DIR", "");
    if (!std::filesystem::exists("/usr/share/datasets/fashion-mnist") &&
        !std::filesystem::exists("/usr/local/share/datasets/fashion-mnist")) {
        expect_parts(error_of<IoError>([] { load_dataset("fashion-mnist"); }),
                     {"/usr/share/datasets", "dataset-fashion-mnist", "FNTK_DATA_DIR"});
        return;
    }
    LoadOptions options;
    options.max_samples = 1000;
    const Dataset data = load_dataset("fashion-mnist", options);
    EXPECT_EQ(data.train.inputs.rows(), 1000);
    EXPECT_EQ(data.test.inputs.rows(), 10000);
    EXPECT_EQ(data.train.inputs.cols(), 784);
    EXPECT_EQ(data.classes, 10);
    double norm = 0;
    for (std::int64_t j = 0; j < 784; ++j) norm += std::pow(data.test.inputs.at<float>(9999, j), 2);
    EXPECT_NEAR(norm, 1, 1e-6);
}

}  // namespace
}  // namespace fntk

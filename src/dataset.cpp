// source → Table (rows as double) → checked, brought to unit length, rounded to the wanted type → Dataset.
#include "mapped_file.hpp"
#include "npy.hpp"
#include "table.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <memory>
#include <system_error>

namespace fntk {
namespace detail {

Table npy_table(const std::string& path) {
    auto file = std::make_shared<const MappedFile>(path);
    const NpyArray array = read_npy(*file);
    return {.path = path,
            .rows = array.rows,
            .cols = array.cols,
            .read = [file, array](std::int64_t row, double* out) { read_row(array, row, out); }};
}

Table open_table(const std::string& path, Content content, std::int64_t max_rows) {
    const std::string name = std::filesystem::path(path).filename().string();
    const auto ends = [&](auto... endings) { return (name.ends_with(endings) || ...); };
    if (ends(".npy")) return npy_table(path);
    if (ends(".csv")) return csv_table(path, max_rows);
    if (ends(".idx", ".idx.gz", "-ubyte", "-ubyte.gz")) return idx_table(path, content, max_rows);
    throw ValueError(fmt::format(
        "{}: unknown ending; name a .npy, .csv, .idx, .idx.gz or *-ubyte[.gz] file, or the data "
        "set fashion-mnist",
        path));
}

namespace {

namespace fs = std::filesystem;

/// 1 / 2^e with 2^e just above the largest magnitude, so that squares of scaled values neither overflow nor
/// vanish. A power of two: scaling rounds nothing. e ≥ −1000 keeps the reciprocal finite when only
/// subnormals are there.
double scale_of(double largest) {
    int exponent = 0;
    std::frexp(largest, &exponent);
    return std::ldexp(1.0, -std::max(exponent, -1000));
}

/// x / ‖x‖; the caller knows that `largest` = max |x_j| > 0.
void normalize_row(std::vector<double>& row, double largest) {
    const double scale = scale_of(largest);
    double squares = 0;
    for (double& x : row) {
        x *= scale;
        squares += x * x;
    }
    const double norm = std::sqrt(squares);
    for (double& x : row) x /= norm;
}

template <class T>
Matrix read_inputs(const Table& table, std::int64_t rows, bool normalize) {
    Matrix inputs(rows, table.cols, dtype_of<T>);
    std::vector<double> row(static_cast<std::size_t>(table.cols));
    for (std::int64_t i = 0; i < rows; ++i) {
        table.read(i, row.data());
        double largest = 0;
        for (std::size_t j = 0; j < row.size(); ++j) {
            if (!std::isfinite(row[j]))
                throw ValueError(
                    fmt::format("{}: row {}, column {} (both from 0) holds {}; every value must be finite: "
                                "remove or impute it",
                                table.path, i, j, row[j]));
            largest = std::max(largest, std::abs(row[j]));
        }
        if (normalize && largest == 0)
            throw ValueError(
                fmt::format("{}: row {} (from 0) is all zeros and has no direction; remove it or load "
                            "without normalisation (--no-normalize)",
                            table.path, i));
        if (normalize) normalize_row(row, largest);
        if (!normalize && largest > static_cast<double>(std::numeric_limits<T>::max()))
            throw ValueError(fmt::format(
                "{}: row {} (from 0) holds {}, beyond {}; take precision float64, or rows of unit length",
                table.path, i, largest, name(dtype_of<T>)));
        std::ranges::transform(row, inputs.row<T>(i), [](double x) { return static_cast<T>(x); });
    }
    return inputs;
}

/// The first `max_rows` rows (0: all) and all labels; without labels_path there are none.
Samples read_samples(const Table& table, const std::string& labels_path, std::int64_t max_rows,
                     const LoadOptions& options) {
    if (table.rows == 0 || table.cols == 0)
        throw ValueError(fmt::format("{}: it holds {} rows of {} columns; at least one of each is needed",
                                     table.path, table.rows, table.cols));
    const std::int64_t rows = max_rows > 0 ? std::min(max_rows, table.rows) : table.rows;
    Matrix labels;
    if (!labels_path.empty()) {
        labels = load_labels(labels_path);
        if (labels.rows() != table.rows)
            throw ValueError(
                fmt::format("{}: it holds {} labels, {} has {} rows; give one label for each row",
                            labels_path, labels.rows(), table.path, table.rows));
    }
    return {options.dtype == DType::f32 ? read_inputs<float>(table, rows, options.normalize)
                                        : read_inputs<double>(table, rows, options.normalize),
            std::move(labels)};
}

constexpr double most_classes = 4096;

/// The first row that holds no whole number in [0, classes); none: −1.
std::int64_t first_other(const Matrix& labels, double classes) {
    for (std::int64_t i = 0; i < labels.rows(); ++i) {
        const double label = labels.at<double>(i, 0);
        if (!(label >= 0 && label < classes && label == std::floor(label))) return i;
    }
    return -1;
}

/// max + 1 (at least 2) when the training labels are one column of integers in [0, 4096), else 0. Throws
/// where classes were promised, and for test labels that are none of these classes.
std::int64_t count_classes(const Dataset& data, TargetKind kind) {
    const Matrix &train = data.train.labels, &test = data.test.labels;
    if (kind == TargetKind::classes && train.cols() > 1)
        throw ValueError(fmt::format(
            "targets = classes: labels have {} columns; give the numbers of the classes in one, or take "
            "targets = values",
            train.cols()));
    if (kind == TargetKind::values || train.cols() != 1 || train.empty()) return 0;
    if (const std::int64_t i = first_other(train, most_classes); i >= 0) {
        if (kind == TargetKind::automatic) return 0;
        throw ValueError(fmt::format(
            "targets = classes: the label of row {} (from 0) is {}, no whole number in [0, {}); "
            "number the classes from 0, or take targets = values",
            i, train.at<double>(i, 0), most_classes));
    }
    double largest = 1;
    for (std::int64_t i = 0; i < train.rows(); ++i) largest = std::max(largest, train.at<double>(i, 0));
    if (const std::int64_t i = first_other(test, largest + 1); i >= 0)
        throw ValueError(
            fmt::format("the label of test row {} (from 0) is {}, the training labels are {} classes; give "
                        "whole numbers in [0, {}), or take targets = values",
                        i, test.at<double>(i, 0), largest + 1, largest + 1));
    return static_cast<std::int64_t>(largest) + 1;
}

/// The labels of the rows that were read, once all have said what they are.
void cut_labels(Samples& samples) {
    if (samples.labels.rows() > samples.inputs.rows())
        samples.labels = Matrix::copy_of(samples.labels.view().row_block(0, samples.inputs.rows()));
}

constexpr std::array fashion_files{"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
                                   "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"};

/// The folder that holds all four files: that of FNTK_DATA_DIR, or where it is not set the first installed.
fs::path fashion_folder() {
    const char* named = std::getenv("FNTK_DATA_DIR");
    const bool given = named != nullptr && *named != '\0';
    const std::vector<std::string> folders =
        given ? std::vector<std::string>{(fs::path(named) / "fashion-mnist").string()}
              : std::vector<std::string>{"/usr/share/datasets/fashion-mnist",
                                         "/usr/local/share/datasets/fashion-mnist"};
    for (const fs::path folder : folders) {
        std::error_code ignored;
        if (std::ranges::all_of(fashion_files,
                                [&](const char* file) { return fs::exists(folder / file, ignored); }))
            return folder;
    }
    const std::string files = fmt::format("{}", fmt::join(fashion_files, ", "));
    if (given)
        throw IoError(fmt::format(
            "FNTK_DATA_DIR is '{}': fashion-mnist's four files {} are not all in {}; set it to the folder "
            "that holds fashion-mnist/, or unset it for the installed files",
            named, files, folders.front()));
    throw IoError(
        fmt::format("fashion-mnist: its four files {} are in none of {}; install the Debian package "
                    "dataset-fashion-mnist, or set FNTK_DATA_DIR to the folder that holds fashion-mnist/",
                    files, fmt::join(folders, ", ")));
}

void require_same_columns(const Matrix& train, const std::string& train_path, const Matrix& test,
                          const std::string& test_path) {
    if (test.cols() != train.cols())
        throw ShapeError(fmt::format("{}: it has {} columns, {} has {}; give rows of the same columns",
                                     test_path, test.cols(), train_path, train.cols()));
}

Dataset load_fashion(const LoadOptions& options) {
    for (const auto& [argument, given] : {std::pair{"labels", &options.labels},
                                          {"test", &options.test},
                                          {"test_labels", &options.test_labels}})
        if (!given->empty())
            throw ValueError(fmt::format(
                "{}: '{}' given for fashion-mnist, which has its own; leave it empty", argument, *given));
    const fs::path folder = fashion_folder();
    const auto split = [&](std::size_t first, std::int64_t max_rows) {
        return read_samples(idx_table(folder / fashion_files[first], Content::inputs, max_rows),
                            folder / fashion_files[first + 1], max_rows, options);
    };
    Dataset data;
    data.name = "fashion-mnist";
    data.train = split(0, options.max_samples);
    data.test = split(2, options.max_test_samples);
    require_same_columns(data.train.inputs, folder / fashion_files[0], data.test.inputs,
                         folder / fashion_files[2]);
    return data;
}

Dataset load_file(const std::string& source, const LoadOptions& options) {
    const bool tested = !options.test.empty();
    if (tested != !options.test_labels.empty() || (tested && options.labels.empty()))
        throw ValueError(fmt::format(
            "labels, test and test_labels are '{}', '{}' and '{}'; a test split takes all three",
            options.labels, options.test, options.test_labels));
    Dataset data;
    data.name = fs::path(source).filename().string();
    const auto split = [&](const std::string& path, const std::string& labels, std::int64_t max_rows) {
        return read_samples(open_table(path, Content::inputs, max_rows), labels, max_rows, options);
    };
    data.train = split(source, options.labels, options.max_samples);
    if (tested) {
        data.test = split(options.test, options.test_labels, options.max_test_samples);
        require_same_columns(data.train.inputs, source, data.test.inputs, options.test);
        require_same_columns(data.train.labels, options.labels, data.test.labels, options.test_labels);
    }
    return data;
}

}  // namespace
}  // namespace detail

Dataset load_dataset(const std::string& source, const LoadOptions& options) {
    if (options.dtype != DType::f32 && options.dtype != DType::f64)
        throw ValueError(
            fmt::format("dtype: {} is not for inputs; choose float32 or float64", name(options.dtype)));
    if (options.max_samples < 0 || options.max_test_samples < 0)
        throw ValueError(
            fmt::format("max_samples, max_test_samples: {} and {} given, at least 0 is needed; 0 takes all",
                        options.max_samples, options.max_test_samples));
    Dataset data =
        source == "fashion-mnist" ? detail::load_fashion(options) : detail::load_file(source, options);
    data.classes = detail::count_classes(data, options.targets);
    detail::cut_labels(data.train);
    detail::cut_labels(data.test);
    return data;
}

std::vector<std::string> dataset_files(const std::string& source) {
    if (source != "fashion-mnist") return {source};
    std::vector<std::string> files;
    for (const char* file : detail::fashion_files)
        files.push_back((detail::fashion_folder() / file).string());
    return files;
}

TargetKind parse_target_kind(std::string_view text) {
    if (text == "auto") return TargetKind::automatic;
    if (text == "classes") return TargetKind::classes;
    if (text == "values") return TargetKind::values;
    throw ValueError(fmt::format("targets is '{}'; choose auto, classes or values", text));
}

Matrix load_labels(const std::string& path) {
    const detail::Table table = detail::open_table(path, detail::Content::labels, 0);
    if (table.rows > 0 && table.cols < 1)
        throw ValueError(
            fmt::format("{}: its {} rows have no columns; at least one is needed", path, table.rows));
    Matrix labels(table.rows, table.cols, DType::f64);
    for (std::int64_t i = 0; i < table.rows; ++i) {
        double* row = labels.row<double>(i);
        table.read(i, row);
        for (std::int64_t j = 0; j < table.cols; ++j)
            if (!std::isfinite(row[j]))
                throw ValueError(
                    fmt::format("{}: row {}, column {} (both from 0) holds {}; every label must be finite: "
                                "remove its row from data and labels",
                                path, i, j, row[j]));
    }
    return labels;
}

}  // namespace fntk

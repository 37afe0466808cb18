// Files in and out: .npy, .csv, .idx[.gz] and safetensors. A writer writes a temporary file beside its
// target, syncs it, and renames: under the final name stands a whole file or none. Every failure is an
// IoError (unreadable, truncated, unwritable) or a ValueError (content that is refused: another dtype,
// NaN by row and column), naming the file.
#pragma once

#include <fntk/network.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fntk {

/// A .npy file (versions 1 to 3, little-endian float32 or float64, one or two dimensions) mapped read-only;
/// in Fortran order, or not aligned, copied. Values are read when they are touched, and not checked for NaN
/// and infinity.
class FNTK_API MappedNpy {
  public:
    explicit MappedNpy(const std::string& path);
    ~MappedNpy();
    MappedNpy(MappedNpy&&) noexcept;
    MappedNpy& operator=(MappedNpy&&) noexcept;
    /// One-dimensional files are one column.
    [[nodiscard]] ConstMatrixView view() const;

  private:
    struct Mapping;
    std::unique_ptr<Mapping> mapping_;
};

/// Writes a host matrix of any dtype and stride as .npy, C order. One column stays two-dimensional.
FNTK_API void save_npy(const std::string& path, ConstMatrixView matrix);

/// Writes a text file whole: temporary file, fsync, rename.
FNTK_API void save_text(const std::string& path, const std::string& text);

/// Room for a file that long work ends with, held while it lasts: a target that cannot be written and a
/// disk without `bytes` are an IoError before the work. A file without a name holds the room, so that
/// nothing is left of it when the process is killed; end it, then write the file.
class FNTK_API FileReservation {
  public:
    FileReservation(const std::string& path, std::int64_t bytes);
    ~FileReservation();
    FileReservation(const FileReservation&) = delete;
    FileReservation& operator=(const FileReservation&) = delete;

  private:
    int file_ = -1;
};

/// Labelled rows.
struct Samples {
    Matrix inputs;  ///< n × d
    Matrix labels;  ///< n × c in float64, or empty; c = 1 for classes
};
struct Dataset {
    std::string name;
    Samples train;
    Samples test;  ///< inputs empty without a test split
    /// > 0 when the labels are classes, integers in [0, classes), at most 4096, as all training labels of
    /// the source tell; 0 for values or none.
    std::int64_t classes = 0;
};
/// What labels stand for. automatic: classes when they are one column of integers in [0, 4096), else
/// values.
enum class TargetKind : std::uint8_t { automatic, classes, values };
/// "auto", "classes" or "values"; throws ValueError.
FNTK_API TargetKind parse_target_kind(std::string_view text);
struct LoadOptions {
    DType dtype = DType::f32;
    std::string labels = {};       ///< a file of n rows: .npy (any integer or float type), .csv, .idx[.gz]
    std::string test = {};         ///< a file with the rows of a test split
    std::string test_labels = {};  ///< its labels; given together with test and labels
    bool normalize = true;         ///< rows to unit length; a row of zeros is then refused by its number
    std::int64_t max_samples = 0;  ///< first rows of the training data only; 0 = all
    std::int64_t max_test_samples = 0;
    TargetKind targets = TargetKind::automatic;
};
/// source: a file by its ending, .npy, .csv (comma separated numbers, an optional header line), .idx or
/// .idx.gz (also the names of the MNIST family, *-ubyte[.gz]; unsigned bytes are divided by 255), or
/// "fashion-mnist": the four files of that name in $FNTK_DATA_DIR/fashion-mnist, or where that is not set
/// in share/datasets/fashion-mnist under /usr and /usr/local. Rows are checked, normalised in double and
/// rounded to options.dtype one at a time; with max_samples the rows behind it are neither read from a .npy
/// nor decompressed. Labels are counted against all rows of the file, then cut. Throws IoError, and
/// ValueError for 0 rows, NaN or infinity (file, row, column), a zero row, labels of another length, a test
/// split without labels, and labels that are no classes where options.targets says they are; ShapeError for
/// a test split of other columns, of inputs or labels; ValueError for test labels that are none of the
/// classes of the training labels.
FNTK_API Dataset load_dataset(const std::string& source, const LoadOptions& options = {});
/// The files that load_dataset reads of `source`: itself, or the four of fashion-mnist. Throws IoError
/// where those are missing.
FNTK_API std::vector<std::string> dataset_files(const std::string& source);
/// Labels alone, finite numbers, in float64 (unsigned bytes stand for themselves).
FNTK_API Matrix load_labels(const std::string& path);

/// A tensor in a safetensors file. dtype: as the format names it; those of matrices are "F32", "F64", "I32"
/// and "I64".
struct TensorView {
    std::string dtype;
    std::vector<std::int64_t> shape;
    const std::byte* data = nullptr;
};
/// A matrix of contiguous host memory as a tensor of two dimensions, which points into it.
FNTK_API TensorView tensor_view(ConstMatrixView contiguous);
TensorView tensor_view(const Matrix&& contiguous) = delete;  // it would be gone

/// Tensors in the order given, metadata as string pairs.
FNTK_API void save_safetensors(const std::string& path, const std::map<std::string, std::string>& metadata,
                               const std::vector<std::pair<std::string, TensorView>>& tensors);

/// A whole safetensors file in memory, header checked: offsets inside the file, no gap or overlap, shapes
/// that match.
class FNTK_API SafeTensors {
  public:
    explicit SafeTensors(const std::string& path);
    ~SafeTensors() = default;
    SafeTensors(SafeTensors&&) = default;  // moves only: the views point into bytes_
    SafeTensors& operator=(SafeTensors&&) = default;
    [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }
    /// By their names.
    [[nodiscard]] const std::map<std::string, TensorView>& tensors() const { return tensors_; }
    [[nodiscard]] bool has(const std::string& name) const { return tensors_.contains(name); }
    /// Throws IoError that lists the names present.
    [[nodiscard]] const TensorView& tensor(const std::string& name) const;
    /// A one- or two-dimensional F32, F64, I32 or I64 tensor as a matrix view into this object.
    [[nodiscard]] ConstMatrixView matrix(const std::string& name) const;
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    std::string path_;
    std::vector<std::byte> bytes_;
    std::map<std::string, std::string> metadata_;
    std::map<std::string, TensorView> tensors_;
};

/// The network's spec as one JSON object, and back (unknown or missing fields: ValueError).
FNTK_API std::string to_json(const NetworkSpec& spec);
FNTK_API NetworkSpec spec_from_json(const std::string& text);

/// Spec and scheme version as metadata; tensors U (p × d), V (m × p), A (m × k) in the network's precision:
/// those that the seed cannot reproduce always, all of them when `materialize` is set.
FNTK_API void save_network(const std::string& path, const Network& network, bool materialize = false);
/// Throws IoError for another kind of file or scheme, ValueError or ShapeError for content that fits none.
FNTK_API Network load_network(const std::string& path);

}  // namespace fntk

// Tiles of K(X, X') into a .npy file, row of tiles by row of tiles; of a symmetric kernel those of the
// lower triangle, each written turned to its mirror place too. Invariants: a tile is recorded after its
// bytes are on the disk; a recorded tile counts only while its bytes have the checksum recorded.
#include <fntk/gram_file.hpp>

#include "gram_file_progress.hpp"
#include "matrix_finite.hpp"
#include "npy.hpp"
#include "partial_file.hpp"

#include <fntk/error.hpp>

#include <backend/ops.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

namespace fntk {
namespace {

/// A block of the matrix in samples.
struct Tile {
    std::int64_t row, rows, col, cols;
};

class GramWriter {
  public:
    GramWriter(const std::string& path, const KernelBatch& rows, const KernelBatch& cols,
               const GramFileOptions& options)
        : rows_(rows),
          cols_(cols),
          options_(options),
          symmetric_(&rows == &cols),
          outputs_(rows.function().outputs()),
          dtype_(options.dtype.value_or(rows.function().precision())),
          file_(path),
          progress_(file_.target() + ".progress") {}

    GramFileResult run() {
        begin();
        GramFileResult result{.plan = plan_};
        const double all = static_cast<double>(rows_.size()) * static_cast<double>(cols_.size());
        double share = 0;
        for (std::int64_t i = 0; i < rows_.size(); i += plan_.tile)
            for (std::int64_t j = 0; j < (symmetric_ ? i + 1 : cols_.size()); j += plan_.tile) {
                const Tile tile{i, std::min(plan_.tile, rows_.size() - i), j,
                                std::min(plan_.tile, cols_.size() - j)};
                if (stands(result.done, tile))
                    ++result.reused;
                else
                    record(result.done, make(tile));
                ++result.done;
                share += static_cast<double>((mirrored(tile) ? 2 : 1) * tile.rows) *
                         static_cast<double>(tile.cols) / all;
                if (result.done == plan_.tiles || !options_.progress || options_.progress(share)) continue;
                flush();
                result.cancelled = true;
                return result;
            }
        file_.commit();
        progress_.remove();
        if (options_.progress) options_.progress(1);
        return result;
    }

  private:
    [[nodiscard]] bool mirrored(const Tile& tile) const { return symmetric_ && tile.row != tile.col; }

    /// The plan, the file with its header, and what is done of it.
    void begin() {
        const std::optional<GramProgress::Content> found =
            options_.resume ? progress_.read() : std::nullopt;
        GramFileOptions options = options_;
        if (found && options.tile == 0) options.tile = found->tile();
        plan_ = plan_gram_file(rows_.function(), rows_.size(),
                               symmetric_ ? std::nullopt : std::optional(cols_.size()), options);
        fingerprint_ = gram_fingerprint(rows_, cols_, dtype_, plan_.tile);
        if (found) {
            progress_.expect_same(found->fingerprint, fingerprint_);
            recorded_ = found->tiles;
            progress_.go_on();
            begun_ = true;
            file_.keep();
        } else {
            progress_.remove();
            file_.clear();
        }
        file_.allocate(plan_.file_bytes);
        const std::string header = detail::npy_header(rows_.rows(), cols_.rows(), dtype_);
        file_.write(0, header.data(), header.size());
        data_ = static_cast<std::int64_t>(header.size());

        const std::int64_t high = std::min(plan_.tile, rows_.size()) * outputs_,
                           wide = std::min(plan_.tile, cols_.size()) * outputs_;
        const DType precision = rows_.function().precision();
        tile_ = rows_.device().zeros(high, wide, precision);
        if (dtype_ != precision) converted_ = rows_.device().zeros(high, wide, dtype_);
        row_.resize(static_cast<std::size_t>(wide) * size_of(dtype_));
    }

    /// Makes the tile and writes it; its checksum, over the mirror place too.
    std::uint32_t make(const Tile& tile) {
        const std::int64_t k = outputs_, high = tile.rows * k, wide = tile.cols * k;
        backend::Ops& ops = rows_.device().ops();
        const MatrixView made = tile_.view().row_block(0, high).col_block(0, wide);
        rows_.tile(tile.row, tile.rows, cols_, tile.col, tile.cols, made);
        Matrix& owner = converted_.empty() ? tile_ : converted_;
        const MatrixView out = owner.view().row_block(0, high).col_block(0, wide);
        if (!converted_.empty()) ops.axpby(1, made, 0, out);
        std::uint32_t crc = write(out, tile.row * k, tile.col * k, 0);
        if (!mirrored(tile)) return crc;
        ops.transpose(owner);  // square, so in place; a ragged tile stands in its corner
        return write(std::as_const(owner).view().row_block(0, wide).col_block(0, high), tile.col * k,
                     tile.row * k, crc);
    }

    [[nodiscard]] std::int64_t offset(std::int64_t row, std::int64_t col) const {
        return data_ + (row * cols_.rows() + col) * static_cast<std::int64_t>(size_of(dtype_));
    }

    /// Throws ValueError that names the place in K of an entry that overflowed.
    template <class T>
    void require_finite_kernel(ConstMatrixView block, std::int64_t row, std::int64_t col) const {
        const DType narrowest = std::min(rows_.function().precision(), block.dtype);
        for (std::int64_t i = 0; i < block.rows; ++i) {
            const T* values = block.row<T>(i);
            const std::int64_t j = first_not_finite(values, block.cols);
            if (j < 0) continue;
            throw ValueError(
                fmt::format("K is {} at row {}, column {}: it leaves the range of {}; scale the data or "
                            "normalise its rows{}",
                            values[j], row + i, col + j, name(narrowest),
                            narrowest == DType::f32 ? ", or take precision float64" : ""));
        }
    }

    std::uint32_t write(ConstMatrixView block, std::int64_t row, std::int64_t col, std::uint32_t crc) {
        const Staged owner = rows_.device().on_host(block);
        dtype_ == DType::f32 ? require_finite_kernel<float>(owner, row, col)
                             : require_finite_kernel<double>(owner, row, col);
        const std::size_t bytes = static_cast<std::size_t>(block.cols) * size_of(dtype_);
        for (std::int64_t i = 0; i < block.rows; ++i) {
            const std::byte* values = owner.view().row_block(i, 1).data;
            file_.write(offset(row + i, col), values, bytes);
            crc = checksum(values, bytes, crc);
        }
        return crc;
    }

    std::uint32_t stored(std::int64_t row, std::int64_t high, std::int64_t col, std::int64_t wide,
                         std::uint32_t crc) {
        const std::size_t bytes = static_cast<std::size_t>(wide) * size_of(dtype_);
        for (std::int64_t i = 0; i < high; ++i) {
            file_.read(offset(row + i, col), row_.data(), bytes);
            crc = checksum(row_.data(), bytes, crc);
        }
        return crc;
    }

    /// Whether an earlier run finished the tile and its bytes are those it wrote.
    bool stands(std::int64_t number, const Tile& tile) {
        const auto found = recorded_.find(number);
        if (found == recorded_.end()) return false;
        const std::int64_t k = outputs_;
        std::uint32_t crc = stored(tile.row * k, tile.rows * k, tile.col * k, tile.cols * k, 0);
        if (mirrored(tile)) crc = stored(tile.col * k, tile.cols * k, tile.row * k, tile.rows * k, crc);
        return crc == found->second;
    }

    /// Syncing takes at most a tenth of the time, so a kill or a power cut costs little of either.
    void record(std::int64_t number, std::uint32_t crc) {
        pending_[number] = crc;
        if (Clock::now() - flushed_ >= 9 * flush_time_) flush();
    }

    void flush() {
        if (pending_.empty()) return;
        const Clock::time_point start = Clock::now();
        file_.sync();
        if (!begun_) progress_.begin(fingerprint_);
        begun_ = true;
        progress_.append(pending_);
        file_.keep();
        pending_.clear();
        flushed_ = Clock::now();
        flush_time_ = flushed_ - start;
    }

    using Clock = std::chrono::steady_clock;

    const KernelBatch &rows_, &cols_;
    const GramFileOptions& options_;
    bool symmetric_;
    std::int64_t outputs_;
    DType dtype_;
    detail::PartialFile file_;
    GramProgress progress_;
    GramFilePlan plan_;
    Fingerprint fingerprint_;
    std::map<std::int64_t, std::uint32_t> recorded_, pending_;
    bool begun_ = false;  // the progress file is there
    Clock::time_point flushed_ = Clock::now();
    Clock::duration flush_time_{};
    std::int64_t data_ = 0;    // bytes before the first element
    Matrix tile_, converted_;  // square for a symmetric kernel
    std::vector<std::byte> row_;
};

}  // namespace

GramFileResult save_gram(const std::string& path, const KernelBatch& rows, const KernelBatch& cols,
                         const GramFileOptions& options) {
    return GramWriter(path, rows, cols, options).run();
}

}  // namespace fntk

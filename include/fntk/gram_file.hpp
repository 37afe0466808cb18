// Gram matrices larger than memory: K(X, X') tile by tile into a .npy file, which a run that was stopped or
// killed goes on with. Until the last tile is written the data stands in PATH.partial, of the final size
// from the start, and what is done in PATH.progress (docs/gram-file.md); then PATH.partial takes the name
// PATH.
#pragma once

#include <fntk/kernel_function.hpp>

#include <optional>
#include <string>

namespace fntk {

struct GramFileOptions {
    std::int64_t memory = 0;       ///< bytes that the call may take beside its arguments; 0: no limit
    std::int64_t tile = 0;         ///< samples a side of a tile; 0: by the plan, or as in what is resumed
    std::optional<DType> dtype{};  ///< of the file, float32 or float64; else the kernel's precision
    bool resume = false;           ///< go on from PATH.partial and PATH.progress where they are
    Progress progress{};           ///< after every tile; returning false stops: what is done can be resumed
};

/// How a Gram matrix will be written, from extents alone.
struct GramFilePlan {
    std::int64_t tile = 0;        ///< samples a side of a tile
    std::int64_t tiles = 0;       ///< that are computed: of a symmetric kernel one triangle
    std::int64_t peak_bytes = 0;  ///< at most so much is taken beside the arguments, in each memory
    std::int64_t file_bytes = 0;
    double flops = 0;
    std::string reason{};
};
/// K(X, X') of `rows` and `cols` samples; without `cols` the symmetric K(X, X). Throws MemoryError that
/// names the smallest budget which works when no tile fits options.memory, ValueError for options out of
/// range and for a file beyond 2^63 bytes.
FNTK_API GramFilePlan plan_gram_file(const KernelFunction& function, std::int64_t rows,
                                     std::optional<std::int64_t> cols, const GramFileOptions& options = {});

struct GramFileResult {
    GramFilePlan plan;
    std::int64_t done = 0;    ///< tiles that are in the file
    std::int64_t reused = 0;  ///< of them, those of earlier runs
    bool cancelled = false;   ///< stopped by options.progress: nothing new under PATH
};
/// Writes K(X, X') (rows.rows() × cols.rows()) as little-endian .npy in C order. With rows and cols one
/// object each tile of the lower triangle is made once and written to its mirror place too: the file is
/// exactly symmetric. With `resume` a tile that is recorded and whose bytes have their checksum is kept; on
/// the same device, with as many threads, the file has the bytes of an uninterrupted run. Without it, what
/// an earlier run left is replaced.
/// Throws what plan_gram_file throws; ValueError when what is resumed was another matrix, and says in what;
/// IoError, with the bytes needed and free when the disk is full, and when another process is writing the
/// same file.
FNTK_API GramFileResult save_gram(const std::string& path, const KernelBatch& rows, const KernelBatch& cols,
                                  const GramFileOptions& options = {});

}  // namespace fntk

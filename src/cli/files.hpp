// The files of a command, looked at before its work: every output can be written, and none of them is
// another one's file or an input's.
#pragma once

#include <string>
#include <vector>

namespace fntk::cli {

/// A file by what names it on the command line, "--out" or "DATA"; without a path it was not asked for.
struct NamedFile {
    std::string name, path;
};
using Files = std::vector<NamedFile>;

/// Throws ValueError for an output that is the file of another output or of an input, by whatever path, and
/// IoError for one that cannot be written. Leaves nothing behind.
void check_files(const Files& outputs, const Files& inputs);

/// --out of a file that is made tile by tile, and what stands beside it until it is whole.
Files tiled_output(const std::string& out);

}  // namespace fntk::cli

#include "files.hpp"

#include <fntk/fntk.hpp>

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

namespace fntk::cli {

namespace {

/// The path behind links as far as it exists; the rest by its words.
std::filesystem::path behind_links(const std::string& path) {
    std::error_code error;
    const auto absolute = std::filesystem::absolute(path, error);
    const auto real = std::filesystem::weakly_canonical(absolute, error);
    return error ? absolute.lexically_normal() : real;
}

bool one_file(const NamedFile& a, const NamedFile& b) {
    std::error_code missing;  // then they differ
    return behind_links(a.path) == behind_links(b.path) ||
           std::filesystem::equivalent(a.path, b.path, missing);
}

}  // namespace

void check_files(const Files& outputs, const Files& inputs) {
    for (auto output = outputs.begin(); output != outputs.end(); ++output) {
        if (output->path.empty()) continue;
        if (output->path == "-")
            throw ValueError(fmt::format("{} is -, and nothing is written to standard output; name a file",
                                         output->name));
        for (const NamedFile& input : inputs)
            if (!input.path.empty() && one_file(*output, input))
                throw ValueError(
                    fmt::format("{} {} is the file of {} {}, an input, and would replace it; name another "
                                "file to write",
                                output->name, output->path, input.name, input.path));
        for (auto other = outputs.begin(); other != output; ++other)
            if (!other->path.empty() && one_file(*output, *other))
                throw ValueError(fmt::format("{} {} is the file of {} {} too; name a file for each",
                                             output->name, output->path, other->name, other->path));
    }
    for (const NamedFile& output : outputs)
        if (!output.path.empty()) FileReservation(output.path, 0);
}

Files tiled_output(const std::string& out) {
    const std::string target = behind_links(out).string();
    return {{"--out", out},
            {"the unfinished part of --out", target + ".partial"},
            {"the progress of --out", target + ".progress"}};
}

}  // namespace fntk::cli

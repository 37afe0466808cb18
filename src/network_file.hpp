// A network inside a safetensors file: what network files and models share.
#pragma once

#include <fntk/io.hpp>

#include <string>
#include <utility>
#include <vector>

namespace fntk::detail {

/// The metadata under `key`, which must be `wanted`; IoError with the remedy else.
void expect_metadata(const SafeTensors& file, const std::string& key, const std::string& wanted,
                     const char* remedy);
/// The text of an error about a file's content, with the file in front.
std::string in_file(const std::string& path, const std::string& text);

/// A copy of the tensor, in host memory; empty where the file has none of that name.
Matrix matrix_or_none(const SafeTensors& file, const std::string& name);

/// The dense tensors that `tensors` refers to.
struct NetworkTensorsOwner {
    Matrix down, up, readout;
};
/// Appends U, V and A of a network that may lie anywhere, where the seed cannot reproduce them, or all of
/// them.
void add_tensors(const Network& anywhere, bool materialize, NetworkTensorsOwner& owner,
                 std::vector<std::pair<std::string, TensorView>>& tensors);
/// The network of a spec (JSON text) and the tensors U, V and A of the file.
Network read_network(const SafeTensors& file, const std::string& text);

}  // namespace fntk::detail

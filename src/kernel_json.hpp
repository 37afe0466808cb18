// A kernel as JSON: the limit's activation and factors, or the network's spec as text and what becomes of
// its outputs.
#pragma once

#include <fntk/io.hpp>
#include <fntk/kernel_function.hpp>

#include <nlohmann/json.hpp>

namespace fntk {

inline nlohmann::ordered_json kernel_to_json(const KernelFunction& function) {
    if (!function.is_limit())
        return {{"kind", "network"},
                {"output", name(function.output())},
                {"spec", to_json(function.network().spec())}};
    return {{"kind", "limit"},
            {"activation", name(function.activation().kind)},
            {"slope", function.activation().slope},
            {"train", to_string(function.train())},
            {"dim", function.dim()},
            {"precision", name(function.precision())}};
}

}  // namespace fntk

// JSON out of a file, which may hold anything.
#pragma once

#include <nlohmann/json.hpp>

#include <algorithm>
#include <string_view>

namespace fntk::detail {

/// Of arrays and objects in one another: copying and printing a value follows them by recursion.
inline constexpr int deepest_json = 64;

/// A discarded value where `text` is no JSON, or JSON of more levels.
template <class Json>
Json parse_json(std::string_view text) {
    int deepest = 0;
    Json value = Json::parse(
        text,
        [&](int depth, typename Json::parse_event_t event, Json&) {
            using Event = typename Json::parse_event_t;
            const bool begins = event == Event::array_start || event == Event::object_start;
            deepest = std::max(deepest, depth + (begins ? 1 : 0));
            return deepest <= deepest_json;
        },
        false);
    return deepest > deepest_json ? Json(Json::value_t::discarded) : value;
}

}  // namespace fntk::detail

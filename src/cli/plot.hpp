// The figure page of `fntk compare`: what a factorised network costs, what it keeps of the dense kernel and
// what it loses, as one HTML file with inline CSS and SVG. It loads nothing; its few lines of script only
// serve the tooltips.
//
//     plot_report               the report as rows, with the ratios to the dense network of the same width
//     plot_finding              the sentence at the top
//     plot_panels, plot_worth   the figures
//     svg                       scales, markers, and labels that keep out of each other's way
//     plot, plot_style          the page with its cards and table; its looks
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace fntk::cli {

/// The page for a report of `fntk compare` (fields "data", "device", "limit", "rows"). Any field may be
/// missing or null and any number may be infinite or NaN: what cannot be drawn is left out and counted
/// below its panel. Strings of the report are escaped. Never throws on account of the report's contents.
std::string compare_plot(const nlohmann::json& report);

}  // namespace fntk::cli

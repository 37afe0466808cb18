// The figures of the page. Each returns a <figure>, or nothing where the report has no number to draw.
//
// A row of the report is one <g class="mark" data-row="i"> per figure; its <title> is the tooltip. Colour
// and shape say the family, size the width; networks of one family and width are joined in the order of
// their rank, and the dense ones in the order of their width.
#pragma once

#include "plot_report.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace fntk::cli::plot {

/// Relative error of the kernel to its infinite-width limit over flops per step, with the theory's line for
/// dense.
std::string error_panel(const Comparison& comparison);
/// λ_min over flops per step, with the limit's. A value of zero or less is an open marker with an arrow at
/// the floor.
std::string lambda_panel(const Comparison& comparison);
/// Test accuracy over seconds per step (over parameters trained where nothing was timed): filled after
/// training, open for kernel ridge regression with the same kernel.
std::string accuracy_panel(const Comparison& comparison);
/// Seconds per step over flops per step.
std::string time_panel(const Comparison& comparison);
/// Every factorised network as a line from its price to its worth, both in dense width; a drawing per
/// family.
std::string worth_panel(const Comparison& comparison);

// What the panels share.

/// The figure `id` with its title, how to read it (plain text), its drawing and the notes below (plain
/// text).
std::string figure(std::string_view id, std::string_view title, std::string_view reading,
                   const std::string& drawing, const std::vector<std::string>& notes);
/// The group of one row's marks, with its tooltip; `markup` is what it looks like.
std::string group(const Comparison& comparison, std::size_t row, std::string_view markup);
/// "3 networks <what>."
std::string rows_note(std::size_t rows, std::string_view what);
/// The note for rows that a panel leaves out; none for no rows.
std::vector<std::string> missing_note(std::size_t rows);
/// The family's marker as a small inline figure, for legends and tables; radius as in the figures.
std::string icon(std::size_t family, double radius);
/// The radius of a marker: 4.2 for the smallest width of the report to 7.5 for the largest.
double radius(const Comparison& comparison, Number width);
/// "λ_min" in HTML text as λ with a subscript.
std::string typeset(std::string html);
/// "f0" for dense, else "f1" to "f6": the class that sets the colour.
std::string colour_class(std::size_t family);

}  // namespace fntk::cli::plot

// The worth panel: every factorised network between two dense ones, the one whose step costs as many flops
// (its price) and the one whose kernel is as accurate (its worth).
#include "plot_panels.hpp"
#include "svg.hpp"

#include <fmt/format.h>

#include <map>

namespace fntk::cli::plot {
namespace {

using svg::Axis;
using svg::Canvas;
using svg::Scale;

// One family of the worth panel: a line for each of `rows`, over the range of `values` that all families
// share.
std::string worth_of_family(const Comparison& c, const std::vector<std::size_t>& rows,
                            const std::vector<double>& values) {
    constexpr double kFull = 420, kLine = 18, kTop = 30, kLeft = 124, kRight = kFull - 62;
    const double bottom = kTop + kLine * static_cast<double>(rows.size()) + 4;
    Canvas canvas(kFull, bottom + 44, {kLeft, kTop, kRight, bottom});
    const Scale x(Axis::log, values, kLeft, kRight);
    const std::size_t family = c.rows[rows.front()].family;
    canvas.x_axis(
        x, [](double v) { return count(v); }, "dense width");
    canvas.text({2, kTop - 12}, c.families[family].name, "start", "tag strong " + colour_class(family));
    canvas.text({kFull - 4, kTop - 12}, "worth ÷ price", "end", "axis");

    double middle = kTop + 2 - kLine / 2;
    for (const std::size_t i : rows) {
        const Row& row = c.rows[i];
        middle += kLine;
        const std::string name = fmt::format("m={} p={}", count(row.width), count(row.rank));
        canvas.text({kLeft - 10, middle + 4}, name, "end", "tick");
        std::string markup =
            fmt::format(R"(<rect class="stripe" x="0" y="{:.1f}" width="{:.0f}" height="{:.0f}"/>)",
                        middle - kLine / 2, kFull, kLine);
        if (row.width && x.holds(*row.width)) {
            markup +=
                fmt::format(R"(<line class="own" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>)",
                            x.at(*row.width), middle - 6, middle + 6);
        }
        const bool worth = x.holds(*row.worth);
        const bool price = row.price && x.holds(*row.price);
        if (worth && price) {
            markup += fmt::format(R"(<line class="link" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>)",
                                  x.at(*row.price), x.at(*row.worth), middle, middle);
        }
        if (price) markup += svg::marker(family, {x.at(*row.price), middle}, 3.6, "open");
        if (worth) markup += svg::marker(family, {x.at(*row.worth), middle}, 5, "dot");
        canvas.mark(group(c, i, markup), {}, 0);
        const Number gain = worth && price ? Number(*row.worth / *row.price) : Number();
        canvas.text({kFull - 4, middle + 4}, factor(gain), "end",
                    gain && *gain >= 1 ? "gain" : "gain loss");
    }
    return canvas.str("Dense width of equal error and of equal cost: " + c.families[family].name);
}

}  // namespace

std::string worth_panel(const Comparison& c) {
    std::vector<double> values;
    std::map<std::size_t, std::vector<std::size_t>> families;
    std::size_t missing = 0;
    for (std::size_t i = 0; i < c.rows.size(); ++i) {
        const Row& row = c.rows[i];
        if (row.family == 0) continue;
        if (!row.worth) {
            ++missing;
            continue;
        }
        families[row.family].push_back(i);
        for (const Number& v : {row.worth, row.price, row.width}) values.push_back(v.value_or(0));
    }
    if (families.empty()) return {};
    std::string drawings;
    for (const auto& [family, rows] : families) drawings += worth_of_family(c, rows, values);
    return figure(
        "worth", "What a factorisation is worth, in dense width",
        "Filled: the dense width with an equally accurate kernel. Open: the dense width whose step costs "
        "as "
        "much. Bar: the network's own width. The number says how much further the flops go; below 1×, a "
        "narrower dense network is the better buy.",
        fmt::format(R"(<div class="families">{}</div>)", drawings), missing_note(missing));
}

}  // namespace fntk::cli::plot

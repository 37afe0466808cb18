#include "plot_panels.hpp"

#include "svg.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace fntk::cli::plot {
namespace {

using svg::Axis;
using svg::Box;
using svg::Canvas;
using svg::Point;
using svg::Scale;

using Field = Number Row::*;

constexpr double kWidth = 600;
constexpr double kHeight = 400;
constexpr Box kPlot{62, 34, kWidth - 18, kHeight - 46};
constexpr double kFloor = 26;  // height of the strip that holds values of zero or less below a log axis

std::string si_tick(double value, const char* unit) {
    std::string text = si(value, unit);  // "10.0 GFlop" → "10 GFlop"
    const std::size_t space = text.find("\u00a0");
    if (space == std::string::npos || text.find('.') > space) return text;
    std::size_t end = space;
    while (text[end - 1] == '0') --end;
    if (text[end - 1] == '.') --end;
    return text.erase(end, space - end);
}

std::string tooltip(const Row& r) {
    std::string text = r.name;
    const auto add = [&](const char* what, const std::string& value) {
        text += fmt::format("\n{}: {}", what, value);
    };
    if (r.flops)
        add("flops per step",
            si(r.flops, "Flop") + (r.cost ? fmt::format(" ({} of dense)", percent(r.cost)) : ""));
    if (r.step_seconds)
        add("time per step",
            si(r.step_seconds, "s") + (r.time ? fmt::format(" ({} of dense)", percent(r.time)) : ""));
    if (r.error) add("kernel error", plain(r.error));
    if (r.lambda_min)
        add("λ_min", plain(r.lambda_min) +
                         (r.kept && *r.kept > 0 ? fmt::format(" ({} of dense)", percent(r.kept)) : ""));
    if (r.worth && r.family != 0) add("dense width of equal error", count(r.worth));
    if (r.trained_accuracy) add("accuracy, trained", accuracy(r.trained_accuracy));
    if (r.ridge_accuracy) add("accuracy, ridge", accuracy(r.ridge_accuracy));
    return text;
}

std::vector<double> column(const Comparison& c, Field field) {
    std::vector<double> values;
    for (const Row& row : c.rows) {
        if (row.*field) values.push_back(*(row.*field));
    }
    return values;
}

// A dashed line across the plot at the limit's value, named at its left end.
void limit_line(Canvas& canvas, double y, const std::string& name) {
    canvas.dashes({canvas.plot().left, y}, {canvas.plot().right, y}, "limit");
    canvas.text({canvas.plot().left + 6, y - 6}, name, "start", "tag quiet");
}

struct Placed {
    std::size_t row;
    Point at;
};

// Joins the marks of one family and width, and names them: the widest line of each family by the family,
// the others by their width; ranks along the widest line. `placed` is in the order of the rows, so by
// width, then rank.
void lines_and_labels(Canvas& canvas, const Comparison& c, const std::vector<Placed>& placed) {
    std::map<std::pair<std::size_t, double>, std::vector<Placed>> series;
    for (const Placed& p : placed) {
        const Row& row = c.rows[p.row];
        series[{row.family, row.family == 0 ? 0 : row.width.value_or(0)}].push_back(p);
    }
    const auto widest = [&](std::size_t family) {
        return std::prev(series.upper_bound({family, HUGE_VAL}))->first.second;
    };
    const auto label = [&](const Placed& p, std::string content, const char* weight, double patience) {
        const Row& row = c.rows[p.row];
        canvas.label(p.at, radius(c, row.width), std::move(content),
                     fmt::format("tag {} {}", weight, colour_class(row.family)), patience);
    };
    const auto m = [&](const Placed& p) { return "m=" + count(c.rows[p.row].width); };
    for (const auto& [key, points] : series) {
        std::vector<Point> path;
        for (const Placed& p : points) path.push_back(p.at);
        canvas.line(
            path, fmt::format(R"(class="series {}" data-family="{}")", colour_class(key.first), key.first));
    }
    for (const auto& [key, points] : series) {
        const std::string& name = c.families[key.first].brief;
        if (key.second != widest(key.first)) continue;
        label(points.back(), c.widths.size() > 1 ? name + " " + m(points.back()) : name, "strong", 70);
    }
    for (const auto& [key, points] : series) {
        if (key.second != widest(key.first)) label(points.back(), m(points.back()), "", 16);
        if (key.first != 0) continue;
        for (std::size_t i = 0; i + 1 < points.size(); ++i) label(points[i], m(points[i]), "", 16);
    }
    for (const auto& [key, points] : series) {
        if (key.first == 0 || key.second != widest(key.first)) continue;
        for (const Placed& p : points) {
            if (c.rows[p.row].rank) label(p, "p=" + count(c.rows[p.row].rank), "light", 16);
        }
    }
}

// Marks of y over x, both positive on log axes: what the error and the time panel share.
struct LogLog {
    Canvas canvas{kWidth, kHeight, kPlot};
    Scale x, y;
    std::size_t missing = 0;
    std::size_t drawn = 0;

    LogLog(const Comparison& c, Field x_field, Field y_field, const char* x_title, const char* y_title,
           const svg::Format& x_format, const svg::Format& y_format)
        : x(Axis::log, column(c, x_field), kPlot.left, kPlot.right),
          y(Axis::log, column(c, y_field), kPlot.bottom, kPlot.top) {
        canvas.x_axis(x, x_format, x_title);
        canvas.y_axis(y, y_format, y_title);
        std::vector<Placed> placed;
        for (std::size_t i = 0; i < c.rows.size(); ++i) {
            const Row& row = c.rows[i];
            if (!(row.*x_field) || !(row.*y_field) || !x.holds(*(row.*x_field)) ||
                !y.holds(*(row.*y_field))) {
                ++missing;
                continue;
            }
            const Point at{x.at(*(row.*x_field)), y.at(*(row.*y_field))};
            const double r = radius(c, row.width);
            canvas.mark(group(c, i, svg::marker(row.family, at, r, "dot")), {at}, r + 1);
            placed.push_back({i, at});
        }
        drawn = placed.size();
        lines_and_labels(canvas, c, placed);
    }

    std::vector<std::string> notes() const { return missing_note(missing); }
};

const svg::Format kFlops = [](double v) { return si_tick(v, "Flop"); };
const svg::Format kSeconds = [](double v) { return si_tick(v, "s"); };

}  // namespace

std::string colour_class(std::size_t family) {
    return family == 0 ? "f0" : fmt::format("f{}", 1 + (family - 1) % 6);
}

double radius(const Comparison& c, Number width) {
    if (!width || c.widths.size() < 2) return 5.5;
    const auto place = std::lower_bound(c.widths.begin(), c.widths.end(), *width) - c.widths.begin();
    return 4.2 + 3.3 * static_cast<double>(place) / static_cast<double>(c.widths.size() - 1);
}

std::string typeset(std::string html) {
    constexpr std::string_view kPlain = "λ_min";
    for (std::size_t at = 0; (at = html.find(kPlain, at)) != html.npos;)
        html.replace(at, kPlain.size(), "λ<sub>min</sub>");
    return html;
}

std::string icon(std::size_t family, double r) {
    return fmt::format(R"(<svg class="icon {}" viewBox="0 0 20 20" aria-hidden="true">{}</svg>)",
                       colour_class(family), svg::marker(family, {10, 10}, r, "dot"));
}

std::string figure(std::string_view id, std::string_view title, std::string_view reading,
                   const std::string& drawing, const std::vector<std::string>& notes = {}) {
    std::string below;
    for (const std::string& note : notes)
        below += fmt::format(R"(<p class="note">{}</p>)", svg::escape(note));
    return fmt::format(
        R"(<figure data-panel="{}"><figcaption><h2>{}</h2><p>{}</p></figcaption>{}{}</figure>)"
        "\n",
        id, svg::escape(title), typeset(svg::escape(reading)), drawing, typeset(below));
}

std::string group(const Comparison& c, std::size_t row, std::string_view markup) {
    const Row& r = c.rows[row];
    return fmt::format(R"(<g class="mark {}" data-row="{}" data-family="{}"><title>{}</title>{}</g>)",
                       colour_class(r.family), row, r.family, svg::escape(tooltip(r)), markup);
}

std::string rows_note(std::size_t rows, std::string_view what) {
    return fmt::format("{} {} {}.", rows, rows == 1 ? "network" : "networks", what);
}

std::vector<std::string> missing_note(std::size_t rows) {
    if (rows == 0) return {};
    return {rows_note(rows, "without these numbers, not drawn")};
}

std::string error_panel(const Comparison& c) {
    LogLog plot(c, &Row::flops, &Row::error, "flops per training step", "relative error", kFlops, tick);
    if (plot.drawn == 0) return {};
    std::string reading = "Frobenius distance to the infinite-width kernel. Lower left is better.";
    // error = √(B/m) at flops = slope·m is a straight line here: log error = (log(B·slope) − log flops)/2.
    const Number slope = c.flops_per_dense_width();
    if (slope && c.width_term && *c.width_term > 0) {
        const double offset = std::log10(*c.width_term) + std::log10(*slope);
        const double from = std::max(plot.x.low(), offset - 2 * plot.y.high());
        const double to = std::min(plot.x.high(), offset - 2 * plot.y.low());
        if (from < to) {
            const auto on_line = [&](double u) {
                return Point{plot.x.pixel(u), plot.y.pixel((offset - u) / 2)};
            };
            plot.canvas.dashes(on_line(from), on_line(to), "theory");
            plot.canvas.along(on_line(from), on_line(to), "theory for dense, ∝ 1/√m", "tag quiet");
            reading += " Below the dashed line, a step buys more kernel than a dense one of the same cost.";
        }
    }
    return figure("error", "Kernel error against cost", reading,
                  plot.canvas.str("Kernel error against flops per step"), plot.notes());
}

std::string lambda_panel(const Comparison& c) {
    std::vector<double> values = column(c, &Row::lambda_min);
    const bool sunk = std::any_of(values.begin(), values.end(), [](double v) { return v <= 0; });
    if (values.empty()) return {};
    if (c.limit_lambda_min) values.push_back(*c.limit_lambda_min);
    if (std::none_of(values.begin(), values.end(), [](double v) { return v > 0; })) values.push_back(1);

    Canvas canvas(kWidth, kHeight, kPlot);
    const Scale x(Axis::log, column(c, &Row::flops), kPlot.left, kPlot.right);
    const Scale y(Axis::log, values, kPlot.bottom - (sunk ? kFloor : 0), kPlot.top);
    canvas.x_axis(x, kFlops, "flops per training step");
    canvas.y_axis(y, tick, "smallest eigenvalue");
    const double floor = kPlot.bottom - kFloor / 2 - 2;
    if (sunk) {
        canvas.back(
            fmt::format(R"(<rect class="floor" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>)",
                        kPlot.left, kPlot.bottom - kFloor, kPlot.right - kPlot.left, kFloor));
        canvas.text({kPlot.left - 8, floor + 5}, "≤ 0", "end", "tick");
    }
    if (c.limit_lambda_min && y.holds(*c.limit_lambda_min)) {
        limit_line(canvas, y.at(*c.limit_lambda_min), "infinite width: " + plain(c.limit_lambda_min));
    }
    std::vector<Placed> placed;
    std::size_t missing = 0, on_floor = 0;
    for (std::size_t i = 0; i < c.rows.size(); ++i) {
        const Row& row = c.rows[i];
        if (!row.flops || !row.lambda_min || !x.holds(*row.flops)) {
            ++missing;
            continue;
        }
        const double r = radius(c, row.width);
        if (*row.lambda_min > 0) {
            const Point at{x.at(*row.flops), y.at(*row.lambda_min)};
            canvas.mark(group(c, i, svg::marker(row.family, at, r, "dot")), {at}, r + 1);
            placed.push_back({i, at});
            continue;
        }
        ++on_floor;
        const Point at{x.at(*row.flops), floor - 3};
        const std::string arrow =
            fmt::format(R"(<path class="arrow" d="M{0:.1f} {1:.1f}V{2:.1f}m-3 -4l3 4l3 -4"/>)", at.x,
                        at.y + r, kPlot.bottom - 1);
        canvas.mark(group(c, i, arrow + svg::marker(row.family, at, std::min(r, 6.0), "open")), {at},
                    r + 1);
    }
    if (placed.empty() && on_floor == 0) return {};
    lines_and_labels(canvas, c, placed);
    std::vector<std::string> notes = missing_note(missing);
    if (on_floor > 0) {
        notes.push_back(rows_note(
            on_floor,
            "with λ_min of zero or less (a rank-deficient kernel): open, with an arrow, at the floor"));
    }
    return figure("lambda", "Smallest eigenvalue against cost",
                  "λ_min sets how fast the slowest direction trains. Upper left is better.",
                  canvas.str("Smallest kernel eigenvalue against flops per step"), notes);
}

std::string accuracy_panel(const Comparison& c) {
    const bool timed = !column(c, &Row::step_seconds).empty();
    const Field x_field = timed ? &Row::step_seconds : &Row::parameters;
    std::vector<double> values = column(c, &Row::trained_accuracy);
    const std::vector<double> ridge = column(c, &Row::ridge_accuracy);
    values.insert(values.end(), ridge.begin(), ridge.end());
    if (values.empty()) return {};
    if (c.limit_ridge_accuracy) values.push_back(*c.limit_ridge_accuracy);

    Canvas canvas(kWidth, kHeight, kPlot);
    const Scale x(Axis::log, column(c, x_field), kPlot.left, kPlot.right);
    const Scale y(Axis::linear, values, kPlot.bottom, kPlot.top);
    canvas.x_axis(x, timed ? kSeconds : svg::Format([](double v) { return si_tick(v, ""); }),
                  timed ? "measured time per training step" : "parameters trained");
    canvas.y_axis(
        y, [](double v) { return tick(v * 100) + " %"; }, "test accuracy");
    if (c.limit_ridge_accuracy) {
        limit_line(canvas, y.at(*c.limit_ridge_accuracy),
                   "infinite width, ridge: " + accuracy(c.limit_ridge_accuracy));
    }
    std::vector<Placed> placed;
    std::size_t missing = 0;
    for (std::size_t i = 0; i < c.rows.size(); ++i) {
        const Row& row = c.rows[i];
        if (!(row.*x_field) || !x.holds(*(row.*x_field)) ||
            (!row.trained_accuracy && !row.ridge_accuracy)) {
            ++missing;
            continue;
        }
        const double r = radius(c, row.width);
        const double left = x.at(*(row.*x_field));
        const Point first{left, y.at(row.trained_accuracy ? *row.trained_accuracy : *row.ridge_accuracy)};
        const Point second{left, y.at(row.ridge_accuracy ? *row.ridge_accuracy : *row.trained_accuracy)};
        std::string markup =
            fmt::format(R"(<line class="link" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>)", left,
                        first.y, second.y);
        if (row.ridge_accuracy) markup += svg::marker(row.family, second, r * 0.8, "open");
        if (row.trained_accuracy) markup += svg::marker(row.family, first, r, "dot");
        canvas.mark(group(c, i, markup), {first, second}, r + 1);
        placed.push_back({i, first});
    }
    if (placed.empty()) return {};
    lines_and_labels(canvas, c, placed);
    return figure(
        "accuracy", timed ? "Test accuracy against time" : "Test accuracy against parameters",
        "Filled: the trained network. Open: ridge regression with its kernel. Upper left is better.",
        canvas.str("Test accuracy"), missing_note(missing));
}

std::string time_panel(const Comparison& c) {
    LogLog plot(c, &Row::flops, &Row::step_seconds, "flops per training step", "measured time per step",
                kFlops, kSeconds);
    if (plot.drawn == 0) return {};
    return figure("time", "Does the saving arrive?",
                  "Measured time against flops. Where a line runs flat, fewer flops no longer save time.",
                  plot.canvas.str("Seconds against flops per step"), plot.notes());
}

}  // namespace fntk::cli::plot

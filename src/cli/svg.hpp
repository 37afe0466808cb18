// The little of SVG that the figures need: scales with round ticks, markers, and labels that find a free
// place. Lengths are in the units of the figure's viewBox, one per CSS pixel at its natural size; y points
// down.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace fntk::cli::svg {

/// `text` with & < > " ' as entities and control characters as spaces: safe in HTML text and in quoted
/// attributes.
std::string escape(std::string_view text);

struct Point {
    double x = 0;
    double y = 0;
};

struct Box {
    double left = 0;
    double top = 0;
    double right = 0;
    double bottom = 0;
};

enum class Axis { linear, log };

/// Values to pixels. The range is that of `values` the axis can hold, with a margin; it is never empty.
class Scale {
  public:
    /// Pixels run from `from` (small values) to `to`; on a y axis from > to.
    Scale(Axis axis, const std::vector<double>& values, double from, double to);

    /// Whether the axis has a place for `value`: finite, and positive on a log axis.
    bool holds(double value) const;
    /// Whether `value` lies within the range.
    bool shows(double value) const;
    /// The pixel of `value`; beyond the range, that of its nearer end.
    double at(double value) const;
    /// The ends of the range in axis units: log10 of the value on a log axis.
    double low() const { return low_; }
    double high() const { return high_; }
    double pixel(double unit) const;

    /// Round values within the range, increasing: decades; 1-2-5 below a decade and a half; evenly spaced
    /// round numbers on a linear axis and where a log axis spans so little that 1-2-5 gives fewer than
    /// three.
    std::vector<double> ticks() const;

  private:
    double unit(double value) const;

    Axis axis_;
    double low_ = 0;
    double high_ = 1;
    double from_;
    double to_;
};

/// A marker of the given shape (0 circle, 1 square, 2 triangle, 3 diamond, 4 triangle down, 5 cross; taken
/// modulo six) with about the area of a circle of radius r.
std::string marker(std::size_t shape, Point at, double r, std::string_view css_class);

using Format = std::function<std::string(double)>;

/// A figure: layers back to front (grid, lines, marks, labels), and a record of the places that are taken.
class Canvas {
  public:
    /// `plot` is the box inside the axes; the rest of width × height holds tick labels and axis titles.
    Canvas(double width, double height, Box plot);

    const Box& plot() const { return plot_; }

    void x_axis(const Scale& scale, const Format& format, std::string_view title);
    void y_axis(const Scale& scale, const Format& format, std::string_view title);

    /// A polyline; labels prefer not to cross it.
    void line(const std::vector<Point>& points, std::string_view attributes);
    /// Markup drawn above the lines; labels keep out of the square of half-width r around each point of
    /// `taken`.
    void mark(std::string_view markup, const std::vector<Point>& taken, double r);
    /// A straight line behind the marks, from edge to edge.
    void dashes(Point from, Point to, std::string_view css_class);
    /// A text just above the straight line from `from` to `to` (to the right of it), turned with it; left
    /// out if there is no room. Call it when the marks are in place.
    void along(Point from, Point to, std::string_view content, std::string_view css_class);
    /// Markup drawn behind everything but the grid.
    void back(std::string_view markup);
    /// A text at a fixed place. `anchor` is start, middle or end.
    void text(Point at, std::string_view content, std::string_view anchor, std::string_view css_class);
    /// Keeps `box` free of labels.
    void reserve(const Box& box);
    /// A label for the marker of radius r at `at`, put where it covers nothing when str() is called,
    /// earlier labels first: beside the marker if there is room, further out with a leader line if not,
    /// else nowhere. `patience` is how far in pixels it may stray; crossing a line counts as straying.
    void label(Point at, double r, std::string content, std::string css_class, double patience);

    /// The <svg> element. `title` is its accessible name.
    std::string str(std::string_view title);

  private:
    struct Label {
        Point at;
        double r;
        std::string content;
        std::string css_class;
        double patience;
    };
    void sample(Point from, Point to);
    void place(const Label& label);

    double width_;
    double height_;
    Box plot_;
    std::string grid_;
    std::string back_;
    std::string lines_;
    std::string marks_;
    std::string texts_;
    std::vector<Label> labels_;
    std::vector<Box> taken_;   // markers and texts: no label over these
    std::vector<Point> path_;  // samples of the lines: a label over these is a last resort
};

}  // namespace fntk::cli::svg

#include "svg.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace fntk::cli::svg {
namespace {

constexpr double kFace = 11.5;  // size of the labels' face; "light" and tick labels are no larger
constexpr double kLine = 13;    // its line height
constexpr double kSample = 5;   // distance of the samples of a polyline

bool overlap(const Box& a, const Box& b) {
    return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

bool inside(const Box& box, Point p) {
    return box.left < p.x && p.x < box.right && box.top < p.y && p.y < box.bottom;
}

// An upper estimate, from the advances of the widest of the common sans-serif faces: the reader's own is
// not known.
double text_width(std::string_view text, std::string_view css_class = {}) {
    constexpr std::string_view kNarrow = "iljtf.,:;|/() ";
    constexpr std::string_view kWide = "mwMW%=+@";
    double em = 0;
    for (const char c : text) {
        if ((c & 0xC0) == 0x80) continue;  // inside a UTF-8 sequence
        em += kNarrow.find(c) != kNarrow.npos ? 0.38 : kWide.find(c) != kWide.npos ? 0.9 : 0.64;
    }
    return em * kFace * (css_class.find("strong") != css_class.npos ? 1.1 : 1);
}

// Multiples of the round step (1, 2 or 5 times a power of ten) that gives four to nine of them within [low,
// high].
std::vector<double> even_ticks(double low, double high) {
    const double rough = (high - low) / 5;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    const double lead = rough / power;
    const double step = power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
    std::vector<double> ticks;
    if (!(step > 0) || !std::isfinite(step)) return ticks;
    const double first = std::ceil(low / step);
    for (int i = 0; i < 12 && (first + i) * step <= high; ++i) ticks.push_back((first + i) * step);
    return ticks;
}

}  // namespace

std::string escape(std::string_view text) {
    std::string safe;
    for (const char c : text) {
        switch (c) {
            case '&':
                safe += "&amp;";
                break;
            case '<':
                safe += "&lt;";
                break;
            case '>':
                safe += "&gt;";
                break;
            case '"':
                safe += "&quot;";
                break;
            case '\'':
                safe += "&#39;";
                break;
            default:
                safe += static_cast<unsigned char>(c) < 0x20 && c != '\n' ? ' ' : c;
        }
    }
    return safe;
}

Scale::Scale(Axis axis, const std::vector<double>& values, double from, double to)
    : axis_(axis), from_(from), to_(to) {
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    for (const double value : values) {
        if (!holds(value)) continue;
        low = std::min(low, unit(value));
        high = std::max(high, unit(value));
    }
    if (low > high) low = high = 0;
    // Values that agree to rounding get a range around them all the same: a quarter decade, or five per
    // cent.
    const double least = axis == Axis::log ? 0.5 : std::max(std::abs(low) * 0.1, 1e-3);
    const double lack = std::max(0.0, least - (high - low)) / 2;
    const double margin = lack + 0.06 * std::max(high - low, least);
    low_ = low - margin;
    high_ = high + margin;
}

bool Scale::holds(double value) const {
    return std::isfinite(value) && (axis_ == Axis::linear || value > 0);
}

// Linear values are kept below 1e150 so that differences and products of them stay finite.
double Scale::unit(double value) const {
    return axis_ == Axis::log ? std::log10(value) : std::clamp(value, -1e150, 1e150);
}

bool Scale::shows(double value) const {
    return holds(value) && unit(value) >= low_ && unit(value) <= high_;
}

double Scale::pixel(double unit) const {
    return from_ + (to_ - from_) * std::clamp((unit - low_) / (high_ - low_), 0.0, 1.0);
}

double Scale::at(double value) const { return pixel(holds(value) ? unit(value) : low_); }

std::vector<double> Scale::ticks() const {
    if (axis_ == Axis::linear) return even_ticks(low_, high_);
    const double span = high_ - low_;
    const int stride = std::max(1, static_cast<int>(std::ceil(span / 8)));
    const bool few = std::floor(high_) - std::ceil(low_) < 2;  // fewer than three decades within the range
    std::vector<double> ticks;
    for (int decade = static_cast<int>(std::floor(low_)); decade <= high_; decade += stride) {
        for (const double lead : {1.0, 2.0, 5.0}) {
            const double value = lead * std::pow(10, decade);
            if ((lead == 1 || few) && shows(value)) ticks.push_back(value);
        }
    }
    if (ticks.size() >= 3 || !few) return ticks;
    return even_ticks(std::pow(10, low_), std::pow(10, high_));
}

std::string marker(std::size_t shape, Point at, double r, std::string_view css_class) {
    const auto polygon = [&](std::initializer_list<Point> corners) {
        std::string points;
        for (const Point& c : corners)
            points += fmt::format("{:.1f},{:.1f} ", at.x + c.x * r, at.y + c.y * r);
        points.pop_back();
        return fmt::format(R"(<polygon class="{}" points="{}"/>)", css_class, points);
    };
    switch (shape % 6) {
        case 1:
            return polygon({{-.89, -.89}, {.89, -.89}, {.89, .89}, {-.89, .89}});
        case 2:
            return polygon({{0, -1.3}, {1.2, .85}, {-1.2, .85}});
        case 3:
            return polygon({{0, -1.3}, {1.25, 0}, {0, 1.3}, {-1.25, 0}});
        case 4:
            return polygon({{0, 1.3}, {1.2, -.85}, {-1.2, -.85}});
        case 5:
            return polygon({{-.4, -1.2},
                            {.4, -1.2},
                            {.4, -.4},
                            {1.2, -.4},
                            {1.2, .4},
                            {.4, .4},
                            {.4, 1.2},
                            {-.4, 1.2},
                            {-.4, .4},
                            {-1.2, .4},
                            {-1.2, -.4},
                            {-.4, -.4}});
        default:
            break;
    }
    return fmt::format(R"(<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>)", css_class, at.x, at.y,
                       r);
}

Canvas::Canvas(double width, double height, Box plot) : width_(width), height_(height), plot_(plot) {}

void Canvas::x_axis(const Scale& scale, const Format& format, std::string_view title) {
    double free_from =
        0;  // tick labels that would touch the one before are left out, their grid lines stay
    for (const double tick : scale.ticks()) {
        const double x = scale.at(tick);
        const std::string name = format(tick);
        const double half = text_width(name) / 2;
        grid_ += fmt::format(R"(<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>)",
                             x, plot_.top, plot_.bottom);
        if (x - half < free_from || x + half > width_) continue;
        free_from = x + half + 8;
        grid_ += fmt::format(R"(<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>)",
                             x, plot_.bottom + 17, escape(name));
    }
    grid_ += fmt::format(R"(<text class="axis" x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>)",
                         plot_.right, plot_.bottom + 36, escape(title));
}

void Canvas::y_axis(const Scale& scale, const Format& format, std::string_view title) {
    for (const double tick : scale.ticks()) {
        const double y = scale.at(tick);
        grid_ += fmt::format(R"(<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>)",
                             plot_.left, plot_.right, y, y);
        grid_ += fmt::format(R"(<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>)",
                             plot_.left - 8, y + 4, escape(format(tick)));
    }
    grid_ += fmt::format(R"(<text class="axis" x="2" y="{:.1f}">{}</text>)", plot_.top - 12, escape(title));
}

void Canvas::line(const std::vector<Point>& points, std::string_view attributes) {
    if (points.size() < 2) return;
    std::string path;
    for (const Point& p : points) path += fmt::format("{:.1f},{:.1f} ", p.x, p.y);
    path.pop_back();
    lines_ += fmt::format(R"(<polyline points="{}" {}/>)", path, attributes);
    for (std::size_t i = 1; i < points.size(); ++i) sample(points[i - 1], points[i]);
}

void Canvas::mark(std::string_view markup, const std::vector<Point>& taken, double r) {
    marks_ += markup;
    for (const Point& p : taken) reserve({p.x - r, p.y - r, p.x + r, p.y + r});
}

void Canvas::back(std::string_view markup) { back_ += markup; }

void Canvas::text(Point at, std::string_view content, std::string_view anchor, std::string_view css_class) {
    texts_ += fmt::format(R"(<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>)", css_class,
                          at.x, at.y, anchor, escape(content));
    const double width = text_width(content, css_class);
    const double left = anchor == "start" ? at.x : anchor == "end" ? at.x - width : at.x - width / 2;
    reserve({left, at.y - kLine + 3, left + width, at.y + 3});
}

void Canvas::reserve(const Box& box) { taken_.push_back(box); }

void Canvas::label(Point at, double r, std::string content, std::string css_class, double patience) {
    labels_.push_back({at, r, std::move(content), std::move(css_class), patience});
}

void Canvas::dashes(Point from, Point to, std::string_view css_class) {
    back_ += fmt::format(R"(<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>)", css_class,
                         from.x, from.y, to.x, to.y);
    sample(from, to);
}

// Slides the text along the line, from its middle outwards, until nothing is in the way.
void Canvas::along(Point from, Point to, std::string_view content, std::string_view css_class) {
    const double length = std::hypot(to.x - from.x, to.y - from.y);
    const double width = text_width(content, css_class);
    if (length < width) return;
    const Point unit{(to.x - from.x) / length, (to.y - from.y) / length};
    for (const double share : {0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9, 0.0, 1.0}) {
        const double start = (length - width) * share;
        std::vector<Box> boxes;
        for (double s = start; s <= start + width; s += kSample) {
            const Point p{from.x + unit.x * s, from.y + unit.y * s - 11};
            boxes.push_back({p.x - 4, p.y - 7, p.x + 4, p.y + 6});
        }
        const bool free = std::none_of(boxes.begin(), boxes.end(), [&](const Box& box) {
            return std::any_of(taken_.begin(), taken_.end(), [&](const Box& b) { return overlap(box, b); });
        });
        if (!free) continue;
        for (const Box& box : boxes) reserve(box);
        texts_ += fmt::format(
            R"_(<text class="{}" transform="translate({:.1f} {:.1f}) rotate({:.1f})" y="-7" text-anchor="middle">{}</text>)_",
            css_class, from.x + unit.x * (start + width / 2), from.y + unit.y * (start + width / 2),
            std::atan2(unit.y, unit.x) * 180 / 3.14159265358979, escape(content));
        return;
    }
}

void Canvas::sample(Point from, Point to) {
    const Point step{to.x - from.x, to.y - from.y};
    const int samples = 1 + static_cast<int>(std::hypot(step.x, step.y) / kSample);
    for (int s = 0; s <= samples; ++s)
        path_.push_back({from.x + step.x * s / samples, from.y + step.y * s / samples});
}

// Tries twelve directions at growing distance. The nearest place that covers no marker, no text and no line
// wins; a place over a line costs as much as a good way further out, and no label goes beyond its patience.
void Canvas::place(const Label& label) {
    const double width = text_width(label.content, label.css_class);
    double best_cost = std::numeric_limits<double>::infinity();
    Box best;
    Point middle;
    for (const double gap : {3.0, 12.0, 24.0, 38.0}) {
        for (int direction = 0; direction < 12; ++direction) {
            const double angle = direction * 3.14159265358979 / 6;
            const double reach = label.r + gap;
            const Point centre{label.at.x + std::cos(angle) * (reach + width / 2),
                               label.at.y - std::sin(angle) * (reach + kLine / 2)};
            const Box box{centre.x - width / 2, centre.y - kLine / 2, centre.x + width / 2,
                          centre.y + kLine / 2};
            if (box.left < plot_.left || box.right > width_ || box.top < plot_.top - 4 ||
                box.bottom > plot_.bottom)
                continue;
            if (std::any_of(taken_.begin(), taken_.end(), [&](const Box& b) { return overlap(box, b); }))
                continue;
            const auto crossed =
                std::count_if(path_.begin(), path_.end(), [&](Point p) { return inside(box, p); });
            const double cost = gap + 6.0 * static_cast<double>(crossed) + (direction % 3 == 0 ? 0 : 2);
            if (cost >= best_cost) continue;
            best_cost = cost;
            best = box;
            middle = centre;
        }
    }
    if (best_cost > label.patience) return;
    reserve(best);
    const Point near{std::clamp(label.at.x, best.left, best.right),
                     std::clamp(label.at.y, best.top, best.bottom)};
    const double distance = std::hypot(near.x - label.at.x, near.y - label.at.y);
    if (distance > label.r + 10) {
        const double start = (label.r + 2) / distance;
        texts_ += fmt::format(R"(<line class="leader" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>)",
                              label.at.x + (near.x - label.at.x) * start,
                              label.at.y + (near.y - label.at.y) * start, near.x, near.y);
    }
    texts_ += fmt::format(R"(<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>)",
                          label.css_class, middle.x, middle.y + 4, escape(label.content));
}

std::string Canvas::str(std::string_view title) {
    for (const Label& label : labels_) place(label);
    labels_.clear();
    return fmt::format(R"(<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">)", width_, height_,
                       escape(title)) +
           grid_ + back_ + lines_ + marks_ + texts_ + "</svg>";
}

}  // namespace fntk::cli::svg

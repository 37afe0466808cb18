#include "plot_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>

namespace fntk::cli::plot {
namespace {

using nlohmann::json;

const json& at(const json& object, const char* key) {
    static const json none;
    if (!object.is_object()) return none;
    const auto found = object.find(key);
    return found == object.end() ? none : *found;
}

Number number(const json& value) {
    if (!value.is_number()) return {};
    const double x = value.get<double>();
    return std::isfinite(x) ? Number(x) : Number();
}

std::string text(const json& value) { return value.is_string() ? value.get<std::string>() : std::string(); }

Row read_row(const json& row) {
    Row r;
    r.name = text(at(row, "name"));
    r.down = text(at(row, "down"));
    r.up = text(at(row, "up"));
    r.train = text(at(row, "train"));
    r.width = number(at(row, "width"));
    r.rank = number(at(row, "rank"));
    r.parameters = number(at(row, "parameters_trained"));
    r.bytes = number(at(row, "bytes_stored"));
    r.flops = number(at(row, "flops_per_step"));
    const json& seconds = at(row, "seconds");
    r.tangent_seconds = number(at(seconds, "tangent"));
    r.gram_seconds = number(at(seconds, "gram"));
    r.step_seconds = number(at(seconds, "step"));
    r.peak_bytes = number(at(row, "peak_bytes"));
    r.lambda_min = number(at(row, "lambda_min"));
    r.lambda_max = number(at(row, "lambda_max"));
    r.condition = number(at(row, "condition"));
    r.error = number(at(row, "relative_error"));
    r.worth = number(at(row, "dense_width_of_equal_error"));
    r.loss = number(at(row, "train_loss"));
    r.drift = number(at(row, "drift"));
    r.trained_accuracy = number(at(at(row, "test_accuracy"), "trained"));
    r.ridge_accuracy = number(at(at(row, "test_accuracy"), "ridge"));
    r.trained_rmse = number(at(at(row, "test_rmse"), "trained"));
    r.ridge_rmse = number(at(at(row, "test_rmse"), "ridge"));
    r.seeds = number(at(row, "seeds"));
    if (at(row, "certificate_held").is_boolean()) r.certificate = at(row, "certificate_held").get<bool>();
    return r;
}

bool is_dense(const Row& row) { return row.down == "identity" && row.train == "up"; }

// The same (train, down) with several up factors makes as many families; else the up factor goes without
// saying.
void assign_families(Comparison& c) {
    const auto same_but_up = [](const Row& a, const Row& b) {
        return a.train == b.train && a.down == b.down && a.up != b.up;
    };
    c.families.push_back({"dense", "dense"});
    std::vector<std::string> downs{""};
    for (Row& row : c.rows) {
        if (is_dense(row)) continue;
        std::string name = fmt::format("train={}, {}", row.train, row.down);
        const bool several =
            std::any_of(c.rows.begin(), c.rows.end(), [&](const Row& r) { return same_but_up(row, r); });
        if (several) name += ", " + row.up;
        std::size_t f = 1;
        while (f < c.families.size() && c.families[f].name != name) ++f;
        row.family = f;
        if (f < c.families.size()) continue;
        c.families.push_back({name, name});
        downs.push_back(row.down);
    }
    for (std::size_t f = 1; f < downs.size(); ++f) {
        if (std::count(downs.begin(), downs.end(), downs[f]) == 1) c.families[f].brief = downs[f];
    }
}

Number ratio(Number a, Number b) {
    if (!a || !b || *b <= 0 || !std::isfinite(*a / *b)) return {};
    return *a / *b;
}

void compare_with_dense(Comparison& c) {
    for (Row& row : c.rows) {
        row.price = ratio(row.flops, c.flops_per_dense_width());
        if (row.family == 0) continue;
        for (std::size_t i = 0; i < c.rows.size(); ++i) {
            const Row& dense = c.rows[i];
            if (dense.family != 0 || !row.width || dense.width != row.width) continue;
            row.dense = i;
            row.cost = ratio(row.flops, dense.flops);
            row.time = ratio(row.step_seconds, dense.step_seconds);
            row.kept = ratio(row.lambda_min, dense.lambda_min);
            break;
        }
    }
}

std::string superscript(int exponent) {
    static constexpr std::array digits{"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    std::string raised = exponent < 0 ? "⁻" : "";
    for (const char c : std::to_string(std::abs(exponent)))
        raised += digits[static_cast<std::size_t>(c - '0')];
    return raised;
}

// Three significant digits of a value of magnitude 0.0001 to 99999, in fixed notation.
std::string three_digits(double value) {
    const double size = std::abs(value);
    const int before = size > 0 ? static_cast<int>(std::floor(std::log10(size))) : 0;
    return fmt::format("{:.{}f}", value, std::clamp(2 - before, 0, 6));
}

std::string minus(const std::string& text) { return text.starts_with('-') ? "−" + text.substr(1) : text; }

std::string trimmed(std::string digits) {
    if (digits.find('.') == std::string::npos) return digits;
    digits.erase(digits.find_last_not_of('0') + 1);
    if (digits.back() == '.') digits.pop_back();
    return digits;
}

}  // namespace

Number Comparison::flops_per_dense_width() const {
    Number slope;
    for (const Row& row : rows) {
        if (row.family == 0 && row.flops && *row.flops > 0 && row.width && *row.width > 0)
            slope = *row.flops / *row.width;
    }
    return slope;
}

Comparison read(const json& report) {
    Comparison c;
    const json& data = at(report, "data");
    c.data = text(at(data, "name"));
    c.samples = number(at(data, "samples"));
    c.test_samples = number(at(data, "test_samples"));
    c.dim = number(at(data, "dim"));
    c.rank_x = number(at(data, "rank_x"));
    c.classes = number(at(data, "classes"));
    c.random_targets = text(at(data, "targets")) == "random signs";
    c.interrupted = at(report, "interrupted") == true;
    c.device = text(at(at(report, "device"), "name"));
    c.threads = number(at(at(report, "device"), "threads"));
    const json& limit = at(report, "limit");
    c.limit_lambda_min = number(at(limit, "lambda_min"));
    c.limit_condition = number(at(limit, "condition"));
    c.limit_ridge_accuracy = number(at(at(limit, "test_accuracy"), "ridge"));
    c.ridge = number(at(limit, "ridge"));
    c.width_term = number(at(at(limit, "error_law"), "width_term"));
    if (at(report, "rows").is_array()) {
        for (const json& row : at(report, "rows")) c.rows.push_back(read_row(row));
    }
    assign_families(c);
    const auto order = [](const Row& r) {
        return std::tuple(r.family, r.width.value_or(0), r.rank.value_or(0));
    };
    std::stable_sort(c.rows.begin(), c.rows.end(),
                     [&](const Row& a, const Row& b) { return order(a) < order(b); });
    for (const Row& row : c.rows) {
        if (row.width) c.widths.push_back(*row.width);
    }
    std::sort(c.widths.begin(), c.widths.end());
    c.widths.erase(std::unique(c.widths.begin(), c.widths.end()), c.widths.end());
    compare_with_dense(c);
    return c;
}

std::string si(Number value, const std::string& unit) {
    if (!value) return "–";
    static constexpr std::array prefixes{"p", "n", "µ", "m", "", "k", "M", "G", "T", "P", "E"};
    double size = std::abs(*value);
    if (size == 0) return "0\u00a0" + unit;
    std::size_t prefix = 4;
    while (size >= 999.5 && prefix + 1 < prefixes.size()) size /= 1000, ++prefix;
    while (size < 0.9995 && prefix > 0) size *= 1000, --prefix;
    if (size >= 999.5 || size < 0.9995) return plain(value) + "\u00a0" + unit;
    return fmt::format("{}{}\u00a0{}{}", *value < 0 ? "−" : "", three_digits(size), prefixes[prefix], unit);
}

std::string plain(Number value) {
    if (!value) return "–";
    const double size = std::abs(*value);
    if (size == 0 || (size >= 9.995e-5 && size < 99999.5))
        return size == 0 ? "0" : minus(three_digits(*value));
    std::string digits = fmt::format("{:.2e}", *value);
    const std::size_t e = digits.find('e');
    return minus(digits.substr(0, e)) + "·10" + superscript(std::stoi(digits.substr(e + 1)));
}

std::string tick(double value) {
    const double size = std::abs(value);
    if (size == 0) return "0";
    if (size >= 9.995e-5 && size < 99999.5) return minus(trimmed(fmt::format("{:.6f}", value)));
    const std::string digits = fmt::format("{:.3e}", value);
    const std::size_t e = digits.find('e');
    const std::string lead = minus(trimmed(digits.substr(0, e)));
    return (lead == "1" ? "" : lead + "·") + "10" + superscript(std::stoi(digits.substr(e + 1)));
}

std::string percent(Number ratio) {
    if (!ratio) return "–";
    const double value = *ratio * 100;
    const double size = std::abs(value);
    if (size >= 9.95)
        return size < 1e5 ? minus(fmt::format("{:.0f}\u00a0%", value)) : plain(value) + "\u00a0%";
    return size >= 0.0995 || size == 0 ? minus(fmt::format("{:.{}f}\u00a0%", value, size < 0.995 ? 2 : 1))
                                       : plain(value) + "\u00a0%";
}

std::string accuracy(Number ratio) { return ratio ? fmt::format("{:.1f}\u00a0%", *ratio * 100) : "–"; }

std::string factor(Number ratio) {
    if (!ratio) return "–";
    if (*ratio >= 9.95) return (*ratio < 99999.5 ? fmt::format("{:.0f}", *ratio) : plain(ratio)) + "×";
    const double size = std::abs(*ratio);
    return minus(size >= 0.0095 ? fmt::format("{:.{}f}", *ratio, size < 0.95 ? 2 : 1) : plain(ratio)) + "×";
}

std::string count(Number value) {
    if (!value) return "–";
    if (std::abs(*value) < 99999.5) return minus(fmt::format("{:.0f}", *value));
    return si(value, "");
}

}  // namespace fntk::cli::plot

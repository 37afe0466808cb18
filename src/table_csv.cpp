#include "binary.hpp"
#include "mapped_file.hpp"
#include "table.hpp"

#include <fntk/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace fntk::detail {
namespace {

std::string_view trim(std::string_view text) {
    constexpr std::string_view blanks = " \t\r";
    const auto first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

/// Cuts the part before the next separator off the front of `rest`.
std::string_view take(std::string_view& rest, char separator) {
    const std::size_t end = std::min(rest.find(separator), rest.size());
    const std::string_view part = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return part;
}

std::int64_t fields_of(std::string_view line) { return std::ranges::count(line, ',') + 1; }

/// What tables write where they have no number: a row of these is data, and refused as such.
bool is_missing(std::string_view field) {
    constexpr std::array<std::string_view, 9> marks{"",     "NA",   "N/A", "na", "null",
                                                    "NULL", "None", "?",   "-"};
    return std::ranges::find(marks, trim(field)) != marks.end();
}

/// Independent of the locale; "nan" and "inf" are numbers here and refused later, by row and column.
std::optional<double> parse_number(std::string_view field) {
    field = trim(field);
    if (field.starts_with('+') && !field.starts_with("+-")) field.remove_prefix(1);
    double value = 0;
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
    if (error != std::errc{} || end != field.data() + field.size()) return std::nullopt;
    return value;
}

/// No field is a number, or too large or small for one, and one at least is a name.
bool is_header(std::string_view line) {
    bool named = false;
    while (!line.empty()) {
        const std::string_view field = take(line, ',');
        double value = 0;
        const std::string_view digits = trim(field);
        if (parse_number(field) ||
            std::from_chars(digits.data(), digits.data() + digits.size(), value).ec ==
                std::errc::result_out_of_range)
            return false;
        named |= !is_missing(field);
    }
    return named;
}

void append_row(std::string_view line, std::int64_t line_number, const std::string& path,
                std::vector<double>& values) {
    const std::int64_t fields = fields_of(line);
    for (std::int64_t column = 1; column <= fields; ++column) {
        const std::string_view field = take(line, ',');
        const auto number = parse_number(field);
        if (!number)
            throw IoError(fmt::format(
                "{}: line {}, column {} (both from 1): '{}' is not a number that fits float64; write plain "
                "decimal numbers with commas between them{}",
                path, line_number, column, printable(trim(field)),
                field.find_first_of(";\t") != std::string_view::npos ? ", no semicolons or tabs" : ""));
        values.push_back(*number);
    }
}

}  // namespace

Table csv_table(const std::string& path, std::int64_t max_rows) {
    const MappedFile file(path);
    std::string_view rest = file.text();
    if (rest.starts_with("\xEF\xBB\xBF")) rest.remove_prefix(3);  // UTF-8 byte order mark

    Table table;
    table.path = path;
    auto values = std::make_shared<std::vector<double>>();
    bool first = true;
    for (std::int64_t line_number = 1; !rest.empty(); ++line_number) {
        const std::string_view line = trim(take(rest, '\n'));
        if (line.empty()) continue;
        if (std::exchange(first, false) && is_header(line)) continue;
        if (max_rows == 0 || table.rows < max_rows) {
            if (table.rows == 0) table.cols = fields_of(line);
            if (fields_of(line) != table.cols)
                throw IoError(
                    fmt::format("{}: line {} has {} columns, the first row has {}; every row needs as many",
                                path, line_number, fields_of(line), table.cols));
            append_row(line, line_number, path, *values);
        }
        ++table.rows;
    }
    table.read = [values, cols = table.cols](std::int64_t row, double* out) {
        std::copy_n(values->begin() + row * cols, cols, out);
    };
    return table;
}

}  // namespace fntk::detail

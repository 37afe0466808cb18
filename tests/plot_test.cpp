// The page of `fntk compare`, read back as markup: it must parse, draw each network once per figure, keep
// to finite coordinates whatever the report holds, and load and run nothing that came from outside.
#include "plot.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {

using fntk::cli::compare_plot;
using nlohmann::json;

json row(const std::string& train, const std::string& down, int width, int rank) {
    const double cost = 8000.0 * width * rank;
    return {{"name", train + " " + down + " m=" + std::to_string(width) + " p=" + std::to_string(rank)},
            {"width", width},
            {"rank", rank},
            {"down", down},
            {"up", "gaussian"},
            {"train", train},
            {"parameters_trained", width * rank},
            {"bytes_stored", 4 * width * rank},
            {"flops_per_step", cost},
            {"seconds", {{"tangent", cost * 1e-11}, {"gram", cost * 2e-11}, {"step", cost * 3e-11}}},
            {"peak_bytes", 123456789},
            {"lambda_min", 1e-3 * (1 - 3.0 / rank)},
            {"lambda_max", 309.0},
            {"condition", 3e5},
            {"relative_error", 2.0 / std::sqrt(width) + 0.1 / rank},
            {"dense_width_of_equal_error", width * 0.95},
            {"train_loss", 12.3},
            {"drift", 0.02},
            {"certificate_held", true},
            {"test_accuracy", {{"trained", 0.81}, {"ridge", 0.825}}}};
}

json report(const json& rows) {
    return {{"data",
             {{"name", "digits"},
              {"samples", 500},
              {"test_samples", 200},
              {"dim", 64},
              {"rank_x", 61},
              {"classes", 10}}},
            {"device", {{"name", "cpu"}, {"threads", 2}}},
            {"limit",
             {{"lambda_min", 1.2e-3},
              {"lambda_max", 310.0},
              {"condition", 2.5e5},
              {"test_accuracy", {{"ridge", 0.832}}},
              {"error_law", {{"rank_term", 5.0}, {"width_term", 4.0}}},
              {"ridge", 1e-3}}},
            {"rows", rows}};
}

json typical_rows() {
    json rows = json::array();
    for (const int width : {1024, 4096}) {
        rows.push_back(row("up", "identity", width, 784));
        for (const int rank : {32, 64, 128}) {
            rows.push_back(row("up", "pca", width, rank));
            rows.push_back(row("down", "srht", width, rank));
        }
    }
    return rows;
}

std::size_t occurrences(const std::string& text, const std::string& part) {
    std::size_t n = 0;
    for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) ++n;
    return n;
}

// The <figure> of one panel, or nothing.
std::string panel(const std::string& page, const std::string& id) {
    const std::size_t from = page.find("<figure data-panel=\"" + id + "\"");
    const std::size_t wide = page.find("<figure class=\"wide\" data-panel=\"" + id + "\"");
    const std::size_t start = std::min(from, wide);
    return start == page.npos ? "" : page.substr(start, page.find("</figure>", start) - start);
}

std::multiset<int> rows_drawn(const std::string& figure) {
    static const std::regex mark(R"re(class="mark f[0-6]" data-row="(\d+)")re");
    std::multiset<int> rows;
    for (std::sregex_iterator it(figure.begin(), figure.end(), mark), end; it != end; ++it)
        rows.insert(std::stoi((*it)[1]));
    return rows;
}

std::multiset<int> up_to(int first, int end) {
    std::multiset<int> rows;
    for (int i = first; i < end; ++i) rows.insert(i);
    return rows;
}

// Tags nest and close, attributes are quoted, and every & begins a known entity.
void expect_well_formed(const std::string& page) {
    std::vector<std::string> open;
    static const std::regex tag(
        R"re(^(/?)([a-zA-Z][a-zA-Z0-9]*)((?:\s+[a-zA-Z][a-zA-Z0-9-]*="[^"<>]*")*)\s*(/?)$)re");
    static const std::regex entity(R"(&(?!(amp|lt|gt|quot|#39);))");
    EXPECT_FALSE(std::regex_search(page, entity));
    const std::string doctype = "<!doctype html>";
    ASSERT_EQ(page.substr(0, doctype.size()), doctype);
    for (std::size_t at = page.find('<', 1); at != page.npos; at = page.find('<', at + 1)) {
        const std::size_t close = page.find('>', at);
        ASSERT_NE(close, page.npos);
        const std::string inner = page.substr(at + 1, close - at - 1);
        std::smatch match;
        ASSERT_TRUE(std::regex_match(inner, match, tag)) << inner;
        if (match[1].length() > 0) {
            ASSERT_FALSE(open.empty()) << inner;
            ASSERT_EQ(open.back(), match[2].str()) << inner;
            open.pop_back();
        } else if (match[4].length() == 0) {
            open.push_back(match[2].str());
        }
    }
    EXPECT_TRUE(open.empty()) << open.size() << " tags left open";
}

// Every number in a drawing attribute is a plain decimal within a generous multiple of the figure's size.
void expect_finite_coordinates(const std::string& page) {
    static const std::regex attribute(
        R"re( (x|y|x1|x2|y1|y2|cx|cy|r|width|height|points|d|viewBox|transform)="([^"]*)")re");
    static const std::regex letters(R"(nan|inf|\de[+-]?\d)", std::regex::icase);
    static const std::regex number(R"(-?\d+(\.\d+)?)");
    for (std::sregex_iterator it(page.begin(), page.end(), attribute), end; it != end; ++it) {
        const std::string value = (*it)[2];
        EXPECT_FALSE(std::regex_search(value, letters)) << value;
        for (std::sregex_iterator n(value.begin(), value.end(), number); n != end; ++n) {
            EXPECT_LT(std::abs(std::stod(n->str())), 5000) << value;
        }
    }
}

void expect_sound(const std::string& page) {
    expect_well_formed(page);
    expect_finite_coordinates(page);
    EXPECT_EQ(page.find("http"), page.npos);
    EXPECT_EQ(page.find("src="), page.npos);
    EXPECT_EQ(page.find("href="), page.npos);
    EXPECT_EQ(page.find("@import"), page.npos);
    EXPECT_EQ(page.find("url("), page.npos);
    EXPECT_EQ(occurrences(page, "<script"), 1u);
}

TEST(Plot, DrawsEveryNetworkOncePerFigure) {
    const std::string page = compare_plot(report(typical_rows()));
    expect_sound(page);
    for (const char* id : {"error", "lambda", "accuracy", "time"})
        EXPECT_EQ(rows_drawn(panel(page, id)), up_to(0, 14)) << id;
    EXPECT_EQ(rows_drawn(panel(page, "worth")), up_to(2, 14));  // rows 0 and 1 are the dense networks
    EXPECT_EQ(occurrences(page, "<tr data-row="), 14u);
}

TEST(Plot, SaysWhatIsSavedAndWhatIsLost) {
    json rows = json::array({row("up", "identity", 4096, 784), row("up", "pca", 4096, 64)});
    rows[0]["lambda_min"] = 1e-3;
    rows[1]["lambda_min"] = 0.96e-3;
    rows[1]["test_accuracy"]["trained"] = 0.79;
    const std::string page = compare_plot(report(rows));
    EXPECT_NE(page.find("train=up, pca at p = 64 costs 8.2\u00a0% of the dense step at m = 4096"),
              page.npos);
    EXPECT_NE(page.find("keeps 96\u00a0% of λ"), page.npos);
    EXPECT_NE(page.find("2.0 points of test accuracy"), page.npos);
}

TEST(Plot, DoesNotPraiseWhatDoesNotPay) {
    json rows = json::array({row("up", "identity", 1024, 784), row("down", "srht", 1024, 16)});
    rows[1]["lambda_min"] = 1e-4;
    EXPECT_NE(compare_plot(report(rows)).find("<h1>No factorisation here keeps the dense kernel"),
              std::string::npos);
    rows[1]["lambda_min"] = rows[0]["lambda_min"];
    rows[1]["flops_per_step"] = 1e12;
    EXPECT_NE(compare_plot(report(rows)).find("<h1>No saving here"), std::string::npos);
}

TEST(Plot, EscapesEveryString) {
    const std::string hostile = "<script>alert(\"x\")</script><img src='http://e.org'/> & \x01 λ";
    json rows = typical_rows();
    for (json& r : rows) {
        r["name"] = hostile;
        if (r["down"] == "srht") r["down"] = r["up"] = hostile;
    }
    json hostile_report = report(rows);
    hostile_report["data"]["name"] = hostile_report["device"]["name"] = hostile;
    const std::string page = compare_plot(hostile_report);
    expect_well_formed(page);
    EXPECT_EQ(occurrences(page, "<script"), 1u);
    EXPECT_EQ(page.find("<img"), page.npos);
    EXPECT_NE(page.find("&lt;script&gt;alert(&quot;x&quot;)"), page.npos);
    EXPECT_EQ(page.find('\x01'), page.npos);
}

TEST(Plot, ShowsErrorsOfValuesInTheTable) {
    json rows = typical_rows();
    EXPECT_EQ(compare_plot(report(rows)).find("RMSE"), std::string::npos);
    for (json& r : rows) {
        r["test_accuracy"] = {{"trained", nullptr}, {"ridge", nullptr}};
        r["test_rmse"] = {{"trained", 0.25}, {"ridge", nullptr}};
    }
    rows[1]["test_rmse"]["trained"] = 1234.5;
    const std::string page = compare_plot(report(rows));
    expect_sound(page);
    EXPECT_EQ(occurrences(page, "<th>test RMSE"), 1U);  // trained alone: ridge's are null
    EXPECT_EQ(occurrences(page, "<td>0.250</td>"), rows.size() - 1);
    EXPECT_EQ(occurrences(page, "<td>1234</td>"), 1U);
    EXPECT_EQ(page.find("<th>accuracy"), page.npos);
}

TEST(Plot, LeavesOutWhatIsNull) {
    json rows = typical_rows();
    for (json& r : rows) r["test_accuracy"] = r["certificate_held"] = r["peak_bytes"] = nullptr;
    rows[1]["lambda_min"] = rows[2]["flops_per_step"] = rows[3]["dense_width_of_equal_error"] = nullptr;
    json without = report(rows);
    without["limit"]["test_accuracy"] = nullptr;
    const std::string page = compare_plot(without);
    expect_sound(page);
    EXPECT_EQ(panel(page, "accuracy"), "");
    EXPECT_EQ(rows_drawn(panel(page, "error")).size(), 13u);
    EXPECT_EQ(rows_drawn(panel(page, "lambda")).size(), 12u);
    EXPECT_EQ(rows_drawn(panel(page, "worth")).size(), 11u);
    EXPECT_NE(panel(page, "lambda").find("2 networks without these numbers"), page.npos);
    EXPECT_EQ(page.find("peak<br/>memory"), page.npos);
    EXPECT_EQ(page.find("±"), page.npos);
}

TEST(Plot, SaysWhatTheReportLacks) {
    json whole = report(typical_rows());
    const std::string page = compare_plot(whole);
    for (const char* note : {"was interrupted", "random targets", "without a rate certificate"})
        EXPECT_EQ(occurrences(page, note), 0U) << note;
    whole["interrupted"] = true;
    whole["data"]["targets"] = "random signs";
    whole["rows"][2]["certificate_held"] = nullptr;
    const std::string notes = compare_plot(whole);
    for (const char* note : {"was interrupted", "random targets", "without a rate certificate"})
        EXPECT_EQ(occurrences(notes, note), 1U) << note;
    whole["rows"][2]["lambda_min"] = nullptr;  // a certificate was not looked for
    EXPECT_EQ(occurrences(compare_plot(whole), "without a rate certificate"), 0U);
}

TEST(Plot, TakesAnyReport) {
    json all_null = typical_rows();
    for (json& r : all_null) {
        for (auto& [key, value] : r.items()) {
            if (!value.is_string()) value = nullptr;
        }
    }
    const std::string page = compare_plot(report(all_null));
    expect_sound(page);
    EXPECT_EQ(page.find("<figure"), page.npos);
    EXPECT_EQ(occurrences(page, "<tr data-row="), 14u);
    for (const json& odd : {json(), json::object(), json::array(), report(json::array()), report(nullptr),
                            report("rows"), report(json::array({nullptr, 3, "x", json::object()}))}) {
        expect_sound(compare_plot(odd));
    }
}

TEST(Plot, DrawsASingleNetwork) {
    for (const json& only : {row("up", "identity", 4096, 784), row("down", "srht", 4096, 64)}) {
        const std::string page = compare_plot(report(json::array({only})));
        expect_sound(page);
        for (const char* id : {"error", "lambda", "accuracy"})
            EXPECT_EQ(rows_drawn(panel(page, id)), up_to(0, 1)) << id;
    }
}

TEST(Plot, PutsEigenvaluesOfZeroOrLessAtTheFloor) {
    json rows = typical_rows();
    rows[2]["lambda_min"] = 0.0;
    rows[4]["lambda_min"] = -3e-9;
    const std::string figure = panel(compare_plot(report(rows)), "lambda");
    EXPECT_EQ(rows_drawn(figure), up_to(0, 14));
    EXPECT_EQ(occurrences(figure, "class=\"arrow\""), 2u);
    EXPECT_NE(figure.find("≤ 0"), figure.npos);
    EXPECT_NE(figure.find("2 networks with λ"), figure.npos);

    for (json& r : rows) r["lambda_min"] = -1e-9;
    json sunk = report(rows);
    sunk["limit"]["lambda_min"] = nullptr;
    const std::string page = compare_plot(sunk);
    expect_sound(page);
    EXPECT_EQ(occurrences(panel(page, "lambda"), "class=\"arrow\""), 14u);
}

TEST(Plot, KeepsCoordinatesFinite) {
    json equal = typical_rows();
    for (json& r : equal) {
        r["flops_per_step"] = 1e9;
        r["relative_error"] = r["lambda_min"] = 0.1;
        r["dense_width_of_equal_error"] = 100;
        r["test_accuracy"] = {{"trained", 0.5}, {"ridge", 0.5}};
    }
    json extreme = typical_rows();
    const std::vector<double> values{1e300,
                                     1e-300,
                                     5e-324,
                                     1.7e308,
                                     0,
                                     -1e300,
                                     std::numeric_limits<double>::infinity(),
                                     std::numeric_limits<double>::quiet_NaN()};
    std::size_t next = 0;
    for (json& r : extreme) {
        for (const char* key :
             {"flops_per_step", "relative_error", "lambda_min", "dense_width_of_equal_error", "width",
              "rank", "parameters_trained", "condition", "drift"}) {
            r[key] = values[next++ % values.size()];
        }
        r["seconds"]["step"] = values[next++ % values.size()];
        r["test_accuracy"] = {{"trained", values[next++ % values.size()]},
                              {"ridge", values[next++ % values.size()]}};
    }
    for (const json& rows : {equal, extreme}) expect_sound(compare_plot(report(rows)));
    EXPECT_EQ(rows_drawn(panel(compare_plot(report(equal)), "error")), up_to(0, 14));
}

}  // namespace

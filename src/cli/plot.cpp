#include "plot.hpp"

#include "plot_panels.hpp"
#include "plot_report.hpp"
#include "plot_style.hpp"
#include "svg.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

namespace fntk::cli {
namespace {

using namespace plot;
using svg::escape;

// "fashion-mnist · 2000 samples, 2000 for testing · d = 784, ..." with what is known.
std::string facts(const Comparison& c) {
    std::vector<std::string> parts;
    const auto add = [&](Number value, std::string text) {
        if (value) parts.push_back(std::move(text));
    };
    parts.push_back(fmt::format("<b>{}</b>", escape(c.data.empty() ? "unnamed data" : c.data)));
    add(c.samples, fmt::format("{} samples{}", count(c.samples),
                               c.test_samples && *c.test_samples > 0
                                   ? fmt::format(", {} for testing", count(c.test_samples))
                                   : ""));
    add(c.dim,
        fmt::format("d = {}{}", count(c.dim), c.rank_x ? fmt::format(", rank {}", count(c.rank_x)) : ""));
    if (c.classes && *c.classes > 1) add(c.classes, fmt::format("{} classes", count(c.classes)));
    if (!c.device.empty()) {
        std::string device = escape(c.device);
        if (c.threads)
            device += fmt::format(", {} {}", count(c.threads), *c.threads == 1 ? "thread" : "threads");
        parts.push_back(device);
    }
    add(c.limit_lambda_min,
        fmt::format("infinite width: λ_min {}{}", plain(c.limit_lambda_min),
                    c.limit_condition ? fmt::format(", condition {}", plain(c.limit_condition)) : ""));
    add(c.ridge, fmt::format("ridge {}", tick(c.ridge.value_or(0))));
    return fmt::format(R"(<p class="facts">{}</p>)", fmt::join(parts, " · "));
}

std::string card(const Comparison& c, std::size_t index) {
    const Row& r = c.rows[index];
    std::string numbers;
    const auto add = [&](const std::string& value, std::string_view what) {
        numbers += fmt::format("<dt>{}</dt><dd>{}</dd>", value, what);
    };
    if (r.family == 0) {
        add(si(r.flops, "Flop"), "per step");
        if (r.step_seconds) add(si(r.step_seconds, "s"), "per step, measured");
        if (r.lambda_min) add(plain(r.lambda_min), "λ_min");
        if (r.error) add(percent(r.error), "kernel error");
        if (r.trained_accuracy) add(accuracy(r.trained_accuracy), "test accuracy, trained");
    } else {
        add(percent(r.cost), "of the dense flops");
        if (r.time) add(percent(r.time), "of the dense time");
        if (r.kept) add(*r.kept > 0 ? percent(r.kept) : "none", "of the dense λ_min");
        if (r.worth) add(count(r.worth), "dense width it is worth");
        const Row& dense = c.rows[*r.dense];
        if (r.trained_accuracy && dense.trained_accuracy) {
            const double points = (*r.trained_accuracy - *dense.trained_accuracy) * 100;
            add(fmt::format("{}{:.1f}",
                            points > 0.05    ? "+"
                            : points < -0.05 ? "−"
                                             : "±",
                            std::abs(points)),
                "points of test accuracy");
        }
    }
    std::string which = fmt::format("m = {}", count(r.width));
    if (r.family != 0 && r.rank) which += fmt::format(", p = {}", count(r.rank));
    which += r.family == 0 ? ": the baseline" : "";
    return fmt::format(
        R"(<div class="card {}" data-family="{}"><h3>{}{}</h3><p class="which">{}</p><dl>{}</dl></div>)",
        colour_class(r.family), r.family, icon(r.family, 6), escape(c.families[r.family].name), which,
        numbers);
}

// One card per family that has a dense counterpart, after that of the dense network; else a plain legend.
std::string cards(const Comparison& c, const Finding& found) {
    if (found.picks.empty()) {
        std::string legend;
        for (std::size_t i = 0; i < c.rows.size(); ++i) {
            const std::size_t f = c.rows[i].family;
            if (i == 0 || c.rows[i - 1].family != f) {
                legend += fmt::format("<span>{}{}</span>", icon(f, 6), escape(c.families[f].name));
            }
        }
        return legend.empty() ? legend : fmt::format(R"(<p class="sizes">{}</p>)", legend);
    }
    const auto narrower = [&](std::size_t a, std::size_t b) { return c.rows[a].width < c.rows[b].width; };
    std::string all =
        card(c, *c.rows[*std::max_element(found.picks.begin(), found.picks.end(), narrower)].dense);
    for (const std::size_t pick : found.picks) all += card(c, pick);
    return fmt::format(R"(<div class="cards">{}</div>)", all) + "\n";
}

std::string sizes(const Comparison& c) {
    if (c.widths.size() < 2) return {};
    std::string all = "<span>Marker size:</span>";
    for (const double width : c.widths)
        all += fmt::format("<span>{}m = {}</span>", icon(0, radius(c, width)), count(width));
    return fmt::format(R"(<p class="sizes">{}<span>p: rank of the factorisation</span></p>)", all) + "\n";
}

std::string with_share(const std::string& value, Number share) {
    return share && *share > 0 ? fmt::format("{} <small>{}</small>", value, percent(share)) : value;
}

// What the family's name leaves out: the factors and which of them is trained.
std::string factors(const Row& r) {
    return fmt::format("down factor {}, up factor {}, trained: {}", r.down, r.up, r.train);
}

std::string table(const Comparison& c) {
    struct Column {
        const char* head;
        std::function<std::string(const Row&)> cell;
        std::function<bool(const Row&)> known;
    };
    const auto certificate = [](const Row& r) -> std::string {
        if (!r.certificate) return "–";
        return *r.certificate ? "held" : R"(<span class="bad">broken</span>)";
    };
    const std::vector<Column> columns{
        {"m", [](const Row& r) { return count(r.width); },
         [](const Row& r) { return r.width.has_value(); }},
        {"p", [](const Row& r) { return count(r.rank); }, [](const Row& r) { return r.rank.has_value(); }},
        {"kernel<br/>error", [](const Row& r) { return plain(r.error); },
         [](const Row& r) { return r.error.has_value(); }},
        {"equal<br/>dense m", [](const Row& r) { return count(r.worth); },
         [](const Row& r) { return r.worth.has_value(); }},
        {"λ<sub>min</sub><br/>% of dense",
         [](const Row& r) { return with_share(plain(r.lambda_min), r.kept); },
         [](const Row& r) { return r.lambda_min.has_value(); }},
        {"condition", [](const Row& r) { return plain(r.condition); },
         [](const Row& r) { return r.condition.has_value(); }},
        {"flops / step<br/>% of dense",
         [](const Row& r) { return with_share(si(r.flops, "Flop"), r.cost); },
         [](const Row& r) { return r.flops.has_value(); }},
        {"time / step<br/>% of dense",
         [](const Row& r) { return with_share(si(r.step_seconds, "s"), r.time); },
         [](const Row& r) { return r.step_seconds.has_value(); }},
        {"Gram<br/>time", [](const Row& r) { return si(r.gram_seconds, "s"); },
         [](const Row& r) { return r.gram_seconds.has_value(); }},
        {"trained<br/>params", [](const Row& r) { return si(r.parameters, ""); },
         [](const Row& r) { return r.parameters.has_value(); }},
        {"stored", [](const Row& r) { return si(r.bytes, "B"); },
         [](const Row& r) { return r.bytes.has_value(); }},
        {"peak<br/>memory", [](const Row& r) { return si(r.peak_bytes, "B"); },
         [](const Row& r) { return r.peak_bytes.has_value(); }},
        {"train<br/>loss", [](const Row& r) { return plain(r.loss); },
         [](const Row& r) { return r.loss.has_value(); }},
        {"kernel<br/>drift", [](const Row& r) { return plain(r.drift); },
         [](const Row& r) { return r.drift.has_value(); }},
        {"rate<br/>certificate", certificate, [](const Row& r) { return r.certificate.has_value(); }},
        {"accuracy<br/>trained", [](const Row& r) { return accuracy(r.trained_accuracy); },
         [](const Row& r) { return r.trained_accuracy.has_value(); }},
        {"accuracy<br/>ridge", [](const Row& r) { return accuracy(r.ridge_accuracy); },
         [](const Row& r) { return r.ridge_accuracy.has_value(); }},
        {"test RMSE<br/>trained", [](const Row& r) { return plain(r.trained_rmse); },
         [](const Row& r) { return r.trained_rmse.has_value(); }},
        {"test RMSE<br/>ridge", [](const Row& r) { return plain(r.ridge_rmse); },
         [](const Row& r) { return r.ridge_rmse.has_value(); }},
    };
    // A column that no row has a value for says nothing.
    std::vector<const Column*> shown;
    for (const Column& column : columns) {
        if (std::any_of(c.rows.begin(), c.rows.end(), column.known)) shown.push_back(&column);
    }
    std::string head;
    for (const Column* column : shown) head += fmt::format("<th>{}</th>", column->head);
    std::string body;
    for (std::size_t i = 0; i < c.rows.size(); ++i) {
        const Row& r = c.rows[i];
        if (i == 0 || c.rows[i - 1].family != r.family) {
            body += fmt::format(R"(<tr class="family"><th colspan="{}">{} {} <small>{}</small></th></tr>)"
                                "\n",
                                shown.size(), icon(r.family, 5.5), escape(c.families[r.family].name),
                                escape(factors(r)));
        }
        body +=
            fmt::format(R"(<tr data-row="{}" data-family="{}" title="{}">)", i, r.family, escape(r.name));
        for (const Column* column : shown) body += "<td>" + column->cell(r) + "</td>";
        body += "</tr>\n";
    }
    return fmt::format(
        R"(<section class="table"><h2>All networks</h2><div class="scroll"><table><thead><tr>{}</tr></thead>)"
        "<tbody>\n{}</tbody></table></div></section>\n",
        head, body);
}

std::string footer(const Comparison& c) {
    std::string notes;
    const auto add = [&](std::string_view note) { notes += fmt::format("<p>{}</p>", note); };
    if (c.interrupted) add("The comparison was interrupted: some of its networks are missing.");
    if (c.random_targets) add("The data has no labels: the networks were trained on random targets of ±½.");
    add("Percentages of dense compare with the dense network of the same width m in this report. The "
        "kernel error and λ_min "
        "belong to these samples at initialisation; on a larger set that contains them λ_min can only be "
        "smaller.");
    const auto broken =
        std::count_if(c.rows.begin(), c.rows.end(), [](const Row& r) { return r.certificate == false; });
    if (broken > 0) {
        add(
            fmt::format("{} of {} networks left the linear rate that λ_min of their initial kernel "
                        "certifies (column “rate "
                        "certificate”): their kernels moved too far for it to hold.",
                        broken, c.rows.size()));
    }
    const bool singular = std::any_of(c.rows.begin(), c.rows.end(), [](const Row& r) {
        return r.lambda_min.has_value() && !r.certificate.has_value();
    });
    if (singular)
        add("A network without a rate certificate has a kernel whose λ_min is not positive beyond "
            "rounding.");
    for (const Row& row : c.rows) {
        if (!row.seeds || *row.seeds < 2) continue;
        add(fmt::format("Values are means over {} seeds.", count(row.seeds)));
        break;
    }
    return fmt::format("<footer>{}</footer>\n", notes);
}

// Two abreast; the worth panel takes a row of its own unless it can fill the gap beside an odd one.
std::string figures(const Comparison& c) {
    std::string all;
    std::size_t drawn = 0;
    for (const auto& panel : {error_panel(c), lambda_panel(c), accuracy_panel(c), time_panel(c)}) {
        drawn += panel.empty() ? 0 : 1;
        all += panel;
    }
    std::string worth = worth_panel(c);
    if (drawn % 2 == 0 && !worth.empty()) worth.insert(worth.find(' '), R"( class="wide")");
    return all.empty() && worth.empty() ? ""
                                        : fmt::format("<div class=\"grid-2\">\n{}{}</div>\n", all, worth);
}

}  // namespace

std::string compare_plot(const nlohmann::json& report) {
    const Comparison c = read(report);
    const Finding found = finding(c);
    const std::string panels = figures(c);

    return fmt::format(
               "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
               R"(<meta name="viewport" content="width=device-width, initial-scale=1"/>)"
               "<title>fntk compare: {}</title><style>{}</style></head>\n<body><main>\n",
               escape(c.data), kStyle) +
           typeset(facts(c) +
                   fmt::format("<h1>{}</h1>\n<p class=\"lede\">{}</p>\n", escape(found.headline),
                               escape(found.lede)) +
                   cards(c, found)) +
           sizes(c) + panels + (c.rows.empty() ? "" : table(c)) + typeset(footer(c)) +
           fmt::format("</main><script>{}</script></body></html>\n", kScript);
}

}  // namespace fntk::cli

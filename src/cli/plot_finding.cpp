// The finding: of every family the cheapest network that keeps at least 90 % of the dense network's
// quality, or else the one that keeps the most; of these the cheapest, again first among those that keep
// enough.
//     quality = min(λ_min / λ_min of dense, worth / m), over what is known
// The second sentence always says what is lost, and whether the clock agrees with the flops.
#include "plot_report.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace fntk::cli::plot {
namespace {

constexpr double kEnough = 0.9;

Number quality(const Row& row) {
    Number least = row.kept ? Number(std::max(0.0, *row.kept)) : Number();
    if (row.worth && row.width && *row.width > 0)
        least = std::min(least.value_or(1), std::min(1.0, *row.worth / *row.width));
    return least;
}

bool enough(const Row& row) { return *quality(row) >= kEnough; }

bool better(const Row& a, const Row& b) {
    if (enough(a) != enough(b)) return enough(a);
    if (enough(a)) return *a.cost < *b.cost;
    if (*quality(a) != *quality(b)) return *quality(a) > *quality(b);
    return a.error && b.error && *a.error < *b.error;
}

std::string subject(const Comparison& c, const Row& row) {
    const std::string& name = c.families[row.family].name;
    return row.rank && row.family != 0 ? fmt::format("{} at p = {}", name, count(row.rank)) : name;
}

std::string keeps(const Row& row) {
    if (row.kept && *row.kept <= 0) return "has a λ_min of zero or less";
    if (row.kept) return fmt::format("keeps {} of λ_min", percent(row.kept));
    return fmt::format("has the kernel accuracy of a dense network of width {}", count(row.worth));
}

// "What is lost: 6 % of λ_min and 1.4 points of test accuracy; the kernel's distance ... grows from 3.1 %
// to 3.5 %, ..."
std::string losses(const Row& row, const Row& dense) {
    std::vector<std::string> lost;
    if (row.kept && *row.kept < 0.995)
        lost.push_back(fmt::format("{} of λ_min", percent(1 - std::max(0.0, *row.kept))));
    if (row.trained_accuracy && dense.trained_accuracy) {
        const double points = (*dense.trained_accuracy - *row.trained_accuracy) * 100;
        if (points >= 0.05) lost.push_back(fmt::format("{:.1f} points of test accuracy", points));
    }
    std::string text = lost.empty() ? "" : fmt::format("What is lost: {}", fmt::join(lost, " and "));
    if (!row.error || !dense.error)
        return text.empty() ? "What is lost in accuracy, this report does not say." : text + ".";
    const bool grows = *row.error > 1.05 * *dense.error;
    if (text.empty()) text = grows ? "What is lost" : "Nothing measurable is lost";
    text += text.starts_with("What is lost:") ? "; " : ": ";
    text += fmt::format("the kernel is {} from its infinite-width limit where dense is {} from it",
                        percent(row.error), percent(dense.error));
    return text + (grows && row.worth
                       ? fmt::format(", no better than a dense network of width {}.", count(row.worth))
                       : ".");
}

// The family that keeps least, where one does not keep enough.
std::string other_end(const Comparison& c, const std::vector<std::size_t>& picks, std::size_t best) {
    const std::size_t worst = *std::min_element(
        picks.begin(), picks.end(),
        [&](std::size_t a, std::size_t b) { return *quality(c.rows[a]) < *quality(c.rows[b]); });
    const Row& row = c.rows[worst];
    if (worst == best || enough(row)) return {};
    const std::string worth =
        row.kept && row.worth ? fmt::format(" and is worth a dense width of {}", count(row.worth)) : "";
    return fmt::format(" At the other end, {}, m = {}, costs {} and {}{}.", subject(c, row),
                       count(row.width), percent(row.cost), keeps(row), worth);
}

std::string clock(const Row& row, const Row& dense) {
    if (!row.time) return {};
    const std::string seconds =
        fmt::format("{} a step against {}", si(row.step_seconds, "s"), si(dense.step_seconds, "s"));
    if (*row.time > 1) return fmt::format(" On the clock it is slower: {}.", seconds);
    const bool agrees = *row.time < 2 * *row.cost;
    return fmt::format(" On the clock: {}{}.", seconds,
                       agrees ? "" : ", a smaller saving than the flops promise");
}

Finding without_dense(const Comparison& c) {
    Finding f;
    const Row* closest = nullptr;
    for (const Row& row : c.rows) {
        if (row.error && (closest == nullptr || *row.error < *closest->error)) closest = &row;
    }
    f.headline = c.rows.empty() ? "No networks in this report."
                                : fmt::format("{} {} beside the infinite-width kernel.", c.rows.size(),
                                              c.rows.size() == 1 ? "network" : "networks");
    if (closest != nullptr) {
        f.headline = fmt::format("{}, m = {}, comes closest to the infinite-width kernel: {} away.",
                                 subject(c, *closest), count(closest->width), percent(closest->error));
    }
    if (!c.rows.empty()) {
        f.lede =
            "What a factorisation saves and loses shows beside the dense network of the same width; this "
            "report does "
            "not have both with their flops and their λ_min or kernel error.";
    }
    return f;
}

}  // namespace

Finding finding(const Comparison& c) {
    std::vector<std::optional<std::size_t>> picks(c.families.size());
    for (std::size_t i = 0; i < c.rows.size(); ++i) {
        const Row& row = c.rows[i];
        if (!row.dense || !row.cost || !quality(row)) continue;
        auto& pick = picks[row.family];
        if (!pick || better(row, c.rows[*pick])) pick = i;
    }
    Finding f;
    for (const auto& pick : picks) {
        if (pick) f.picks.push_back(*pick);
    }
    if (f.picks.empty()) return without_dense(c);

    const std::size_t best =
        *std::min_element(f.picks.begin(), f.picks.end(),
                          [&](std::size_t a, std::size_t b) { return better(c.rows[a], c.rows[b]); });
    const Row& row = c.rows[best];
    const Row& dense = c.rows[*row.dense];
    const std::string costs = fmt::format("costs {} of the dense step at m = {} and {}", percent(row.cost),
                                          count(row.width), keeps(row));
    if (*row.cost >= 1) {
        f.headline = fmt::format("No saving here: {} {}.", subject(c, row), costs);
    } else if (!enough(row)) {
        f.headline = fmt::format("No factorisation here keeps the dense kernel: the closest, {}, {}.",
                                 subject(c, row), costs);
    } else {
        f.headline = fmt::format("{} {}.", subject(c, row), costs);
    }
    f.lede = losses(row, dense) + clock(row, dense) + other_end(c, f.picks, best);
    return f;
}

}  // namespace fntk::cli::plot

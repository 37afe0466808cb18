// The comparison as text: one line a network, SI units, ten columns that fit a terminal of 132.
#include "compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace fntk::cli {

namespace {

std::string si(double x, const char* unit) {
    constexpr std::array prefixes = {"", "k", "M", "G", "T", "P", "E"};
    std::size_t step = 0;
    for (; std::abs(x) >= 999.5 && step + 1 < prefixes.size(); ++step) x /= 1000;
    return fmt::format("{:.3g} {}{}", x, prefixes[step], unit);
}

std::string seconds(const Json& value) {
    const double s = value.get<double>();
    return s < 1 ? fmt::format("{:.3g} ms", 1000 * s) : fmt::format("{:.3g} s", s);
}

std::string number(const Json& value, const char* format) {
    return value.is_number() ? fmt::format(fmt::runtime(format), value.get<double>()) : "-";
}

/// "none": there could have been a certificate, but λ_min is not positive.
const char* held(const Json& row) {
    const Json& value = row.at("certificate_held");
    if (!value.is_boolean()) return row.at("lambda_min").is_number() ? "none" : "-";
    return value.get<bool>() ? "held" : "no";
}

/// On the test rows: accuracy for classes, root mean square error for values.
std::string score(const Json& row, const char* method) {
    return row.contains("test_rmse") ? number(row.at("test_rmse").at(method), "{:.4g}")
                                     : number(row.at("test_accuracy").at(method), "{:.3f}");
}

}  // namespace

std::string compare_table(const Json& report) {
    const Json& data = report.at("data");
    const Json& limit = report.at("limit");
    std::string out = fmt::format(
        "{}: {} training and {} test rows, d = {}, rank {}, {} outputs, on {} with {} threads\n\n",
        data.at("name").get<std::string>(), data.at("samples").get<std::int64_t>(),
        data.at("test_samples").get<std::int64_t>(), data.at("dim").get<std::int64_t>(),
        data.at("rank_x").get<std::int64_t>(), data.at("outputs").get<std::int64_t>(),
        report.at("device").at("name").get<std::string>(), report.at("device").at("threads").get<int>());
    if (data.at("targets") == "random signs")
        out += "no labels: the networks are trained on random targets of +1/2 and -1/2 (see --labels)\n\n";
    constexpr const char* line =
        "{:<27} {:>8} {:>9} {:>9} {:>8} {:>8} {:>8} {:>10} {:>9} {:>8} {:>9} {:>8} {:>6} {:>5} {:>8} "
        "{:>7}\n";
    const bool real = data.at("targets") == "real";
    out += fmt::format(fmt::runtime(line), "network", "trained", "stored", "flop/step", "tangent", "gram",
                       "step", "lambda_min", "cond", "error", "=dense m", "loss", "drift", "cert",
                       real ? "rms.gd" : "acc.gd", real ? "rms.krr" : "acc.krr");
    out += fmt::format(fmt::runtime(line), "infinite width", "", "", "", "", "", "",
                       number(limit.at("lambda_min"), "{:.3e}"), number(limit.at("condition"), "{:.2g}"),
                       "0", "inf", "", "", "", "", score(limit, "ridge"));
    for (const Json& row : report.at("rows")) {
        const Json& time = row.at("seconds");
        out += fmt::format(
            fmt::runtime(line), row.at("name").get<std::string>(),
            si(row.at("parameters_trained").get<double>(), ""),
            si(row.at("bytes_stored").get<double>(), "B"), si(row.at("flops_per_step").get<double>(), ""),
            seconds(time.at("tangent")), seconds(time.at("gram")), seconds(time.at("step")),
            number(row.at("lambda_min"), "{:.3e}"), number(row.at("condition"), "{:.2g}"),
            number(row.at("relative_error"), "{:.4f}"),
            number(row.at("dense_width_of_equal_error"), "{:.0f}"), number(row.at("train_loss"), "{:.4g}"),
            number(row.at("drift"), "{:.3f}"), held(row), score(row, "trained"), score(row, "ridge"));
    }
    const std::int64_t compared = report.at("limit").at("compared_samples").get<std::int64_t>();
    if (report.at("options").at("whole_up_to").get<std::int64_t>() < data.at("samples").get<std::int64_t>())
        out += fmt::format(
            "\ngram and error: of the kernel of {} samples; what takes all eigenvalues is left out (see "
            "--whole-up-to)",
            compared);
    out += fmt::format(
        "\nerror: |K - K_inf|_F/|K_inf|_F; =dense m: width of the dense network with that error; cert: "
        "|y-f(t)|^2 <= (1-eta*lambda/2)^t |y-f(0)|^2 at every step; {} after training and by kernel ridge "
        "regression\n",
        real ? "rms.gd, rms.krr: root mean square error on the test rows"
             : "acc.gd, acc.krr: test accuracy");
    if (std::ranges::any_of(report.at("rows"),
                            [](const Json& row) { return std::string_view(held(row)) == "none"; }))
        out += "cert none: there is no certificate, since lambda_min is not positive beyond rounding\n";
    return out;
}

}  // namespace fntk::cli

// The report of `fntk compare` as rows of optional numbers, each beside the dense network of its width.
//     cost  = flops per step / flops per step of dense at the same m
//     kept  = λ_min / λ_min of dense at the same m
//     worth = the dense width whose kernel is as accurate        price = the dense width whose step costs
//     as many flops
// so worth/price > 1 says that the factorisation buys more kernel per flop than a narrower dense network
// would.
#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace fntk::cli::plot {

using Number = std::optional<double>;  // present only if it is finite

struct Row {
    std::string name, down, up, train;
    Number width, rank, parameters, bytes, flops;
    Number tangent_seconds, gram_seconds, step_seconds, peak_bytes;
    Number lambda_min, lambda_max, condition, error;
    Number loss, drift, trained_accuracy, ridge_accuracy, trained_rmse, ridge_rmse, seeds;
    std::optional<bool> certificate;

    std::size_t family = 0;  // index into Comparison::families
    std::optional<std::size_t>
        dense;  // row of the dense network of the same width; none for that row itself
    Number cost, time, kept, worth, price;
};

/// Networks that differ only in width and rank. Family 0 is the dense network, whether or not the report
/// has one.
struct Family {
    std::string name;   // "train=up, pca"
    std::string brief;  // "pca", or the name where that is not unique
};

struct Comparison {
    std::string data, device;
    Number samples, test_samples, dim, rank_x, classes, threads;
    Number limit_lambda_min, limit_condition, limit_ridge_accuracy, ridge, width_term;
    bool interrupted = false;     // before all networks were measured
    bool random_targets = false;  // there were no labels to train on
    std::vector<Row> rows;        // dense first, then by family; within a family by width, then rank
    std::vector<Family> families;
    std::vector<double> widths;  // distinct, increasing

    /// Flops of a dense step per unit of width, from the widest dense row; none without one.
    Number flops_per_dense_width() const;
};

Comparison read(const nlohmann::json& report);

/// What the page says first: one finding, and what it does not say by itself.
struct Finding {
    std::string headline;
    std::string lede;
    std::vector<std::size_t> picks;  // the row that speaks for each family with a dense counterpart
};
Finding finding(const Comparison& comparison);

// Numbers as people write them, in UTF-8, with a no-break space before the unit. An absent number is an en
// dash.
/// Three significant digits with an SI prefix: "25.7 GFlop", "400 ms".
std::string si(Number value, const std::string& unit);
/// Three significant digits, beyond 10⁻⁴..10⁵ as a power of ten: "0.031", "1.20·10⁻⁵".
std::string plain(Number value);
/// The same without trailing zeros, for axes: "0.1", "10⁻⁵".
std::string tick(double value);
/// A ratio as a percentage, with two significant digits below ten: "9.1 %", "96 %".
std::string percent(Number ratio);
/// An accuracy in per cent with one digit: "83.2 %".
std::string accuracy(Number ratio);
/// A ratio as a factor: "11×", "0.4×".
std::string factor(Number ratio);
/// A count: "4096", "12.8 k" from 100 000 on.
std::string count(Number value);

}  // namespace fntk::cli::plot

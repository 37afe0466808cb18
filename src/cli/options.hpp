// Options that several commands share, and what they stand for: a device, data, a network.
#pragma once

#include "report.hpp"

#include <CLI/CLI.hpp>

#include <functional>
#include <optional>

namespace fntk::cli {

struct RunOptions {
    std::string device = "auto";
    int threads = 0;
    std::string json;

    void add(CLI::App& app);
    [[nodiscard]] Device open() const { return Device::open(device, threads); }
};

struct DataOptions {
    std::string source;
    std::string labels, test, test_labels, targets = "auto";
    bool no_normalize = false;
    std::int64_t samples = 0, test_samples = 0;

    void add(CLI::App& app, bool with_labels);
    /// --targets and the test split, of commands that fit labels.
    void add_targets(CLI::App& app);
    /// DATA, its labels and its test split. Throws IoError where fashion-mnist is missing.
    [[nodiscard]] Files files() const;
    [[nodiscard]] Dataset load(DType dtype) const;
    /// Another file loaded the same way: --against.
    [[nodiscard]] Dataset load_other(const std::string& other, DType dtype) const;
    static Json describe(const Dataset& dataset);
};

struct NetworkOptions {
    std::string file;
    std::int64_t width = 4096;
    std::int64_t rank = 0;
    std::int64_t outputs = 0;
    std::string down = "srht", up = "srht", train, activation = "relu", precision = "float32",
                rounding = "fine";
    double slope = 0.01;
    std::uint64_t seed = 0;

    void add(CLI::App& app);
    /// The network's precision, read from its file where one was given: data is loaded in it.
    [[nodiscard]] DType dtype();
    /// The network of the file, with --train where given; else drawn for these inputs.
    [[nodiscard]] Network make(ConstMatrixView inputs, std::int64_t default_outputs = 1);

  private:
    std::optional<Network> loaded_;
    CLI::Option* train_option_ = nullptr;
};

/// What the process may take: --memory.
struct MemoryOption {
    std::int64_t bytes = std::int64_t{4} << 30;

    void add(CLI::App& app);
    /// body(bytes) with the budget less what the process takes now, or 0 where there is no limit. Throws
    /// MemoryError where nothing is left; that of body is told what is taken already.
    template <class Body>
    auto spend(Body&& body) const {
        const std::int64_t taken = taken_already();
        if (bytes != 0 && bytes <= taken) refuse(taken);
        try {
            return body(bytes - taken);
        } catch (const MemoryError& error) {
            throw MemoryError(error.what() + beside(taken));
        }
    }
    /// spend for a plan: a pure function that throws MemoryError below some budget. The refusal names the
    /// least --memory that works, and the remedy beside it.
    template <class Plan>
    auto within(Plan&& plan, const char* remedy = "use fewer --samples") const {
        const std::int64_t taken = taken_already();
        const auto works = [&](std::int64_t budget) {
            try {
                (void)plan(budget);
                return true;
            } catch (const MemoryError&) {
                return false;
            }
        };
        if (bytes != 0 && (bytes <= taken || !works(bytes - taken))) {
            (void)plan(std::int64_t{1} << 60);  // throws its own error where no budget helps
            refuse(taken, works, remedy);
        }
        return plan(bytes - taken);
    }
    /// What to add to an error that counts only the budget beside `taken` bytes.
    [[nodiscard]] std::string beside(std::int64_t taken) const;

  private:
    /// 0 where there is no limit.
    [[nodiscard]] std::int64_t taken_already() const;
    [[noreturn]] void refuse(std::int64_t taken) const;
    /// works(budget): whether it suffices beside what is taken.
    [[noreturn]] void refuse(std::int64_t taken, const std::function<bool(std::int64_t)>& works,
                             const char* remedy) const;
};

/// What is left of a plan's budget beside `kept` bytes; 0, no limit, stays so. Throws MemoryError where
/// nothing is.
std::int64_t left_of(std::int64_t budget, std::int64_t kept);

/// The network's kernel, or with `limit` the infinite-width kernel of its trained factors.
KernelFunction kernel_function(const Network& network, KernelOutput output, bool limit);

/// Refuses numbers that its options would take for others: nothing as 0, 010 as 8, 10^20 as the largest.
void refuse_other_numbers(CLI::App& command);
/// Refuses what is no whole number in [0, 2^64): a sign would wrap around unseen.
CLI::Validator whole_number();
/// Refuses what is no whole number in [least, 2^63).
CLI::Validator at_least(std::int64_t least);
/// Turns 512MiB, 1.5GiB or 4g into bytes; refuses all else, and what is negative.
CLI::Validator byte_count();

/// What every command on one data set and one network begins with.
struct CommandOptions {
    RunOptions run;
    DataOptions data;
    NetworkOptions network;

    void add(CLI::App& app, bool with_labels = false);
    /// What is read.
    [[nodiscard]] Files inputs() const;
};
struct Setup {
    Device device;
    Dataset dataset;
    Network network;
};
/// Opens the device, loads DATA, makes the network, and puts all three into the report.
Setup set_up(Report& report, CommandOptions& options);

/// option: what an error calls it.
DType parse_precision(const std::string& text, const char* option = "precision");
/// 128, or less where the data has fewer columns: the largest power of two that the family allows.
std::int64_t default_rank(Down down, std::int64_t dim);

/// Every command adds itself to the program; `run` is set by the one that was chosen.
using Action = std::function<int()>;
void add_info(CLI::App& app, Action& run);
void add_compare(CLI::App& app, Action& run);
void add_network(CLI::App& app, Action& run);
void add_tangent(CLI::App& app, Action& run);
void add_gram(CLI::App& app, Action& run);
void add_spectrum(CLI::App& app, Action& run);
void add_train(CLI::App& app, Action& run);
void add_limit(CLI::App& app, Action& run);
void add_fit(CLI::App& app, Action& run);
void add_predict(CLI::App& app, Action& run);
void add_plan(CLI::App& app, Action& run);

}  // namespace fntk::cli

#include "options.hpp"

#include <fmt/format.h>

#include <unistd.h>
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <fstream>
#include <string_view>

namespace fntk::cli {

void RunOptions::add(CLI::App& app) {
    app.add_option(
           "--device", device,
           "auto, cpu, reference, cuda or cuda:N; auto: FNTK_DEVICE if set, else a GPU if usable, else cpu")
        ->capture_default_str();
    app.add_option("--threads", threads, "threads of the CPU; 0 takes FNTK_THREADS, else all processors")
        ->capture_default_str();
    app.add_option("--json", json,
                   "write a report to this file: spec, device, seconds per phase, peak_bytes, results");
}

void DataOptions::add(CLI::App& app, bool with_labels) {
    app.add_option(
           "DATA", source,
           "inputs, a row each: .npy (numbers of any type), .csv, .idx, .idx.gz, or the name fashion-mnist")
        ->required();
    if (with_labels)
        app.add_option("--labels", labels,
                       "a file with a row of labels for each row (.npy, .csv, .idx[.gz])");
    app.add_option("--samples", samples, "take the first N rows; 0 takes all")->capture_default_str();
    app.add_flag("--no-normalize", no_normalize,
                 "leave the rows as they are instead of scaling them to unit length");
}

void DataOptions::add_targets(CLI::App& app) {
    app.add_option(
           "--targets", targets,
           "what labels are: classes 0 to the largest label (a column each, 1 - 1/k where it is the class, "
           "-1/k elsewhere; two classes: one column of 1/2 and -1/2; cross-entropy: 1 and 0), values "
           "(numbers, of one column or several), or auto: classes when they are one column of whole "
           "numbers from 0 to 4095")
        ->capture_default_str();
    app.add_option("--test", test, "a file with rows to test on, as DATA; fashion-mnist has its own");
    app.add_option("--test-labels", test_labels, "their labels, as --labels");
    app.add_option("--test-samples", test_samples, "first N rows of the test split; 0: all")
        ->capture_default_str();
}

Files DataOptions::files() const {
    Files result{{"--labels", labels}, {"--test", test}, {"--test-labels", test_labels}};
    for (const std::string& file : dataset_files(source))
        result.push_back({file == source ? "DATA" : "fashion-mnist's file", file});
    return result;
}

Dataset DataOptions::load(DType dtype) const {
    for (const auto& [option, rows] : {std::pair{"samples", samples}, {"test-samples", test_samples}})
        if (rows < 0)
            throw ValueError(
                fmt::format("{} is {}; it must be at least 1, or 0 for all rows", option, rows));
    return load_dataset(source, {.dtype = dtype,
                                 .labels = labels,
                                 .test = test,
                                 .test_labels = test_labels,
                                 .normalize = !no_normalize,
                                 .max_samples = samples,
                                 .max_test_samples = test_samples,
                                 .targets = parse_target_kind(targets)});
}

Dataset DataOptions::load_other(const std::string& other, DType dtype) const {
    return load_dataset(other, {.dtype = dtype, .labels = {}, .normalize = !no_normalize});
}

Json DataOptions::describe(const Dataset& dataset) {
    return {{"name", dataset.name},
            {"samples", dataset.train.inputs.rows()},
            {"test_samples", dataset.test.inputs.rows()},
            {"dim", dataset.train.inputs.cols()},
            {"classes", dataset.classes}};
}

void NetworkOptions::add(CLI::App& app) {
    auto* given = app.add_option("--network", file,
                                 "use the network in this file (fntk network --out) instead of drawing one")
                      ->group("Network");
    const auto option = [&](const char* name, auto& variable, const char* text) {
        return app.add_option(name, variable, text)->group("Network")->excludes(given);
    };
    option("--width", width, "m, units of the hidden layer")->capture_default_str();
    option("--rank", rank, "p, inner dimension of W = V·U; 0: 128 or what DATA allows")
        ->capture_default_str();
    option("--down", down, "U: identity (the dense network), gaussian, orthonormal, pca, srht")
        ->capture_default_str();
    option("--up", up, "V: gaussian, rademacher, srht")->capture_default_str();
    option("--activation", activation, "relu, leaky_relu, abs, erf, gelu, tanh, softplus")
        ->capture_default_str();
    option("--slope", slope, "slope of leaky_relu below 0")->capture_default_str();
    option("--outputs", outputs, "k; 0: one per class where labels are used, else 1")
        ->capture_default_str();
    option("--seed", seed, "64-bit seed of every random factor")
        ->check(whole_number())
        ->capture_default_str();
    option("--precision", precision, "float32 or float64")->capture_default_str();
    option("--rounding", rounding,
           "of H to integers: fine, 22 bits, or fast, 14: with --up rademacher in float32 a pass on a GPU "
           "takes three int8 products in place of four")
        ->capture_default_str();
    train_option_ =
        app.add_option("--train", train,
                       "trained factors, whose kernel is meant: down, up, readout, or several as down+up "
                       "[default: down; up when --down identity; the file's when --network]")
            ->group("Network");
}

void MemoryOption::add(CLI::App& app) {
    app.add_option("--memory", bytes, "what the process may take, as 1.5GiB or 512MiB; 0: no limit")
        ->transform(byte_count())
        ->default_str("4GiB");
}

std::int64_t MemoryOption::taken_already() const {
    if (bytes == 0) return 0;
    std::int64_t pages = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> pages >> resident;
    return resident * sysconf(_SC_PAGESIZE);
}

void MemoryOption::refuse(std::int64_t taken) const {
    throw MemoryError(fmt::format(
        "memory = {} MiB: the program and the data take {} MiB; allow more, or use fewer --samples",
        bytes >> 20, (taken >> 20) + 1));
}

void MemoryOption::refuse(std::int64_t taken, const std::function<bool(std::int64_t)>& works,
                          const char* remedy) const {
    constexpr std::int64_t scatter = 2;  // MiB from the start of one process to that of another
    std::int64_t refused = 0, enough = std::int64_t{1} << 40;  // MiB beside what is taken
    while (enough - refused > 1) {
        const std::int64_t middle = refused + (enough - refused) / 2;
        (works(middle << 20) ? enough : refused) = middle;
    }
    const std::int64_t taken_mib = (taken >> 20) + 1;
    throw MemoryError(fmt::format(
        "memory = {} MiB: the program and the data take {} MiB, the work {} MiB at least; give --memory "
        "{}MiB, or {}",
        bytes >> 20, taken_mib, enough, taken_mib + enough + scatter, remedy));
}

std::string MemoryOption::beside(std::int64_t taken) const {
    return bytes == 0 ? ""
                      : fmt::format("; --memory {} MiB is for the program and the data too, {} MiB",
                                    bytes >> 20, (taken >> 20) + 1);
}

void refuse_other_numbers(CLI::App& command) {
    const auto given = [](const std::string& text) -> std::string {
        return text.empty() ? "'' is no number; give one, or leave the option out" : "";
    };
    const auto real = [](const std::string& text) -> std::string {
        double value = 0;
        const char *begin = text.data() + (text.starts_with('+') ? 1 : 0), *end = text.data() + text.size();
        const auto [stop, error] = std::from_chars(begin, end, value);
        if (!text.empty() && (error == std::errc::invalid_argument || stop != end))
            return fmt::format("'{}' is no number; give one, as 0.01 or 1e-2", text);
        return "";
    };
    const auto whole = [](const std::string& text) -> std::string {
        if (text.find_first_not_of("+-0123456789") != std::string::npos)
            return fmt::format("'{}' is no whole number; write it in digits", text);
        const std::string_view digits =
            std::string_view(text).substr(text.starts_with('-') || text.starts_with('+') ? 1 : 0);
        if (digits.size() > 1 && digits.front() == '0')
            return fmt::format("'{}' begins with a zero; write the number in decimal digits, without it",
                               text);
        std::int64_t value = 0;
        if (std::from_chars(text.data(), text.data() + text.size(), value).ec ==
            std::errc::result_out_of_range)
            return fmt::format("'{}' is out of range; give a number in [-2^63, 2^63)", text);
        return "";
    };
    for (CLI::Option* option : command.get_options()) {
        const std::string type = option->get_type_name();
        const bool integer = type.starts_with("INT"), natural = type.starts_with("UINT");
        if (integer || natural || type.starts_with("FLOAT")) option->check(given);
        if (integer) option->check(whole);
        if (type.starts_with("FLOAT")) option->check(real);
    }
}

CLI::Validator whole_number() {
    return CLI::Validator(
        [](const std::string& text) -> std::string {
            std::uint64_t value = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
            const bool octal = text.size() > 1 && text.front() == '0';
            if (error == std::errc{} && end == text.data() + text.size() && !octal) return "";
            return fmt::format("'{}' is no whole number in [0, 2^64); give one like 17", text);
        },
        "UINT64");
}

CLI::Validator at_least(std::int64_t least) {
    return CLI::Validator(
        [least](const std::string& text) -> std::string {
            std::int64_t value = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
            if (error == std::errc{} && end == text.data() + text.size() && value >= least) return "";
            return fmt::format("'{}' is no whole number of at least {}", text, least);
        },
        fmt::format("INT>={}", least));
}

CLI::Validator byte_count() {
    return CLI::Validator(
        [](std::string& text) -> std::string {
            double value = 0;
            const char* const last = text.data() + text.size();
            const auto [end, error] = std::from_chars(text.data(), last, value, std::chars_format::fixed);
            std::string unit(end, last);
            std::ranges::transform(unit, unit.begin(), [](unsigned char letter) {
                return static_cast<char>(std::tolower(letter));
            });
            std::erase(unit, ' ');
            if (unit.ends_with('b')) unit.pop_back();
            if (unit.size() == 2 && unit.ends_with('i')) unit.pop_back();
            constexpr std::string_view prefixes = "kmgtpe";
            const std::size_t prefix =
                unit.size() == 1 ? prefixes.find(unit.front()) : std::string_view::npos;
            const double bytes =
                unit.empty() ? value : std::ldexp(value, 10 * (static_cast<int>(prefix) + 1));
            if (error != std::errc{} || !(unit.empty() || prefix != std::string_view::npos) ||
                !(value >= 0) || !(bytes < 0x1p63))
                return fmt::format(
                    "'{}' is no size in [0, 8EiB); give bytes, or KiB, MiB, GiB or TiB, as in 512MiB or "
                    "1.5GiB",
                    text);
            text = std::to_string(static_cast<std::int64_t>(bytes));
            return "";
        },
        "SIZE");
}

DType parse_precision(const std::string& text, const char* option) {
    if (text == "float32") return DType::f32;
    if (text == "float64") return DType::f64;
    throw ValueError(fmt::format("{} is '{}'; choose float32 or float64", option, text));
}

std::int64_t default_rank(Down down, std::int64_t dim) {
    if (down == Down::identity) return 0;
    std::int64_t rank = 128;
    const bool inside = down == Down::orthonormal || down == Down::pca;
    while (rank > 1 && (inside ? rank > dim : rank >= 2 * dim)) rank /= 2;
    return rank;
}

DType NetworkOptions::dtype() {
    if (file.empty()) return parse_precision(precision);
    if (!loaded_) loaded_ = load_network(file);
    return loaded_->spec().precision;
}

Network NetworkOptions::make(ConstMatrixView inputs, std::int64_t default_outputs) {
    if (!file.empty()) {
        (void)dtype();
        if (loaded_->spec().dim != inputs.cols)
            throw ShapeError(fmt::format(
                "--network {} was made for dim {}, DATA has {} columns; make a network for this DATA", file,
                loaded_->spec().dim, inputs.cols));
        return train_option_->count() > 0 ? loaded_->with_train(parse_train(train)) : *loaded_;
    }
    NetworkSpec spec;
    spec.dim = inputs.cols;
    spec.width = width;
    spec.down = parse_down(down);
    spec.rank = rank == 0 ? default_rank(spec.down, spec.dim) : rank;
    spec.outputs = outputs == 0 ? default_outputs : outputs;
    spec.up = parse_up(up);
    spec.train = train_option_->count() > 0    ? parse_train(train)
                 : spec.down == Down::identity ? Train{.up = true}
                                               : Train{.down = true};
    spec.activation = {parse_activation(activation), slope};
    spec.precision = parse_precision(precision);
    spec.rounding = parse_rounding(rounding);
    spec.seed = seed;
    return Network::create(spec, inputs);
}

std::int64_t left_of(std::int64_t budget, std::int64_t kept) {
    if (budget != 0 && budget <= kept)
        throw MemoryError(
            fmt::format("memory = {} MiB, {} MiB of it are kept; allow more", budget >> 20, kept >> 20));
    return budget == 0 ? 0 : budget - kept;
}

KernelFunction kernel_function(const Network& network, KernelOutput output, bool limit) {
    const NetworkSpec& spec = network.spec();
    return limit ? KernelFunction::limit(spec.activation, spec.train, spec.dim, spec.precision)
                 : KernelFunction::of_network(network, output);
}

void CommandOptions::add(CLI::App& app, bool with_labels) {
    data.add(app, with_labels);
    network.add(app);
    run.add(app);
}

Files CommandOptions::inputs() const {
    Files result = data.files();
    result.push_back({"--network", network.file});
    return result;
}

Setup set_up(Report& report, CommandOptions& options) {
    Device device = options.run.open();
    report.device(device);
    Dataset dataset = report.phase("load", [&] { return options.data.load(options.network.dtype()); });
    report["data"] = DataOptions::describe(dataset);
    Network network = report.phase("network", [&] { return options.network.make(dataset.train.inputs); });
    report.network(network);
    return {device, std::move(dataset), network};
}

}  // namespace fntk::cli

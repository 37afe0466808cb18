// fntk gram and fntk limit: Gram matrices to .npy, of the network or of its infinite-width limit.
#include "options.hpp"
#include "plans.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace fntk::cli {

namespace {

struct GramArguments : CommandOptions {
    std::string out, against, dtype, kernel = "trace";
    MemoryOption memory;
    bool limit = false;
    bool fixed_down = false;
    bool resume = false;
    bool dry_run = false;
};

struct Inputs {
    ConstMatrixView rows, cols;  // cols is empty without --against
};

/// Kernels that are made in one piece: the limit at the network's U, and the full limit, which is K∞ ⊗ I_k.
Matrix whole_limit(const Device& device, const Network& network, const Inputs& x, KernelOutput output,
                   bool fixed_down) {
    const NetworkSpec& spec = network.spec();
    Matrix kernel = fixed_down ? fixed_down_limit(device, network, x.rows, x.cols)
                               : limit_kernel(device, spec.activation, spec.train, x.rows, x.cols);
    if (output != KernelOutput::full || spec.outputs == 1) return kernel;
    const std::int64_t k = spec.outputs;
    Matrix full(kernel.rows() * k, kernel.cols() * k, kernel.dtype());
    const auto copy = [&](auto type) {
        using T = decltype(type);
        for (std::int64_t i = 0; i < kernel.rows(); ++i)
            for (std::int64_t j = 0; j < kernel.cols(); ++j)
                for (std::int64_t c = 0; c < k; ++c)
                    full.row<T>(i * k + c)[j * k + c] = kernel.row<T>(i)[j];
    };
    kernel.dtype() == DType::f32 ? copy(float{}) : copy(double{});
    return full;
}

/// Throws ValueError that names the place of an entry that overflowed.
void require_in_range(const Matrix& kernel, const char* precision) {
    const auto check = [&](auto type) {
        for (std::int64_t i = 0; i < kernel.rows(); ++i)
            for (std::int64_t j = 0; j < kernel.cols(); ++j)
                if (const auto entry = kernel.row<decltype(type)>(i)[j]; !std::isfinite(entry))
                    throw ValueError(
                        fmt::format("K is {} at row {}, column {}: it leaves the range of {}; scale the "
                                    "data or normalise "
                                    "its rows, or take --precision float64 and no --dtype float32",
                                    entry, i, j, precision));
    };
    kernel.dtype() == DType::f32 ? check(float{}) : check(double{});
}

/// Bytes of whole_limit and of what it becomes in the file: K∞, K∞ ⊗ I_k, a copy of another type; blocks of
/// 1024 rows in double, and U x of every row.
std::int64_t bytes_of_whole(const Network& network, const Inputs& x, std::int64_t k, DType dtype,
                            bool fixed_down) {
    constexpr double workspaces = 32 << 20;
    const bool cross = x.cols.cols > 0;
    const auto rows = static_cast<double>(x.rows.rows),
               cols = static_cast<double>((cross ? x.cols : x.rows).rows),
               d = static_cast<double>(x.rows.cols), p = static_cast<double>(network.spec().rank),
               pairs = rows * cols, copies = static_cast<double>(k) * static_cast<double>(k);
    const auto element = static_cast<double>(size_of(x.rows.dtype)),
               in_file = static_cast<double>(size_of(dtype));
    const double kernel = pairs * element, result = copies * kernel,
                 made = k > 1 ? kernel + result : result,
                 written = result + (dtype == x.rows.dtype ? 0 : pairs * copies * in_file),
                 projected = fixed_down ? 8 * p * (rows + (cross ? cols : 0) + 1024) : 0;
    const double all = std::max(made, written) + projected + 8 * 4096 * d + 32 * (rows + cols) + workspaces;
    return static_cast<std::int64_t>(std::min(all, 9e18));
}

void save_whole(Report& report, const GramArguments& options, const Setup& setup, const Inputs& x,
                KernelOutput output, DType dtype) {
    if (options.resume || options.dry_run)
        throw ValueError(
            fmt::format("--{}: this kernel is made in one piece, in memory; it has no tiles to {}",
                        options.resume ? "resume" : "dry-run", options.resume ? "go on with" : "plan"));
    const std::int64_t k = output == KernelOutput::full ? setup.network.spec().outputs : 1,
                       needed = bytes_of_whole(setup.network, x, k, dtype, options.fixed_down);
    options.memory.within([&](std::int64_t bytes) {
        if (bytes != 0 && bytes < needed) throw MemoryError("the kernel does not fit in one piece");
    });
    const Matrix kernel = report.phase("gram", [&] {
        Matrix made = whole_limit(setup.device, setup.network, x, output, options.fixed_down);
        require_in_range(made, name(made.dtype()));
        if (dtype == made.dtype()) return made;
        Matrix rounded = Matrix::converted(made, dtype);
        require_in_range(rounded, name(dtype));
        return rounded;
    });
    report.phase_to_end("write", [&] { save_npy(options.out, kernel); });
}

/// Tile by tile inside the budget. With --dry-run the plan alone.
GramFileResult save_tiles(Report& report, const GramArguments& options, const Setup& setup, const Inputs& x,
                          KernelOutput output, DType dtype) {
    const KernelFunction function = kernel_function(setup.network, output, options.limit);
    const std::optional<std::int64_t> others = x.cols.cols > 0 ? std::optional(x.cols.rows) : std::nullopt;
    const std::int64_t batches =
        batch_bytes(function, x.rows.rows) + (others ? batch_bytes(function, *others) : 0);
    GramFileOptions how{.dtype = dtype, .resume = options.resume, .progress = progress_bar("gram")};
    const GramFilePlan plan = options.memory.within([&](std::int64_t bytes) {
        how.memory = left_of(bytes, batches);
        return plan_gram_file(function, x.rows.rows, others, how);
    });
    if (options.dry_run) {
        const double seconds = report.phase(
            "estimate", [&] { return estimate_gram_file(setup.device, function, x.rows, x.cols, plan); });
        report["plan"] = describe(plan, seconds);
        fmt::print("plan: {}\n", in_words(plan, seconds));
        return {.plan = plan};
    }
    std::optional<KernelBatch> rows, cols;
    report.phase("batch", [&] {
        rows.emplace(setup.device, function, x.rows);
        if (others) cols.emplace(setup.device, function, x.cols);
    });
    const GramFileResult result = report.phase_to_end("gram", [&] {
        try {
            return save_gram(options.out, *rows, cols ? *cols : *rows, how);
        } catch (const MemoryError& error) {  // the tile of what is resumed is larger than the plan's
            throw MemoryError(error.what() + options.memory.beside(options.memory.bytes - how.memory));
        }
    });
    report["plan"] = describe(result.plan);
    report["tiles_done"] = result.done;
    report["tiles_reused"] = result.reused;
    return result;
}

int run_gram(const char* command, GramArguments& options) {
    Files inputs = options.inputs();
    inputs.push_back({"--against", options.against});
    Report report(command, options.run.json, tiled_output(options.out), inputs);
    const KernelOutput output = parse_kernel_output(options.kernel);
    const DType precision = options.network.dtype();
    const DType dtype = options.dtype.empty() ? precision : parse_precision(options.dtype, "dtype");
    const Setup setup = set_up(report, options);
    const NetworkSpec& spec = setup.network.spec();
    std::optional<Dataset> other;
    if (!options.against.empty()) {
        other = report.phase("load", [&] { return options.data.load_other(options.against, precision); });
        report["against"] = DataOptions::describe(*other);
    }
    report["kernel"] = name(output);
    report["limit"] = options.limit;
    const Inputs x{setup.dataset.train.inputs, other ? other->train.inputs.view() : ConstMatrixView{}};
    if (other && x.cols.cols != x.rows.cols)
        throw ShapeError(fmt::format("--against {} has {} columns, DATA has {}; they must agree",
                                     options.against, x.cols.cols, x.rows.cols));

    const bool full = output == KernelOutput::full;
    const std::int64_t k = full ? spec.outputs : 1;
    GramFileResult result;
    if (options.fixed_down || (options.limit && k > 1))
        save_whole(report, options, setup, x, output, dtype);
    else
        result = save_tiles(report, options, setup, x, output, dtype);
    const std::int64_t rows = x.rows.rows * k, cols = (other ? x.cols : x.rows).rows * k;
    report["rows"] = rows;
    report["cols"] = cols;
    report["cancelled"] = result.cancelled;
    report.finish();
    if (options.dry_run) return 0;
    if (result.cancelled) {
        fmt::print(stderr, "fntk: error: interrupted at tile {} of {}; go on with --resume --out {}\n",
                   result.done, result.plan.tiles, options.out);
        return 130;
    }
    fmt::print("{}: {} × {} {} kernel of {}{}, {}\n", options.out, rows, cols, name(output),
               to_string(spec.train), options.limit ? " at infinite width" : "", name(dtype));
    return 0;
}

std::shared_ptr<GramArguments> add_shared(CLI::App& command) {
    auto options = std::make_shared<GramArguments>();
    options->add(command);
    command.add_option("--out", options->out, "the .npy file to write")->required();
    command.add_option("--against", options->against,
                       "second data set: the cross-Gram matrix K(DATA, DATA2)");
    command
        .add_option(
            "--kernel", options->kernel,
            "full (nk × nk, row i·k + c), trace ((1/k)·Σ_c K^cc) or sum-of-logits ((1/k)·Σ_cc' K^cc')")
        ->capture_default_str();
    command.add_option("--dtype", options->dtype,
                       "of the file: float32 or float64 [default: the network's precision]");
    options->memory.add(command);
    command.add_flag("--resume", options->resume,
                     "go on with what a stopped or killed run left beside --out; else begin anew");
    command.add_flag("--dry-run", options->dry_run, "print the plan and stop");
    return options;
}

}  // namespace

void add_gram(CLI::App& app, Action& run) {
    auto* command =
        app.add_subcommand("gram", "neural tangent kernel of DATA, or between two data sets, as .npy");
    auto options = add_shared(*command);
    command->add_flag("--limit", options->limit, "the infinite-width limit of the kernel instead");
    command->callback([=, &run] { run = [=] { return run_gram("gram", *options); }; });
}

void add_limit(CLI::App& app, Action& run) {
    auto* command = app.add_subcommand("limit", "infinite-width kernel of DATA as .npy");
    auto options = add_shared(*command);
    options->limit = true;
    command->add_flag(
        "--fixed-down", options->fixed_down,
        "only the width goes to infinity, U stays the network's own: the mean of its kernels over V and "
        "A, to which train = up comes with the width, train = down with the outputs");
    command->callback([=, &run] { run = [=] { return run_gram("limit", *options); }; });
}

}  // namespace fntk::cli

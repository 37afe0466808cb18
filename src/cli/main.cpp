// The program: one command, one exit code, one line on standard error when something is refused.
#include "better_blas.hpp"
#include "options.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <new>

namespace {

enum ExitCode {
    ok = 0,
    internal = 1,
    usage = 2,
    refused = 3,
    files = 4,
    device = 5,
    memory = 6,
    computation = 7,
    stopped = 130
};

constexpr const char* footer = R"(Examples
  fntk compare fashion-mnist --json compare.json --plot compare.html
  fntk plan fashion-mnist --samples 2000 --target-error 0.1 --criterion frobenius
  fntk network data.npy --width 65536 --rank 128 --out net.safetensors
  fntk gram data.npy --network net.safetensors --kernel trace --out K.npy
  fntk train fashion-mnist --samples 5000 --width 16384 --steps 200 --out trained.safetensors

Environment
  FNTK_DEVICE     what --device auto means        FNTK_THREADS    what --threads 0 means
  FNTK_DATA_DIR   folder that holds fashion-mnist/      FNTK_SIMD       instruction set (fntk info)

Exit codes
  0 done   2 usage   3 a value or shape was refused   4 a file could not be read or written
  5 no such device or combination   6 out of memory   7 the computation failed   130 interrupted   1 internal error

Ctrl-C (SIGINT, SIGTERM) ends what has nothing to save at once, else after the step at hand; a second does not wait)";

int fail(ExitCode code, const char* what) {
    fmt::print(stderr, "fntk: error: {}\n", what);
    return code;
}

}  // namespace

int main(int argc, char** argv) try {
    fntk::cli::restart_with_better_blas(argv);
    CLI::App app("Neural tangent kernels of wide, factorised networks W = V·U", "fntk");
    app.set_version_flag("--version", fntk::version());
    app.require_subcommand(1);
    app.footer(footer);
    fntk::cli::Action run;
    fntk::cli::add_info(app, run);
    fntk::cli::add_compare(app, run);
    fntk::cli::add_network(app, run);
    fntk::cli::add_tangent(app, run);
    fntk::cli::add_gram(app, run);
    fntk::cli::add_spectrum(app, run);
    fntk::cli::add_train(app, run);
    fntk::cli::add_limit(app, run);
    fntk::cli::add_fit(app, run);
    fntk::cli::add_predict(app, run);
    fntk::cli::add_plan(app, run);
    for (CLI::App* command : app.get_subcommands({})) fntk::cli::refuse_other_numbers(*command);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
        const std::string first = argc > 1 ? argv[1] : "-";
        const auto known =
            app.get_subcommands([&](const CLI::App* command) { return command->check_name(first); });
        if (!first.starts_with('-') && known.empty())
            return fail(usage, fmt::format("'{}' is no command; fntk --help lists them", first).c_str());
        return fail(usage,
                    fmt::format("{}; see fntk --help, or --help of the command", error.what()).c_str());
    }
    fntk::cli::install_interrupt_handler();
    const int code = run();
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
        return fail(files, "standard output could not be written; what was printed is not whole");
    return code;
} catch (const fntk::ValueError& error) {
    return fail(refused, error.what());
} catch (const fntk::ShapeError& error) {
    return fail(refused, error.what());
} catch (const fntk::IoError& error) {
    return fail(files, error.what());
} catch (const fntk::DeviceError& error) {
    return fail(device, error.what());
} catch (const fntk::NotSupported& error) {
    return fail(device, error.what());
} catch (const fntk::MemoryError& error) {
    return fail(memory, error.what());
} catch (const std::bad_alloc&) {
    return fail(memory, "out of memory; use fewer samples, a smaller width, or float32");
} catch (const fntk::Error& error) {
    if (fntk::cli::interrupted()) return fail(stopped, "interrupted; nothing was written");
    return fail(computation, error.what());
} catch (const std::exception& error) {
    return fail(internal, error.what());
}

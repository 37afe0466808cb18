#include "report.hpp"

#include <fmt/format.h>

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace fntk::cli {

namespace {

volatile std::sig_atomic_t g_interrupted = 0;
volatile std::sig_atomic_t g_may_end = 0;
volatile std::sig_atomic_t g_terminal = 0;  // where a bar may stand in the line

template <std::size_t N>
[[noreturn]] void end_at_once(const char (&message)[N]) {
    if (g_terminal != 0) (void)!::write(STDERR_FILENO, "\n", 1);
    (void)!::write(STDERR_FILENO, message, N - 1);
    std::_Exit(130);
}

void on_interrupt(int) {
    const int error = errno;
    if (g_interrupted != 0) end_at_once("fntk: error: interrupted twice; ended at once\n");
    if (g_may_end != 0) end_at_once("fntk: error: interrupted; nothing was written\n");
    g_interrupted = 1;
    constexpr char waits[] = "\nfntk: interrupted; Ctrl-C once more does not wait for this step\n";
    if (g_terminal != 0) (void)!::write(STDERR_FILENO, waits, sizeof waits - 1);
    errno = error;
}

}  // namespace

Report::Report(const std::string& command, std::string path, Files outputs, const Files& inputs)
    : path_(std::move(path)) {
    outputs.push_back({"--json", path_});
    check_files(outputs, inputs);
    json_["fntk"] = version();
    json_["command"] = command;
}

Report::MayEnd::MayEnd() {
    g_may_end = 1;
    if (!interrupted()) return;
    g_may_end = 0;
    stop_if_interrupted();
}
Report::MayEnd::~MayEnd() { g_may_end = 0; }

Report::Timer::~Timer() {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    Json& total = report_.seconds_[name_];
    total = (total.is_number() ? total.get<double>() : 0.0) + seconds;
}

double Report::seconds(const char* phase) const {
    return seconds_.contains(phase) ? seconds_.at(phase).get<double>() : 0.0;
}

void Report::device(const Device& device) {
    device_ = device;
    json_["device"] = {{"name", device.name()}, {"threads", device.threads()}};
}

void Report::network(const Network& network) {
    json_["network"] = Json::parse(to_json(network.spec()));
    json_["network"]["exactness"] = network.exactness() == Exactness::integer ? "integer" : "floating";
    json_["network"]["scheme"] = random_scheme;
}

void Report::finish() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    json_["seconds"] = seconds_;
    note_peak(memory_use(device_ ? device_->place() : Place::host).peak);
    json_["peak_bytes"] = peak_;
    json_["peak_rss_bytes"] = static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
    if (!path_.empty()) save_text(path_, to_text(json_, 2) + "\n");
}

std::string to_text(const Json& json, int indent) {
    return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Json finite_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Progress progress_bar(std::string label) {
    const bool terminal = isatty(STDERR_FILENO) != 0;
    return [label = std::move(label), terminal, shown = -1](double share) mutable {
        const int percent = static_cast<int>(share * 100);
        if (terminal && percent != shown) {
            shown = percent;
            const std::string bar(static_cast<std::size_t>(percent) * 30 / 100, '#');
            fmt::print(stderr, "\r{:<24} [{:<30}] {:3d} %", label, bar, percent);
            if (percent >= 100) fmt::print(stderr, "\r{:<70}\r", "");
            std::fflush(stderr);
        }
        return !interrupted();
    };
}

void wait_for(const Device& device) {
    if (device.place() != Place::host) (void)device.to_host(device.zeros(1, 1, DType::f32));
}

bool interrupted() { return g_interrupted != 0; }

void stop_if_interrupted() {
    if (interrupted()) throw Error("interrupted");
}

void install_interrupt_handler() {
    g_terminal = isatty(STDERR_FILENO);
    for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, on_interrupt);
}

}  // namespace fntk::cli

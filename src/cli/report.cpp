#include "report.hpp"

#include <fmt/format.h>

#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdio>

namespace fntk::cli {

namespace {

volatile std::sig_atomic_t g_interrupted = 0;

void on_interrupt(int) {
    if (g_interrupted != 0) std::_Exit(130);  // a second Ctrl-C does not wait for the step to end
    g_interrupted = 1;
}

}  // namespace

Report::Report(const std::string& command, std::string path) : path_(std::move(path)) {
    if (!path_.empty()) FileReservation(path_, 0);  // what cannot be written is known before the work
    json_["fntk"] = FNTK_VERSION;
    json_["command"] = command;
}

Report::Timer::~Timer() {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    Json& total = report_.seconds_[name_];
    total = (total.is_number() ? total.get<double>() : 0.0) + seconds;
}

double Report::seconds(const char* phase) const {
    return seconds_.contains(phase) ? seconds_.at(phase).get<double>() : 0.0;
}

void Report::device(const Device& device) {
    place_ = device.place();
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
    note_peak(memory_use(place_).peak);
    json_["peak_bytes"] = peak_;
    json_["peak_rss_bytes"] = static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
    if (!path_.empty()) save_text(path_, json_.dump(2) + "\n");
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

bool interrupted() { return g_interrupted != 0; }

void install_interrupt_handler() { std::signal(SIGINT, on_interrupt); }

}  // namespace fntk::cli

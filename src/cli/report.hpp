// What a command leaves behind besides its files: a JSON report with the time of every phase and the memory
// taken.
#pragma once

#include "files.hpp"

#include <fntk/fntk.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <type_traits>

namespace fntk::cli {

using Json = nlohmann::ordered_json;

/// Returns when the device has done all that it was given.
void wait_for(const Device& device);

class Report {
  public:
    /// path: of the JSON file, or empty. Before the command works, all of its files are looked at: as
    /// check_files does, the report among the outputs.
    Report(const std::string& command, std::string path, Files outputs, const Files& inputs);

    Json& operator[](const char* key) { return json_[key]; }
    [[nodiscard]] const Json& json() const { return json_; }
    /// Runs body and adds its wall time to seconds.<phase>. Nothing has been written yet: Ctrl-C ends the
    /// process at once.
    template <class Body>
    auto phase(const char* name, Body&& body) {
        const MayEnd may_end;
        return timed(name, body);
    }
    /// Of a body that writes, or looks at interrupted() by itself: Ctrl-C waits for it, a second one does
    /// not.
    template <class Body>
    auto phase_to_end(const char* name, Body&& body) {
        return timed(name, body);
    }
    [[nodiscard]] double seconds(const char* phase) const;
    /// A peak that was measured before the counter was set back.
    void note_peak(std::int64_t bytes) { peak_ = std::max(peak_, bytes); }
    void device(const Device& device);
    void network(const Network& network);
    /// Fills seconds, peak_bytes (matrices, in the device's memory) and peak_rss_bytes (process), and
    /// writes the file if one was asked for.
    void finish();

  private:
    /// While it lives Ctrl-C ends the process; throws Error where it came before.
    struct MayEnd {
        MayEnd();
        ~MayEnd();
        MayEnd(const MayEnd&) = delete;
        MayEnd& operator=(const MayEnd&) = delete;
    };
    struct Timer {
        Timer(Report& report, const char* name) : report_(report), name_(name) {}
        ~Timer();
        Report& report_;
        const char* name_;
        std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
    };

    /// What the body gave the device is done when the time ends.
    template <class Body>
    auto timed(const char* name, Body& body) {
        const Timer timer(*this, name);
        if constexpr (std::is_void_v<decltype(body())>) {
            body();
            if (device_) wait_for(*device_);
        } else {
            auto result = body();
            if (device_) wait_for(*device_);
            return result;
        }
    }

    std::optional<Device> device_;
    Json json_;
    Json seconds_ = Json::object();
    std::string path_;
    std::int64_t peak_ = 0;
};

/// A number that JSON can hold: null for infinity and NaN.
Json finite_or_null(double value);
/// On one line where indent is negative; bytes of file names that are no UTF-8 become U+FFFD.
std::string to_text(const Json& json, int indent = -1);

/// A bar on standard error while it is a terminal; silence else. The result polls for an interrupt
/// (Ctrl-C).
Progress progress_bar(std::string label);
/// Whether SIGINT arrived since install_interrupt_handler().
bool interrupted();
/// Throws Error where it did; main() says so.
void stop_if_interrupted();
void install_interrupt_handler();

}  // namespace fntk::cli

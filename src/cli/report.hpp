// What a command leaves behind besides its files: a JSON report with the time of every phase and the memory
// taken.
#pragma once

#include <fntk/fntk.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <string>

namespace fntk::cli {

using Json = nlohmann::ordered_json;

class Report {
  public:
    Report(const std::string& command, std::string path);

    Json& operator[](const char* key) { return json_[key]; }
    [[nodiscard]] const Json& json() const { return json_; }
    /// Runs body and adds its wall time to seconds.<phase>.
    template <class Body>
    auto phase(const char* name, Body&& body) {
        const Timer timer(*this, name);
        return body();
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
    struct Timer {
        Timer(Report& report, const char* name) : report_(report), name_(name) {}
        ~Timer();
        Report& report_;
        const char* name_;
        std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
    };

    Json json_;
    Json seconds_ = Json::object();
    std::string path_;
    std::int64_t peak_ = 0;
    Place place_ = Place::host;
};

/// A number that JSON can hold: null for infinity and NaN.
Json finite_or_null(double value);

/// A bar on standard error while it is a terminal; silence else. The result polls for an interrupt
/// (Ctrl-C).
Progress progress_bar(std::string label);
/// Whether SIGINT arrived since install_interrupt_handler().
bool interrupted();
void install_interrupt_handler();

}  // namespace fntk::cli

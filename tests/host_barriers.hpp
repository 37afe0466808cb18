// What the threads of a block sleep on.
#pragma once

#include "host_grid.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <climits>
#include <mutex>

namespace fntk::test {

/// Unwinds a thread of a block in which a fault has been found.
struct Released {};

/// A word to sleep on, by the system's own calls: std::atomic::wait spins first, and orders unrelated
/// threads before each other, which hides races from ThreadSanitizer.
class Turn {
  public:
    [[nodiscard]] std::uint32_t now() const { return turn_.load(std::memory_order_relaxed); }
    void sleep_until_after(std::uint32_t turn) {
        while (turn_.load(std::memory_order_acquire) == turn)
            syscall(SYS_futex, &turn_, FUTEX_WAIT_PRIVATE, turn, nullptr, nullptr, 0);
    }
    void next() { turn_.fetch_add(1, std::memory_order_release); }
    void wake() { syscall(SYS_futex, &turn_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }

  private:
    std::atomic<std::uint32_t> turn_{0};
};

struct Barrier {
    std::mutex mutex;  // of all members but turn
    int arrived = 0, left = 0;
    int first = 0;  // the thread that arrived first, and where
    Site site{};
    Turn turn;
};

/// One of the barriers that some threads pass and others only come to.
struct NamedBarrier : Barrier {
    int expected = 0, asleep = 0;
};

struct Warp {
    Barrier barrier;
    std::int64_t at_block = 0;  // arrivals of its lanes at the block's barrier; guarded by barrier.mutex
};

inline bool same(const Site& a, const Site& b) {
    return a.line == b.line && std::strcmp(a.operation, b.operation) == 0 &&
           std::strcmp(a.file, b.file) == 0;
}

inline std::string text(const Site& site) {
    const std::string file(site.file);
    return std::string(site.operation) + " (" + file.substr(file.rfind('/') + 1) + ":" +
           std::to_string(site.line) + ")";
}

inline std::string text(int thread) { return "thread " + std::to_string(thread); }

}  // namespace fntk::test

#include "host_grid.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <algorithm>
#include <bit>
#include <climits>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace fntk::test {

using kernels::ceil_div;
using kernels::warp_size;

namespace {

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

struct Warp {
    Barrier barrier;
    std::int64_t at_block = 0;  // arrivals of its lanes at the block's barrier; guarded by barrier.mutex
};

bool same(const Site& a, const Site& b) {
    return a.line == b.line && std::strcmp(a.operation, b.operation) == 0 &&
           std::strcmp(a.file, b.file) == 0;
}

std::string text(const Site& site) {
    const std::string file(site.file);
    return std::string(site.operation) + " (" + file.substr(file.rfind('/') + 1) + ":" +
           std::to_string(site.line) + ")";
}

std::string text(int thread) { return "thread " + std::to_string(thread); }

/// One launch: the blocks still to run, and the first fault.
struct Run {
    const kernels::Launch launch;
    const std::int64_t blocks;
    const std::function<void(HostGrid&)>& body;
    std::vector<std::int64_t> order;
    std::atomic<std::size_t> started{0};  // relaxed, as `failed`: they order no blocks that run at once
    std::atomic<bool> failed{false};
    std::mutex mutex{};  // of fault
    std::string fault{};

    /// The next block to run, or −1.
    std::int64_t next_block() {
        const std::size_t i = started.fetch_add(1, std::memory_order_relaxed);
        return i < order.size() && !failed.load(std::memory_order_relaxed) ? order[i] : -1;
    }
};

}  // namespace

/// The threads of a block; they take one block of the launch after the other.
class HostBlock {
  public:
    explicit HostBlock(Run& run)
        : run_(run),
          warps_(static_cast<std::size_t>(run.launch.threads / warp_size)),
          slots_(static_cast<std::size_t>(run.launch.threads) * 2),
          calls_(static_cast<std::size_t>(run.launch.threads)),
          index_(run.next_block()) {}

    void start() {
        for (int t = 0; t < run_.launch.threads; ++t) threads_.emplace_back([this, t] { run_thread(t); });
    }
    void join() {
        for (std::thread& thread : threads_) thread.join();
    }

    void wait_block(int thread, const Site& site) {
        Warp& warp = warp_of(thread);
        std::unique_lock lock(warp.barrier.mutex);
        if (warp.barrier.arrived > 0) {
            const std::string other = waits(warp.barrier);
            lock.unlock();
            raise(thread, "reaches " + text(site) + " while " + other + " for its warp");
        }
        ++warp.at_block;
        lock.unlock();
        wait(barrier_, run_.launch.threads, thread, site);
    }

    void wait_warp(int thread, const Site& site) {
        Warp& warp = warp_of(thread);
        std::unique_lock lock(warp.barrier.mutex);
        const bool divergent = warp.at_block % warp_size != 0;
        lock.unlock();
        if (divergent)
            raise(thread, "reaches " + text(site) + " while lanes of its warp wait in the block's sync");
        wait(warp.barrier, warp_size, thread, site);
    }

    void* shared_array(int thread, const std::type_info& type, std::int64_t size, std::int64_t count,
                       const Site& site) {
        std::unique_lock lock(shared_mutex_);
        const std::size_t call = calls_[static_cast<std::size_t>(thread)]++;
        if (call < shared_.size()) {
            const Shared& array = shared_[call];
            if (*array.type == type && array.count == count) return array.bytes.get();
            lock.unlock();
            raise(thread, "asks in " + text(site) + " for another shared array than the thread before it");
        }
        const std::int64_t bytes = std::max<std::int64_t>(count, 0) * size;
        const std::int64_t taken = shared_bytes_ + kernels::round_up(bytes, 16);
        if (count < 0 || taken > run_.launch.shared_bytes) {
            const std::string sizes = std::to_string(taken) + " bytes of " +
                                      std::to_string(run_.launch.shared_bytes) + " declared";
            lock.unlock();
            raise(thread, text(site) + " of " + std::to_string(count) + ": " + sizes);
        }
        shared_bytes_ = taken;
        shared_.push_back({&type, count, Bytes(static_cast<unsigned char*>(::operator new(bytes)))});
        for (std::int64_t i = 0; i < bytes; ++i)
            shared_.back().bytes.get()[i] = static_cast<unsigned char>(uninitialised >> (8 * (i % 4)));
        return shared_.back().bytes.get();
    }

    HostGrid::Slot* slots(int thread, unsigned shown) {
        return slots_.data() + (thread / warp_size * 2 + static_cast<int>(shown % 2)) * warp_size;
    }

    /// Records the fault, wakes everybody and leaves the kernel.
    [[noreturn]] void raise(int thread, const std::string& what) {
        record(thread, what);
        throw Released();
    }

    [[nodiscard]] std::int64_t index() const { return index_; }
    [[nodiscard]] const Run& run() const { return run_; }

  private:
    struct Free {
        void operator()(unsigned char* bytes) const { ::operator delete(bytes); }
    };
    using Bytes = std::unique_ptr<unsigned char, Free>;
    struct Shared {
        const std::type_info* type;
        std::int64_t count;
        Bytes bytes;
    };

    Warp& warp_of(int thread) { return warps_[static_cast<std::size_t>(thread / warp_size)]; }
    [[nodiscard]] bool failed() const { return failed_.load(std::memory_order_relaxed); }

    static std::string waits(const Barrier& barrier) {
        return text(barrier.first) + " waits in " + text(barrier.site);
    }

    void run_thread(int thread) {
        while (index_ >= 0) {
            try {
                HostGrid grid(*this, thread);
                run_.body(grid);
                leave(warp_of(thread).barrier, thread);
                leave(barrier_, thread);
            } catch (const Released&) {
            } catch (const std::exception& error) {
                record(thread, std::string("throws: ") + error.what());
            }
            end_block();
        }
    }

    void wait(Barrier& barrier, int expected, int thread, const Site& site) {
        std::unique_lock lock(barrier.mutex);
        if (failed()) throw Released();
        std::string fault;
        if (barrier.left > 0) fault = "waits in " + text(site) + " for a thread that has left the kernel";
        if (barrier.arrived > 0 && !same(site, barrier.site))
            fault = "waits in " + text(site) + " while " + waits(barrier);
        if (!fault.empty()) {
            lock.unlock();
            raise(thread, fault);
        }
        if (barrier.arrived == 0) {
            barrier.first = thread;
            barrier.site = site;
        }
        if (++barrier.arrived == expected) {
            barrier.arrived = 0;
            barrier.turn.next();
            lock.unlock();
            barrier.turn.wake();
            return;
        }
        const std::uint32_t turn = barrier.turn.now();
        lock.unlock();
        barrier.turn.sleep_until_after(turn);
        if (failed()) throw Released();
    }

    void leave(Barrier& barrier, int thread) {
        std::unique_lock lock(barrier.mutex);
        ++barrier.left;
        if (barrier.arrived == 0) return;
        const std::string other = waits(barrier);
        lock.unlock();
        raise(thread, "leaves the kernel while " + other);
    }

    void record(int thread, const std::string& what) {
        {
            const std::lock_guard lock(run_.mutex);
            if (run_.fault.empty())
                run_.fault = "block " + std::to_string(index_) + ", " + text(thread) + " " + what;
        }
        run_.failed.store(true, std::memory_order_relaxed);
        failed_.store(true, std::memory_order_relaxed);
        release(barrier_);
        for (Warp& warp : warps_) release(warp.barrier);
    }
    static void release(Barrier& barrier) {
        {
            const std::lock_guard lock(barrier.mutex);  // who has not begun to sleep sees `failed`
            barrier.turn.next();
        }
        barrier.turn.wake();
    }

    /// All threads of the block come here, fault or not; the last one clears up and takes the next block.
    void end_block() {
        std::unique_lock lock(end_.mutex);
        if (++end_.arrived < run_.launch.threads) {
            const std::uint32_t turn = end_.turn.now();
            lock.unlock();
            end_.turn.sleep_until_after(turn);
            return;
        }
        for (std::size_t t = 0; t < calls_.size() && !failed(); ++t)
            if (calls_[t] != shared_.size())
                record(static_cast<int>(t), "asks for " + std::to_string(calls_[t]) + " shared arrays of " +
                                                std::to_string(shared_.size()));
        std::fill(calls_.begin(), calls_.end(), 0);
        shared_.clear();
        shared_bytes_ = 0;
        barrier_.left = end_.arrived = 0;
        for (Warp& warp : warps_) warp.barrier.left = 0;
        index_ = run_.next_block();
        end_.turn.next();
        lock.unlock();
        end_.turn.wake();
    }

    Run& run_;
    std::vector<Warp> warps_;
    Barrier barrier_, end_;
    std::vector<HostGrid::Slot> slots_;
    std::mutex shared_mutex_;  // of the next three
    std::vector<Shared> shared_;
    std::vector<std::size_t> calls_;  // to shared(), of each thread
    std::int64_t shared_bytes_ = 0;
    std::int64_t index_;
    std::atomic<bool> failed_{false};  // of this block: one beside it goes on to its end
    std::vector<std::thread> threads_;
};

HostGrid::HostGrid(HostBlock& block, int thread)
    : state_(block),
      block_index_(block.index()),
      blocks_(block.run().blocks),
      thread_(thread),
      threads_(block.run().launch.threads) {}

void HostGrid::wait_block(const Site& site) const { state_.wait_block(thread_, site); }
void HostGrid::wait_warp(const Site& site) const { state_.wait_warp(thread_, site); }
void HostGrid::raise(const std::string& what, const Site& site) const {
    state_.raise(thread_, "in " + text(site) + " " + what);
}
void* HostGrid::shared_array(const std::type_info& type, std::int64_t size, std::int64_t count,
                             const Site& site) {
    return state_.shared_array(thread_, type, size, count, site);
}

const HostGrid::Slot* HostGrid::show(const void* bytes, std::size_t size, const Site& site) {
    Slot* slots = state_.slots(thread_, shown_++);
    std::memcpy(slots[lane()].bytes, bytes, size);
    wait_warp(site);
    return slots;
}

std::uint32_t HostGrid::ballot(bool b, int line, const char* file) {
    const Slot* slots = show(&b, sizeof(b), {"ballot", file, line});
    std::uint32_t bits = 0;
    for (int l = 0; l < warp_size; ++l) bits |= static_cast<std::uint32_t>(slots[l].bytes[0] & 1U) << l;
    return bits;
}

namespace {

/// A lane's registers in a product of matrices.
struct Fragments {
    std::uint32_t a[4], b[2];
};
Fragments fragments(const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    Fragments mine{};
    std::copy(a, a + 4, mine.a);
    std::copy(b, b + 2, mine.b);
    return mine;
}
std::uint32_t register_of(const unsigned char* bytes, int index) {
    std::uint32_t word = 0;
    std::memcpy(&word, bytes + 4 * static_cast<std::size_t>(index), sizeof(word));
    return word;
}

}  // namespace

// Element l of row i of A is in register i / 8 + 2·(l / half) of lane 4·(i % 8) + t, of column j of B in
// register 4 + l / half of lane 4j + t, t = l % half / (half / 4): the layout in kernels/grid.hpp.
void HostGrid::mma_s8(std::int32_t (&acc)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                      int line, const char* file) {
    const Fragments mine = fragments(a, b);
    const Slot* slots = show(&mine, sizeof(mine), {"mma_s8", file, line});
    const auto entry = [&](int first, int group, int l) {
        const std::uint32_t word = register_of(slots[4 * group + l % 16 / 4].bytes, first);
        return static_cast<std::int32_t>(static_cast<std::int8_t>(word >> 8 * (l % 4)));
    };
    for (int i = 0; i < 4; ++i) {
        const int row = lane() / 4 + 8 * (i / 2), col = lane() % 4 * 2 + i % 2;
        for (int l = 0; l < 32; ++l)
            acc[i] += entry(row / 8 + l / 16 * 2, row % 8, l) * entry(4 + l / 16, col, l);
    }
}

void HostGrid::mma_b1(std::int32_t (&acc)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                      int line, const char* file) {
    const Fragments mine = fragments(a, b);
    const Slot* slots = show(&mine, sizeof(mine), {"mma_b1", file, line});
    for (int i = 0; i < 4; ++i) {
        const int row = lane() / 4 + 8 * (i / 2), col = lane() % 4 * 2 + i % 2;
        for (int l = 0; l < 256; l += 32) {  // the 32 bits of a register on both sides
            const int t = l % 128 / 32;
            acc[i] += std::popcount(register_of(slots[4 * (row % 8) + t].bytes, row / 8 + l / 128 * 2) &
                                    register_of(slots[4 * col + t].bytes, 4 + l / 128));
        }
    }
}

void run_launch(const kernels::Launch& launch, int max_threads, const HostOptions& options,
                const std::function<void(HostGrid&)>& body) {
    if (launch.blocks == 0) return;
    if (launch.blocks < 0 || launch.threads <= 0 || launch.threads % warp_size != 0 ||
        launch.threads > max_threads)
        throw KernelFault("launches " + std::to_string(launch.blocks) + " blocks of " +
                          std::to_string(launch.threads) + " threads, not whole warps of at most " +
                          std::to_string(max_threads));
    if (launch.shared_bytes < 0 || launch.shared_bytes > options.limits.shared_bytes_per_block)
        throw KernelFault("launches with " + std::to_string(launch.shared_bytes) + " shared bytes of " +
                          std::to_string(options.limits.shared_bytes_per_block));

    const std::int64_t blocks = options.blocks > 0 ? options.blocks : launch.blocks;
    Run run{.launch = launch, .blocks = blocks, .body = body, .order = std::vector<std::int64_t>(blocks)};
    std::iota(run.order.begin(), run.order.end(), std::int64_t{0});
    std::shuffle(run.order.begin(), run.order.end(), std::mt19937_64(options.order));

    std::vector<std::unique_ptr<HostBlock>> at_once;
    for (std::int64_t b = 0; b < std::min<std::int64_t>(options.blocks_at_once, blocks); ++b)
        at_once.push_back(std::make_unique<HostBlock>(run));
    for (const auto& block : at_once) block->start();
    for (const auto& block : at_once) block->join();
    if (!run.fault.empty()) throw KernelFault(run.fault);
}

}  // namespace fntk::test

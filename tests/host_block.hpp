// The state that the threads of one running block share: barriers, shared arrays, faults.
#pragma once

#include "host_barriers.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace fntk::test {

using kernels::warp_size;

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

    /// A thread comes to a named barrier, and waits there or goes on.
    void come(int id, int expected, bool waits_there, int thread, const Site& site) {
        if (id < 1 || id >= named_barriers || expected <= 0 || expected % warp_size != 0 ||
            expected > run_.launch.threads)
            raise(thread, "comes to " + text(site) + ": barrier " + std::to_string(id) + " of " +
                              std::to_string(expected) + " threads");
        NamedBarrier& barrier = named_[static_cast<std::size_t>(id)];
        std::unique_lock lock(barrier.mutex);
        if (failed()) throw Released();
        if (barrier.arrived > 0 && barrier.expected != expected) {
            const std::string other =
                text(barrier.first) + " expects " + std::to_string(barrier.expected) + " threads";
            lock.unlock();
            raise(thread,
                  "expects " + std::to_string(expected) + " threads in " + text(site) + " where " + other);
        }
        if (barrier.arrived == 0) {
            barrier.first = thread;
            barrier.site = site;
            barrier.expected = expected;
        }
        if (++barrier.arrived == expected) {
            pass(barrier, std::exchange(barrier.asleep, 0), lock);
        } else if (waits_there) {
            ++barrier.asleep;
            sleep(barrier, lock, thread, site);
        }
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
        shared_.push_back({&type, count, first_address + taken - kernels::round_up(bytes, 16), bytes,
                           Bytes(static_cast<unsigned char*>(::operator new(bytes)))});
        for (std::int64_t i = 0; i < bytes; ++i)
            shared_.back().bytes.get()[i] = static_cast<unsigned char>(uninitialised >> (8 * (i % 4)));
        return shared_.back().bytes.get();
    }

    /// The address of a byte of a shared array, or 0.
    std::uint32_t address_of(const void* p) {
        const std::lock_guard lock(shared_mutex_);
        for (const Shared& array : shared_) {
            const auto* byte = static_cast<const unsigned char*>(p);
            if (byte >= array.bytes.get() && byte < array.bytes.get() + array.size)
                return static_cast<std::uint32_t>(array.address + (byte - array.bytes.get()));
        }
        return 0;
    }
    /// The array at an address: its byte there, and how many bytes it has from there on.
    struct Place {
        const unsigned char* byte = nullptr;
        std::int64_t room = 0;
    };
    Place place_of(std::uint32_t address) {
        const std::lock_guard lock(shared_mutex_);
        for (const Shared& array : shared_) {
            const std::int64_t offset = address - array.address;
            if (offset >= 0 && offset < array.size)
                return {array.bytes.get() + offset, array.size - offset};
        }
        return {};
    }

    void fence() { fences_.fetch_add(1, std::memory_order_relaxed); }
    /// False: what lies at an address has changed since wgmma last read it there, or is read for the first
    /// time, and no thread has fenced its stores in between.
    bool is_visible(std::uint32_t address, std::size_t hash) {
        const std::lock_guard lock(shared_mutex_);
        const std::int64_t fences = fences_.load(std::memory_order_relaxed);
        View& view = views_[address];
        if (view.hash == hash && view.fences > 0) return true;
        const bool fenced = fences > view.fences;
        view = {hash, fences};
        return fenced;
    }
    /// Registers of all threads that have said how many they keep or take.
    std::int64_t add_registers(std::int64_t count) {
        return registers_.fetch_add(count, std::memory_order_relaxed) + count;
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
        std::int64_t count, address, size;
        Bytes bytes;
    };
    struct View {
        std::size_t hash = 0;
        std::int64_t fences = 0;
    };
    static constexpr int named_barriers = 16;
    static constexpr std::int64_t first_address = 1024;  // as on a GPU, which keeps the bytes before

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
                grid.require_nothing_under_way();
                leave(warp_of(thread).barrier, thread);
                leave(barrier_, thread);
                if (nobody_runs(one_left)) raise(thread, "leaves the kernel while " + sleeper());
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
        if (++barrier.arrived == expected)
            pass(barrier, expected - 1, lock);
        else
            sleep(barrier, lock, thread, site);
    }

    /// The last thread that a barrier waited for is there, `asleep` others wake.
    void pass(Barrier& barrier, int asleep, std::unique_lock<std::mutex>& lock) {
        barrier.arrived = 0;
        idle_.fetch_sub(asleep, std::memory_order_relaxed);
        barrier.turn.next();
        lock.unlock();
        barrier.turn.wake();
    }
    void sleep(Barrier& barrier, std::unique_lock<std::mutex>& lock, int thread, const Site& site) {
        const std::uint32_t turn = barrier.turn.now();
        const bool deadlock = nobody_runs(1);
        lock.unlock();
        if (deadlock) raise(thread, "waits in " + text(site) + " and nobody is left to come");
        barrier.turn.sleep_until_after(turn);
        if (failed()) throw Released();
    }
    /// Counts a thread that sleeps (1) or has left (one_left): true when that was the last and some sleep.
    bool nobody_runs(std::int64_t how) {
        const std::int64_t idle = idle_.fetch_add(how, std::memory_order_relaxed) + how;
        const std::int64_t asleep = idle % one_left, left = idle / one_left;
        return asleep > 0 && asleep + left == run_.launch.threads;
    }
    std::string sleeper() {
        for (NamedBarrier& barrier : named_) {
            const std::lock_guard lock(barrier.mutex);
            if (barrier.asleep > 0) return waits(barrier);
        }
        return "others wait";
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
        for (NamedBarrier& barrier : named_) release(barrier);
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
        for (std::size_t id = 0; id < named_.size() && !failed(); ++id)
            if (named_[id].arrived > 0)
                record(named_[id].first, "comes to " + text(named_[id].site) + ", and barrier " +
                                             std::to_string(id) + " is never passed");
        std::fill(calls_.begin(), calls_.end(), 0);
        shared_.clear();
        shared_bytes_ = 0;
        views_.clear();
        idle_.store(0, std::memory_order_relaxed);
        fences_.store(0, std::memory_order_relaxed);
        registers_.store(0, std::memory_order_relaxed);
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
    std::vector<NamedBarrier> named_{named_barriers};
    std::atomic<std::int64_t> idle_{0};  // threads asleep in barriers, and one_left for each that has left
    static constexpr std::int64_t one_left = std::int64_t{1} << 32;
    std::atomic<std::int64_t> fences_{0}, registers_{0};
    std::vector<HostGrid::Slot> slots_;
    std::mutex shared_mutex_;  // of the next four
    std::map<std::uint32_t, View> views_;
    std::vector<Shared> shared_;
    std::vector<std::size_t> calls_;  // to shared(), of each thread
    std::int64_t shared_bytes_ = 0;
    std::int64_t index_;
    std::atomic<bool> failed_{false};  // of this block: one beside it goes on to its end
    std::vector<std::thread> threads_;
};

}  // namespace fntk::test

// The state that the threads of one running block share: barriers, shared arrays, faults. Threads are
// fibers, so that nothing here needs a lock.
#pragma once

#include "host_fibers.hpp"
#include "host_grid.hpp"
#include "host_sanitizers.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace fntk::test {

using kernels::warp_size;

/// Unwinds a thread of a block in which a fault has been found.
struct Released {};

inline bool same(const Site& a, const Site& b) {
    const auto alike = [](const char* x, const char* y) { return x == y || std::strcmp(x, y) == 0; };
    return a.line == b.line && alike(a.operation, b.operation) && alike(a.file, b.file);
}

/// Of 32 entries: what a product of int8 adds to an accumulator.
inline std::int32_t dot(const std::int8_t* x, const std::int8_t* y) {
    std::int32_t sum = 0;
    for (int l = 0; l < 32; ++l) sum += x[l] * y[l];
    return sum;
}

inline std::string text(const Site& site) {
    const std::string file(site.file);
    return std::string(site.operation) + " (" + file.substr(file.rfind('/') + 1) + ":" +
           std::to_string(site.line) + ")";
}

inline std::string text(int thread) { return "thread " + std::to_string(thread); }

struct Barrier {
    int arrived = 0, left = 0, expected = 0;
    int first = 0;  // the thread that arrived first, and where
    Site site{};
    std::vector<int> asleep;
    unsigned turn = 0;  // how often it was passed

    /// What ThreadSanitizer knows this turn by. Two in turn: who has passed this one may come to the next
    /// before the last has left.
    char* place() { return places_ + turn % 2; }

  private:
    char places_[2] = {};
};

struct Warp {
    Barrier barrier;
    std::int64_t at_block = 0;  // arrivals of its lanes at the block's barrier
};

/// One launch: the blocks still to run, and the first fault.
struct Run {
    const kernels::Launch launch;
    const std::int64_t blocks;
    const std::function<void(HostGrid&)>& body;
    std::vector<std::int64_t> order;
    std::size_t started = 0;
    std::string fault{};

    /// The next block to run, or −1.
    std::int64_t next_block() { return started < order.size() && fault.empty() ? order[started++] : -1; }
};

/// The threads of a block; they take one block of the launch after the other.
class HostBlock {
  public:
    HostBlock(Run& run, Fibers& fibers)
        : run_(run),
          fibers_(fibers),
          warps_(static_cast<std::size_t>(run.launch.threads / warp_size)),
          slots_(static_cast<std::size_t>(run.launch.threads) * 2),
          calls_(static_cast<std::size_t>(run.launch.threads)),
          index_(run.next_block()) {
        for (int t = 0; t < run_.launch.threads; ++t) {
            const std::size_t fiber = fibers_.add([this, t] { run_thread(t); });
            if (t == 0) first_fiber_ = fiber;
        }
    }
    HostBlock(const HostBlock&) = delete;
    HostBlock& operator=(const HostBlock&) = delete;

    /// Called when no thread is awake: true if some of this block slept, which then leave the kernel.
    bool releases_sleepers() {
        if (index_ < 0) return false;
        for (Barrier* barrier : barriers())
            if (!barrier->asleep.empty()) {
                record(barrier->asleep.front(),
                       "waits in " + text(barrier->site) + " and nobody is left to come");
                return true;
            }
        return false;
    }

    void wait_block(int thread, const Site& site) {
        const Unwatched books;
        Warp& warp = warp_of(thread);
        if (warp.barrier.arrived > 0)
            raise(thread, "reaches " + text(site) + " while " + waits(warp.barrier) + " for its warp");
        ++warp.at_block;
        wait(barrier_, run_.launch.threads, thread, site, true);
    }

    /// orders: for memory too, as sync_warp does and shuffles do not.
    void wait_warp(int thread, const Site& site, bool orders) {
        const Unwatched books;
        Warp& warp = warp_of(thread);
        if (warp.at_block % warp_size != 0)
            raise(thread, "reaches " + text(site) + " while lanes of its warp wait in the block's sync");
        wait(warp.barrier, warp_size, thread, site, orders);
    }

    /// A thread comes to a named barrier, and waits there or goes on.
    void come_to_named(int id, int expected, bool waits_there, int thread, const Site& site) {
        const Unwatched books;
        if (id < 1 || id >= named_barriers || expected <= 0 || expected % warp_size != 0 ||
            expected > run_.launch.threads)
            raise(thread, "comes to " + text(site) + ": barrier " + std::to_string(id) + " of " +
                              std::to_string(expected) + " threads");
        Barrier& barrier = named_[static_cast<std::size_t>(id)];
        if (barrier.arrived > 0 && barrier.expected != expected)
            raise(thread, "expects " + std::to_string(expected) + " threads in " + text(site) + " where " +
                              text(barrier.first) + " expects " + std::to_string(barrier.expected) +
                              " threads");
        come(barrier, expected, waits_there, thread, site, true);
        if (!waits_there) let_others_run(thread);
    }

    /// Where nothing waits, others may still be ahead.
    void let_others_run(int thread) {
        const Unwatched books;
        wake(thread);
        fibers_.sleep();
        if (failed_) throw Released();
    }

    void* shared_array(int thread, const std::type_info& type, std::int64_t size, std::int64_t count,
                       const Site& site) {
        const Unwatched books;
        const std::size_t call = calls_[static_cast<std::size_t>(thread)]++;
        if (call < shared_.size()) {
            const Shared& array = shared_[call];
            if (*array.type == type && array.count == count) return array.bytes.get();
            raise(thread, "asks in " + text(site) + " for another shared array than the thread before it");
        }
        const std::int64_t bytes = std::max<std::int64_t>(count, 0) * size;
        const std::int64_t taken = shared_bytes_ + kernels::round_up(bytes, 16);
        if (count < 0 || taken > run_.launch.shared_bytes)
            raise(thread, text(site) + " of " + std::to_string(count) + ": " + std::to_string(taken) +
                              " bytes of " + std::to_string(run_.launch.shared_bytes) + " declared");
        shared_bytes_ = taken;
        shared_.push_back({&type, count, first_address + taken - kernels::round_up(bytes, 16), bytes,
                           Bytes(static_cast<unsigned char*>(::operator new(bytes)))});
        for (std::int64_t i = 0; i < bytes; ++i)
            shared_.back().bytes.get()[i] = static_cast<unsigned char>(uninitialised >> (8 * (i % 4)));
        return shared_.back().bytes.get();
    }

    /// The address of a byte of a shared array, or 0.
    std::uint32_t address_of(const void* p) {
        const Unwatched books;
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
        const Unwatched books;
        for (const Shared& array : shared_) {
            const std::int64_t offset = address - array.address;
            if (offset >= 0 && offset < array.size)
                return {array.bytes.get() + offset, array.size - offset};
        }
        return {};
    }

    void fence() {
        const Unwatched books;
        ++fences_;
    }
    /// False: what lies at an address has changed since wgmma last read it there, or is read for the first
    /// time, and no thread has fenced its stores in between.
    bool is_visible(std::uint32_t address, std::size_t hash) {
        const Unwatched books;
        View& view = views_[address];
        if (view.hash == hash && view.fences > 0) return true;
        const bool fenced = fences_ > view.fences;
        view = {hash, fences_};
        return fenced;
    }
    /// Registers of all threads that have said how many they keep or take.
    std::int64_t add_registers(std::int64_t count) {
        const Unwatched books;
        return registers_ += count;
    }

    HostGrid::Slot* slots(int thread, unsigned shown) {
        return slots_.data() + (thread / warp_size * 2 + static_cast<int>(shown % 2)) * warp_size;
    }

    /// Records the fault, wakes everybody and leaves the kernel.
    [[noreturn]] void raise(int thread, const std::string& what) {
        const Unwatched books;
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
    std::vector<Barrier*> barriers() {
        std::vector<Barrier*> all{&barrier_};
        for (Warp& warp : warps_) all.push_back(&warp.barrier);
        for (Barrier& barrier : named_) all.push_back(&barrier);
        return all;
    }
    void wake(int thread) { fibers_.wake(first_fiber_ + static_cast<std::size_t>(thread)); }
    void wake_all(Barrier& barrier) {
        for (const int thread : barrier.asleep) wake(thread);
        barrier.asleep.clear();
    }

    static std::string waits(const Barrier& barrier) {
        return text(barrier.first) + " waits in " + text(barrier.site);
    }

    void run_thread(int thread) {
        try {
            HostGrid grid(*this, thread);
            run_.body(grid);
            grid.require_nothing_under_way();
            leave(thread);
        } catch (const Released&) {
        } catch (const std::exception& error) {
            record(thread, std::string("throws: ") + error.what());
        }
        end_block();
    }

    void wait(Barrier& barrier, int expected, int thread, const Site& site, bool orders) {
        if (failed_) throw Released();
        if (barrier.left > 0)
            raise(thread, "waits in " + text(site) + " for a thread that has left the kernel");
        if (barrier.arrived > 0 && !same(site, barrier.site))
            raise(thread, "waits in " + text(site) + " while " + waits(barrier));
        come(barrier, expected, true, thread, site, orders);
    }

    void come(Barrier& barrier, int expected, bool waits_there, int thread, const Site& site, bool orders) {
        if (failed_) throw Released();
        if (barrier.arrived == 0) {
            barrier.first = thread;
            barrier.site = site;
            barrier.expected = expected;
        }
        char* const place = barrier.place();
        if (orders) publish(place);
        if (++barrier.arrived == expected) {
            ++barrier.turn;
            barrier.arrived = 0;
            wake_all(barrier);
        } else if (waits_there) {
            barrier.asleep.push_back(thread);
            fibers_.sleep();
            if (failed_) throw Released();
        }
        if (waits_there && orders) observe(place);
    }

    void leave(int thread) {
        const Unwatched books;
        for (Barrier* barrier : {&warp_of(thread).barrier, &barrier_}) {
            ++barrier->left;
            if (barrier->arrived > 0) raise(thread, "leaves the kernel while " + waits(*barrier));
        }
    }

    void record(int thread, const std::string& what) {
        const Unwatched books;
        if (run_.fault.empty())
            run_.fault = "block " + std::to_string(index_) + ", " + text(thread) + " " + what;
        failed_ = true;
        for (Barrier* barrier : barriers()) wake_all(*barrier);
    }

    /// All threads of the block come here, fault or not; the last one clears up and takes the next block.
    void end_block() {
        const Unwatched books;
        if (++ended_ < run_.launch.threads) return;
        for (std::size_t t = 0; t < calls_.size() && !failed_; ++t)
            if (calls_[t] != shared_.size())
                record(static_cast<int>(t), "asks for " + std::to_string(calls_[t]) + " shared arrays of " +
                                                std::to_string(shared_.size()));
        for (std::size_t id = 0; id < named_.size() && !failed_; ++id)
            if (named_[id].arrived > 0)
                record(named_[id].first, "comes to " + text(named_[id].site) + ", and barrier " +
                                             std::to_string(id) + " is never passed");
        std::fill(calls_.begin(), calls_.end(), 0);
        shared_.clear();
        shared_bytes_ = fences_ = registers_ = 0;
        views_.clear();
        for (Barrier* barrier : barriers()) barrier->left = 0;
        index_ = run_.next_block();
        ended_ = 0;
        for (int t = 0; t < run_.launch.threads && index_ >= 0; ++t)
            fibers_.again(first_fiber_ + static_cast<std::size_t>(t));
    }

    Run& run_;
    Fibers& fibers_;
    std::size_t first_fiber_ = 0;
    std::vector<Warp> warps_;
    Barrier barrier_;
    std::vector<Barrier> named_{named_barriers};
    std::int64_t fences_ = 0, registers_ = 0;
    std::vector<HostGrid::Slot> slots_;
    std::map<std::uint32_t, View> views_;
    std::vector<Shared> shared_;
    std::vector<std::size_t> calls_;  // to shared(), of each thread
    std::int64_t shared_bytes_ = 0;
    std::int64_t index_;
    bool failed_ = false;  // this block: one beside it goes on to its end
    int ended_ = 0;        // threads at the end of the block
};

}  // namespace fntk::test

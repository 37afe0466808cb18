// The Grid on which the tests run kernels (kernels/grid.hpp) on any machine: every CUDA thread is a fiber
// with a stack of its own, of those that may run one is drawn, and every warp has 32 real lanes.
//     run_on_host(kernel)     launch(), then all blocks in shuffled order; throws KernelFault
// It finds by itself, as a KernelFault and without hanging: threads of a block that wait at different
// places, threads that leave while others wait, shared arrays beyond Launch::shared_bytes or not asked for
// alike by all threads, launches outside the limits of kernel and device, barriers that nobody is left to
// come to, copies whose source changes under way or that nobody waits for, and of wgmma: operands that
// change under way, accumulators touched under way, registers and tiles that were not fenced, descriptors
// that lead out of a shared array. With it AddressSanitizer finds accesses outside a shared array, which is
// a heap block of exactly its bytes, and ThreadSanitizer finds missing barriers and, with two blocks at
// once, blocks that write to one place: nothing but barriers orders two threads of a block (atomics are
// relaxed, and exchanges of a warp order no memory), and nothing at all orders two blocks that run at once.
#pragma once

#include "host_sanitizers.hpp"

#include <warpgroup.hpp>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <vector>

namespace fntk::test {

/// A kernel that breaks the rules of its grid.
class KernelFault : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct HostOptions {
    kernels::DeviceLimits limits{};  // what launch() is asked with
    std::int64_t blocks = 0;         // instead of the launch's own number; 0: that one
#ifdef FNTK_THREAD_SANITIZER
    int blocks_at_once = 2;
#else
    int blocks_at_once = 1;
#endif
    std::uint64_t order = 1;  // seed of the order of blocks and threads
};

/// Where a thread waits.
struct Site {
    const char* operation;
    const char* file;
    int line;
};

/// Every 4 bytes of a fresh shared array: NaN as float32 and as float64, −282182 as int32.
inline constexpr std::uint32_t uninitialised = 0xFFFBADBA;

class HostBlock;  // the state that the threads of one running block share

class HostGrid {
  public:
    HostGrid(HostBlock& block, int thread);

    [[nodiscard]] std::int64_t block() const { return block_index_; }
    [[nodiscard]] std::int64_t blocks() const { return blocks_; }
    [[nodiscard]] int thread() const { return thread_; }
    [[nodiscard]] int late_thread() const { return thread_; }
    [[nodiscard]] int threads() const { return threads_; }
    [[nodiscard]] int lane() const { return thread_ % kernels::warp_size; }
    [[nodiscard]] int warp() const { return thread_ / kernels::warp_size; }

    template <class T>
    T* shared(std::int64_t count, int line = __builtin_LINE(), const char* file = __builtin_FILE()) {
        static_assert(std::is_trivial_v<T> && alignof(T) <= 16);
        return static_cast<T*>(
            shared_array(typeid(T), static_cast<std::int64_t>(sizeof(T)), count, {"shared", file, line}));
    }
    void sync(int line = __builtin_LINE(), const char* file = __builtin_FILE()) const {
        wait_block({"sync", file, line});
    }
    void sync_warp(int line = __builtin_LINE(), const char* file = __builtin_FILE()) const {
        wait_warp({"sync_warp", file, line});
    }

    template <class T>
    T shuffle(T v, int from, int line = __builtin_LINE(), const char* file = __builtin_FILE()) {
        return exchange(v, from, {"shuffle", file, line});
    }
    template <class T>
    T shuffle_xor(T v, int mask, int line = __builtin_LINE(), const char* file = __builtin_FILE()) {
        return exchange(v, lane() ^ mask, {"shuffle_xor", file, line});
    }
    std::uint32_t ballot(bool b, int line = __builtin_LINE(), const char* file = __builtin_FILE());

    void atomic_add(std::int32_t* p, std::int32_t v) const { add(p, v); }
    void atomic_add(std::uint32_t* p, std::uint32_t v) const { add(p, v); }
    void atomic_add(std::uint64_t* p, std::uint64_t v) const { add(p, v); }
    void atomic_add(double* p, double v) const { add(p, v); }
    void atomic_max(std::uint32_t* p, std::uint32_t v) const {
        const std::atomic_ref<std::uint32_t> at(*p);
        std::uint32_t before = at.load(std::memory_order_relaxed);
        while (before < v && !at.compare_exchange_weak(before, v, std::memory_order_relaxed)) {
        }
    }

    // A copy is made when it is waited for. Until then its place is poison, and what it takes may not
    // change.
    template <class T>
    void copy_async(T* to, const T* from, int bytes, int line = __builtin_LINE(),
                    const char* file = __builtin_FILE()) {
        static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
        begin_copy(to, from, bytes, sizeof(T), {"copy_async", file, line});
    }
    /// Of memory that may be read.
    void prefetch(const void* p) const { (void)*static_cast<const volatile char*>(p); }
    void commit_copies() { ++copy_groups_; }
    template <int pending>
    void wait_copies() {
        complete_copies(pending);
    }

    void mma_s8(std::int32_t (&acc)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                int line = __builtin_LINE(), const char* file = __builtin_FILE());
    void mma_b1(std::int32_t (&acc)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                int line = __builtin_LINE(), const char* file = __builtin_FILE());

    // The operations of kernels/warpgroup.hpp (host_warpgroup.cpp). A product takes its operands when it
    // begins and again when it is waited for, and both must agree; in between its accumulators are poison.
    [[nodiscard]] std::uint32_t shared_address(const void* p, int line = __builtin_LINE(),
                                               const char* file = __builtin_FILE()) const;
    void barrier_sync(int id, int threads, int line = __builtin_LINE(),
                      const char* file = __builtin_FILE()) const;
    void barrier_arrive(int id, int threads, int line = __builtin_LINE(),
                        const char* file = __builtin_FILE()) const;
    void proxy_fence() const;
    template <int registers>
    void give_registers() const {
        static_assert(registers % 8 == 0 && registers >= 24 && registers <= 256);
        have_registers(registers);
    }
    template <int registers>
    void take_registers() const {
        give_registers<registers>();
    }
    template <bool add, int count>
    void wgmma(std::int32_t (&acc)[count], std::uint64_t a, std::uint64_t b, int line = __builtin_LINE(),
               const char* file = __builtin_FILE()) {
        begin({acc, count, add, nullptr, a, b, {"wgmma", file, line}, -1, {}});
    }
    template <bool add, int count>
    void wgmma(std::int32_t (&acc)[count], const std::uint32_t (&a)[4], std::uint64_t b,
               int line = __builtin_LINE(), const char* file = __builtin_FILE()) {
        begin({acc, count, add, a, 0, b, {"wgmma", file, line}, -1, {}});
    }
    void wgmma_b1(std::int32_t (&acc)[128], std::uint64_t a, std::uint64_t b, int line = __builtin_LINE(),
                  const char* file = __builtin_FILE()) {
        begin({acc, 128, true, nullptr, a, b, {"wgmma_b1", file, line}, -1, {}, true});
    }
    template <class... Arrays>
    void wgmma_fence(Arrays&... registers) {
        (fence(&registers, sizeof(registers)), ...);
    }
    void wgmma_commit() { ++groups_; }
    template <int pending, class... Arrays>
    void wgmma_wait(Arrays&... registers) {
        complete(pending);
        (require_done(&registers, sizeof(registers)), ...);
    }

  private:
    /// A copy to shared memory that is under way.
    struct Copy {
        unsigned char* to;
        const unsigned char* from;
        int bytes, size;
        Site site;
        std::int64_t group;          // how many groups were committed before
        unsigned char values[16]{};  // what *from was at its beginning
    };
    void begin_copy(void* to, const void* from, int bytes, std::size_t size, const Site& site);
    void complete_copies(int pending);

    /// A wgmma that is under way.
    struct Product {
        std::int32_t* acc;
        int count;
        bool add;
        const std::uint32_t* a_registers;  // null: a is a descriptor
        std::uint64_t a, b;
        Site site;
        std::int64_t group;             // how many groups were committed before
        std::vector<std::int32_t> sum;  // of the operands at its beginning
        bool of_bits = false;           // common bits, not products of bytes
    };
    /// What accumulators are worth under way, or what registers held when they were fenced.
    struct Values {
        const void* at;
        std::vector<std::int32_t> values;
    };
    void begin(Product product);
    void complete(int pending);
    std::vector<std::int32_t> sum_of(const Product& product);
    const unsigned char* tile(std::uint64_t descriptor, int rows, const Site& site) const;
    void fence(const void* registers, std::size_t bytes);
    [[nodiscard]] bool is_fenced(const void* registers, int count) const;
    void require_done(const void* registers, std::size_t bytes) const;
    void have_registers(int count) const;

    void require_nothing_under_way() const;

    /// What a lane shows to its warp in one exchange.
    struct alignas(32) Slot {
        unsigned char bytes[32];
    };
    friend class HostBlock;

    void wait_block(const Site& site) const;
    void wait_warp(const Site& site) const;
    void* shared_array(const std::type_info& type, std::int64_t size, std::int64_t count, const Site& site);
    [[noreturn]] void raise(const std::string& what, const Site& site) const;

    /// Shows this lane's bytes to the warp and returns the 32 slots, which stay until the lane has shown
    /// twice more: two sets of slots in turn need one barrier per exchange.
    const Slot* show(const void* bytes, std::size_t size, const Site& site);

    template <class T>
    T exchange(T v, int from, const Site& site) {
        static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "as CUDA's shuffles");
        if (from < 0 || from >= kernels::warp_size)
            raise("takes lane " + std::to_string(from) + " of 32", site);
        const Unwatched books;
        const Slot* slots = show(&v, sizeof(T), site);
        std::memcpy(&v, slots[from].bytes, sizeof(T));
        return v;
    }

    template <class T>
    static void add(T* p, T v) {
        std::atomic_ref<T>(*p).fetch_add(v, std::memory_order_relaxed);
    }

    HostBlock& state_;
    std::int64_t block_index_, blocks_;
    int thread_, threads_;
    unsigned shown_ = 0;  // exchanges of this thread so far
    std::vector<Copy> copies_;
    std::int64_t copy_groups_ = 0;  // committed
    std::vector<Product> products_;
    std::vector<Values> chains_, fenced_;
    std::int64_t groups_ = 0;  // committed
};

/// Runs `body` as every thread of the launch; throws the first KernelFault.
void run_launch(const kernels::Launch& launch, int max_threads, const HostOptions& options,
                const std::function<void(HostGrid&)>& body);

template <class Kernel>
void run_on_host(const Kernel& kernel, const HostOptions& options = {}) {
    run_launch(kernel.launch(options.limits), Kernel::max_threads, options,
               [&](HostGrid& grid) { kernel(grid); });
}

}  // namespace fntk::test

#include "host_fibers.hpp"

#include "host_sanitizers.hpp"

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <new>
#include <utility>

namespace fntk::test {

namespace {

constexpr std::size_t stack_size = 512 * 1024;  // kernels hold arrays, and sanitizers widen their frames

std::size_t page() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

thread_local Fibers* turning = nullptr;  // whose fibers take turns on this thread

}  // namespace

/// Who takes turns: the fibers, and who called run().
struct Fibers::Context {
    ucontext_t registers{};
    void* stack = nullptr;
    std::size_t stack_bytes = 0;
    void* fake_stack = nullptr;  // of AddressSanitizer
    void* thread = nullptr;      // of ThreadSanitizer
};

struct Fibers::Fiber : Context {
    std::function<void()> body;

    /// Its stack lies above a page that nobody may touch.
    Fiber() {
        void* const map = mmap(nullptr, page() + stack_size, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (map == MAP_FAILED) throw std::bad_alloc();
        mprotect(map, page(), PROT_NONE);
        stack = static_cast<char*>(map) + page();
        stack_bytes = stack_size;
        getcontext(&registers);
        registers.uc_stack.ss_sp = stack;
        registers.uc_stack.ss_size = stack_size;
        makecontext(&registers, &Fibers::begin, 0);
        // AddressSanitizer warns of contexts, though turn_to() tells it of each turn. Without a size it
        // does not forget then where the gaps of this stack are.
        registers.uc_stack.ss_size = 0;
#ifdef FNTK_THREAD_SANITIZER
        thread = __tsan_create_fiber(0);
#endif
    }
    /// ThreadSanitizer's part stays: the fiber would end among the grid's books, as an error.
    ~Fiber() { munmap(static_cast<char*>(stack) - page(), page() + stack_size); }
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;
};

/// What a thread of the system keeps for its next run.
struct Fibers::Idle {
    Context caller;
    std::vector<std::unique_ptr<Fiber>> fibers;
};

Fibers::Idle& Fibers::idle() {
    thread_local Idle idle;
    return idle;
}

Fibers::Fibers(std::uint64_t seed) : random_(seed), running_(&idle().caller) {}

Fibers::~Fibers() {
    for (auto& fiber : fibers_) idle().fibers.push_back(std::move(fiber));
}

std::size_t Fibers::add(std::function<void()> body) {
    if (idle().fibers.empty()) idle().fibers.push_back(std::make_unique<Fiber>());
    fibers_.push_back(std::move(idle().fibers.back()));
    idle().fibers.pop_back();
    fibers_.back()->body = std::move(body);
    wake(fibers_.size() - 1);
    return fibers_.size() - 1;
}

void Fibers::run() {
    if (awake_.empty()) return;
    publish(&start_);
    {
        const Unwatched books;
#ifdef FNTK_THREAD_SANITIZER
        idle().caller.thread = __tsan_get_current_fiber();
#endif
        Fibers* const before = std::exchange(turning, this);
        turn_to(draw());
        turning = before;
    }
    observe(&end_);
}

void Fibers::sleep() {
    const Unwatched books;
    turn_to(draw());
}

/// One of those awake, or who called run().
Fibers::Context& Fibers::draw() {
    if (awake_.empty()) return idle().caller;
    std::swap(awake_[random_() % awake_.size()], awake_.back());
    const std::size_t next = awake_.back();
    awake_.pop_back();
    return *fibers_[next];
}

void Fibers::turn_to(Context& next) {
    Context& self = *std::exchange(running_, &next);
#ifdef FNTK_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(&self.fake_stack, next.stack, next.stack_bytes);
#endif
#ifdef FNTK_THREAD_SANITIZER
    __tsan_switch_to_fiber(next.thread, __tsan_switch_to_fiber_no_sync);
#endif
    swapcontext(&self.registers, &next.registers);
#ifdef FNTK_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(self.fake_stack, nullptr, nullptr);
#endif
}

void Fibers::begin() {
#ifdef FNTK_ADDRESS_SANITIZER
    const void* bottom = nullptr;
    std::size_t bytes = 0;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
    Context& caller = idle().caller;
    if (caller.stack == nullptr) {  // the thread's first turn came from there
        caller.stack = const_cast<void*>(bottom);
        caller.stack_bytes = bytes;
    }
#endif
    for (;;) {
        turning->run_body();
        const Unwatched books;
        turning->turn_to(turning->draw());  // and back when there is another body
    }
}

void Fibers::run_body() {
    observe(&start_);
    auto& fiber = static_cast<Fiber&>(*running_);
    fiber.body();
    fiber.body = nullptr;
    publish(&end_);
}

}  // namespace fntk::test

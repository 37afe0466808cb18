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

// Without the system calls of swapcontext, for masks of signals that nobody changes.
#if defined(__x86_64__) && !defined(FNTK_THREAD_SANITIZER)
#define FNTK_JUMPS 1
#endif

thread_local Fibers* turning = nullptr;  // whose fibers take turns on this thread

#ifdef FNTK_THREAD_SANITIZER
constexpr bool stacks_are_shared = false;  // each is a thread to it
#else
constexpr bool stacks_are_shared = true;
#endif

}  // namespace

/// Who takes turns: the stacks of fibers, and who called run().
struct Fibers::Context {
    ucontext_t registers{};  // where it begins, and without jumps where it left
    void* place[5] = {};     // where it left
    bool left = false;
    void* stack = nullptr;
    std::size_t stack_bytes = 0;
    void* fake_stack = nullptr;  // of AddressSanitizer
    void* thread = nullptr;      // of ThreadSanitizer
};

/// Above a page that nobody may touch.
struct Fibers::Stack : Context {
    Stack() {
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
    ~Stack() { munmap(static_cast<char*>(stack) - page(), page() + stack_size); }
    Stack(const Stack&) = delete;
    Stack& operator=(const Stack&) = delete;
};

/// What a thread of the system keeps for its next run.
struct Fibers::Idle {
    Context caller;
    std::vector<std::unique_ptr<Stack>> stacks;
};

Fibers::Idle& Fibers::idle() {
    thread_local Idle idle;
    return idle;
}

Fibers::Fibers(std::uint64_t seed) : random_(seed), running_(&idle().caller) {}

Fibers::~Fibers() {
    for (auto& stack : stacks_) idle().stacks.push_back(std::move(stack));
}

std::size_t Fibers::add(std::function<void()> body) {
    fibers_.push_back({std::move(body)});
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
        turn_to_another();
        turning = before;
    }
    observe(&end_);
}

void Fibers::sleep() {
    const Unwatched books;
    turn_to_another();
}

std::size_t Fibers::draw() {
    std::swap(awake_[random_() % awake_.size()], awake_.back());
    const std::size_t next = awake_.back();
    awake_.pop_back();
    return next;
}

/// Where a fiber stands, or begins.
Fibers::Context& Fibers::context_of(std::size_t fiber) {
    Stack*& stack = fibers_[fiber].stack;
    if (stack == nullptr) {
        if (free_.empty()) {
            auto& kept = idle().stacks;
            if (kept.empty()) kept.push_back(std::make_unique<Stack>());
            stacks_.push_back(std::move(kept.back()));
            kept.pop_back();
            free_.push_back(stacks_.back().get());
        }
        stack = free_.back();
        free_.pop_back();
    }
    return *stack;
}

/// To one of those awake, or to who called run().
void Fibers::turn_to_another() {
    if (awake_.empty()) return turn_to(idle().caller);
    running_fiber_ = draw();
    turn_to(context_of(running_fiber_));
}

#ifdef FNTK_JUMPS
namespace {
__attribute__((no_sanitize("address"))) void jump_to_place(void** place) { __builtin_longjmp(place, 1); }
/// Through a pointer: the builtin asks for a function of its own, and a call that is known not to return
/// makes AddressSanitizer forget the stack.
void (*volatile jump_to)(void**) = jump_to_place;
}  // namespace
#endif

/// Returns when it is this one's turn again, which may be that of another Fibers.
void Fibers::turn_to(Context& next) {
    Context& self = *std::exchange(running_, &next);
    if (&self == &next) return;
#ifdef FNTK_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(&self.fake_stack, next.stack, next.stack_bytes);
#endif
#ifdef FNTK_THREAD_SANITIZER
    __tsan_switch_to_fiber(next.thread, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef FNTK_JUMPS
    if (__builtin_setjmp(self.place) == 0) {
        self.left = true;
        if (next.left) jump_to(next.place);
        setcontext(&next.registers);
    }
#else
    swapcontext(&self.registers, &next.registers);
#endif
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
    for (;;) turning->run_body();
}

void Fibers::run_body() {
    observe(&start_);
    const std::function<void()>* body = nullptr;
    {
        const Unwatched books;
        body = &fibers_[running_fiber_].body;
    }
    (*body)();
    publish(&end_);
    const Unwatched books;
    if (stacks_are_shared)
        free_.push_back(
            std::exchange(fibers_[running_fiber_].stack, nullptr));  // the next may go on with it
    turn_to_another();
}

}  // namespace fntk::test

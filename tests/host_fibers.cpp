#include "host_fibers.hpp"

#include "host_sanitizers.hpp"

#include <sys/mman.h>
#include <unistd.h>
#include <new>
#include <utility>

namespace fntk::test {

namespace {

constexpr std::size_t stack_bytes = 512 * 1024;  // kernels hold arrays, and sanitizers widen their frames

std::size_t page() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

/// A stack above a page that nobody may touch.
void* map_stack() {
    void* map = mmap(nullptr, page() + stack_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) throw std::bad_alloc();
    mprotect(map, page(), PROT_NONE);
    return static_cast<char*>(map) + page();
}
void unmap_stack(void* stack) { munmap(static_cast<char*>(stack) - page(), page() + stack_bytes); }

thread_local Fibers* turning = nullptr;  // whose fibers take turns on this thread

}  // namespace

Fibers::~Fibers() {
    for (const auto& fiber : fibers_) {
        unmap_stack(fiber->stack);
#ifdef FNTK_THREAD_SANITIZER
        __tsan_destroy_fiber(fiber->thread);
#endif
    }
}

std::size_t Fibers::add(std::function<void()> body) {
    auto fiber = std::make_unique<Fiber>();
    fiber->body = std::move(body);
    fiber->stack = map_stack();
    fiber->stack_bytes = stack_bytes;
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = stack_bytes;
    makecontext(&fiber->context, &Fibers::begin, 0);
    // AddressSanitizer would forget at every turn where this stack has its gaps.
    fiber->context.uc_stack.ss_size = 0;
#ifdef FNTK_THREAD_SANITIZER
    fiber->thread = __tsan_create_fiber(0);
#endif
    fibers_.push_back(std::move(fiber));
    wake(fibers_.size() - 1);
    return fibers_.size() - 1;
}

void Fibers::run() {
    if (awake_.empty()) return;
    publish(&start_);
    {
        const Unwatched books;
#ifdef FNTK_THREAD_SANITIZER
        caller_.thread = __tsan_get_current_fiber();
#endif
        Fibers* const before = std::exchange(turning, this);
        turn_to(draw(), false);
        turning = before;
    }
    observe(&end_);
}

void Fibers::sleep() {
    const Unwatched books;
    turn_to(draw(), false);
}

/// One of those awake, or who called run().
Fibers::Fiber& Fibers::draw() {
    if (awake_.empty()) return caller_;
    std::swap(awake_[random_() % awake_.size()], awake_.back());
    const std::size_t next = awake_.back();
    awake_.pop_back();
    return *fibers_[next];
}

// The last turn of a fiber comes after all that ThreadSanitizer knows to be ordered.
__attribute__((no_sanitize("thread"))) void Fibers::turn_to(Fiber& next, bool ends) {
    Fiber* const self = running_;
    running_ = &next;
#ifdef FNTK_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(ends ? nullptr : &self->fake_stack, next.stack, next.stack_bytes);
#endif
#ifdef FNTK_THREAD_SANITIZER
    __tsan_switch_to_fiber(next.thread, __tsan_switch_to_fiber_no_sync);
#endif
    if (ends)
        setcontext(&next.context);
    else
        swapcontext(&self->context, &next.context);
#ifdef FNTK_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(self->fake_stack, nullptr, nullptr);
#endif
}

void Fibers::begin() {
    Fibers* fibers = nullptr;
    Fiber* self = nullptr;
    {
        const Unwatched books;
        fibers = turning;
        self = fibers->running_;
#ifdef FNTK_ADDRESS_SANITIZER
        const void* bottom = nullptr;
        std::size_t bytes = 0;
        __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
        if (fibers->caller_.stack == nullptr) {  // the first turn came from there
            fibers->caller_.stack = const_cast<void*>(bottom);
            fibers->caller_.stack_bytes = bytes;
        }
#endif
    }
    observe(&fibers->start_);
    self->body();
    publish(&fibers->end_);
    Fiber* next = nullptr;
    {
        const Unwatched books;
        next = &fibers->draw();
    }
    fibers->turn_to(*next, true);
}

}  // namespace fntk::test

// Fibers: threads with stacks of their own that take turns on one thread of the system. One runs until it
// sleeps or ends, then one is drawn of those that are awake, so that a seed repeats a run to the last step.
// One that ends leaves its stack to the next, if that has not begun: fibers that never sleep cost a call.
// ThreadSanitizer takes each for a thread, and a turn for nothing that orders two of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <vector>

namespace fntk::test {

class Fibers {
  public:
    explicit Fibers(std::uint64_t seed);
    ~Fibers();
    Fibers(const Fibers&) = delete;
    Fibers& operator=(const Fibers&) = delete;

    /// One more, awake. Its body lets no exception out. Returns its number, from 0.
    std::size_t add(std::function<void()> body);
    /// Its body once more: of a fiber that has ended, or of the running one at its end.
    void again(std::size_t fiber) { awake_.push_back(fiber); }
    /// Runs them until none is awake: each has ended or sleeps.
    void run();

    /// Of the running fiber: until another wakes it. Not within a catch block.
    void sleep();
    void wake(std::size_t fiber) { awake_.push_back(fiber); }

  private:
    struct Context;
    struct Stack;
    struct Idle;
    struct Fiber {
        std::function<void()> body;
        Stack* stack = nullptr;  // null: has not begun
    };
    static Idle& idle();
    static void begin();
    void run_body();
    std::size_t draw();
    Context& context_of(std::size_t fiber);
    void turn_to_another();
    void turn_to(Context& next);

    std::mt19937_64 random_;
    std::vector<Fiber> fibers_;
    std::vector<std::size_t> awake_;
    std::vector<std::unique_ptr<Stack>> stacks_;  // all, and those that no fiber has
    std::vector<Stack*> free_;
    std::size_t running_fiber_ = 0;
    Context* running_;
    char start_ = 0, end_ = 0;  // what came before run(), and what its fibers did, for ThreadSanitizer
};

}  // namespace fntk::test

// Fibers: threads with stacks of their own that take turns on one thread of the system. One runs until it
// sleeps or ends, then one is drawn of those that are awake, so that a seed repeats a run to the last step.
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
    /// Runs them until none is awake: each has ended or sleeps.
    void run();

    /// Of the running fiber: until another wakes it. Not within a catch block.
    void sleep();
    void wake(std::size_t fiber) { awake_.push_back(fiber); }

  private:
    struct Context;
    struct Fiber;
    struct Idle;
    static Idle& idle();
    static void begin();
    void run_body();
    Context& draw();
    void turn_to(Context& next);

    std::mt19937_64 random_;
    std::vector<std::unique_ptr<Fiber>> fibers_;
    std::vector<std::size_t> awake_;
    Context* running_;
    char start_ = 0, end_ = 0;  // what came before run(), and what its fibers did, for ThreadSanitizer
};

}  // namespace fntk::test

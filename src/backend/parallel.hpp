// A pool of threads that share the chunks of one range at a time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace fntk::backend {

class Pool {
  public:
    /// The caller is one of the `threads`.
    explicit Pool(int threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    [[nodiscard]] int threads() const { return static_cast<int>(workers_.size()) + 1; }
    /// Calls body(begin, end) over disjoint chunks of [0, count), each of at most `grain` elements, from
    /// all threads; returns when all are done. The first exception is rethrown here. Threads that share a
    /// pool take turns. Not reentrant from within a body.
    void run(std::int64_t count, std::int64_t grain,
             const std::function<void(std::int64_t, std::int64_t)>& body);

  private:
    struct Job {
        std::int64_t count = 0, grain = 1;
        const std::function<void(std::int64_t, std::int64_t)>* body = nullptr;
        std::atomic<std::int64_t> next{0};
        std::exception_ptr error;
    };
    void work(Job& job);
    void serve();
    /// Stops and joins what has been started.
    void end();

    std::vector<std::thread> workers_;
    std::mutex turn_;  // held for the length of a job
    std::mutex mutex_;
    std::condition_variable start_, done_;
    Job* job_ = nullptr;
    std::uint64_t generation_ = 0;
    int busy_ = 0;
    bool stop_ = false;
};

}  // namespace fntk::backend

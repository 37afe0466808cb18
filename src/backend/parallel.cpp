#include <backend/parallel.hpp>

#include <fntk/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

namespace fntk::backend {

Pool::Pool(int threads) {
    try {
        for (int t = 1; t < threads; ++t) workers_.emplace_back([this] { serve(); });
    } catch (const std::system_error&) {
        const std::size_t started = workers_.size() + 1;
        end();
        throw DeviceError(fmt::format(
            "threads = {}: the system starts no more than {}; take fewer, or allow the process more",
            threads, started));
    }
}

Pool::~Pool() { end(); }

void Pool::end() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    start_.notify_all();
    for (auto& worker : workers_) worker.join();
}

void Pool::work(Job& job) {
    try {
        for (;;) {
            const std::int64_t begin = job.next.fetch_add(job.grain);
            if (begin >= job.count) return;
            (*job.body)(begin, std::min(begin + job.grain, job.count));
        }
    } catch (...) {
        job.next = job.count;
        const std::lock_guard lock(mutex_);
        if (!job.error) job.error = std::current_exception();
    }
}

void Pool::serve() {
    std::uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
        start_.wait(lock, [&] { return stop_ || generation_ != seen; });
        if (stop_) return;
        seen = generation_;
        Job& job = *job_;
        lock.unlock();
        work(job);
        lock.lock();
        if (--busy_ == 0) done_.notify_one();
    }
}

void Pool::run(std::int64_t count, std::int64_t grain,
               const std::function<void(std::int64_t, std::int64_t)>& body) {
    if (count <= 0) return;
    grain = std::max<std::int64_t>(grain, 1);
    if (workers_.empty() || count <= grain) {
        for (std::int64_t begin = 0; begin < count; begin += grain)
            body(begin, std::min(begin + grain, count));
        return;
    }
    const std::lock_guard turn(turn_);
    Job job;
    job.count = count;
    job.grain = grain;
    job.body = &body;
    {
        const std::lock_guard lock(mutex_);
        job_ = &job;
        busy_ = static_cast<int>(workers_.size());
        ++generation_;
    }
    start_.notify_all();
    work(job);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return busy_ == 0; });
    if (job.error) std::rethrow_exception(job.error);
}

}  // namespace fntk::backend

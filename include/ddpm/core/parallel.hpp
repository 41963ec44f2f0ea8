// parallel_for over one thread pool for the process.
//
// Work is cut by shape, never by the number of threads; tasks write disjoint outputs. Results are
// therefore the same bits at any number of threads. Nested calls run in the calling task. The pool
// starts at the first use; its size is set_num_threads(), else the environment variable
// DDPM_NUM_THREADS, else the number of processors.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/intrinsics.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#if __has_include(<Eigen/ThreadPool>)
#include <Eigen/ThreadPool>
#else
#include <unsupported/Eigen/CXX11/ThreadPool>
#endif

#include "ddpm/core/shape.hpp"

namespace ddpm::DDPM_ABI {

namespace detail {

inline int default_num_threads() {
  if (const char* text = std::getenv("DDPM_NUM_THREADS")) {
    char* end = nullptr;
    const long value = std::strtol(text, &end, 10);
    require(end != text && *end == '\0' && value >= 1 && value <= 4096, "DDPM_NUM_THREADS is '",
            text, "', expected a whole number from 1 to 4096");
    return static_cast<int>(value);
  }
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

inline thread_local bool inside_parallel_for = false;

/// One parallel_for. Its tasks are shared out in order, a range for each worker: from one op to the
/// next a worker then meets the images that it has in its caches. Who has done its own range takes
/// from the others'.
class ParallelJob {
 public:
  void (*const run)(const void* task, Index i);
  const void* const task;
  const Index count;
  std::atomic<int> helpers{0};  ///< inside work(); written under the lock of Workers
  std::atomic<bool> failed{false};
  std::exception_ptr error{};
  ParallelJob* following = nullptr;

  ParallelJob(void (*run_task)(const void*, Index), const void* erased, Index tasks, int workers)
      : run(run_task), task(erased), count(tasks), ranges_(std::min(workers, max_ranges)) {
    for (int r = 0; r < ranges_; ++r)
      next_[r].value.store(r * count / ranges_, std::memory_order_relaxed);
  }

  bool has_tasks() const {
    for (int r = 0; r < ranges_; ++r)
      if (next_[r].value.load(std::memory_order_relaxed) < end(r)) return true;
    return false;
  }

  void work(int worker) noexcept {
    const bool nested = std::exchange(inside_parallel_for, true);
    for (int i = 0; i < ranges_; ++i) {
      const int r = (worker + i) % ranges_;
      for (Index t; (t = next_[r].value.fetch_add(1, std::memory_order_relaxed)) < end(r);)
        run_one(t);
    }
    inside_parallel_for = nested;
  }

 private:
  static constexpr int max_ranges = 64;
  struct alignas(64) Counter {  // each on a cache line of its own
    std::atomic<Index> value;
  };

  Index end(int r) const { return (r + 1) * count / ranges_; }

  void run_one(Index t) noexcept {
    if (failed.load(std::memory_order_relaxed)) return;
    try {
      run(task, t);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
  }

  const int ranges_;
  Counter next_[max_ranges];
};

/// The process-wide pool. The calling thread works too, so it holds one thread less than asked for.
/// Jobs live on their callers' stacks, in a list; a helper takes whichever has tasks left. So no
/// more helpers are ever scheduled than there are threads, and nothing is allocated.
class Workers {
 public:
  static Workers& instance() {
    static Workers workers;
    return workers;
  }

  int threads() {
    const std::lock_guard lock(mutex_);
    if (threads_ == 0) start(default_num_threads());
    return threads_;
  }

  void resize(int threads) {
    std::unique_ptr<Eigen::ThreadPool> old;  // joins without the lock: late helpers want it
    {
      const std::lock_guard lock(mutex_);
      if (threads == threads_) return;
      old = std::move(pool_);
    }
    old.reset();
    const std::lock_guard lock(mutex_);
    start(threads);
  }

  void run(ParallelJob& job) {
    Index wake = 0;
    {
      const std::lock_guard lock(mutex_);
      job.following = std::exchange(jobs_, &job);
      wake = std::min<Index>(threads_ - 1 - scheduled_, job.count - 1);
      scheduled_ += static_cast<int>(wake);
    }
    for (Index i = 0; i < wake; ++i) pool_->Schedule([this] { help(); });
    job.work(0);
    wait(job);
    if (job.error) std::rethrow_exception(job.error);
  }

 private:
  void start(int threads) {
    if (threads > 1) pool_ = std::make_unique<Eigen::ThreadPool>(threads - 1);
    threads_ = threads;
  }

  void help() {
    std::unique_lock lock(mutex_);
    --scheduled_;
    for (;;) {
      ParallelJob* job = jobs_;
      while (job != nullptr && !job->has_tasks()) job = job->following;
      if (job == nullptr) return;
      job->helpers.fetch_add(1, std::memory_order_relaxed);
      lock.unlock();
      job->work(pool_->CurrentThreadId() + 1);
      lock.lock();
      // The helper's last touch of the job: the caller may return from now on.
      if (job->helpers.fetch_sub(1, std::memory_order_release) == 1) left_.notify_all();
    }
  }

  /// Until no helper is inside the job. The rest of a task is short, so spin before sleeping.
  void wait(ParallelJob& job) {
    const auto empty = [&] { return job.helpers.load(std::memory_order_acquire) == 0; };
    {
      const std::lock_guard lock(mutex_);
      ParallelJob** link = &jobs_;
      while (*link != &job) link = &(*link)->following;
      *link = job.following;  // no helper enters from now on
    }
    for (int spin = 0; spin < 4000 && !empty(); ++spin)
      if (spin % 64 == 63) std::this_thread::yield();
    std::unique_lock lock(mutex_);
    left_.wait(lock, empty);
  }

  std::mutex mutex_;
  std::condition_variable left_;  ///< a helper has left a job
  std::unique_ptr<Eigen::ThreadPool> pool_;
  ParallelJob* jobs_ = nullptr;
  int threads_ = 0;
  int scheduled_ = 0;  ///< helpers that have not started yet
};

}  // namespace detail

/// Sets how many threads work, the caller included; 1 means no pool. Results do not depend on it.
/// Not to be called while a parallel_for runs. Throws PreconditionError unless 1 <= threads <=
/// 4096.
inline void set_num_threads(int threads) {
  require(threads >= 1 && threads <= 4096, "set_num_threads: ", threads, ", expected 1 to 4096");
  detail::Workers::instance().resize(threads);
}

inline int num_threads() { return detail::Workers::instance().threads(); }

/// Runs task(i) for every i in [0, count), in any order and on any thread. The first exception of a
/// task reaches the caller, after all running tasks have ended.
template <class F>
void parallel_for(Index count, const F& task) {
  const int threads = detail::inside_parallel_for || count <= 1 ? 1 : num_threads();
  if (threads == 1) {
    for (Index i = 0; i < count; ++i) task(i);
    return;
  }
  const auto run = [](const void* erased, Index i) { (*static_cast<const F*>(erased))(i); };
  detail::ParallelJob job(run, &task, count, threads);
  detail::Workers::instance().run(job);
}

}  // namespace ddpm::DDPM_ABI

// parallel_for over one thread pool for the process.
//
// Work is cut by shape, never by the number of threads; tasks write disjoint outputs. Results are
// therefore the same bits at any number of threads. Nested calls run in the calling task. The pool
// starts at the first use; its size is set_num_threads(), else the environment variable
// DDPM_NUM_THREADS, else the number of processors that the process may use.
//
// The pool lives as long as the process: what other threads, or the destructors of static objects,
// do at its end still works. A child of fork() starts a pool of its own.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/intrinsics.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "ddpm/core/build_info.hpp"
#include "ddpm/core/fork.hpp"
#include "ddpm/core/function_ref.hpp"
#include "ddpm/core/precision.hpp"
#include "ddpm/core/processors.hpp"
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
  return available_processors();
}

inline thread_local bool inside_parallel_for = false;
inline thread_local bool first_tasks_only = false;

/// In its scope each parallel_for of this thread runs its first task and no other. What is computed
/// is then worth nothing, but the memory for it is taken as ever: so the memory of a computation is
/// known in a small part of its time.
class FirstTasksOnly : Scoped<bool> {
 public:
  FirstTasksOnly() : Scoped(first_tasks_only, true) {}
};

/// One parallel_for. Its tasks are shared out in order, a range for each worker: from one op to the
/// next a worker then meets the images that it has in its caches. Who has done its own range takes
/// from the others'.
class ParallelJob {
 public:
  const FunctionRef<void(Index)> task;
  const Index count;
  std::atomic<int> helpers{0};  ///< inside work(); written under the lock of Workers
  std::atomic<bool> failed{false};
  std::exception_ptr error{};
  ParallelJob* following = nullptr;

  ParallelJob(Index tasks, FunctionRef<void(Index)> one_task, int workers)
      : task(one_task), count(tasks), ranges_(std::min(workers, max_ranges)) {
    for (int r = 0; r < ranges_; ++r)
      next_[r].value.store(r * count / ranges_, std::memory_order_relaxed);
  }

  bool has_tasks() const {
    for (int r = 0; r < ranges_; ++r)
      if (next_[r].value.load(std::memory_order_relaxed) < end(r)) return true;
    return false;
  }

  void work(int worker) noexcept {
    const Scoped inside(inside_parallel_for, true);
    const PrecisionScope scope(precision_);
    for (int i = 0; i < ranges_; ++i) {
      const int r = (worker + i) % ranges_;
      for (Index t; (t = next_[r].value.fetch_add(1, std::memory_order_relaxed)) < end(r);)
        run_one(t);
    }
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
      task(t);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
  }

  const Precision precision_ = matmul_precision();  ///< the caller's
  const int ranges_;
  Counter next_[max_ranges];
};

/// The process-wide pool. The calling thread works too, so it holds one thread less than asked for.
/// Jobs live on their callers' stacks, in a list; a helper takes whichever has tasks left. Nothing
/// is allocated once the threads are there.
class Workers {
 public:
  /// Never destroyed; another one in a child of fork(), where the threads of the parent are not.
  static Workers& instance() { return *current(); }

  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  int threads() {
    const std::lock_guard lock(mutex_);
    if (threads_ == 0) start(wanted_ > 0 ? wanted_ : default_num_threads());
    return threads_;
  }

  /// Throws std::system_error or std::bad_alloc if there cannot be so many threads, then works in
  /// one.
  void resize(int threads) {
    std::vector<std::thread> old;
    {
      const std::lock_guard lock(mutex_);
      wanted_ = threads;
      if (threads == threads_) return;
      old = stop();
    }
    for (std::thread& helper : old) helper.join();  // which want the lock once more
    const std::lock_guard lock(mutex_);
    start(threads);
  }

  void run(ParallelJob& job) {
    Index wake = 0;
    {
      const std::lock_guard lock(mutex_);
      job.following = std::exchange(jobs_, &job);
      wake = std::min<Index>(asleep_, job.count - 1);
    }
    // After the lock, which the helpers that see the call want at once.
    calls_.fetch_add(1, std::memory_order_release);
    for (; wake > 0; --wake) called_.notify_one();
    job.work(0);
    wait(job);
    if (job.error) std::rethrow_exception(job.error);
  }

 private:
  explicit Workers(int wanted = 0) : wanted_(wanted) {}

  static Workers*& current() {
    static Workers* workers = [] {
      at_fork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
              [] {
                instance().mutex_.unlock();
                current() = new Workers(instance().wanted_);
              });
      return new Workers;
    }();
    return workers;
  }

  /// Starts the threads, or none. With the lock.
  void start(int threads) {
    threads_ = 1;
    try {
      helpers_.reserve(static_cast<std::size_t>(threads - 1));
      for (int i = 1; i < threads; ++i)
        helpers_.emplace_back([this, i, epoch = epoch_] { help(i, epoch); });
      threads_ = threads;
    } catch (...) {
      const std::size_t started = helpers_.size();
      std::vector<std::thread> useless = stop();
      mutex_.unlock();
      for (std::thread& helper : useless) helper.join();
      mutex_.lock();
      try {
        throw;
      } catch (const std::system_error& error) {
        throw std::system_error(error.code(),
                                message("only ", started + 1, " of ", threads,
                                        " threads can be started; ask for fewer, with "
                                        "set_num_threads() or DDPM_NUM_THREADS"));
      }
    }
  }

  /// Sends the threads home; to be joined without the lock.
  std::vector<std::thread> stop() {
    ++epoch_;
    calls_.fetch_add(1, std::memory_order_release);
    called_.notify_all();
    threads_ = 1;
    return std::exchange(helpers_, {});
  }

  /// What thread number `worker` does until its epoch ends.
  void help(int worker, Index epoch) {
    std::unique_lock lock(mutex_);
    while (epoch == epoch_) {
      if (ParallelJob* job = job_with_tasks()) {
        job->helpers.fetch_add(1, std::memory_order_relaxed);
        lock.unlock();
        job->work(worker);
        lock.lock();
        // The helper's last touch of the job: the caller may return from now on.
        if (job->helpers.fetch_sub(1, std::memory_order_release) == 1) left_.notify_all();
      } else {
        sleep(lock);
      }
    }
  }

  /// With the lock.
  ParallelJob* job_with_tasks() const {
    ParallelJob* job = jobs_;
    while (job != nullptr && !job->has_tasks()) job = job->following;
    return job;
  }

  /// Until there is a call. The next one mostly comes soon, so spin before sleeping.
  void sleep(std::unique_lock<std::mutex>& lock) {
    const std::uint64_t seen = calls_.load(std::memory_order_relaxed);
    const auto called = [&] { return calls_.load(std::memory_order_acquire) != seen; };
    lock.unlock();
    spin_until(called);
    lock.lock();
    // A caller whose job is in the list already may not have called yet, and not know of us.
    if (job_with_tasks() != nullptr) return;
    ++asleep_;
    called_.wait(lock, called);
    --asleep_;
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
    spin_until(empty);
    std::unique_lock lock(mutex_);
    left_.wait(lock, empty);
  }

  template <class Condition>
  static void spin_until(const Condition& condition) {
    for (int spin = 0; spin < 16000 && !condition(); ++spin)
      if (spin % 64 == 63) std::this_thread::yield();
  }

  std::mutex mutex_;
  std::condition_variable called_;  ///< there is a job, or the end of the epoch
  std::condition_variable left_;    ///< a helper has left a job
  std::vector<std::thread> helpers_;
  ParallelJob* jobs_ = nullptr;
  std::atomic<std::uint64_t> calls_{0};
  Index epoch_ = 0;  ///< of the helpers
  int wanted_ = 0;   ///< 0: whatever the environment says
  int threads_ = 0;
  int asleep_ = 0;  ///< helpers that have to be woken
};

}  // namespace detail

/// Sets how many threads work, the caller included; 1 means no pool. Results do not depend on it.
/// Not to be called while a parallel_for runs. Throws PreconditionError unless 1 <= threads <=
/// 4096; std::system_error if the system does not start so many, then one thread works.
inline void set_num_threads(int threads) {
  require(threads >= 1 && threads <= 4096, "set_num_threads: ", threads, ", expected 1 to 4096");
  detail::Workers::instance().resize(threads);
}

/// How many threads work. Starts the pool if nothing did so far, and throws as set_num_threads().
inline int num_threads() { return detail::Workers::instance().threads(); }

/// Runs task(i) for every i in [0, count), in any order and on any thread. The first exception of a
/// task reaches the caller, after all running tasks have ended.
inline void parallel_for(Index count, FunctionRef<void(Index)> task) {
  const int threads = detail::inside_parallel_for || count <= 1 ? 1 : num_threads();
  if (detail::first_tasks_only && !detail::inside_parallel_for) {
    const detail::Scoped inside(detail::inside_parallel_for, threads > 1);
    if (count > 0) task(0);
  } else if (threads == 1) {
    for (Index i = 0; i < count; ++i) task(i);
  } else {
    detail::ParallelJob job(count, task, threads);
    detail::Workers::instance().run(job);
  }
}

}  // namespace ddpm::DDPM_ABI

#include "runtime/threads.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#include "runtime/spin.h"

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace peephole {
namespace {

struct Job {
  void (*run)(void *, int, int);
  void (*waiting)(void *);
  void *context;
  int tasks;
  std::atomic<int> next{0};

  void work(int worker) {
    for (int task = next.fetch_add(1); task < tasks; task = next.fetch_add(1)) run(context, task, worker);
  }
};

class Pool {
 public:
  void run(Job &job, int threads) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      grow(threads - 1);
      job_ = &job;
      wanted_ = threads - 1 < size_ ? threads - 1 : size_;
      joined_ = 0;
      ++posted_;
    }
    wake_.notify_all();
    job.work(0);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      wanted_ = joined_;  // no task is left for threads that have not joined
    }
    becomes_true_soon([this] { return working_ == 0; });
    std::unique_lock<std::mutex> lock(mutex_);
    while (working_ != 0) {
      if (!job.waiting) {
        done_.wait(lock);
      } else if (done_.wait_for(lock, kWait) == std::cv_status::timeout) {
        lock.unlock();
        job.waiting(job.context);
        lock.lock();
      }
    }
    job_ = nullptr;
  }

  std::atomic_flag has_caller = ATOMIC_FLAG_INIT;  // set by the caller whose job the threads run

 private:
  static constexpr std::chrono::milliseconds kWait{20};  // between two calls of a job's `waiting`

  void grow(int size) {
    try {
      for (; size_ < size; ++size_) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error &) {
      // the system starts no more threads: the existing ones do the work
    }
  }

  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      if (job_ == nullptr || joined_ >= wanted_) {
        int seen = posted_;
        lock.unlock();
        becomes_true_soon([this, seen] { return posted_ != seen; });
        lock.lock();
      }
      wake_.wait(lock, [this] { return job_ != nullptr && joined_ < wanted_; });
      Job &job = *job_;
      int worker = ++joined_;
      ++working_;
      lock.unlock();
      job.work(worker);
      lock.lock();
      if (--working_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Job *job_ = nullptr;
  int size_ = 0, wanted_ = 0, joined_ = 0;
  std::atomic<int> working_{0}, posted_{0};  // read without the lock, too
};

// Never destroyed, since threads may still wait on it when the process ends. A forked child has none of its parent's
// threads, so it gets a new pool.
Pool &pool() {
  static std::mutex mutex;
  static Pool *instance = nullptr;
  static long owner = 0;
#if defined(__unix__) || defined(__APPLE__)
  long self = getpid();
#else
  long self = 1;
#endif
  std::lock_guard<std::mutex> lock(mutex);
  if (instance == nullptr || owner != self) {
    instance = new Pool;
    owner = self;
  }
  return *instance;
}

}  // namespace

void parallel(int tasks, int threads, void (*run)(void *, int, int), void *context, void (*waiting)(void *)) {
  Job job;
  job.run = run;
  job.waiting = waiting;
  job.context = context;
  job.tasks = tasks;
  if (threads > tasks) threads = tasks;
  if (threads > 1) {
    Pool &shared = pool();
    if (!shared.has_caller.test_and_set(std::memory_order_acquire)) {
      shared.run(job, threads);
      return shared.has_caller.clear(std::memory_order_release);
    }
  }
  job.work(0);
}

}  // namespace peephole

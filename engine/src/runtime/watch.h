// Stopping a search before its end: because its caller wants it, or because one of its threads has failed.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace peephole {

struct Stopped {};  // thrown by poll; no search lets it out except by the caller's wish

// One for each search; shared by its threads.
class Watch {
 public:
  using ShouldStop = int32_t (*)(void *);
  Watch(ShouldStop should_stop, void *context) : should_stop_(should_stop), context_(context) {}

  // Calls the caller's function if the last call was long enough ago. Only on the caller's thread.
  void ask() noexcept;
  // Stops all threads of the search.
  void stop() { stopped_.store(true, std::memory_order_relaxed); }
  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }
  // Whether the caller's function has returned a number other than 0.
  bool caller_stops() const { return caller_stops_; }

  static constexpr std::chrono::milliseconds kInterval{50};  // between two calls of the caller's function

 private:
  ShouldStop should_stop_;
  void *context_;
  std::chrono::steady_clock::time_point asked_ = std::chrono::steady_clock::now();
  std::atomic<bool> stopped_{false};
  bool caller_stops_ = false;
};

// While this object exists, poll() on this thread checks the watch. If `is_caller`, poll() also calls should_stop.
class Watched {
 public:
  Watched(Watch &watch, bool is_caller);
  ~Watched();
  Watched(const Watched &) = delete;
  Watched &operator=(const Watched &) = delete;

 private:
  Watch *outer_;  // the caller's function may run another search
  bool outer_is_caller_;
};

}  // namespace peephole

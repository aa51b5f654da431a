#include "runtime/watch.h"

#include "runtime/poll.h"

namespace peephole {
namespace {

constexpr int64_t kOperations = 1 << 22;  // between two readings of the clock: milliseconds on a slow processor

thread_local Watch *current = nullptr;
thread_local bool is_caller_thread = false;
thread_local int64_t operations_since = 0;

}  // namespace

void Watch::ask() noexcept {
  if (!should_stop_ || stopped()) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - asked_ < kInterval) return;
  if (should_stop_(context_) != 0) {
    caller_stops_ = true;
    stop();
  }
  asked_ = std::chrono::steady_clock::now();
}

Watched::Watched(Watch &watch, bool is_caller) : outer_(current), outer_is_caller_(is_caller_thread) {
  current = &watch;
  is_caller_thread = is_caller;
}

Watched::~Watched() {
  current = outer_;
  is_caller_thread = outer_is_caller_;
}

void poll(int64_t operations) {
  operations_since += operations;
  if (operations_since < kOperations) return;
  operations_since = 0;
  if (!current) return;
  if (is_caller_thread) current->ask();
  if (current->stopped()) throw Stopped{};
}

}  // namespace peephole
